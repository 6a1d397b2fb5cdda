"""Latency that most locations of a target see rise a little: sure before any one of them is.

Of each lane there is a smoothed, clipped score of how far its checks lie above their norm. Over the locations of a
group the one counts that a quorum reaches: the largest score that most of them have. One location's slowness is
nobody's, and what most of them see at once comes by chance far more rarely than what one sees: the limit of a group is
calibrated on that very score (`calibration`), so it is lower the more its locations differ by chance. A group is
flagged after HOT_TICKS ticks above it, if most lanes are also `min_latency_ratio` times as slow; it is back after
COOL_TICKS under a part of it. Off their norm are the lanes that take part.

Source:
    EWMA control charts (Roberts 1959), on the robust scores of `baseline`; the quorum as an order statistic over
    locations, a median of means (Nemirovsky & Yudin 1983); the limit: see `calibration`.
"""

from typing import Final, NamedTuple

import numpy as np

from streams.core.calibration import Tails
from streams.core.latency.samples import Samples
from streams.core.policies import Policies
from streams.core.quorum import majority
from streams.core.table import Bools, Column, Floats, Ints, Rows, Table
from streams.core.watermark import NEVER
from streams.policy import DAY_US, SECOND_US

HALF_LIFE_US: Final = 420 * SECOND_US
LEAST_HALF_LIFE: Final = 7.0
"""Scores are smoothed over some minutes, and at least over so many checks."""

CLIP: Final = 3.0
MOST_EXCESS: Final = 1.0
"""A check counts as so many spreads above the norm at most, and as so much in log latency."""

BUDGET_SHARE: Final = 50.0
"""Of a series' false warnings. More than all of them, as far fewer come: clipped means have a lighter tail than the
exponential one that `calibration` supposes. Measured on the noise of `benchmarks.detection.faults`: 0.003 a
target-week."""

PRIOR_MEAN: Final = 0.8
PRIOR_SCALE: Final = 0.2
UNSEEN_US: Final = 0.75 * DAY_US
YOUNG_US: Final = DAY_US // 4
"""Before that nothing is said. A limit known for three days is a quarter further than one known for ever, and so on."""

HOT_TICKS: Final = 3
COOL_TICKS: Final = 20
CLEAR: Final = 0.5
"""Part of the limit under which a group is back, and above which a lane takes part in what its group sees."""


class TogetherLanes(Table):
    """State by lane.

    Attributes:
        score, excess: Smoothed: spreads above the norm, log latency above it.
        member: It takes part in what its group is flagged for.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "score": Column(np.float64, 0.0),
        "excess": Column(np.float64, 0.0),
        "member": Column(np.bool_, 0),
    }
    score: Floats
    excess: Floats
    member: Bools


class TogetherGroups(Table):
    """State by group.

    Attributes:
        age_us: Time that was judged.
        hot, cool: Ticks in a row above the limit, under the clearing part of it.
        rising_us: Since when the score is above that part; NEVER if it is not.
        flagged, since_us: It is off its norm, since that tick.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "age_us": Column(np.int64, 0),
        "hot": Column(np.int64, 0),
        "cool": Column(np.int64, 0),
        "rising_us": Column(np.int64, NEVER),
        "flagged": Column(np.bool_, 0),
        "since_us": Column(np.int64, NEVER),
    }
    age_us: Ints
    hot: Ints
    cool: Ints
    rising_us: Ints
    flagged: Bools
    since_us: Ints


class TogetherChanges(NamedTuple):
    """Places of lanes that take part from now on, and that do so no longer."""

    left: Rows
    back: Rows


class Quorums(NamedTuple):
    """The lanes of a round by their groups. Shape (m,) each, but `order` and `local`.

    Attributes:
        groups: In rising order.
        order: Places of the lanes, by group and score, shape (n,).
        first, sizes: Where among `order` each group begins, and how many lanes it has there.
        local: Of each place its group's place, shape (n,).
    """

    groups: Rows
    order: Rows
    first: Rows
    sizes: Ints
    local: Rows

    @classmethod
    def of(cls, groups: Rows, score: Floats) -> "Quorums":
        """Sort the lanes of a round."""
        if (groups[1:] > groups[:-1]).all():  # one each and in order: one location
            each = np.arange(groups.size)
            return cls(groups, each, each, np.ones_like(each), each)
        order = np.lexsort((score, groups))
        ordered = groups[order]
        begins = np.concatenate([[True], ordered[1:] != ordered[:-1]])
        first = np.flatnonzero(begins)
        local = np.empty(groups.size, dtype=np.intp)
        local[order] = np.cumsum(begins) - 1
        return cls(ordered[first], order, first, np.diff(np.append(first, groups.size)), local)

    def least(self, score: Floats) -> Floats:
        """Return the largest score that a quorum of each group's lanes has. Shape (m,)."""
        found: Floats = score[self.order[self.first + self.sizes - majority(self.sizes)]]
        return found

    def most(self, says: Bools) -> Bools:
        """Say of which groups a quorum of lanes does. Shape (m,)."""
        most: Bools = np.add.reduceat(says[self.order].astype(np.int64), self.first) >= majority(self.sizes)
        return most

    def any(self, says: Bools) -> Bools:
        """Say of which groups any lane does. Shape (m,)."""
        return np.logical_or.reduceat(says[self.order], self.first)


class Together:
    """The detector `latency_together`.

    Attributes:
        lanes, groups, tails: All are part of the snapshot; the rows of the tails are groups.
    """

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self.lanes, self.groups = TogetherLanes(), TogetherGroups()
        budget = BUDGET_SHARE * policies.distinct[0].false_warnings_per_series_week
        self.tails = Tails(mean=PRIOR_MEAN, scale=PRIOR_SCALE, budget=budget)

    def grow(self, lanes: int, groups: int) -> None:
        """Make room for so many."""
        self.lanes.grow(lanes)
        self.groups.grow(groups)
        self.tails.table.grow(groups)

    def failed(self, lanes: Rows, groups: Rows) -> None:
        """These series of these groups fail for good: what was slow before is over, and must show anew after it."""
        self.lanes.score[lanes] = self.lanes.excess[lanes] = 0.0
        # A group whose other lanes are still slow starts to count again.
        self.groups.cool[groups] = COOL_TICKS

    def limit(self, groups: Rows) -> Floats:
        """Return the score from which these groups are flagged. Shape (m,)."""
        unseen = UNSEEN_US / np.maximum(self.groups.age_us[groups], YOUNG_US)
        limit: Floats = self.tails.limit(groups) * (1.0 + unseen)
        return limit

    def update(
        self, samples: Samples, above: Floats, spread: Floats, *, held: Bools, spoiled: Bools
    ) -> TogetherChanges | None:
        """Judge a round: all lanes of a group that are there.

        Args:
            samples: The round.
            above: Log latency above what is normal now, shape (n,).
            spread: Of the same, > 0, shape (n,).
            held: The lane is off its norm already: nothing is learned of groups most of whose lanes are.
            spoiled: Failures came with what the lane is off its norm for: nothing is learned from that.

        Returns:
            What changed; None if nothing did.
        """
        table, lanes = self.lanes, samples.lanes
        half_life_us = np.maximum(HALF_LIFE_US, LEAST_HALF_LIFE * samples.interval_us)
        pace = 1.0 - np.exp2(-samples.interval_us / half_life_us)
        score, excess = table.score[lanes], table.excess[lanes]
        score += pace * (np.clip(above / spread, -CLIP, CLIP) - score)
        excess += pace * (np.clip(above, -MOST_EXCESS, MOST_EXCESS) - excess)
        table.score[lanes], table.excess[lanes] = score, excess
        quorums = Quorums.of(samples.groups, score)
        ratio = np.log(self._policies.get("min_latency_ratio", samples.groups))
        back = self._judge(samples, quorums, quorums.least(score), quorums.most(excess >= ratio), quorums.most(held))
        if back.any():
            budget = BUDGET_SHARE * self._policies.get("false_warnings_per_series_week", quorums.groups)
            innocent = ~quorums.any(spoiled)[back]
            self.tails.release(quorums.groups[back], innocent, np.broadcast_to(budget, back.shape)[back])
        return self._members(lanes, quorums, score)

    def _judge(self, samples: Samples, quorums: Quorums, score: Floats, enough: Bools, held: Bools) -> Bools:
        """Flag groups and take them back; return which are back. Shapes (m,)."""
        table, groups = self.groups, quorums.groups
        some = quorums.order[quorums.first]
        at_us = samples.at_us[some]
        age_us, limit = table.age_us[groups] + samples.interval_us[some], self.limit(groups)
        suspicious = score > CLEAR * limit
        rising_us = table.rising_us[groups]
        rising_us = np.where(suspicious, np.where(rising_us == NEVER, at_us, rising_us), NEVER)
        hot = np.where((score > limit) & enough & (age_us >= YOUNG_US), table.hot[groups] + 1, 0)
        cool = np.where(suspicious, 0, table.cool[groups] + 1)
        was = table.flagged[groups]
        left, back = ~was & (hot >= HOT_TICKS), was & (cool >= COOL_TICKS)
        flagged = (was | left) & ~back
        table.age_us[groups], table.rising_us[groups] = age_us, rising_us
        table.hot[groups], table.cool[groups], table.flagged[groups] = hot, cool, flagged
        table.since_us[groups[left]] = rising_us[left]
        budget = BUDGET_SHARE * self._policies.get("false_warnings_per_series_week", groups)
        self.tails.observe(groups, at_us, score, flagged | was | held, budget)
        return back

    def _members(self, lanes: Rows, quorums: Quorums, score: Floats) -> TogetherChanges | None:
        """Note which lanes take part: those that did so once, until their group is back."""
        was = self.lanes.member[lanes]
        flagged = self.groups.flagged[quorums.groups]
        if not (flagged.any() or was.any()):
            return None
        takes = score > (CLEAR * self.limit(quorums.groups))[quorums.local]
        member = flagged[quorums.local] & (was | takes)
        self.lanes.member[lanes] = member
        left, back = np.flatnonzero(member & ~was), np.flatnonzero(was & ~member)
        return TogetherChanges(left, back) if left.size or back.size else None
