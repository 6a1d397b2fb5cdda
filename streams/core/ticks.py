"""Which ticks are open, when they close, and what came too late or twice.

A tick of a group (target x probe) closes when every location that is counted on has reported it, or when the
watermark has passed it by the group's lateness; ticks of a group close in order, and one that follows a gap waits
until the gap's lateness is over. What a tick is, is then a function
of the set of its checks. To keep it so, a location that the config does not name, or that comes back after a
silence, counts only from ACTIVATION = lateness + one interval after its first tick: by then everybody knows of it,
whatever the order of arrival.
"""

from typing import Final, NamedTuple

import numpy as np

from producers.contract import OUTCOME_FAILURE, OUTCOME_MISSED
from streams.core.pending import Runs, Structured, expand
from streams.core.registry import Members
from streams.core.round import Round
from streams.core.table import Bits, Bools, Column, Ints, Rows, Table
from streams.core.watermark import FOREVER, NEVER
from streams.policy import DetectPolicy, ProbeExpectation

REMEMBERED: Final = 64
"""Ticks of a group that redeliveries are told by: a bitmap a lane, beside the ticks themselves."""

GAPS: Final = 16
"""The interval of a group that the config does not name is the lower median of so many gaps between its ticks."""

SURE_GAPS: Final = 8
"""Before so many gaps the lateness of such a group is the longest, so that a guess loses nothing."""

GUESSED_INTERVAL_US: Final = 300_000_000
"""Of a group with a single tick so far."""

_ONE: Final = np.uint64(1)


class GroupTicks(Table):
    """Ticks by group.

    Attributes:
        longest_us, quiet_us, grace_us: Of the policy: the longest lateness, the shortest silence, the excuse of
            an orderly stop.
        closed_us: No check at or before this is waited for; last_us: the last tick that had any check.
        closings: How many ticks were closed; ring: the last of them, tick k at place k % REMEMBERED.
        gaps: The last gaps between ticks, 0 where there is none yet.
        counted_on: Locations that must report before a tick closes early; activating: one is about to be added.
        due_us: The watermark at which the next waiting tick closes.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "interval_us": Column(np.int64, GUESSED_INTERVAL_US),
        "lateness_us": Column(np.int64, 0),
        "silence_us": Column(np.int64, 0),
        "longest_us": Column(np.int64, 0),
        "quiet_us": Column(np.int64, 0),
        "grace_us": Column(np.int64, 0),
        "named": Column(np.bool_, 0),
        "closed_us": Column(np.int64, NEVER),
        "last_us": Column(np.int64, NEVER),
        "closings": Column(np.int64, 0),
        "ring": Column(np.int64, NEVER, (REMEMBERED,)),
        "gaps": Column(np.int64, 0, (GAPS,)),
        "counted_on": Column(np.int64, 0),
        "activating": Column(np.bool_, 0),
        "due_us": Column(np.int64, FOREVER),
    }
    interval_us: Ints
    lateness_us: Ints
    silence_us: Ints
    longest_us: Ints
    quiet_us: Ints
    grace_us: Ints
    named: Bools
    closed_us: Ints
    last_us: Ints
    closings: Ints
    ring: Ints
    gaps: Ints
    counted_on: Ints
    activating: Bools
    due_us: Ints


class LaneTicks(Table):
    """The same by lane (target x probe x location).

    Attributes:
        seen: Bit k: this lane had a check at the k-th last closed tick of its group, 0 the last.
        expected: The config says that it should report.
        first_us, last_us: Its first and its last tick that counted.
        absent_us: The first closed tick without it since it last reported; NEVER while it reports.
        silent: It is absent for the group's silence or longer.
        active_us: Its checks count from this tick on: NEVER always, FOREVER not now.
        left_us: The tick at which it became inactive.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "seen": Column(np.uint64, 0),
        "expected": Column(np.bool_, 0),
        "first_us": Column(np.int64, FOREVER),
        "last_us": Column(np.int64, NEVER),
        "absent_us": Column(np.int64, NEVER),
        "silent": Column(np.bool_, 0),
        "active_us": Column(np.int64, NEVER),
        "left_us": Column(np.int64, NEVER),
    }
    seen: Bits
    expected: Bools
    first_us: Ints
    last_us: Ints
    absent_us: Ints
    silent: Bools
    active_us: Ints
    left_us: Ints


class Admitted(NamedTuple):
    """What became of arriving checks: late ones, and those of locations that do not count yet, change nothing."""

    rows: Structured
    late: int
    redelivered: int


class Ticks:
    """The state of closing, by group and by lane."""

    def __init__(self) -> None:
        self.groups = GroupTicks()
        self.lanes = LaneTicks()
        self._scratch = np.full(0, -1, dtype=np.intp)
        self._last: tuple[Members, Rows, Rows, Rows, Rows] | None = None

    def add_group(self, group: int, policy: DetectPolicy, expectation: ProbeExpectation | None) -> None:
        """Begin a group: with the config's interval, or to be learned."""
        groups = self.groups
        groups.grow(group + 1)
        self.configure(group, policy, expectation)

    def configure(self, group: int, policy: DetectPolicy, expectation: ProbeExpectation | None) -> None:
        """Take over what the config says of a group."""
        groups = self.groups
        groups.named[group] = expectation is not None
        groups.longest_us[group] = policy.max_lateness_us
        groups.quiet_us[group] = policy.min_silence_us
        groups.grace_us[group] = policy.stop_grace_us
        if expectation is not None:
            groups.interval_us[group] = expectation.interval_us
        self._bounds(np.array([group], dtype=np.intp))

    def add_lane(self, lane: int, group: int, *, expected: bool) -> None:
        """Begin a lane; one that a named group does not expect counts later (see the module)."""
        self.lanes.grow(lane + 1)
        self.lanes.expected[lane] = expected
        counts = expected or not self.groups.named[group]
        if counts:
            self.groups.counted_on[group] += 1
        else:
            self.lanes.active_us[lane] = FOREVER

    def admit(self, rows: Structured) -> Admitted:
        """Keep the rows whose tick is open, and tell apart the others: late, or counted before."""
        self._return(rows)
        closed = rows["tick_us"] <= self.groups.closed_us[rows["group"]]
        # Kept all the same: another arrival may still show that the lane counts by then.
        uncounted = int((~closed & (self.lanes.active_us[rows["lane"]] > rows["tick_us"])).sum())
        if not closed.any():
            return Admitted(rows, uncounted, 0)
        late = rows[closed]
        redelivered = int(self._counted(late).sum())
        return Admitted(rows[~closed], int(late.size) - redelivered + uncounted, redelivered)

    def closable(self, runs: Runs, active: Ints, watermark_us: int) -> Rows:
        """Return the places (in `runs.groups`) of the groups whose next tick can close now.

        Args:
            runs: Rows that wait.
            active: By run, how many of its rows count at its tick.
            watermark_us: Up to where everything has arrived.
        """
        places = np.flatnonzero(runs.head < runs.end)
        if places.size == 0:
            return places
        run = runs.head[places]
        group = runs.groups[places]
        tick_us = runs.tick_us[run]
        groups = self.groups
        complete = groups.named[group] & (active[run] >= groups.counted_on[group])
        # Who counts is about to change: then counting by hand is left to the watermark.
        complete &= ~groups.activating[group]
        # A tick before this one may be on its way as a whole: after a gap, and at the very beginning.
        before_us = tick_us - groups.interval_us[group]
        lateness_us = groups.lateness_us[group]
        complete &= (before_us <= groups.closed_us[group]) | (before_us + lateness_us <= watermark_us)
        return places[complete | (tick_us + lateness_us <= watermark_us)]

    def active(self, runs: Runs) -> Ints:
        """Return how many rows of each run count at its tick."""
        if runs.start.size == 0:
            return np.zeros(0, dtype=np.int64)
        counts = self.lanes.active_us[runs.rows["lane"]] <= runs.rows["tick_us"]
        return np.add.reduceat(counts, runs.start, dtype=np.int64)

    def round(self, members: Members, runs: Runs, places: Rows) -> Round:
        """Return the next tick of these groups with all their lanes."""
        run = runs.head[places]
        groups, tick_us = runs.groups[places], runs.tick_us[run]
        lanes, local, first = self._dense(members, groups)
        if self._scratch.size < self.lanes.rows:
            self._scratch = np.full(2 * self.lanes.rows, -1, dtype=np.intp)
        filled = expand(runs.start[run], runs.stop[run])
        owner = runs.rows["lane"][filled]
        self._scratch[owner] = filled
        number = self._scratch[lanes]
        self._scratch[owner] = -1
        at_us = tick_us[local]
        there = number >= 0
        present = there & (self.lanes.active_us[lanes] <= at_us)
        rows = runs.rows[number]
        outcome = rows["outcome"]
        return Round(
            groups=groups,
            tick_us=tick_us,
            first=first,
            lanes=lanes,
            local=local,
            at_us=at_us,
            rows=rows,
            present=present,
            reported=present & (outcome != OUTCOME_MISSED),
            failed=present & (outcome == OUTCOME_FAILURE),
        )

    def close(self, turn: Round, stopped_us: Ints) -> Bools:
        """Close the ticks of a round: remember who was there, learn intervals, see who is silent.

        Args:
            turn: The round.
            stopped_us: By lane of the round, when its location announced a stop; NEVER if it did not.

        Returns:
            By lane of the round: its silence has begun or ended. Shape (n,).
        """
        if self.groups.activating[turn.groups].any():
            self._activate(turn)
        groups, lanes = self.groups, self.lanes
        group, lane = turn.groups, turn.lanes
        known = groups.last_us[group] > NEVER
        gap_us = np.where(known, turn.tick_us - groups.last_us[group], 0)
        groups.closed_us[group] = turn.tick_us
        groups.last_us[group] = turn.tick_us
        groups.ring[group, groups.closings[group] % REMEMBERED] = turn.tick_us
        self._learn(group, gap_us)
        groups.closings[group] += 1
        lanes.seen[lane] = (lanes.seen[lane] << _ONE) | turn.present
        here = lane[turn.present]
        at_us = turn.at_us[turn.present]
        lanes.last_us[here] = at_us
        lanes.first_us[here] = np.minimum(lanes.first_us[here], at_us)
        if turn.present.all() and not lanes.silent[lane].any():
            lanes.absent_us[lane] = NEVER
            return np.zeros(lane.size, dtype=np.bool_)
        return self._absent(turn, stopped_us)

    def leave(self, lane: int, group: int, tick_us: int, later: Structured) -> None:
        """Stop counting on a silent lane of a named group.

        Args:
            lane: Its number.
            group: Its group.
            tick_us: The tick that closed without it.
            later: Rows that wait, among which may be its next ones.
        """
        if not self.groups.named[group] or self.lanes.active_us[lane] > NEVER:
            return
        self.lanes.active_us[lane] = FOREVER
        self.lanes.left_us[lane] = tick_us
        self.groups.counted_on[group] -= 1
        self._return(later[later["lane"] == lane])

    def _bounds(self, group: Rows) -> None:
        """Derive lateness and silence from intervals."""
        groups = self.groups
        sure = groups.named[group] | (groups.gaps[group, SURE_GAPS - 1] > 0)
        twice_us, longest_us = 2 * groups.interval_us[group], groups.longest_us[group]
        groups.silence_us[group] = np.maximum(twice_us, groups.quiet_us[group])
        groups.lateness_us[group] = np.where(sure, np.minimum(twice_us, longest_us), longest_us)

    def _learn(self, group: Rows, gap_us: Ints) -> None:
        groups = self.groups
        learns = ~groups.named[group] & (gap_us > 0)
        learners, gap_us = group[learns], gap_us[learns]
        if learners.size == 0:
            return
        place = (groups.closings[learners] - 1) % GAPS
        groups.gaps[learners, place] = gap_us
        gaps = groups.gaps[learners]
        known = np.count_nonzero(gaps, axis=1)
        ascending = np.sort(np.where(gaps > 0, gaps, FOREVER), axis=1)
        groups.interval_us[learners] = ascending[np.arange(learners.size), (known - 1) // 2]
        self._bounds(learners)

    def _activate(self, turn: Round) -> None:
        """Count on lanes whose first counting tick has come."""
        for place in np.flatnonzero(self.groups.activating[turn.groups]):
            group = turn.groups[place]
            mine = turn.lanes[turn.local == place]
            active_us = self.lanes.active_us[mine]
            begins = (active_us > NEVER) & (active_us <= turn.tick_us[place])
            self.lanes.active_us[mine[begins]] = NEVER
            self.groups.counted_on[group] += int(begins.sum())
            waiting = self.lanes.active_us[mine]
            self.groups.activating[group] = bool(((waiting > NEVER) & (waiting < FOREVER)).any())

    def _absent(self, turn: Round, stopped_us: Ints) -> Bools:
        groups, lanes, lane = self.groups, self.lanes, turn.lanes
        since_us = lanes.absent_us[lane]
        # Who never reported is missed only if the config says that it should report.
        missed = (since_us == NEVER) & (lanes.expected[lane] | (lanes.first_us[lane] < FOREVER))
        since_us = np.where(turn.present, NEVER, np.where(missed, turn.at_us, since_us))
        lanes.absent_us[lane] = since_us
        silence_us = groups.silence_us[turn.groups][turn.local]
        grace_us = groups.grace_us[turn.groups][turn.local]
        excused = (stopped_us >= lanes.last_us[lane]) & (turn.at_us < stopped_us + grace_us) & (stopped_us > NEVER)
        silent = (since_us > NEVER) & (turn.at_us - since_us >= silence_us) & ~excused
        changed: Bools = silent != lanes.silent[lane]
        lanes.silent[lane] = silent
        return changed

    def _counted(self, rows: Structured) -> Bools:
        """Say which rows of closed ticks were counted before. Ticks older than remembered were, if the lane was."""
        ring = self.groups.ring[rows["group"]]
        match = ring == rows["tick_us"][:, None]
        found = match.any(axis=1)
        age = (self.groups.closings[rows["group"]] - 1 - match.argmax(axis=1)) % REMEMBERED
        bit = (self.lanes.seen[rows["lane"]] >> age.astype(np.uint64)) & _ONE
        older = rows["tick_us"] < ring.min(axis=1)
        counted: Bools = np.where(found, bit == 1, older & (self.lanes.first_us[rows["lane"]] <= rows["tick_us"]))
        return counted

    def _return(self, rows: Structured) -> None:
        """Note when lanes that do not count are seen: they count from then plus ACTIVATION."""
        lanes, groups = self.lanes, self.groups
        away = (lanes.active_us[rows["lane"]] > NEVER) & (rows["tick_us"] > lanes.left_us[rows["lane"]])
        if not away.any():
            return
        lane, group = rows["lane"][away], rows["group"][away]
        from_us = rows["tick_us"][away] + groups.lateness_us[group] + groups.interval_us[group]
        np.minimum.at(lanes.active_us, lane, from_us)
        groups.activating[group] = True

    def _dense(self, members: Members, groups: Rows) -> tuple[Rows, Rows, Rows]:
        last = self._last
        # The same groups close round after round in a replay.
        if last is not None and last[0] is members and np.array_equal(last[1], groups):
            return last[2], last[3], last[4]
        start, stop = members.start[groups], members.start[groups + 1]
        size = stop - start
        lanes = members.lanes[expand(start, stop)]
        local = np.repeat(np.arange(groups.size, dtype=np.intp), size)
        first = np.concatenate(([0], np.cumsum(size)[:-1])).astype(np.intp)
        self._last = (members, groups, lanes, local, first)
        return lanes, local, first
