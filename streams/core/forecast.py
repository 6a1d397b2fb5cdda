"""Time left until a resource is used up: disks and inodes that fill, certificates that expire.

A resource that was refilled before (a log rotation, a renewed certificate) is judged by its own cycle: it usually
comes down to some low and is refilled, so only what falls clearly below its usual low is news, or lows that
themselves fall. A resource that was never refilled is judged by its trend.

A certificate's time left is exact. A ratio's is an interval: the lower bound of the value's fall decides, and never
over a longer time than TRUST times what was observed, so that ten minutes of writing do not fill a disk in three days.

Source:
    Theil (1950), Sen (1968): the median of pairwise slopes and its distribution-free confidence interval.
"""

import math
from typing import Final, NamedTuple

import numpy as np

from streams.core.policies import Policies
from streams.core.table import Bools, Column, Floats, Ints, Rows, Table
from streams.core.watermark import NEVER
from streams.policy import DAY_US

CERTIFICATE: Final = 0
FREE_RATIO: Final = 1

POINTS: Final = 32
LOWS: Final = 8
LEAST_POINTS: Final = 8
TRUST: Final = 12
VAGUE: Final = 10
"""Bounds that differ by more than this factor say nothing."""

CONFIDENCE: Final = 2.576
"""Normal quantile of the slope's interval: 99 %."""

REFILL: Final = (1.0, 0.02)
"""A rise of so many days, so much of a disk, between two readings is a refill."""

CLEARLY_BELOW: Final = 0.75
"""Of a certificate's usual low."""

HYSTERESIS_DAYS: Final = 0.25

BELOW_LOW: Final = 0.02
"""Of a disk: so much below its lowest low is news."""

LONGEST_SPACING_US: Final = 7_200 * 1_000_000
BACK: Final = 1.5
"""A forecast is over when the time left is so many times its horizon."""

UNKNOWN_US: Final = -1


class ForecastTable(Table):
    """State by series (lane x metric).

    Attributes:
        kind: CERTIFICATE or FREE_RATIO.
        last: The newest value; nan before the first.
        points_us, points: Readings since the last refill, thinned out to one in `spacing_us`; `count` of them.
        lows, low_us: The values right before refills, newest last, `refills` in all.
        active, since_us: It warns, since the first reading that did.
        left_us, left_upper_us: Bounds of the time left; UNKNOWN_US if open.
        limit: The value, or the days, from which it warns.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "kind": Column(np.int64, FREE_RATIO),
        "lane": Column(np.int64, 0),
        "last": Column(np.float64, np.nan),
        "points_us": Column(np.int64, 0, (POINTS,)),
        "points": Column(np.float64, 0.0, (POINTS,)),
        "count": Column(np.int64, 0),
        "spacing_us": Column(np.int64, 0),
        "lows": Column(np.float64, np.nan, (LOWS,)),
        "low_us": Column(np.int64, NEVER, (LOWS,)),
        "refills": Column(np.int64, 0),
        "active": Column(np.bool_, 0),
        "since_us": Column(np.int64, NEVER),
        "left_us": Column(np.int64, UNKNOWN_US),
        "left_upper_us": Column(np.int64, UNKNOWN_US),
        "limit": Column(np.float64, 0.0),
        "score": Column(np.float64, 0.0),
    }
    kind: Ints
    lane: Ints
    last: Floats
    points_us: Ints
    points: Floats
    count: Ints
    spacing_us: Ints
    lows: Floats
    low_us: Ints
    refills: Ints
    active: Bools
    since_us: Ints
    left_us: Ints
    left_upper_us: Ints
    limit: Floats
    score: Floats


class TimeLeft(NamedTuple):
    """Bounds of the time until nothing is left; None: no bound, it does not fall for sure."""

    lower_us: int | None
    upper_us: int | None
    score: float


def kind_of(metric: str) -> int | None:
    """Return how a metric is forecast, None if it is not."""
    name = metric.partition(":")[0]
    if name == "tls_days_left":
        return CERTIFICATE
    return FREE_RATIO if name in ("disk_free_ratio", "inode_free_ratio") else None


class Forecasts:
    """The detector `forecast`."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self.table = ForecastTable()

    def add(self, series: int, lane: int, kind: int) -> None:
        """Begin a series."""
        self.table.grow(series + 1)
        self.table.kind[series] = kind
        self.table.lane[series] = lane

    def update(self, series: Rows, groups: Rows, tick_us: Ints, value: Floats) -> Rows:
        """Take in n readings, at most one a series.

        Args:
            series: Shape (n,).
            groups: Of the same.
            tick_us: Of the readings.
            value: Finite.

        Returns:
            Places whose warning began or ended.
        """
        table = self.table
        kind = table.kind[series]
        was = table.active[series]
        refilled = value - table.last[series] > np.array(REFILL)[kind]
        for place in np.flatnonzero(refilled):
            self._refill(int(series[place]), int(tick_us[place]))
        table.last[series] = value
        certificates = np.flatnonzero(kind == CERTIFICATE)
        if certificates.size:
            self._certificates(series[certificates], groups[certificates], value[certificates])
        for place in np.flatnonzero(kind == FREE_RATIO):
            row, at_us = int(series[place]), int(tick_us[place])
            count = int(table.count[row])
            last_us = int(table.points_us[row, count - 1]) if count else NEVER
            if at_us - last_us >= table.spacing_us[row]:
                self._point(row, at_us, float(value[place]))
                self._ratio(row, self._policies.of(int(groups[place])).horizon_us)
        changed = np.flatnonzero(table.active[series] != was)
        begun = changed[table.active[series[changed]]]
        table.since_us[series[begun]] = tick_us[begun]
        return changed

    def _certificates(self, series: Rows, groups: Rows, days: Floats) -> None:
        table = self.table
        limit = np.asarray(self._policies.get("certificate_horizon_us", groups) / DAY_US)
        # The usual level of renewal; nan before the first one was seen.
        cycle = table.refills[series] > 0
        lows = np.where(cycle[:, None], table.lows[series], 0.0)
        usual = np.nanmedian(lows, axis=1)
        limit = np.where(cycle, np.minimum(limit, CLEARLY_BELOW * usual), limit)
        was = table.active[series]
        table.active[series] = days < np.where(was, limit + HYSTERESIS_DAYS, limit)
        left_us = (np.clip(days, 0.0, 1e6) * DAY_US).astype(np.int64)
        table.left_us[series] = table.left_upper_us[series] = left_us
        table.limit[series] = limit
        table.score[series] = np.maximum(limit - days, 0.0)

    def _refill(self, row: int, at_us: int) -> None:
        table = self.table
        # Once full, the oldest low goes; places that hold none are nan.
        table.lows[row] = np.roll(table.lows[row], -1)
        table.low_us[row] = np.roll(table.low_us[row], -1)
        table.lows[row, -1], table.low_us[row, -1] = table.last[row], at_us
        table.refills[row] += 1
        table.count[row] = 0
        table.spacing_us[row] = 0
        table.active[row] = False

    def _point(self, row: int, at_us: int, value: float) -> None:
        """Keep a reading. When there is no room, every second one goes, up to the longest spacing."""
        table = self.table
        count = int(table.count[row])
        if count == POINTS:
            span_us = int(table.points_us[row, -1] - table.points_us[row, 0])
            if table.spacing_us[row] < LONGEST_SPACING_US:
                table.points_us[row, : POINTS // 2] = table.points_us[row, ::2]
                table.points[row, : POINTS // 2] = table.points[row, ::2]
                table.spacing_us[row] = min(2 * span_us // (POINTS - 1), LONGEST_SPACING_US)
                count = POINTS // 2
            else:
                table.points_us[row] = np.roll(table.points_us[row], -1)
                table.points[row] = np.roll(table.points[row], -1)
                count = POINTS - 1
        table.points_us[row, count], table.points[row, count] = at_us, value
        table.count[row] = count + 1

    def _ratio(self, row: int, horizon_us: int) -> None:
        table = self.table
        count = int(table.count[row])
        left = time_left(table.points_us[row, :count], table.points[row, :count])
        lows = table.lows[row][~np.isnan(table.lows[row])]
        if lows.size:
            usual = float(lows.min())
            limit = max(usual - max(BELOW_LOW, 0.1 * usual), 0.0)
            if table.points[row, count - 1] >= limit:
                left = time_left(table.low_us[row][-lows.size :], lows)
            table.limit[row] = limit
        lower_us = left.lower_us
        horizon_us = int(horizon_us * BACK) if table.active[row] else horizon_us
        table.active[row] = lower_us is not None and lower_us < horizon_us
        table.left_us[row] = UNKNOWN_US if lower_us is None else lower_us
        table.left_upper_us[row] = UNKNOWN_US if left.upper_us is None else left.upper_us
        table.score[row] = left.score


def time_left(at_us: Ints, value: Floats) -> TimeLeft:
    """Return the bounds of the time from the last point until a value that falls reaches 0.

    Args:
        at_us: Ascending, shape (n,).
        value: What is left, shape (n,).

    Returns:
        No lower bound if there are too few points, the value does not fall for sure (over all points, and over
        the later half of them: what has stopped falling does not reach 0), if its end is further away than TRUST
        times the time observed, or if the bounds lie further apart than VAGUE.
    """
    n = at_us.size
    if n < LEAST_POINTS:
        return TimeLeft(None, None, 0.0)
    steepest, middle, gentlest = _slopes(at_us, value)
    if gentlest >= 0.0 or (n >= 2 * LEAST_POINTS and _slopes(at_us[n // 2 :], value[n // 2 :])[2] >= 0.0):
        return TimeLeft(None, None, 0.0)
    now = max(float(value[-1]), 0.0)
    lower_us, upper_us = int(now / -steepest), int(min(now / -gentlest, 1e18))
    if lower_us > TRUST * int(at_us[-1] - at_us[0]) or upper_us > VAGUE * max(lower_us, 1):
        return TimeLeft(None, None, 0.0)
    spread = (gentlest - steepest) / (2.0 * CONFIDENCE)
    return TimeLeft(lower_us, upper_us, min(-middle / max(spread, 1e-30), 1e6))


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
