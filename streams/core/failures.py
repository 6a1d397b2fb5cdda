"""Failures too frequent for chance, though too few in a row for an outage.

Over the last `failure_window_ticks` ticks of a group: the exact probability that failures begin at so many ticks or
more, if each check failed independently with the ratio that is normal for this group. Beginnings are counted, not
checks: when a target restarts, all locations fail together and for some ticks in a row, and that is one event.
Flagged under `failure_p`, back above BACK_P. Where several locations report, one location's failures alone are no
sign: that is `partial_failure`, and may be the location's own trouble. A run of failing ticks as long as `warn_ticks`
is an outage and is told by the verdict itself: it wipes the window, so that nothing lingers after it.

Source:
    The exact binomial test (Clopper & Pearson 1934), one-sided.
"""

import math
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from streams.core.policies import Policies
from streams.core.table import Bits, Bools, Column, Floats, Ints, Rows, Table
from streams.core.ticks import REMEMBERED, Round
from streams.core.watermark import NEVER

BACK_P: Final = 0.01
LEARNING_RATE: Final = 1.0 / 2000.0
"""Of the ratio that is normal: half of it is forgotten after some 1,400 ticks."""

MOST_NORMAL: Final = 0.2
"""A group that fails more often than this is never normal."""

_ONE: Final = np.uint64(1)
_QUANTUM: Final = 1e-4


class FailureGroups(Table):
    """State by group.

    Attributes:
        run: Failing ticks in a row.
        ratio: Of failed checks, learned slowly.
        flagged, since_us: Since the first failure of the window at that time.
        probability: Of the window, when it was judged last.
        failures, checks: In the window; begun, ticks: ticks of it at which failures
            began, that have a report.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "run": Column(np.int64, 0),
        "ratio": Column(np.float64, 0.0),
        "flagged": Column(np.bool_, 0),
        "since_us": Column(np.int64, NEVER),
        "probability": Column(np.float64, 1.0),
        "failures": Column(np.int64, 0),
        "checks": Column(np.int64, 0),
        "begun": Column(np.int64, 0),
        "ticks": Column(np.int64, 0),
    }
    run: Ints
    ratio: Floats
    flagged: Bools
    since_us: Ints
    probability: Floats
    failures: Ints
    checks: Ints
    begun: Ints
    ticks: Ints


class FailureLanes(Table):
    """State by lane: bit k of `reports` and `fails` is the k-th last closed tick of its group."""

    COLUMNS = {"reports": Column(np.uint64, 0), "fails": Column(np.uint64, 0)}  # noqa: RUF012 - as above
    reports: Bits
    fails: Bits


class FailureChanges(NamedTuple):
    """Places (in the round's groups) that were flagged, and that are no longer."""

    left: Rows
    back: Rows


class Failures:
    """The detector `failure_ratio`."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self.groups = FailureGroups()
        self.lanes = FailureLanes()

    def update(self, turn: Round, failing: Bools, ring: Ints, closings: Ints) -> FailureChanges | None:
        """Take in one tick of each group.

        Args:
            turn: The round.
            failing: By group: the tick fails by quorum. Shape (m,).
            ring: The last ticks of all groups, shape (n_groups, REMEMBERED), tick k at place k % REMEMBERED.
            closings: How many ticks they have had, this one included, shape (n_groups,).

        Returns:
            What changed; None if nothing did.
        """
        groups, group = self.groups, turn.groups
        reports, fails = self._shift(turn, failing)
        lane_failures = np.bitwise_count(fails)
        bad = np.bitwise_or.reduceat(fails, turn.first)
        begun = np.bitwise_count(bad & ~(bad >> _ONE)).astype(np.int64)
        was = groups.flagged[group]
        self._learn(turn, failing)
        if not (was.any() or (begun > 1).any()):
            return None
        groups.failures[group] = turn.total(lane_failures)
        groups.checks[group] = turn.total(np.bitwise_count(reports))
        groups.begun[group] = begun
        groups.ticks[group] = np.bitwise_count(np.bitwise_or.reduceat(reports, turn.first))
        alone = (turn.total(lane_failures > 0) == 1) & (turn.total(reports > 0) > 1)
        probability = self._probability(group)
        groups.probability[group] = probability
        limit = self._policies.get("failure_p", group)
        outage = groups.run[group] >= self._policies.get("warn_ticks", group)
        left = ~was & (probability < limit) & ~alone & ~failing
        back = was & ((probability > BACK_P) | outage)
        groups.flagged[group] = (was | left) & ~back
        for place in np.flatnonzero(left):
            mine = fails[turn.local == place]
            oldest = max(int(bits).bit_length() - 1 for bits in mine)
            row = group[place]
            groups.since_us[row] = ring[row, (int(closings[row]) - 1 - oldest) % REMEMBERED]
        if left.any() or back.any():
            return FailureChanges(np.flatnonzero(left), np.flatnonzero(back))
        return None

    def score(self, group: int) -> float:
        """Return -log10 of the probability of the window, at most 300."""
        return -math.log10(max(float(self.groups.probability[group]), 1e-300))

    def normal(self, group: int) -> float:
        """Return the ratio of failures that is normal for a group."""
        prior = self._policies.of(group).expected_failure_ratio
        return min(max(prior, float(self.groups.ratio[group])), MOST_NORMAL)

    def _shift(self, turn: Round, failing: Bools) -> tuple[Bits, Bits]:
        """Move the windows on by one tick and return their bits by lane of the round."""
        groups, lanes = self.groups, self.lanes
        run = np.where(failing, groups.run[turn.groups] + 1, 0)
        groups.run[turn.groups] = run
        width = self._policies.get("failure_window_ticks", turn.groups)
        mask = _mask(width)
        if mask.ndim:
            mask = mask[turn.local]
        reports = ((lanes.reports[turn.lanes] << _ONE) | turn.reported) & mask
        fails = ((lanes.fails[turn.lanes] << _ONE) | turn.failed) & mask
        outage = run >= self._policies.get("warn_ticks", turn.groups)
        if outage.any():
            wiped = outage[turn.local]
            reports[wiped] = 0
            fails[wiped] = 0
        lanes.reports[turn.lanes], lanes.fails[turn.lanes] = reports, fails
        return reports, fails

    def _learn(self, turn: Round, failing: Bools) -> None:
        groups, group = self.groups, turn.groups
        reported, failed = turn.total(turn.reported), turn.total(turn.failed)
        rate = np.where((reported > 0) & ~groups.flagged[group] & ~failing, LEARNING_RATE, 0.0)
        ratio = groups.ratio[group]
        groups.ratio[group] = ratio + rate * (failed / np.maximum(reported, 1) - ratio)

    def _probability(self, group: Rows) -> Floats:
        groups = self.groups
        found = np.ones(group.size)
        for place in np.flatnonzero(groups.begun[group] > 1):
            row = int(group[place])
            begun, ticks, checks = int(groups.begun[row]), int(groups.ticks[row]), int(groups.checks[row])
            # Quantised, so that what was computed once serves many groups.
            normal = max(round(self.normal(row) / _QUANTUM), 1) * _QUANTUM
            found[place] = tail(begun, ticks, 1.0 - (1.0 - normal) ** round(checks / ticks))
        return found


@lru_cache(maxsize=65_536)
def tail(failures: int, trials: int, ratio: float) -> float:
    """Return the probability of at least `failures` failures in `trials` trials that each fail with `ratio`.

    Exact: a sum of positive terms, the largest first taken out, so that nothing cancels.
    """
    if failures <= 0:
        return 1.0
    if failures > trials:
        return 0.0
    log_odds = math.log(ratio) - math.log1p(-ratio)
    log_all = trials * math.log1p(-ratio)
    logs = [
        math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * log_odds + log_all
        for k in range(failures, trials + 1)
    ]
    largest = max(logs)
    return min(1.0, math.exp(largest) * math.fsum(math.exp(each - largest) for each in logs))


def _mask(width: object) -> Bits:
    ticks = np.minimum(np.asarray(width, dtype=np.uint64), np.uint64(REMEMBERED - 1))
    return (_ONE << ticks) - _ONE
