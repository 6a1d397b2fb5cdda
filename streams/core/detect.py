"""Detection for one partition of `checks`: checks and clock events in, deviations, verdicts, summaries out.

The way of a check: numbered (registry), refused if its tick is over (ticks), kept until its tick closes (pending),
judged with its tick (here and in `judge`), combined with its target's other probes (verdict).
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from producers.contract import OUTCOME_FAILURE, CheckColumns
from producers.topics import partition_of
from streams.contract import Verdict
from streams.core import columns as checks
from streams.core import state as whole
from streams.core.forecasts.forecast import kind_of
from streams.core.judge import Judge
from streams.core.metrics.level import judged
from streams.core.outputs import Outputs, together
from streams.core.pending import READING, ROW, Runs, Structured, joined, ordered, rows_of
from streams.core.series import SeriesView, series_of
from streams.core.snapshot import Frozen
from streams.core.standstill import stood_still
from streams.core.state import State
from streams.core.table import Ints, Rows
from streams.core.watermark import FOREVER, NEVER, advance, any_live, foreseen, gathered, report
from streams.policy import DetectPolicy, Expectations

CODE: Final = whole.CODE
"""Version of the state's form: a snapshot of another one is not loaded."""

NONE: Final[Structured] = np.zeros(0, dtype=ROW)

AHEAD_SLOTS: Final = 2
"""What is not expected is judged in advance, so far past the clock: an empty partition holds nobody up."""


class Detector:
    """The state of one partition, and the only way to advance it.

    What it returns is a function of the set of checks that arrive within their lateness, and of the clock events,
    not of their order or of how they are cut into messages.
    """

    def __init__(
        self, policy: DetectPolicy, expectations: Expectations, *, partition: int, partitions: int | None = None
    ) -> None:
        """Begin with nothing.

        Args:
            policy: How to judge; `expectations` may say otherwise of single targets.
            expectations: What the config names, of all partitions.
            partition: Which one this is.
            partitions: How many there are, so that this one knows which targets are its own: those that are never
                heard of become unknown. None: who sends nothing is not missed (a file of recorded checks).
        """
        self._policy = policy
        self._expectations = expectations
        self._partition = partition
        self._partitions = partitions
        self._expects = False  # the first clock event says from when on the config's targets are missed
        self._take(State(policy, expectations, partition))

    def apply(self, *parts: CheckColumns) -> Outputs:
        """Take in checks, one part after the other, and close the ticks that they complete.

        What comes of several parts is what would come of one call for each. Where that is sure they are judged
        together, which costs less than half: most of the work is numpy's own, for each call.

        Args:
            parts: Each in any order, of any number of locations; times in microseconds UTC.
        """
        parts = tuple(part for part in parts if len(part))
        if not parts:
            return Outputs()
        if len(parts) == 1:
            return self._apply(parts[0], None)
        lane = self._known_in_time(parts)
        if lane is None:
            return together([self._apply(part, None) for part in parts])
        return self._apply(checks.joined(parts), lane)

    def _known_in_time(self, parts: Sequence[CheckColumns]) -> Rows | None:
        """Return the lanes of all checks, if all are counted on and no part makes a check of a later one late."""
        state = self._state
        if state.gathers_since_us > NEVER:
            return None
        lanes = []
        for part in parts:
            lane = state.registry.known(part)
            if lane is None:
                return None
            lanes.append(lane)
        lane = np.concatenate(lanes)
        ticks, group = state.ticks, state.registry.group_of[lane]
        # Of others the lateness is still being learned, or what counts is about to change: by what closes in between.
        if not (ticks.groups.named[group].all() and (ticks.lanes.active_us[lane] == NEVER).all()):
            return None
        tick_us = np.concatenate([part.scheduled_at_us for part in parts])
        watermark_us = foreseen(
            state.locations,
            state.registry.location_of[lane],
            tick_us,
            before_us=state.watermark_us,
            clock_us=state.clock_us,
            patience_us=self._policy.min_silence_us,
        )
        later = slice(len(parts[0]), None)
        in_time = tick_us[later] + ticks.groups.lateness_us[group[later]] > watermark_us
        return lane if in_time.all() else None

    def _apply(self, columns: CheckColumns, lane: Rows | None) -> Outputs:
        """Take in n checks.

        Args:
            columns: The checks, at least one.
            lane: The lane of each, shape (n,); None if some may be new.
        """
        state = self._state
        if lane is None:
            lane, added = state.registry.number(columns)
            if added.lanes:
                state.add(added, int(columns.scheduled_at_us.min()))
        group = state.registry.group_of[lane]
        rows = rows_of(
            columns, lane=lane, group=group, first_uid=state.next_uid, reasons=state.reasons, addresses=state.addresses
        )
        state.next_uid += len(rows)
        report(state.locations, state.registry.location_of[lane], rows["tick_us"])
        admitted = state.ticks.admit(rows)
        self._read(columns, rows, admitted.rows)
        self._note(columns, int(rows["uid"][0]), admitted.rows)
        superfluous = self._close(admitted.rows)
        # What does not count and comes twice is said once: of n checks no more than n went nowhere.
        redelivered = min(admitted.redelivered + superfluous, len(columns) - admitted.late)
        return self._outputs(late=admitted.late, redelivered=redelivered)

    def clock(self, at_us: int) -> Outputs:
        """Say what time it is: ticks whose lateness is over are closed, silence is seen.

        Args:
            at_us: Microseconds UTC. Earlier than the last one changes nothing.
        """
        state = self._state
        at_us -= state.behind_us
        if at_us > state.clock_us:
            if state.gathers_since_us == FOREVER:
                state.gathers_since_us = at_us
            state.clock_us = at_us
            state.summaries.begin(at_us)
            if not self._expects:
                self._expects = True
                state.expect(self._own(), at_us)
            self._close(NONE)
        return self._outputs()

    def stopped(self, location: str, at_us: int) -> Outputs:
        """A producer at `location` ended in order at `at_us`: its silence is excused for `stop_grace_us`."""
        state = self._state
        number = state.registry.location(location)
        state.locations.grow(len(state.registry.locations))
        state.locations.stopped_us[number] = max(int(state.locations.stopped_us[number]), at_us)
        return self._outputs()

    def goes_on(self, logged_us: int) -> bool:
        """Say whether a message with this timestamp of the log follows the last one without a standstill."""
        return stood_still(self._state.logged_us, logged_us) == 0

    def logged(self, at_us: int, *, first: bool = False) -> None:
        """Say when the log took the message that comes next. What was checked while it stood still comes after that.

        Args:
            at_us: Its timestamp; 0 if it has none.
            first: The log begins with it.
        """
        state = self._state
        gap_us = stood_still(state.logged_us, at_us)
        state.logged_us = max(state.logged_us, at_us)
        if first:
            self._begin_log()
        if gap_us and any_live(state.locations, clock_us=state.clock_us, quiet_us=self._quiet_us()):
            self._gather()
            if state.clock_us > NEVER:
                state.behind_us += gap_us

    def _begin_log(self) -> None:
        """The log begins anew: what was not safe yet comes again, from each location in its own time."""
        state = self._state
        self._gather()
        if state.gathers_since_us == NEVER and (own := self._own()):
            state.gathers_since_us = FOREVER
            state.await_all(own)

    def _gather(self) -> None:
        """Await all locations that are live."""
        state = self._state
        state.gathers_since_us = max(state.clock_us, state.watermark_us)
        known = slice(state.locations.rows)
        state.locations.before_us[known] = state.locations.newest_us[known]

    def begin_late(self, at_us: int) -> None:
        """Say that of checks before this time some may never come, to a detector that begins without their state."""
        self._state.summaries.whole_from_us = at_us

    def baselines(self) -> dict[tuple[str, str, str], float]:
        """Return the latency that is normal by (target, probe, location), microseconds; none while it warms up."""
        state = self._state
        centre = state.latency.levels.table.centre[: len(state.registry.lanes)]
        known = np.flatnonzero(np.isfinite(centre))
        return {state.registry.lanes[lane]: float(np.exp(centre[lane])) for lane in known.tolist()}

    def series(self, at_us: int) -> list[SeriesView]:
        """Return where each series is, and what is normal for it. Changes nothing.

        Args:
            at_us: The time, for what is normal at this hour.
        """
        return series_of(self._state, at_us)

    def freeze(self) -> Frozen:
        """Return the whole state as it is now. A detector restored from it continues bit for bit."""
        return self._state.freeze()

    def snapshot(self) -> bytes:
        """Return the whole state, packed."""
        return self.freeze().pack()

    def restore(self, payload: bytes) -> None:
        """Replace the whole state by that of a snapshot.

        Raises:
            ValueError: If the payload is damaged or of another form (see CODE); the state is then unchanged.
        """
        state = State(self._policy, self._expectations, self._partition)
        state.load(payload)
        self._take(state)

    def _take(self, state: State) -> None:
        self._state = state
        self._judge = Judge(state)
        self._expects = False

    def _own(self) -> list[str]:
        """The targets that the config names and whose checks come to this partition."""
        if self._partitions is None:
            return []
        expected = self._state.registry.expected()
        return [target for target in expected if partition_of(target, self._partitions) == self._partition]

    def _read(self, columns: CheckColumns, rows: Structured, admitted: Structured) -> None:
        """Keep the readings of the checks that were admitted: those that are forecast, those whose level is judged."""
        state = self._state
        for metric, values in columns.metrics.items():
            has_level, is_forecast = judged(metric), kind_of(metric) is not None
            if not (has_level or is_forecast):
                continue
            there = np.flatnonzero(np.isfinite(values))
            if admitted.size < rows.size:
                there = there[np.isin(rows["uid"][there], admitted["uid"])]
            if there.size == 0:
                continue
            if has_level:
                state.metric_readings.add(rows["uid"][there], rows["lane"][there], metric, values[there])
            if not is_forecast:
                continue
            readings = np.zeros(there.size, dtype=READING)
            readings["uid"], readings["value"] = rows["uid"][there], values[there]
            readings["series"] = state.series_of(rows["lane"][there], metric)
            state.readings = np.concatenate([state.readings, readings])

    def _note(self, columns: CheckColumns, first_uid: int, admitted: Structured) -> None:
        """Keep what failed checks that were admitted say of themselves, for the reason that tells of them."""
        for uid in admitted["uid"][admitted["outcome"] == OUTCOME_FAILURE].tolist():
            detail = columns.detail[uid - first_uid]
            if detail is not None:
                self._state.details[uid] = detail

    def _close(self, arrived: Structured) -> int:
        """Close every tick that can be closed now, in rounds of one tick a group.

        Args:
            arrived: The rows that came just now.

        Returns:
            How many checks another one of the same tick and lane made superfluous.
        """
        state = self._state
        ticks = state.ticks
        self._advance()
        touched = ticks.groups.due_us[: ticks.groups.rows] <= state.watermark_us
        touched[arrived["group"]] = True
        groups = np.flatnonzero(touched)
        if groups.size == 0:
            return 0
        rows, twice = ordered(joined(state.waiting.take(groups), arrived))
        superfluous = int(twice.sum())
        runs = Runs.of(rows[~twice] if superfluous else rows)
        self._judge.begin(runs)
        active = ticks.active(runs)
        while (places := ticks.closable(runs, active, state.watermark_us)).size:
            turn = ticks.round(state.registry.members, runs, places)
            if self._judge.close(turn, runs, places):
                active = ticks.active(runs)
            runs.head[places] += 1
        self._keep(runs, rows, groups)
        self._judge.end()
        return superfluous

    def _advance(self) -> None:
        """Move the watermark."""
        state, patience_us = self._state, self._policy.min_silence_us
        groups = state.ticks.groups
        gathering = state.gathers_since_us > NEVER
        if gathering and gathered(
            state.locations,
            since_us=state.gathers_since_us,
            clock_us=state.clock_us,
            behind_us=state.behind_us,
            patience_us=patience_us,
            quiet_us=self._quiet_us(),
            together_us=int(groups.interval_us[: groups.rows].min(initial=patience_us)),
        ):
            gathering, state.gathers_since_us = False, NEVER
            state.clock_us, state.behind_us = state.clock_us + state.behind_us, 0
            state.locations.awaited[:] = False
        state.watermark_us = advance(
            state.locations,
            before_us=state.watermark_us,
            clock_us=state.clock_us,
            patience_us=patience_us,
            gathering=gathering,
            behind_us=state.behind_us,
        )

    def _quiet_us(self) -> int:
        """Return within what time a live location delivers: two intervals of the target that is checked most often."""
        intervals_us = self._state.ticks.groups.interval_us[: self._state.ticks.groups.rows]
        often_us = int(intervals_us.min()) if intervals_us.size else 0
        return max(2 * often_us, self._policy.min_silence_us)

    def _keep(self, runs: Runs, rows: Structured, groups: Rows) -> None:
        """Put back what did not close of these rows, and note when it will."""
        state = self._state
        rest = runs.rest()
        state.waiting.put(rest)
        if state.readings.size or state.details or state.metric_readings.waiting.size:
            self._forget(np.setdiff1d(rows["uid"], rest["uid"]))
        table = state.ticks.groups
        table.due_us[groups] = FOREVER
        waits = runs.head < runs.end
        group = runs.groups[waits]
        table.due_us[group] = runs.tick_us[runs.head[waits]] + table.lateness_us[group]

    def _forget(self, uids: Ints) -> None:
        """Drop what came with checks that wait no longer."""
        state = self._state
        state.readings = state.readings[~np.isin(state.readings["uid"], uids)]
        state.metric_readings.drop(uids)
        if state.details:
            for uid in uids.tolist():
                state.details.pop(uid, None)

    def _outputs(self, *, late: int = 0, redelivered: int = 0) -> Outputs:
        """Collect what there is to publish: a tick's verdicts before the summary that says it is closed."""
        state = self._state
        self._judge.silences(max(state.clock_us, state.watermark_us))
        verdicts: list[Verdict] = []
        if state.verdicts.waits():
            verdicts, overtaken = state.verdicts.publish(watermark_us=state.watermark_us, judged=self._judge.judged())
            self._judge.force(overtaken)
        deviations = self._judge.take()
        summaries = state.summaries.tell(self._closed_through_us(), state.registry.locations)
        return Outputs(
            deviations=deviations,
            verdicts=[*verdicts, *summaries],
            late=late,
            redelivered=redelivered,
        )

    def _closed_through_us(self) -> int:
        state = self._state
        now_us = max(state.clock_us, state.watermark_us)
        if now_us == NEVER:
            return NEVER
        expected = self._judge.through_us()
        if state.gathers_since_us == NEVER:  # else who has not been heard of may still be on the way
            expected = expected[self._judge.heard_of()]
        ahead_us = now_us + AHEAD_SLOTS * self._policy.slot_us
        return min(int(expected.min(initial=ahead_us)), ahead_us, state.verdicts.waiting_since_us() - 1)
