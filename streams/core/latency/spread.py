"""Latency whose tail grows while its middle may stay: one distribution a lane, scored at every check.

What is normal is a histogram of the residuals (log latency - centre) of checks slower than their centre, forgotten
slowly. The score of such a check is -ln of the share of normal ones that are as slow or slower, at most CAP: a wild
check counts no more than any rare one, so that a lone one says nothing, and one of ten seconds no more than one of
two. Of checks that are slow one after another each later one counts less: that is rather a level than a tail. A CUSUM
sums what is above REFERENCE; how high it climbs by chance is learned from each series itself (`calibration`), so a
series whose slow checks come in clumps gets a higher limit.

A series that is its group's only one is given a small part of the false warnings: no other location confirms it.

While the sum is suspicious little is learned, and nothing while the series is flagged. What stays flagged for
`rebaseline_checks` without a row of failures is learned from then on: it is how the series is now. What was suspicious
and passed without failures raises the limit. While the level itself is off nothing is summed: that is told already.

Source:
    Page (1954), CUSUM, of empirical p-values (conformal scores: Vovk, Gammerman & Shafer 2005).
"""

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streams.core.calibration import Tails
from streams.core.policies import Policies
from streams.core.table import Bools, Column, Floats, Ints, Rows, Table, put, take
from streams.core.wary import wariness, warned_falsely
from streams.core.watermark import NEVER
from streams.policy import DAY_US

BINS: Final = 32
FIRST_EDGE: Final = 0.03
GROWTH: Final = 1.17
"""Bins of the residual: up to 3 %, then each edge 17 % further out, up to the 25-fold latency."""

CAP: Final = 6.0
"""Largest score of a check: one in 400 is as rare as it gets."""

REFERENCE: Final = 1.5
"""Normal checks score 1 on average (an exponential); what a tail that has doubled scores is above this."""

LEAST_SEEN: Final = 120.0
"""A histogram says nothing before so many checks slower than the centre."""

HALF_LIFE_US: Final = 3 * DAY_US
LEAST_HALF_LIFE: Final = 400.0
"""How quickly a histogram is forgotten: in time, but never within so few checks."""

LEAST_TAIL: Final = 0.26
FURTHER: Final = 1.2
"""Slow checks must be 1.3 times as slow as the centre, on average, to warn anybody, and this times as far out as slow
checks normally are: more of them that are no slower are a matter of the level."""

BUDGET_SHARE: Final = 1.0
LONE_SHARE: Final = 0.05
"""Of a series' false warnings: this detector's part. Where a target is seen from several locations most of them must
have the tail before anybody is warned; what one location sees by chance nobody else puts right."""

POWER: Final = 0.75
"""Of the sum is calibrated: chance excursions have exponential tails, those of wandering noise heavier ones."""

PRIOR_MEAN: Final = 4.3
PRIOR_SCALE: Final = 1.0
"""Of the power of the largest sum of a block."""

RARE_SCORE: Final = 2.3
"""A check that scores this is slow: one in ten of those above the centre."""

SUSPICIOUS: Final = 0.5
SUSPICIOUS_RATE: Final = 0.1
BACK: Final = 0.25
"""Parts of the limit: from SUSPICIOUS on a tenth is learned, and what the sum reaches waits for its end, which is
under BACK; a flagged series is back there too."""

MOST: Final = 1.5
"""The sum stays under so many limits, so that what is over is over soon."""

USUAL: Final = 0.05
PACE: Final = 1.0 / 24.0
"""The tail that is spoken of are the slowest USUAL of checks; what it is now follows with PACE."""

_LN_EDGE: Final = math.log(FIRST_EDGE)
_LN_GROWTH: Final = math.log(GROWTH)
_EDGES: Final = FIRST_EDGE * GROWTH ** np.arange(BINS)
"""Upper edges of the bins."""

_MIDDLES: Final = np.concatenate([[0.5 * FIRST_EDGE], _EDGES[:-1] * GROWTH**0.5])


class SpreadTable(Table):
    """State by lane.

    Attributes:
        counts: Weight of normal residuals above 0 by bin; seen: their sum.
        total: The CUSUM; rising_us: since when it is above 0, NEVER if it is not.
        flagged, since_us: The tail grows, since that tick; away: slow checks since then without failures.
        row: Slow checks in a row, as of the last check above the centre.
        wary, wary_us: The limit is so many times as high since false warnings, as of that tick.
        watched: The sum is suspicious; innocent: no failures came since then.
        usual: The residual that USUAL of normal checks exceed.
        share, tail: Which part of recent checks does, and how far out such checks are on average.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "counts": Column(np.float32, 0.0, (BINS,)),
        "seen": Column(np.float64, 0.0),
        "total": Column(np.float64, 0.0),
        "rising_us": Column(np.int64, NEVER),
        "flagged": Column(np.bool_, 0),
        "since_us": Column(np.int64, NEVER),
        "away": Column(np.int64, 0),
        "row": Column(np.int64, 0),
        "wary": Column(np.float64, 1.0),
        "wary_us": Column(np.int64, 0),
        "watched": Column(np.bool_, 0),
        "innocent": Column(np.bool_, 1),
        "usual": Column(np.float64, np.nan),
        "share": Column(np.float64, USUAL),
        "tail": Column(np.float64, 0.0),
    }
    counts: npt.NDArray[np.float32]
    seen: Floats
    total: Floats
    rising_us: Ints
    flagged: Bools
    since_us: Ints
    away: Ints
    row: Ints
    wary: Floats
    wary_us: Ints
    watched: Bools
    innocent: Bools
    usual: Floats
    share: Floats
    tail: Floats


class SpreadChanges(NamedTuple):
    """Places that were flagged, and that are no longer."""

    left: Rows
    back: Rows


class Spreads:
    """The detector `latency_spread`.

    Attributes:
        table, tails: By lane; both are part of the snapshot.
    """

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self.table = SpreadTable()
        budget = BUDGET_SHARE * policies.distinct[0].false_warnings_per_series_week
        self.tails = Tails(mean=PRIOR_MEAN, scale=PRIOR_SCALE, budget=budget)

    def grow(self, lanes: int) -> None:
        """Make room for so many lanes."""
        self.table.grow(lanes)
        self.tails.table.grow(lanes)

    def failed(self, lanes: Rows) -> None:
        """Checks failed in a row: a tail that comes with failures is none by chance, and never becomes the norm."""
        self.table.away[lanes] = 0
        self.table.innocent[lanes] = False

    def forget(self, lanes: Rows) -> None:
        """These lanes have a new level: what was summed up was of the old one."""
        self.table.total[lanes] = 0.0

    def update(
        self, lanes: Rows, groups: Rows, tick_us: Ints, interval_us: Ints, residual: Floats, held: Bools
    ) -> SpreadChanges | None:
        """Take in successful, undisturbed checks, at most one a lane.

        Args:
            lanes: Shape (n,), each at most once; all of a group that are there.
            groups: Of the same.
            tick_us: Of the checks, shape (n,).
            interval_us: Of their groups, shape (n,).
            residual: Log latency less what is normal for its middle, finite, shape (n,).
            held: The middle has left its level: these are passed over, shape (n,).

        Returns:
            What changed; None if nothing did.
        """
        self.table.row[lanes[residual <= 0.0]] = 0
        slow = np.flatnonzero((residual > 0.0) & ~held)
        if slow.size == 0:
            return None
        budget = self._budget(groups)[slow]
        changes = self._judge(lanes[slow], groups[slow], tick_us[slow], interval_us[slow], residual[slow], budget)
        if changes is None:
            return None
        return SpreadChanges(slow[changes.left], slow[changes.back])

    def score(self, lane: int, tick_us: int) -> float:
        """Return the sum of a lane by its limit: flagged from 1 on, at most MOST."""
        lanes = np.array([lane], dtype=np.intp)
        limit = self._limits(lanes) * wariness(self.table, lanes, np.array([tick_us], dtype=np.int64))
        return float(self.table.total[lane] / limit[0])

    def _budget(self, groups: Rows) -> Floats:
        """Return how many false warnings a week each lane may have: fewer if it is its group's only one."""
        share = np.where(np.bincount(groups)[groups] == 1, LONE_SHARE, BUDGET_SHARE)
        budget: Floats = share * self._policies.get("false_warnings_per_series_week", groups)
        return budget

    def _limits(self, lanes: Rows) -> Floats:
        limit: Floats = np.maximum(self.tails.limit(lanes), 1.0) ** (1.0 / POWER)
        return limit

    def _judge(
        self, lanes: Rows, groups: Rows, tick_us: Ints, interval_us: Ints, residual: Floats, budget: Floats
    ) -> SpreadChanges | None:
        table = self.table
        counts, seen = take(table.counts, lanes), table.seen[lanes]
        bin_, share, within = _ranked(counts, seen, residual)
        limit, before = self._limits(lanes) * wariness(self.table, lanes, tick_us), table.total[lanes]
        score = np.minimum(-np.log(share), CAP)
        in_a_row = np.where(score >= RARE_SCORE, table.row[lanes] + 1, 0)
        table.row[lanes] = in_a_row
        total = np.clip(before + score / np.sqrt(np.maximum(in_a_row, 1)) - REFERENCE, 0.0, MOST * limit)
        total = np.where(seen >= LEAST_SEEN, total, 0.0)
        rising_us = np.where(total > 0.0, np.where(before > 0.0, table.rising_us[lanes], tick_us), NEVER)
        first = self._describe(lanes, residual, seen, within)

        was = table.flagged[lanes]
        tail = table.tail[lanes]
        left = ~was & (total > limit) & (tail > LEAST_TAIL)
        if left.any():
            left[left] = tail[left] > FURTHER * _beyond(counts[left], first[left])
        back = was & (total < BACK * limit)
        flagged = (was | left) & ~back
        away = np.where(flagged, table.away[lanes] + 1, 0)
        table.total[lanes], table.rising_us[lanes] = total, rising_us
        table.flagged[lanes], table.away[lanes] = flagged, away
        false = back & table.innocent[lanes]
        if false.any():
            warned_falsely(table, lanes[false], tick_us[false])
        self._calibrate(lanes, tick_us, flagged, limit, budget)
        # Two ticks bring one check that is slower than its centre.
        settled = flagged & (away > 0.5 * self._policies.get("rebaseline_checks", groups))
        rate = np.where(flagged, 1.0 * settled, np.where(total > SUSPICIOUS * limit, SUSPICIOUS_RATE, 1.0))
        half_life = np.maximum(0.5 * HALF_LIFE_US / np.maximum(interval_us, 1), LEAST_HALF_LIFE)
        self._learn(lanes, counts, bin_, rate, np.where(settled, LEAST_HALF_LIFE, half_life))
        if left.any():
            table.since_us[lanes[left]] = rising_us[left]
        if left.any() or back.any():
            return SpreadChanges(np.flatnonzero(left), np.flatnonzero(back))
        return None

    def _calibrate(self, lanes: Rows, tick_us: Ints, flagged: Bools, limit: Floats, budget: Floats) -> None:
        """Learn how high the sum climbs by chance: what is suspicious once it has passed."""
        table = self.table
        total, was = table.total[lanes], table.watched[lanes]
        watched = flagged | (total > np.where(was, BACK, SUSPICIOUS) * limit)
        self.tails.observe(lanes, tick_us, total**POWER, watched, budget)
        over = was & ~watched
        if over.any():
            self.tails.release(lanes[over], table.innocent[lanes[over]], budget[over])
        table.innocent[lanes[~watched]] = True
        table.watched[lanes] = watched

    def _describe(self, lanes: Rows, residual: Floats, seen: Floats, within: npt.NDArray[np.float32]) -> Rows:
        """Follow what is said of the tail, in residuals; return the bins in which it begins. Shape (n,)."""
        table = self.table
        # Half of all checks are slower than their centre: of these, twice as many are in the tail.
        tail_begins = ((1.0 - 2.0 * USUAL) * seen).astype(np.float32)
        first: Rows = np.minimum((within < tail_begins).sum(axis=0, dtype=np.int8), BINS - 1).astype(np.intp)
        usual = _EDGES[first]
        over = residual > usual
        table.usual[lanes] = usual
        table.share[lanes] += PACE * (0.5 * over - table.share[lanes])
        tail = table.tail[lanes]
        table.tail[lanes] = np.where(over, tail + 4.0 * PACE * (residual - tail), tail)
        return first

    def _learn(self, lanes: Rows, counts: npt.NDArray[np.float32], bin_: Rows, rate: Floats, half_life: Floats) -> None:
        table = self.table
        kept = np.exp2(-rate / half_life)
        counts = counts * kept[:, None].astype(np.float32)
        counts[np.arange(lanes.size), bin_] += rate.astype(np.float32)
        put(table.counts, lanes, counts)
        table.seen[lanes] = table.seen[lanes] * kept + rate


def _ranked(
    counts: npt.NDArray[np.float32], seen: Floats, residual: Floats
) -> tuple[Rows, Floats, npt.NDArray[np.float32]]:
    """Return of each residual its bin, the share of normal ones as far out, and the weight up to each bin.

    Shapes (n,), (n,) and (BINS, n).
    """
    place = 1.0 + (np.log(np.maximum(residual, FIRST_EDGE)) - _LN_EDGE) / _LN_GROWTH
    place = np.where(residual < FIRST_EDGE, residual / FIRST_EDGE, np.minimum(place, BINS - 0.5))
    bin_ = place.astype(np.intp)
    rows = np.arange(residual.size)
    within = _sums(counts)
    heavier = np.maximum(seen - within[bin_, rows], 0.0) + (1.0 - (place - bin_)) * counts[rows, bin_]
    share = np.clip((heavier + 0.5) / (seen + 1.0), 1e-9, 1.0)
    return bin_, share, within


def _sums(counts: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the running sums of each row. Shape (n, BINS) to (BINS, n).

    As `cumsum`, which adds value by value: this adds all rows at once, and a quarter of the bins each time.
    """
    found = counts.T.copy()
    quarters = found.reshape(4, BINS // 4, -1)
    for place in range(1, BINS // 4):
        quarters[:, place] += quarters[:, place - 1]
    for quarter in range(1, 4):
        quarters[quarter] += quarters[quarter - 1, -1]
    return found


def _beyond(counts: npt.NDArray[np.float32], first: Rows) -> Floats:
    """Return how far out normal checks beyond the bins `first` are on average, in residuals. Shape (k,)."""
    inside = counts * (np.arange(BINS) > first[:, None])
    weight = np.maximum(inside.sum(axis=1), 0.5)
    beyond: Floats = np.maximum((inside * _MIDDLES).sum(axis=1) / weight, _EDGES[first])
    return beyond
