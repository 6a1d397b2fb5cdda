"""Failures too frequent for chance, though too few in a row for an outage.

Counted are ticks of a group at which a location begins to fail, not checks: when a target restarts, all locations fail
together and for some ticks in a row, and that is one event. Three Bernoulli CUSUMs, each for another ratio that
failures may have risen to (RISEN), sum the log likelihood ratio of each tick against the ratio that is normal for the
group: a high ratio is seen after a few failures, a low one after some dozen. Each limit is what keeps its part of the
budget of false warnings, at any interval and any ratio, without counting on large numbers (`chance.steps`).

What is normal is learned from all checks but those of which the sums of any location say that they are too many: an
hour in which one location loses half of its checks must not pass for what the target is like. It is taken at its upper
bound, so that a series of which little is known says little. What goes on for more than a day is learned all the same.

Where several locations report, each location has sums over what all the *others* saw, and a group is flagged when all
of them agree: whatever one location makes of its own network, it alone can neither flag a target nor hide one. A
run of failing ticks as long as `warn_ticks` is an outage and is told by the verdict itself: it wipes everything, so
that nothing lingers after it. A flag is back when the sums have come down and the last ticks are no surprise any more
(BACK_P, exact).

Source:
    Page (1954), Reynolds & Stoumbos (1999), the Bernoulli CUSUM; Lorden (1971) for its time between false alarms.
    Siegmund (1985), the change of measure that gives the limits. For what is told, and for the end: the exact binomial
    test (Clopper & Pearson 1934), one-sided.
"""

from typing import Final, NamedTuple

import numpy as np

from streams.core.failures.chance import RISEN, rare_run, steps, tail
from streams.core.policies import Policies
from streams.core.quorum import majority
from streams.core.round import Round
from streams.core.table import Bits, Bools, Column, Floats, Ints, Rows, Table
from streams.core.ticks import REMEMBERED
from streams.core.wary import wariness, warned_falsely
from streams.core.watermark import NEVER
from streams.policy import DAY_US

BUDGET_SHARE: Final = 0.5
"""Of a series' false warnings: this detector's part, in equal parts to the sums."""

MOST: Final = 1.2
"""A sum stays under so many limits."""

BACK_SCORE: Final = 0.5
BACK_P: Final = 0.01
MEMORY: Final = 12_000.0
"""Checks that the ratio which is normal is learned from: four days of one each 30 s."""

PRIOR_CHECKS: Final = 400.0
"""So many checks without a failure are taken to have come before the first."""

YOUNG: Final = 3000.0
"""Up to so many checks nobody knows what is normal: all of them are learned, those of the window after it."""

PRIOR_BEGUN: Final = 30.0
MOST_BEGUN: Final = 400.0
MOST_AGAIN: Final = 0.7
"""Which share of failures goes on at the next check is learned from about the last MOST_BEGUN runs of one or two,
beside PRIOR_BEGUN of one, and never taken for more than MOST_AGAIN."""

SUSPICIOUS: Final = 0.25
SUSPICIOUS_RATE: Final = 0.25
"""From this score of any location's sums on the ratio is learned more slowly, and from 1 on not at all; but what was
flagged for longer than a day is, for it may be what the target has become."""

MOST_NORMAL: Final = 0.2
"""A group that fails more often than this is never normal."""

_ONE: Final = np.uint64(1)
_QUANTUM: Final = 1e-4


class FailureGroups(Table):
    """State by group.

    Attributes:
        run: Failing ticks in a row.
        ratio: Of failed checks, learned slowly from `learned` checks.
        flagged, since_us: Since the first failure of the window at that time.
        score: The largest sum that all locations agree on by its limit, of what was judged last; suspect: the largest
            of any location.
        failures, checks: In the window.
        begun, lasted: Runs of one or two lost checks, and those of two.
        wary, wary_us: Limits are so many times as high since flags that no outage followed, as of that tick.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "run": Column(np.int64, 0),
        "ratio": Column(np.float64, 0.0),
        "learned": Column(np.float64, PRIOR_CHECKS),
        "flagged": Column(np.bool_, 0),
        "since_us": Column(np.int64, NEVER),
        "score": Column(np.float64, 0.0),
        "suspect": Column(np.float64, 0.0),
        "failures": Column(np.int64, 0),
        "checks": Column(np.int64, 0),
        "begun": Column(np.float64, 0.0),
        "lasted": Column(np.float64, 0.0),
        "wary": Column(np.float64, 1.0),
        "wary_us": Column(np.int64, 0),
    }
    run: Ints
    ratio: Floats
    learned: Floats
    flagged: Bools
    since_us: Ints
    score: Floats
    suspect: Floats
    failures: Ints
    checks: Ints
    begun: Floats
    lasted: Floats
    wary: Floats
    wary_us: Ints


class FailureLanes(Table):
    """State by lane: bit k of `reports` and `fails` is the k-th last closed tick of its group.

    Attributes:
        sums: The CUSUMs over what the others saw; over its own where it is the only one.
    """

    COLUMNS = {  # noqa: RUF012 - as above
        "reports": Column(np.uint64, 0),
        "fails": Column(np.uint64, 0),
        "sums": Column(np.float64, 0.0, (RISEN.size,)),
    }
    reports: Bits
    fails: Bits
    sums: Floats


class FailureChanges(NamedTuple):
    """Places (in the round's groups) that were flagged, and that are no longer."""

    left: Rows
    back: Rows


class _Window(NamedTuple):
    """The bits of the n lanes of a round, this tick included, shape (n,) each."""

    reports: Bits
    fails: Bits


class Failures:
    """The detector `failure_ratio`."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self.groups = FailureGroups()
        self.lanes = FailureLanes()

    def update(
        self, turn: Round, failing: Bools, interval_us: Ints, ring: Ints, closings: Ints
    ) -> FailureChanges | None:
        """Take in one tick of each group.

        Args:
            turn: The round.
            failing: By group: the tick fails by quorum. Shape (m,).
            interval_us: Of the groups, shape (m,).
            ring: The last ticks of all groups, shape (n_groups, REMEMBERED), tick k at place k % REMEMBERED.
            closings: How many ticks they have had, this one included, shape (n_groups,).

        Returns:
            What changed; None if nothing did.
        """
        groups, group = self.groups, turn.groups
        failed, reported = turn.total(turn.failed), turn.total(turn.reported)
        run_before = groups.run[group]
        run = np.where(failing, run_before + 1, np.where(reported > 0, 0, run_before))
        groups.run[group] = run
        reports, fails, leaves = self._shift(turn)
        outage = run >= self._policies.get("warn_ticks", group)
        # Where nothing fails, nothing is summed up, nothing is flagged there is nothing to do but to learn that.
        summed = turn.total(self.lanes.sums[turn.lanes].max(axis=1) > 0.0)
        busy = np.flatnonzero((failed > 0) | (summed > 0) | groups.flagged[group])
        if busy.size:
            part, there = turn.of(busy)
            window = _Window(reports[there], fails[there])
            groups.failures[part.groups] = part.total(np.bitwise_count(window.fails))
            groups.checks[part.groups] = part.total(np.bitwise_count(window.reports))
            normal = self._normal(part.groups)
            self._leave(part, leaves[there])
            self._sum(part, window, normal, interval_us[busy])
            self._learn_runs(part, (run_before[busy] == 0) | (reported[busy] == 1), window)
        # Of several locations most fail at once because the target does: that says nothing of lost checks.
        self._learn(turn, ~outage & ~(failing & (reported > 1)), failed, reported)
        if busy.size == 0:
            return None
        left, back = self._flag(part, window, normal, failing=failing[busy], outage=outage[busy])
        for place in left.tolist():
            mine = window.fails[part.local == place]
            oldest = max(max(int(bits).bit_length() for bits in mine) - 1, 0)
            row = part.groups[place]
            groups.since_us[row] = ring[row, (int(closings[row]) - 1 - oldest) % REMEMBERED]
        return FailureChanges(busy[left], busy[back]) if left.size or back.size else None

    def _flag(
        self, turn: Round, window: _Window, normal: Floats, *, failing: Bools, outage: Bools
    ) -> tuple[Rows, Rows]:
        """Flag groups and take flags back; return the places that were flagged, and those that are no longer."""
        groups, lanes, group = self.groups, self.lanes, turn.groups
        was = groups.flagged[group]
        wiped = turn.lanes[outage[turn.local]]
        lanes.reports[wiped] = lanes.fails[wiped] = 0
        lanes.sums[wiped] = 0.0
        groups.score[group[outage]] = groups.suspect[group[outage]] = 0.0
        surprising = self._surprising(turn, window, normal, was)
        left = ~was & (groups.score[group] >= 1.0) & ~failing
        back = was & (((groups.score[group] < BACK_SCORE) & ~surprising) | outage)
        groups.flagged[group] = (was | left) & ~back
        if back.any():
            false = back & ~self.outage(group, turn.total(turn.reported))
            warned_falsely(groups, group[false], turn.tick_us[false])
            lanes.sums[turn.lanes[back[turn.local]]] = 0.0
            groups.score[group[back]] = groups.suspect[group[back]] = 0.0
        return np.flatnonzero(left), np.flatnonzero(back)

    def score(self, group: int) -> float:
        """Return the largest sum that all locations agree on by its limit: flagged from 1 on."""
        return float(self.groups.score[group])

    def normal(self, group: int) -> float:
        """Return the ratio of failures that is normal for a group."""
        return float(self._normal(np.array([group]))[0])

    def lost(self, groups: Rows) -> Floats:
        """Return the share of checks that fail by themselves, never 0: one more than was seen; shape (n,)."""
        learned = np.minimum(self.groups.learned[groups], MEMORY)
        lost: Floats = self.groups.ratio[groups] + 1.0 / learned
        return lost

    def run(self, group: int, failing: int, reported: int) -> int:
        """Return how many ticks in a row so many of the locations that report fail before it is no chance any more.

        Where failures come by themselves they may come in runs: which share of them goes on is learned, too.
        """
        of_two = float(self.groups.lasted[group])
        # Were each failure followed by another with a share q, runs of two would be q times as many as runs of one.
        again = of_two / (float(self.groups.begun[group]) + PRIOR_BEGUN - of_two)
        return rare_run(tail(failing, reported, self.normal(group)), min(again, MOST_AGAIN))

    def outage(self, groups: Rows, reported: Ints) -> Bools:
        """Say which groups have failed for so many ticks that it is an outage, and no chance.

        Args:
            groups: Shape (n,).
            reported: Locations that report, shape (n,).
        """
        run = self.groups.run[groups]
        outage: Bools = run >= self._policies.get("warn_ticks", groups)
        for place in np.flatnonzero(outage):
            locations = max(int(reported[place]), 1)
            outage[place] = run[place] >= self.run(int(groups[place]), majority(locations), locations)
        return outage

    def _learn_runs(self, turn: Round, counts: Bools, window: _Window) -> None:
        """Learn how many runs of lost checks that are over were of one or two: longer ones are outages.

        Args:
            turn: The round.
            counts: Groups that were not down at the tick before, as most of several locations saw it. Shape (m,).
            window: Of the lanes.
        """
        groups, group = self.groups, turn.groups
        rest, failed = window.reports >> _ONE, window.fails >> _ONE
        length = np.zeros(rest.size, dtype=np.int64)
        goes_on = turn.reported & ~turn.failed & counts[turn.local]
        for _ in range(3):
            last = rest & (~rest + _ONE)
            goes_on = goes_on & (failed & last != 0)
            length += goes_on
            rest &= ~last
        begun = groups.begun[group] + turn.total((length == 1) | (length == 2))
        lasted = groups.lasted[group] + turn.total(length == 2)
        kept = np.where(begun > MOST_BEGUN, 0.5, 1.0)
        groups.begun[group], groups.lasted[group] = kept * begun, kept * lasted

    def _shift(self, turn: Round) -> tuple[Bits, Bits, Bools]:
        """Move the windows on by one tick and return their bits by lane of the round, and whose last report left it."""
        lanes = self.lanes
        mask = _mask(self._policies.get("failure_window_ticks", turn.groups))
        if mask.ndim:
            mask = mask[turn.local]
        before = lanes.reports[turn.lanes]
        reports = ((before << _ONE) | turn.reported) & mask
        fails = ((lanes.fails[turn.lanes] << _ONE) | turn.failed) & mask
        lanes.reports[turn.lanes], lanes.fails[turn.lanes] = reports, fails
        return reports, fails, (before > 0) & (reports == 0)

    def _learn(self, turn: Round, counts: Bools, failed: Ints, reported: Ints) -> None:
        """Learn the ratio that is normal from ticks that count and that nobody suspects."""
        groups, group = self.groups, turn.groups
        suspect, learned = groups.suspect[group], groups.learned[group]
        lasts = groups.flagged[group] & (turn.tick_us - groups.since_us[group] > DAY_US)
        pace = np.where(suspect >= SUSPICIOUS, SUSPICIOUS_RATE, 1.0)
        pace = np.where((suspect >= 1.0) & ~lasts, 0.0, pace)
        pace = np.where(learned < YOUNG, 1.0, pace) * counts
        learned = learned + pace * reported
        groups.learned[group] = learned
        groups.ratio[group] += pace * (failed - reported * groups.ratio[group]) / np.minimum(learned, MEMORY)

    def _sum(self, turn: Round, window: _Window, normal: Floats, interval_us: Ints) -> None:
        """Move all sums on, and note by group the largest that all locations agree on, by its limit."""
        lanes, lane, local = self.lanes, turn.lanes, turn.local
        failed, reported = turn.total(turn.failed), turn.total(turn.reported)
        here = window.reports > 0
        self._join(turn, here, window.reports)
        alone = (turn.total(here) == 1)[local]
        # A location that failed at its last check too says nothing new.
        new = turn.failed & ~_failed_before(window)
        begun = turn.total(new)[local]
        seen = np.where(alone, reported[local], reported[local] - turn.reported)
        bad = np.where(alone, failed[local], failed[local] - turn.failed) > 0
        begins = np.where(alone, begun, begun - new) > 0
        step, limit = steps(normal[local], seen, interval_us[local], self._budget(turn.groups)[local])
        limit = limit * wariness(self.groups, turn.groups, turn.tick_us)[local, None]
        # A tick that goes on failing says nothing.
        well = here & (seen > 0) & ~bad
        move = np.where(begins[:, None], step[0], np.where(well[:, None], step[1], 0.0))
        sums = np.clip(lanes.sums[lane] + move, 0.0, MOST * limit)
        lanes.sums[lane] = sums
        parts = sums / limit
        agreed = np.minimum.reduceat(np.where(here[:, None], parts, np.inf), turn.first, axis=0)
        agreed[~np.isfinite(agreed)] = 0.0
        self.groups.score[turn.groups] = agreed.max(axis=1)
        self.groups.suspect[turn.groups] = np.maximum.reduceat(parts, turn.first, axis=0).max(axis=1)

    def _leave(self, turn: Round, leaves: Bools) -> None:
        """What only a location saw that is away goes with it: its own sums are what the others saw."""
        if not leaves.any():
            return
        sums = self.lanes.sums[turn.lanes]
        left = np.minimum.reduceat(np.where(leaves[:, None], sums, np.inf), turn.first, axis=0)
        self.lanes.sums[turn.lanes] = np.minimum(sums, left[turn.local])

    def _join(self, turn: Round, here: Bools, reports: Bits) -> None:
        """A location that reports for the first time in a window knows what the others know; who is away nothing.

        When it became known that there is such a location makes no difference then.
        """
        lanes, lane = self.lanes, turn.lanes
        lanes.sums[lane[~here]] = 0.0
        new = here & (reports == _ONE)
        if new.any():
            most = np.maximum.reduceat(lanes.sums[lane], turn.first, axis=0)
            lanes.sums[lane[new]] = most[turn.local[new]]

    def _normal(self, group: Rows) -> Floats:
        """Return the ratio that is normal: the upper bound of what was learned, one failure and a standard error more.

        Of a young group without what its window holds: that is what is judged.
        """
        table = self.groups
        learned = np.minimum(table.learned[group], MEMORY)
        young = table.learned[group] < YOUNG
        failures = np.maximum(table.ratio[group] * learned - np.where(young, table.failures[group], 0), 0.0) + 1.0
        checks = np.maximum(learned - np.where(young, table.checks[group], 0), PRIOR_CHECKS)
        ratio = np.minimum((failures + np.sqrt(failures)) / checks, MOST_NORMAL)
        normal: Floats = np.maximum(ratio, self._policies.get("expected_failure_ratio", group))
        return normal

    def _budget(self, groups: Rows) -> Floats:
        budget = BUDGET_SHARE * self._policies.get("false_warnings_per_series_week", groups) / RISEN.size
        return np.broadcast_to(np.asarray(budget, dtype=np.float64), groups.shape)

    def _surprising(self, turn: Round, window: _Window, normal: Floats, was: Bools) -> Bools:
        """Say which flagged groups' window would still be a surprise. Shape (m,)."""
        groups, group = self.groups, turn.groups
        surprising = np.zeros(group.size, dtype=np.bool_)
        if not was.any():
            return surprising
        bad = np.bitwise_or.reduceat(window.fails, turn.first)
        begins = np.bitwise_count(bad & ~(bad >> _ONE))
        ticks_seen = np.bitwise_count(np.bitwise_or.reduceat(window.reports, turn.first))
        for place in np.flatnonzero(was):
            row = int(group[place])
            begun, ticks, checks = int(begins[place]), int(ticks_seen[place]), int(groups.checks[row])
            if ticks > 0:
                # Quantised, so that what was computed once serves many groups.
                ratio = max(round(float(normal[place]) / _QUANTUM), 1) * _QUANTUM
                surprising[place] = tail(begun, ticks, 1.0 - (1.0 - ratio) ** round(checks / ticks)) < BACK_P
        return surprising


def _failed_before(window: _Window) -> Bools:
    """Say which lanes failed at the last tick before this one at which they reported. Shape (n,)."""
    before = window.reports >> _ONE
    last = before & (~before + _ONE)
    return np.asarray((window.fails >> _ONE) & last != 0)


def _mask(width: object) -> Bits:
    ticks = np.minimum(np.asarray(width, dtype=np.uint64), np.uint64(REMEMBERED - 1))
    return (_ONE << ticks) - _ONE
