"""Latency that climbs so slowly that the quick baseline follows: means over an hour and six against days and a week.

Two pairs of exponential means follow the blocks of a series: an hour's against that of days, six hours' against a
week's. A pair is flagged when its quick mean lies above its slow one by more than a limit that is calibrated on their
difference itself (`calibration`): a series that wanders, or swings with the day, has a higher one. Slow means stand
still while a pair is flagged, follow at a quarter while it is suspicious, and no block counts as more than CLIP from
them: a leak is flagged, not learned. What has come to rest for REST_US is the new norm. Blocks in which the level was
left tell nothing here: that is said already.

Source:
    Exponential means as charts (Roberts 1959) against a slower reference that is frozen on alarm; charts of several
    windows at once after Siegmund & Venkatraman (1995).
"""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streams.core.calibration import Tails
from streams.core.latency.blocks import Blocks
from streams.core.latency.levels import REMAINS
from streams.core.policies import Policies
from streams.core.table import Bools, Column, Floats, Ints, Rows, Table, any_of, put, take
from streams.core.watermark import NEVER
from streams.policy import DAY_US, HOUR_US

SCALES: Final = 2
QUICK_US: Final = np.array([0.5, 3.0]) * HOUR_US
SLOW_US: Final = np.array([72.0, 120.0]) * HOUR_US
"""Half-lives of the means of each pair."""

LEAST_AGE_US: Final = np.array([2 * HOUR_US, 24 * HOUR_US])
"""A pair says nothing before its slow mean is of so much time."""

BUDGET_SHARE: Final = 15.0
"""Of a series' false warnings. More than all of them, as far fewer come: largest means of a day have a lighter tail
than the exponential one that `calibration` supposes, and limits that are known from few days are widened twice.
Measured by `benchmarks.detection.faults` (seed 9002): 0.013 a target-week."""

PRIOR_MEAN: Final = 0.12
PRIOR_SCALE: Final = 0.035
"""Limits are calibrated on days, for series swing with the hours; the first one is about the double."""

CLIP: Final = 0.5
HOT_BLOCKS: Final = 2
COOL_BLOCKS: Final = 3
MOST_COOL: Final = 36
"""Back needs calm blocks in proportion to how long it was flagged, as of a level: COOL_BLOCKS to these."""

CLEAR: Final = 0.5
"""Part of the limit under which a pair is back, and from which it is suspicious."""

UNSEEN_US: Final = DAY_US
LEAST_SEEN_US: Final = 0.25 * DAY_US
"""What was seen for so long may swing by the double of its limit, for twice as long by half more, and so on."""

SUSPICIOUS_RATE: Final = 0.25
REST_US: Final = 12 * HOUR_US
REST: Final = 0.1
"""The hour's mean is this close to that of six for so long: it climbs no more."""

Small = npt.NDArray[np.int16]


class DriftTable(Table):
    """State by lane. Means are of log microseconds less what the hour adds.

    Attributes:
        age_us: Time in blocks that were learned.
        quick, slow: Means of each pair.
        hot, cool: Blocks in a row above the limit, under the clearing part of it, by pair.
        off: Which pairs are flagged.
        flagged, since_us: Any is, since that tick.
        rising_us: Since when a pair is suspicious; NEVER if none is.
        rest_us: How long it has been at rest while flagged.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "age_us": Column(np.int64, 0),
        "quick": Column(np.float64, np.nan, (SCALES,)),
        "slow": Column(np.float64, np.nan, (SCALES,)),
        "hot": Column(np.int16, 0, (SCALES,)),
        "cool": Column(np.int16, 0, (SCALES,)),
        "off": Column(np.bool_, 0, (SCALES,)),
        "flagged": Column(np.bool_, 0),
        "since_us": Column(np.int64, NEVER),
        "rising_us": Column(np.int64, NEVER),
        "rest_us": Column(np.int64, 0),
    }
    age_us: Ints
    quick: Floats
    slow: Floats
    hot: Small
    cool: Small
    off: Bools
    flagged: Bools
    since_us: Ints
    rising_us: Ints
    rest_us: Ints


class DriftChanges(NamedTuple):
    """Places in the samples of the round, as in `LevelChanges`."""

    left: Rows
    back: Rows
    rebased: Rows
    before: Floats


class Drifts:
    """The detector `latency_drift`."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self.table = DriftTable()
        budget = BUDGET_SHARE * policies.distinct[0].false_warnings_per_series_week / SCALES
        self.tails = Tails(mean=PRIOR_MEAN, scale=PRIOR_SCALE, budget=budget, block_us=DAY_US, width=SCALES)

    def grow(self, lanes: int) -> None:
        """Make room for so many lanes."""
        self.table.grow(lanes)
        self.tails.table.grow(lanes)

    def slow_level(self, lanes: Rows) -> Floats:
        """Return what is normal in the long run, nan before the first block. Shape (n,)."""
        level: Floats = self.table.slow[lanes, SCALES - 1]
        return level

    def quick_level(self, lanes: Rows) -> Floats:
        """Return the mean of the last hour, nan before the first block. Shape (n,)."""
        level: Floats = self.table.quick[lanes, 0]
        return level

    def said(self, lane: int) -> tuple[float, float, float]:
        """Return (now, normal, limit) of the pair that is flagged, or else of the slower one; log microseconds."""
        off = self.table.off[lane]
        pair = int(np.argmax(off)) if off.any() else SCALES - 1
        normal = float(self.table.slow[lane, pair])
        limit = float(self.tails.table.limit[lane, pair] * _widened(self.table.age_us[lane]))
        return float(self.table.quick[lane, 0]), normal, normal + limit

    def shift(self, lanes: Rows, by: Floats) -> None:
        """Move what is known of these series: their norm was moved by so much."""
        self.table.quick[lanes] += by[:, None]
        self.table.slow[lanes] += by[:, None]

    def update(self, blocks: Blocks, excused: Floats) -> DriftChanges | None:
        """Judge blocks that ended.

        Args:
            blocks: Of one round.
            excused: So much of each mean is explained by innocent episodes at this hour, >= 0, shape (k,).

        Returns:
            What changed; None if nothing did.
        """
        table, lanes = self.table, blocks.lanes
        first = np.isnan(table.slow[lanes, 0])
        if first.any():
            table.quick[lanes[first]] = table.slow[lanes[first]] = blocks.mean[first][:, None]
        told = ~blocks.marked
        if not told.any():
            return None
        lanes, groups, at_us = lanes[told], blocks.groups[told], blocks.at_us[told]
        mean, length_us = blocks.mean[told][:, None], blocks.length_us[told][:, None].astype(np.float64)
        age_us = table.age_us[lanes][:, None] + length_us
        slow, quick = take(table.slow, lanes), take(table.quick, lanes)
        calm = np.maximum(np.minimum(mean, slow), mean - excused[told][:, None])
        pace = np.maximum(1.0 - 0.5 ** (length_us / QUICK_US), length_us / age_us)
        quick = quick + pace * (calm - quick)
        above = quick - slow

        limit = self.tails.limit(lanes) * _widened(age_us)
        was = take(table.off, lanes)
        old = age_us >= LEAST_AGE_US
        ratio = np.log(np.broadcast_to(self._policies.get("min_latency_ratio", groups), lanes.shape))[:, None]
        suspicious = old & (above > CLEAR * limit)
        # What was high for hours and is back already is no climb.
        lasts = quick[:, :1] - slow > CLEAR * limit
        hot = np.where(old & (above > limit) & (above >= ratio) & lasts, take(table.hot, lanes) + 1, 0)
        cool = np.where(above < CLEAR * limit, take(table.cool, lanes) + 1, 0)
        # Of a pair that is not flagged there is no such time, and nobody asks for it.
        lasted_us = (at_us - table.since_us[lanes])[:, None]
        needed = np.clip(lasted_us / (REMAINS * length_us), COOL_BLOCKS, MOST_COOL)
        off = (was | (hot >= HOT_BLOCKS)) & ~(was & (cool >= needed))

        share = np.where(any_of(off)[:, None], 0.0, np.where(suspicious, SUSPICIOUS_RATE, 1.0))
        rate = share * np.maximum(1.0 - 0.5 ** (length_us / SLOW_US), length_us / age_us)
        put(table.slow, lanes, slow + rate * np.clip(mean - slow, -CLIP, CLIP))
        put(table.quick, lanes, quick)
        put(table.hot, lanes, np.minimum(hot, 100))
        put(table.cool, lanes, np.minimum(cool, 100))
        put(table.off, lanes, off)
        table.age_us[lanes] = age_us[:, 0].astype(np.int64)
        self._observe(lanes, at_us, groups, above, any_of(off | was), old[:, 0])
        return self._changes(blocks.places[told], lanes, at_us, any_of(suspicious), length_us[:, 0])

    def release(self, lanes: Rows, groups: Rows, innocent: Bools) -> None:
        """End the episodes of these lanes: the innocent are learned by the limits. Shape (k,) each."""
        budget = self._policies.get("false_warnings_per_series_week", groups)
        self.tails.release(lanes, innocent, BUDGET_SHARE * budget / SCALES)

    def _observe(self, lanes: Rows, at_us: Ints, groups: Rows, above: Floats, held: Bools, kept: Bools) -> None:
        lanes, groups = lanes[kept], groups[kept]
        budget = self._policies.get("false_warnings_per_series_week", groups)
        flagged = np.repeat(held[kept][:, None], SCALES, axis=1)
        self.tails.observe(lanes, at_us[kept], above[kept], flagged, BUDGET_SHARE * budget / SCALES)

    def _changes(
        self, places: Rows, lanes: Rows, at_us: Ints, suspicious: Bools, length_us: Floats
    ) -> DriftChanges | None:
        table = self.table
        rising_us = table.rising_us[lanes]
        rising_us = np.where(suspicious, np.where(rising_us == NEVER, at_us, rising_us), NEVER)
        was, flagged = table.flagged[lanes], any_of(take(table.off, lanes))
        left, back = flagged & ~was, was & ~flagged
        table.flagged[lanes], table.rising_us[lanes] = flagged, rising_us
        table.since_us[lanes[left]] = rising_us[left]
        if not (flagged | was).any():
            return None
        quick = table.quick[lanes]
        rests = flagged & (np.abs(quick[:, 0] - quick[:, -1]) < REST)
        table.rest_us[lanes] = np.where(rests, table.rest_us[lanes] + length_us.astype(np.int64), 0)
        done = table.rest_us[lanes] >= REST_US
        lane = lanes[done]
        before = table.slow[lane, SCALES - 1]
        table.slow[lane] = table.quick[lane] = quick[done][:, -1:]
        table.off[lane], table.flagged[lane], table.rest_us[lane] = False, False, 0
        if not (left.any() or back.any() or lane.size):
            return None
        return DriftChanges(places[left], places[back], places[done], before)


def _widened(age_us: Any) -> Any:
    """Return by how much limits are further for what was not seen yet, same shape."""
    return 1.0 + UNSEEN_US / np.maximum(age_us, LEAST_SEEN_US)
