"""Disks, inodes and memory that run out: the free share, its trend, and the lows that are usual.

Three windows are kept of each series, of minutes, hours and days, and the least value of each quarter of a day. A
series warns when a window's trend reaches 0 within the horizon by its lower bound, *and* the value is clearly below
all that was seen in the days before: what is written and rotated away again, a sawtooth of any period or a daily
swing of memory, comes down to its usual low and no further. In the first day, when nobody knows what is usual, a trend
is believed for a shorter time. A trend is never believed for more than TRUST times what was observed.

Memory swings with the load and caches fill: its trend is believed for no longer than it was observed, only from the
window of days, never in the first day, and not if it slows down so much that it comes to rest before the end.

A warning ends when there was no reason for it for CALM_US, or at once when much was freed. If that was at the last
moment (NEARLY), it was a repair, and what was the low before is not usual; else it may have been a rotation.

Source:
    Theil (1950), Sen (1968): the median of pairwise slopes and its distribution-free confidence interval.
"""

import math
from typing import Final, NamedTuple

import numpy as np

from streams.core.policies import Policies
from streams.core.table import Bools, Column, Floats, Ints, Rows, Table
from streams.core.watermark import NEVER
from streams.policy import DAY_US, HOUR_US

WINDOWS: Final = 3
POINTS: Final = 24
SPACING_US: Final = np.array([HOUR_US // 60, HOUR_US // 6, 2 * HOUR_US])
"""Of the points of each window: at least; they cover a short half hour, four hours and two days."""

LEAST_POINTS: Final = 8
QUARTER_US: Final = DAY_US // 4
QUARTERS: Final = 12
"""Lows of so many quarters of a day."""

TRUST: Final = 12.0
YOUNG_TRUST: Final = 3.0
MEMORY_TRUST: Final = 1.0
"""A trend holds for so many times what was observed of it: usually, in the first day, and of memory."""

VAGUE: Final = 10.0
"""Bounds that differ by more than this factor say nothing."""

CONFIDENCE: Final = 2.576
"""Normal quantile of the slope's interval: 99 %."""

BELOW: Final = 0.01
BELOW_PART: Final = 0.05
MEMORY_BELOW: Final = 0.03
"""So much below the usual low is news: of the whole, of that low, and of the whole for memory."""

BACK: Final = 1.5
"""What warns goes on warning up to so many horizons, and up to its usual low."""

CALM_US: Final = DAY_US
FREED: Final = 0.1
"""A rise of so much, or by half, above where the warning began is a repair."""

NEARLY: Final = 0.1
"""So little is free of what is repaired."""

FILLED: Final = 1e-4
"""Less than this is nothing left."""


class DepletionTable(Table):
    """State by series.

    Attributes:
        memory: It is memory.
        first_us: The first reading.
        points_us, points: Readings by window, newest last; count of them.
        lows: Least values of quarters of a day, newest last, inf where none; quarter: the number of the newest.
        began: The value at which the warning began; calm_us: since when there is no reason for it, NEVER.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "memory": Column(np.bool_, 0),
        "first_us": Column(np.int64, NEVER),
        "points_us": Column(np.int64, NEVER, (WINDOWS, POINTS)),
        "points": Column(np.float64, np.nan, (WINDOWS, POINTS)),
        "count": Column(np.int64, 0, (WINDOWS,)),
        "lows": Column(np.float64, np.inf, (QUARTERS,)),
        "quarter": Column(np.int64, 0),
        "began": Column(np.float64, np.nan),
        "calm_us": Column(np.int64, NEVER),
    }
    memory: Bools
    first_us: Ints
    points_us: Ints
    points: Floats
    count: Ints
    lows: Floats
    quarter: Ints
    began: Floats
    calm_us: Ints


class TimeLeft(NamedTuple):
    """Bounds of the time until nothing is left; None: no bound, it does not fall for sure."""

    lower_us: int | None
    upper_us: int | None
    score: float


NO_BOUND: Final = TimeLeft(None, None, 0.0)


class Depletions:
    """Judges the readings of what runs out."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self.table = DepletionTable()

    def update(
        self, rows: Rows, groups: Rows, tick_us: Ints, value: Floats, was: Bools
    ) -> tuple[Bools, dict[int, TimeLeft]]:
        """Take in one reading of each.

        Args:
            rows: Of the table, shape (n,), each at most once.
            groups: Whose, shape (n,).
            tick_us: Of the readings, shape (n,).
            value: The free share, finite, shape (n,).
            was: It warned before, shape (n,).

        Returns:
            Which warn, shape (n,), and the time left by place, of those that were looked at and warn or did so.
        """
        table = self.table
        first_us = table.first_us[rows]
        table.first_us[rows] = np.where(first_us == NEVER, tick_us, first_us)
        active = was.copy()
        found: dict[int, TimeLeft] = {}
        freed = was & (value > np.minimum(table.began[rows] + FREED, 1.5 * table.began[rows] + BELOW))
        for again in np.flatnonzero(freed):
            self._forget(int(rows[again]), int(tick_us[again]))
        active &= ~freed
        moved = self._point(rows, tick_us, value)
        usual = self._usual(rows, tick_us, value)
        below = value < usual - np.where(was, 0.0, self._margin(rows, usual))
        for place in np.flatnonzero(moved.any(axis=1) & (below | was)).tolist():
            row, at_us = int(rows[place]), int(tick_us[place])
            horizon_us = self._policies.of(int(groups[place])).horizon_us * (BACK if was[place] else 1.0)
            left = self._left(row, at_us, float(value[place])) if below[place] else NO_BOUND
            if left.lower_us is not None and left.lower_us < horizon_us:
                if not active[place]:
                    table.began[row] = value[place]
                active[place], found[place] = True, left
                table.calm_us[row] = NEVER
            elif was[place]:
                found[place] = NO_BOUND  # what was said of its end is over
                if table.calm_us[row] == NEVER:
                    table.calm_us[row] = at_us
                active[place] &= at_us - table.calm_us[row] < CALM_US
        return active, found

    def _point(self, rows: Rows, tick_us: Ints, value: Floats) -> Bools:
        """Keep the readings that are far enough from the last that was kept; say which windows moved, (n, WINDOWS)."""
        table = self.table
        moved = tick_us[:, None] - table.points_us[rows, :, -1] >= SPACING_US
        for window in range(WINDOWS):
            mine = np.flatnonzero(moved[:, window])
            row = rows[mine]
            for points, new in ((table.points_us, tick_us), (table.points, value)):
                points[row, window, :-1] = points[row, window, 1:]
                points[row, window, -1] = new[mine]
            table.count[row, window] = np.minimum(table.count[row, window] + 1, POINTS)
        return moved

    def _usual(self, rows: Rows, tick_us: Ints, value: Floats) -> Floats:
        """Note the low of this quarter of a day, and return the least of the earlier ones; inf in the first day."""
        table = self.table
        quarter = tick_us // QUARTER_US
        later = quarter - table.quarter[rows]
        for place in np.flatnonzero(later > 0):
            row, by = int(rows[place]), min(int(later[place]), QUARTERS)
            table.lows[row, : QUARTERS - by] = table.lows[row, by:]
            table.lows[row, QUARTERS - by :] = np.inf
        table.quarter[rows] = np.maximum(quarter, table.quarter[rows])
        table.lows[rows, -1] = np.minimum(table.lows[rows, -1], value)
        earlier: Floats = table.lows[rows, :-1].min(axis=1)
        return np.where(tick_us - table.first_us[rows] < DAY_US, np.inf, earlier)

    def _margin(self, rows: Rows, usual: Floats) -> Floats:
        part = BELOW_PART * np.where(np.isfinite(usual), usual, 0.0)
        # Of what is nearly empty always, less is news.
        whole = np.where(self.table.memory[rows], MEMORY_BELOW, np.minimum(BELOW, 4.0 * part))
        return np.maximum(part, whole)

    def _left(self, row: int, at_us: int, value: float) -> TimeLeft:
        """Return the bounds of the window that says less is left."""
        table = self.table
        memory = bool(table.memory[row])
        young = at_us - int(table.first_us[row]) < DAY_US
        if value < FILLED and not memory:
            return TimeLeft(0, 0, 1e6)
        if memory and young:
            return NO_BOUND
        trust = MEMORY_TRUST if memory else YOUNG_TRUST if young else TRUST
        found = [
            time_left(table.points_us[row, window, -count:], table.points[row, window, -count:], trust)
            for window in range(WINDOWS - 1 if memory else 0, WINDOWS)
            if (count := int(table.count[row, window])) > 0
        ]
        if memory and comes_to_rest(table.points_us[row, -1], table.points[row, -1]):
            return NO_BOUND
        known = [left for left in found if left.lower_us is not None]
        return min(known, key=lambda left: left.lower_us or 0) if known else NO_BOUND

    def _forget(self, row: int, at_us: int) -> None:
        """Much was freed: what the trend was before says nothing of what it will be."""
        table = self.table
        table.count[row], table.points_us[row], table.calm_us[row] = 0, NEVER, NEVER
        if table.lows[row].min() < NEARLY:
            table.lows[row], table.first_us[row] = np.inf, at_us


def time_left(at_us: Ints, value: Floats, trust: float = TRUST) -> TimeLeft:
    """Return the bounds of the time from the last point until a value that falls reaches 0.

    Args:
        at_us: Ascending, shape (n,).
        value: What is left, shape (n,).
        trust: A time longer than so many times what was observed is not said.

    Returns:
        No lower bound if there are too few points, the value does not fall for sure (over all points, and over
        the later half of them: what has stopped falling does not reach 0), if its end is further away than `trust`
        times the time observed, or if the bounds lie further apart than VAGUE.
    """
    n = at_us.size
    # The straight line between its ends settles most: it does not fall, or far too slowly.
    if n < LEAST_POINTS or max(float(value[-1]), 0.0) >= 2.0 * trust * float(value[0] - value[-1]):
        return NO_BOUND
    steepest, middle, gentlest = _slopes(at_us, value)
    if gentlest >= 0.0 or (n >= 2 * LEAST_POINTS and _slopes(at_us[n // 2 :], value[n // 2 :])[2] >= 0.0):
        return NO_BOUND
    now = max(float(value[-1]), 0.0)
    lower_us, upper_us = int(now / -steepest), int(min(now / -gentlest, 1e18))
    if lower_us > trust * int(at_us[-1] - at_us[0]) or upper_us > VAGUE * max(lower_us, 1):
        return NO_BOUND
    spread = (gentlest - steepest) / (2.0 * CONFIDENCE)
    return TimeLeft(lower_us, upper_us, min(-middle / max(spread, 1e-30), 1e6))


def comes_to_rest(at_us: Ints, value: Floats) -> bool:
    """Say whether a value that falls slows down so much that it does not reach 0, as a cache does that fills.

    Its fall in the later half of the time, by that in the earlier one, goes on shrinking by that factor: what is left
    to fall is the sum of a geometric series.

    Args:
        at_us: Ascending, shape (n,); NEVER where there is no point yet: these count for nothing.
        value: What is left, shape (n,).
    """
    known = at_us > NEVER
    at_us, value = at_us[known], value[known]
    half = at_us.size // 2
    if half < LEAST_POINTS // 2:
        return False
    early, late = (_slopes(at_us[part], value[part])[1] for part in (slice(half), slice(half, None)))
    if early >= 0.0:
        return False
    shrinks = max(late / early, 0.0)
    if shrinks >= 1.0:
        return False
    still_us = float(at_us[-1] - at_us[half])
    return float(value[-1]) + late * still_us * shrinks / (1.0 - shrinks) > 0.0


def _slopes(at_us: Ints, value: Floats) -> tuple[float, float, float]:
    """Return lower bound, median and upper bound of the slope.

    Source:
        Sen (1968), with the variance of Kendall's S without ties.
    """
    n = at_us.size
    early, late = np.triu_indices(n, k=1)
    slopes = np.sort((value[late] - value[early]) / np.maximum(at_us[late] - at_us[early], 1))
    reach = CONFIDENCE * math.sqrt(n * (n - 1) * (2 * n + 5) / 18.0)
    lower = slopes[max(int((slopes.size - reach) / 2), 0)]
    upper = slopes[min(math.ceil((slopes.size + reach) / 2), slopes.size - 1)]
    return float(lower), float(np.median(slopes)), float(upper)
