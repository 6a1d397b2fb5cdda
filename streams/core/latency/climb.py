"""How long until a latency that climbs reaches the limit from which its checks fail.

From the check on at which a series is off its norm its running median is kept, thinned out to POINTS. The climb must be
certain over all of them and over the later half: a step, or what has stopped climbing, has no end. The bounds are
those of the slope, and of two ways to go on: as steep in proportion (soonest), or as steep in milliseconds (latest).
Nothing is extrapolated further than TRUST times what was observed.

Source:
    Theil (1950), Sen (1968): the median of pairwise slopes and its distribution-free confidence interval.
"""

import math
from typing import Final

import numpy as np

from streams.core.nearer import UNKNOWN_US, nearer
from streams.core.table import Bools, Column, Floats, Ints, Rows, Table

POINTS: Final = 24
LEAST_POINTS: Final = 8
TRUST: Final = 12.0
CONFIDENCE: Final = 2.576
"""Normal quantile of the slope's interval: 99 %."""


class ClimbTable(Table):
    """State by lane.

    Attributes:
        points_us, points: Ticks and log microseconds, `count` of them, one in `spacing_us`.
        left_us, left_upper_us: Bounds of the time left as of the last point; UNKNOWN_US if it does not climb for sure.
        told_us: The lower one that was told last; UNKNOWN_US: none.
        told_seen: It was told when the upper one lay no further ahead than the climb had been seen.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "points_us": Column(np.int64, 0, (POINTS,)),
        "points": Column(np.float64, 0.0, (POINTS,)),
        "count": Column(np.int64, 0),
        "spacing_us": Column(np.int64, 0),
        "left_us": Column(np.int64, UNKNOWN_US),
        "left_upper_us": Column(np.int64, UNKNOWN_US),
        "told_us": Column(np.int64, UNKNOWN_US),
        "told_seen": Column(np.bool_, 0),
    }
    points_us: Ints
    points: Floats
    count: Ints
    spacing_us: Ints
    left_us: Ints
    left_upper_us: Ints
    told_us: Ints
    told_seen: Bools


def follow(table: ClimbTable, lanes: Rows, at_us: Ints, level: Floats, limit_us: Floats) -> Rows:
    """Take in checks of series that are off their norm.

    Args:
        table: By lane.
        lanes: Shape (n,), each at most once.
        at_us: Their ticks.
        level: Running medians, log microseconds.
        limit_us: From which checks fail; inf if there is no limit.

    Returns:
        Of which lanes the time left is to be told, again or for the first time.
    """
    count = table.count[lanes]
    last_us = table.points_us[lanes, np.maximum(count - 1, 0)]
    takes = (count == 0) | (at_us - last_us >= table.spacing_us[lanes])
    lanes, at_us, level, limit_us = lanes[takes], at_us[takes], level[takes], limit_us[takes]
    full = lanes[table.count[lanes] == POINTS]
    if full.size:
        half = POINTS // 2
        table.points_us[full, :half], table.points[full, :half] = table.points_us[full, ::2], table.points[full, ::2]
        table.spacing_us[full] = table.points_us[full, half - 1] - table.points_us[full, half - 2]
        table.count[full] = half
    place = table.count[lanes]
    table.points_us[lanes, place], table.points[lanes, place] = at_us, level
    table.count[lanes] = place + 1
    for points in np.unique(place + 1):
        mine = place + 1 == points
        if points >= LEAST_POINTS:
            lower, upper = _left(
                table.points_us[lanes[mine], :points], table.points[lanes[mine], :points], limit_us[mine]
            )
            table.left_us[lanes[mine]], table.left_upper_us[lanes[mine]] = lower, upper
    left_us, upper_us = table.left_us[lanes], table.left_upper_us[lanes]
    seen = (left_us != UNKNOWN_US) & (upper_us <= at_us - table.points_us[lanes, 0])
    near = nearer(left_us, table.told_us[lanes])
    news = near | (seen & ~table.told_seen[lanes])
    table.told_us[lanes[near]] = left_us[near]
    table.told_seen[lanes] |= seen
    told: Rows = lanes[news]
    return told


def left(table: ClimbTable, lane: int, tick_us: int) -> tuple[int, int] | None:
    """Return the bounds of the time left as of a tick, microseconds; None if the lane does not climb for sure."""
    if table.left_us[lane] == UNKNOWN_US:
        return None
    passed_us = tick_us - int(table.points_us[lane, table.count[lane] - 1])
    return max(int(table.left_us[lane]) - passed_us, 0), max(int(table.left_upper_us[lane]) - passed_us, 0)


def forget(table: ClimbTable, lanes: Rows) -> None:
    """Forget the climbs of these lanes: they are back on their norm."""
    table.count[lanes], table.spacing_us[lanes] = 0, 0
    table.left_us[lanes] = table.left_upper_us[lanes] = table.told_us[lanes] = UNKNOWN_US
    table.told_seen[lanes] = False


def _left(at_us: Ints, level: Floats, limit_us: Floats) -> tuple[Ints, Ints]:
    """Return the bounds of the time left of k series. Shapes (k, points), (k, points), (k,) to (k,), (k,)."""
    gentle, steep = _slopes(at_us, level)
    half = at_us.shape[1] // 2
    later, _ = _slopes(at_us[:, half:], level[:, half:])
    known = np.isfinite(limit_us) & (gentle > 0.0) & ((later > 0.0) | (at_us.shape[1] < 2 * LEAST_POINTS))
    to_go = np.maximum(np.log(np.where(known, limit_us, 1.0)) - level[:, -1], 0.0)
    lower = to_go / np.where(known, steep, 1.0)
    duration = np.exp(np.minimum(level, 50.0))
    rise, _ = _slopes(at_us, duration)
    known &= rise > 0.0
    to_rise = np.maximum(np.where(known, limit_us, 0.0) - duration[:, -1], 0.0)
    upper = np.minimum(to_rise / np.where(known, rise, 1.0), 1e17)
    known &= lower <= TRUST * (at_us[:, -1] - at_us[:, 0])
    unknown = np.int64(UNKNOWN_US)
    return np.where(known, lower.astype(np.int64), unknown), np.where(known, upper.astype(np.int64), unknown)


def _slopes(at_us: Ints, level: Floats) -> tuple[Floats, Floats]:
    """Return the bounds of the slope of each row."""
    n = at_us.shape[1]
    early, late = np.triu_indices(n, k=1)
    slopes = np.sort((level[:, late] - level[:, early]) / np.maximum(at_us[:, late] - at_us[:, early], 1), axis=1)
    reach = CONFIDENCE * math.sqrt(n * (n - 1) * (2 * n + 5) / 18.0)
    first = max(int((slopes.shape[1] - reach) / 2), 0)
    return slopes[:, first], slopes[:, -1 - first]
