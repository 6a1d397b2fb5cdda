"""One round of closing: a tick of each of many groups goes through quorum and detectors, and changes are told."""

from collections.abc import Callable

import numpy as np

from streams.contract import Deviation, Reason
from streams.core.judge_series import SeriesJudge
from streams.core.pending import NO_TEXT, Runs
from streams.core.quorum import FAILING, UNKNOWN, judge, majority
from streams.core.round import Round
from streams.core.said.reasons import reasons_of, silence
from streams.core.state import State
from streams.core.states import FAILS, FAILS_IN_PART, FAILS_OFTEN, FLAPS, METRIC_OFF, MISSED, PART_SILENT, SLOW
from streams.core.table import Bools, Ints, Rows
from streams.core.verdict import ProbeState
from streams.core.watermark import FOREVER, NEVER


class Judge:
    """Judges rounds against a state; holds nothing itself but what one call collects."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._series = SeriesJudge(state)
        self._counted: list[tuple[Ints, Rows, Bools, Bools]] = []

    def begin(self, runs: Runs) -> None:
        """Take in the runs whose ticks are about to be closed."""
        self._series.begin(runs)

    def close(self, turn: Round, runs: Runs, places: Rows) -> bool:
        """Judge one round.

        Args:
            turn: The round.
            runs: Where it was taken from.
            places: The groups in `runs.groups` that it is about.

        Returns:
            Whether the lanes that are waited for may have changed.
        """
        state = self._state
        self._gaps(turn)
        moved = bool(state.ticks.groups.activating[turn.groups].any())
        stopped_us = state.locations.stopped_us[state.registry.location_of[turn.lanes]]
        silence_changed = state.ticks.close(turn, stopped_us)
        if silence_changed.any():
            self._leave(turn, runs, silence_changed)
            moved = True
        reported, failed = turn.total(turn.reported), turn.total(turn.failed)
        failing = (reported > 0) & (failed >= majority(reported))
        forecast = self._series.judge(turn, runs, places, failing)
        self._states(turn, reported, failed, silence_changed, forecast)
        location = state.registry.location_of[turn.lanes]
        self._counted.append(
            (turn.at_us[turn.present], location[turn.present], turn.reported[turn.present], turn.failed[turn.present])
        )
        return moved

    def end(self) -> None:
        """Count the checks of all rounds into their slots."""
        if self._counted:
            columns = [np.concatenate(column) for column in zip(*self._counted, strict=True)]
            self._state.summaries.count(columns[0], columns[1], columns[2], columns[3])
            self._counted = []

    def take(self) -> list[Deviation]:
        """Return the deviations since the last call, by tick and name."""
        return self._series.take()

    def silences(self, at_us: int) -> None:
        """See which groups are silent, as of this clock or watermark: nothing that is on its way can change that."""
        state = self._state
        ticks = state.ticks.groups
        horizon_us = at_us - ticks.lateness_us[: ticks.rows]
        began_us = self._began_us()
        quiet = horizon_us >= began_us + ticks.silence_us[: ticks.rows]
        quiet &= ~state.groups.silent[: ticks.rows]
        quiet &= state.groups.born_us[: ticks.rows] > NEVER
        # A tick that waits and will close by itself is no silence.
        quiet &= ticks.due_us[: ticks.rows] > at_us
        for group in np.flatnonzero(quiet).tolist():
            self._silence(group, int(horizon_us[group]), int(began_us[group]))

    def force(self, targets: list[str]) -> None:
        """Publish the next tick of these targets, whatever it brings."""
        for group, (target, _) in enumerate(self._state.registry.groups if targets else ()):
            if target in targets:
                self._state.groups.settle[group] = max(int(self._state.groups.settle[group]), 1)

    def through_us(self, *, silent_too: bool = False) -> Ints:
        """Return the tick up to which each group is judged. Shape (n_groups,).

        Args:
            silent_too: False gives FOREVER for groups that are silent: nobody waits for them.
        """
        state = self._state
        ticks = state.ticks.groups
        n = ticks.rows
        through_us: Ints = state.watermark_us - ticks.lateness_us[:n]
        # Nothing is due before the next interval, if the config says what it is.
        expected_us = np.where(ticks.named[:n], ticks.last_us[:n] + ticks.interval_us[:n] - 1, NEVER)
        head_us = ticks.due_us[:n] - ticks.lateness_us[:n]
        through_us = np.minimum(np.maximum(through_us, expected_us), head_us - 1)
        if silent_too:
            return through_us
        idle = state.groups.silent[:n] & (ticks.due_us[:n] == FOREVER)
        through_us[idle] = FOREVER
        return through_us

    def heard_of(self) -> Bools:
        """Say which groups have reported at all. Shape (n_groups,)."""
        ticks = self._state.ticks.groups
        return (ticks.last_us[: ticks.rows] > NEVER) | (ticks.due_us[: ticks.rows] < FOREVER)

    def judged(self) -> Callable[[str, bool], int]:
        """Return what tells up to which tick all probes of a target are judged: those that report, or silent ones too.

        It holds until the next change of state.
        """
        registry = self._state.registry
        everybody_us = self.through_us(silent_too=True)
        alive_us = np.where(self.heard_of(), self.through_us(), FOREVER)

        def through(target: str, silent_too: bool) -> int:  # noqa: FBT001 - the callback's shape
            groups = registry.groups_of(target)
            if groups.size == 1:
                return FOREVER
            return int((everybody_us if silent_too else alive_us)[groups].min())

        return through

    def _began_us(self) -> Ints:
        """The last tick of each group, or what stands for it before its first one. Shape (n_groups,)."""
        ticks, groups = self._state.ticks.groups, self._state.groups
        born_us = groups.born_us[: ticks.rows] - ticks.interval_us[: ticks.rows]
        began_us: Ints = np.where(ticks.last_us[: ticks.rows] > NEVER, ticks.last_us[: ticks.rows], born_us)
        return began_us

    def _gaps(self, turn: Round) -> None:
        """A gap before this tick was a silence too, whether or not a clock event has said so."""
        ticks, groups = self._state.ticks.groups, self._state.groups
        last_us = ticks.last_us[turn.groups]
        gap = (last_us > NEVER) & (turn.tick_us - last_us > ticks.silence_us[turn.groups])
        for place in np.flatnonzero(gap):
            self._silence(int(turn.groups[place]), int(turn.tick_us[place]) - 1, int(last_us[place]))
        groups.silent[turn.groups] = False

    def _silence(self, group: int, horizon_us: int, last_us: int) -> None:
        """Publish that a group is silent since its last tick, at the first empty one, if that is within the horizon."""
        state = self._state
        if state.groups.silent[group]:
            return
        interval_us = int(state.ticks.groups.interval_us[group])
        deadline_us = self._deadline_us(group, last_us)
        tick_us = last_us - (last_us - deadline_us) // interval_us * interval_us  # the first tick not before it
        if tick_us > horizon_us:
            return
        lanes = state.registry.lanes_of(group)
        state.groups.silent[group] = True
        state.groups.code[group], state.groups.kinds[group], state.groups.settle[group] = UNKNOWN, 0, 0
        state.lanes.failing[lanes] = False
        state.ticks.groups.closed_us[group] = tick_us
        reason = silence(state, group, self._expected(group, last_us), last_us + interval_us, whole=True)
        self._tell(group, tick_us, UNKNOWN, last_us + interval_us, [], [], [reason])

    def _deadline_us(self, group: int, last_us: int) -> int:
        """When a group counts as silent: later if all its locations announced that they stop."""
        state = self._state
        lanes = self._expected(group, last_us)
        usual_us = last_us + int(state.ticks.groups.silence_us[group])
        stopped_us = state.locations.stopped_us[state.registry.location_of[lanes]]
        if lanes.size == 0 or (stopped_us < state.ticks.lanes.last_us[lanes]).any() or (stopped_us == NEVER).any():
            return usual_us
        return max(usual_us, int(stopped_us.max() + state.ticks.groups.grace_us[group]))

    def _expected(self, group: int, last_us: int) -> Rows:
        """The lanes that reported lately; all of a group that never had any."""
        state = self._state
        lanes = state.registry.lanes_of(group)
        lately = lanes[state.ticks.lanes.last_us[lanes] > last_us - state.ticks.groups.silence_us[group]]
        return lately if lately.size else lanes

    def _leave(self, turn: Round, runs: Runs, changed: Bools) -> None:
        lanes = self._state.ticks.lanes
        for place in np.flatnonzero(changed):
            lane = int(turn.lanes[place])
            if lanes.silent[lane]:
                group = int(turn.groups[turn.local[place]])
                self._state.ticks.leave(lane, group, int(turn.at_us[place]), runs.rows)

    def _states(self, turn: Round, reported: Ints, failed: Ints, silence_changed: Bools, forecast: Bools) -> None:
        """Compare what each group is with what it was; tell what changed and what is still watched."""
        state, group, lane = self._state, turn.groups, turn.lanes
        groups = state.groups
        slow_here = self._slow(turn)
        often = state.failures.groups.flagged[group]
        flaps = state.flaps.table.flagged[group]
        metric_off = turn.total(turn.reported & (state.lanes.metrics[lane] > 0)) > 0
        code = judge(reported=reported, failed=failed, deviates=slow_here | often | flaps | metric_off)
        part_silent = turn.total(state.ticks.lanes.silent[lane]) > 0
        kinds = FAILS * (code == FAILING) + FAILS_IN_PART * ((failed > 0) & (code != FAILING))
        kinds = kinds + MISSED * (reported == 0) + SLOW * slow_here + METRIC_OFF * metric_off
        kinds = kinds + (FAILS_OFTEN * often + FLAPS * flaps) * (code != FAILING) + PART_SILENT * part_silent
        switched = self._lanes(turn)
        changed = (code != groups.code[group]) | (kinds != groups.kinds[group]) | forecast
        changed |= turn.total(switched | silence_changed) > 0
        settle = groups.settle[group]
        told = changed | (settle > 0)
        groups.code[group], groups.kinds[group] = code, kinds
        groups.settle[group] = np.where(changed, state.policies.get("settle_ticks", group), np.maximum(settle - 1, 0))
        addressed = turn.present & (turn.rows["address"] != NO_TEXT)
        groups.address[group[turn.local[addressed]]] = turn.rows["address"][addressed]
        for place in np.flatnonzero(told).tolist():
            self._closed(turn, place)

    def _slow(self, turn: Round) -> Bools:
        """Say which groups are slow in most of their locations, shape (m,): a lost check changes nothing of that."""
        ticks, off = self._state.ticks.lanes, self._state.latency.episodes.off[turn.lanes]
        counts = ~ticks.silent[turn.lanes] & (ticks.last_us[turn.lanes] > NEVER)
        counts = turn.reported | (counts & (ticks.active_us[turn.lanes] <= turn.at_us))
        slow = turn.total(counts & off) >= majority(turn.total(counts))
        return slow & (turn.total(turn.reported & off) > 0)

    def _lanes(self, turn: Round) -> Bools:
        """Note which lanes fail, and say for which that is new. Shape (n,)."""
        lanes, lane = self._state.lanes, turn.lanes
        was = lanes.failing[lane]
        switched: Bools = was != turn.failed
        lanes.failing[lane] = turn.failed
        # Only a success ends a run of failures: a missed check, or none, says nothing.
        lanes.since_us[lane[turn.reported & ~turn.failed]] = NEVER
        if turn.failed.any():
            fails = lane[turn.failed]
            begins = lanes.since_us[fails] == NEVER
            lanes.since_us[fails[begins]] = turn.at_us[turn.failed][begins]
            lanes.reason[fails] = turn.rows["reason"][turn.failed]
            lanes.status[fails] = turn.rows["status"][turn.failed]
        return switched

    def _closed(self, turn: Round, place: int) -> None:
        state = self._state
        group, tick_us = int(turn.groups[place]), int(turn.tick_us[place])
        lanes = state.registry.lanes_of(group)
        at = slice(int(turn.first[place]), int(turn.first[place]) + lanes.size)
        reported = [state.registry.lanes[lane][2] for lane in lanes[turn.reported[at]].tolist()]
        failed = [state.registry.lanes[lane][2] for lane in lanes[turn.failed[at]].tolist()]
        forecasts = state.active_forecasts(group) if state.groups.forecasts[group] > 0 else []
        failing = zip(lanes[turn.failed[at]].tolist(), turn.rows["uid"][at][turn.failed[at]].tolist(), strict=True)
        details = {lane: state.details[uid] for lane, uid in failing if uid in state.details}
        reasons = reasons_of(state, group, tick_us, reported, forecasts, details)
        code = int(state.groups.code[group])
        since_us = tick_us
        if code == FAILING:
            since_us = int(state.lanes.since_us[lanes[turn.failed[at]]].min())
        self._tell(group, tick_us, code, since_us, reported, failed, reasons)

    def _tell(
        self,
        group: int,
        tick_us: int,
        code: int,
        since_us: int,
        reported: list[str],
        failed: list[str],
        reasons: list[Reason],
    ) -> None:
        state = self._state
        ticks = state.ticks.groups
        target, probe = state.registry.groups[group]
        state.verdicts.add(
            ProbeState(
                target=target,
                probe=probe,
                tick_us=tick_us,
                code=code,
                since_us=since_us,
                interval_us=int(ticks.interval_us[group]),
                lateness_us=int(ticks.lateness_us[group]),
                # Learned siblings may have learned different latenesses; the longest serves all.
                patience_us=int((ticks.lateness_us if ticks.named[group] else ticks.longest_us)[group]),
                reported=reported,
                failed=failed,
                address=state.addresses.text(int(state.groups.address[group])),
                reasons=reasons,
            )
        )
