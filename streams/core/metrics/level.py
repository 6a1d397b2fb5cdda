"""Named metrics that have left their norm (CPU load, memory, what a probe reads): judged by the extremes they reach.

A metric's level is the median of its last RECENT readings: one or two wild ones are no level. What is normal is told
by the highest and the lowest level of each of the last blocks of time: blocks grow with what is known, from a quarter
of the warm-up to a day, so that nightly backups and office hours become normal by themselves and neighbouring checks,
which resemble each other, are not counted as independent. A Gumbel distribution through the extremes gives the limit
that a healthy series passes `false_warnings_per_series_week` times a week. A limit is never nearer to the centre than
`warn_score` spreads and than the least change that a person would care for.

While a series is beyond its limit nothing is learned. When it comes back by itself, how far it went becomes an
extreme of its block: the same nightly backup warns once and not each night. What stays beyond the limit for
`rebaseline_checks` and has come to rest is the new norm.

Source:
    Block maxima: Gumbel (1958), Statistics of Extremes, with the estimators of moments; the centre as in `baseline`.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streams.core.policies import Policies
from streams.core.table import Column, Floats, Ints, Rows, Table
from streams.core.watermark import NEVER
from streams.policy import DAY_US, WEEK_US

RECENT: Final = 5
BLOCKS: Final = 16
FIRST_BLOCKS: Final = 4
"""The warm-up is cut into so many blocks."""

LEAST_RATIO_CHANGE: Final = 0.08
"""Of a metric named `..._ratio`: eight points of percent."""

LEAST_CHANGE: Final = 0.1
"""Of any other: so much of its centre."""

UPWARD: Final = ("_used_ratio", "_load_ratio")
"""Endings of metrics of which less is no trouble: an idle night, memory that was given back."""

HUGE: Final = 1e100
"""Larger values count as this, so that no difference overflows."""

HUBER: Final = 1.5
MEAN_CLIPPED: Final = 0.7788
"""Mean of min(|Z|, HUBER) of a normal Z, the same as in `baseline`."""

MARGIN: Final = 1.25
"""A limit is so much further out than anything so far: of rare bursts each record would be news otherwise."""

YOUNG_MARGIN: Final = 1.6
"""The same before blocks of YOUNG_US are there: a weekend is no news, nor is the second newsletter."""

YOUNG_US: Final = 14 * DAY_US

GUMBEL_SCALE: Final = 0.7797
GUMBEL_MEAN: Final = 0.4500
"""Of a Gumbel distribution with mean 0 and standard deviation 1: scale, and mode below the mean."""

BACK: Final = 0.75
"""A series is back within so much of the way from its centre to its limit."""


class MetricLevelTable(Table):
    """State by series (lane x metric).

    Attributes:
        learned: Readings so far; before warm-up they are in `samples`, from `first_us` on.
        relative: The least change is a part of the centre, not points of percent.
        upward: Only more of it is trouble.
        centre, spread: Of the value.
        recent, level: The last readings, in no order that matters, and their median.
        block_us, began_us: Length of a block; when the one that runs began.
        high, low: Extremes of the level by block, newest last; nan where there is none. The last one runs.
        upper, lower: The limits.
        beyond, within: Checks in a row beyond a limit, and well within both.
        rising_us: Since when the level is beyond a limit; NEVER if it is not.
        peak: The level furthest from the centre since the series was flagged.
        side: 1 or -1: flagged above or below, since `since_us`; 0: it is not.
        away, rest: Checks in a row that were flagged, and their centre.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "learned": Column(np.int64, 0),
        "first_us": Column(np.int64, NEVER),
        "relative": Column(np.bool_, 1),
        "upward": Column(np.bool_, 0),
        "centre": Column(np.float64, np.nan),
        "spread": Column(np.float64, np.nan),
        "recent": Column(np.float64, np.nan, (RECENT,)),
        "level": Column(np.float64, np.nan),
        "block_us": Column(np.int64, 0),
        "began_us": Column(np.int64, NEVER),
        "high": Column(np.float64, np.nan, (BLOCKS,)),
        "low": Column(np.float64, np.nan, (BLOCKS,)),
        "upper": Column(np.float64, np.inf),
        "lower": Column(np.float64, -np.inf),
        "beyond": Column(np.int64, 0),
        "within": Column(np.int64, 0),
        "rising_us": Column(np.int64, NEVER),
        "side": Column(np.int8, 0),
        "since_us": Column(np.int64, NEVER),
        "peak": Column(np.float64, np.nan),
        "away": Column(np.int64, 0),
        "rest": Column(np.float64, np.nan),
    }
    learned: Ints
    first_us: Ints
    relative: npt.NDArray[np.bool_]
    upward: npt.NDArray[np.bool_]
    centre: Floats
    spread: Floats
    recent: Floats
    level: Floats
    block_us: Ints
    began_us: Ints
    high: Floats
    low: Floats
    upper: Floats
    lower: Floats
    beyond: Ints
    within: Ints
    rising_us: Ints
    side: npt.NDArray[np.int8]
    since_us: Ints
    peak: Floats
    away: Ints
    rest: Floats
    samples: Floats

    def __init__(self, warm_up: int) -> None:
        self._samples = Column(np.float64, np.nan, (warm_up,))
        super().__init__()

    def columns(self) -> dict[str, Column]:
        """Return the columns; there is room for the longest warm-up."""
        return {**self.COLUMNS, "samples": self._samples}


class MetricChanges(NamedTuple):
    """What one round changed, as places in the arrays that were given.

    Attributes:
        left, back: Series that were flagged, and that are no longer.
        rebased: Series whose new level became the norm; `before` is the centre that they had.
    """

    left: Rows
    back: Rows
    rebased: Rows
    before: Floats


class MetricLevels:
    """The detector `metric_level`."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self.table = MetricLevelTable(policies.largest("warm_up_checks"))

    def add(self, series: int, metric: str) -> None:
        """Begin a series."""
        self.table.grow(series + 1)
        name = metric.partition(":")[0]
        self.table.relative[series] = not name.endswith("_ratio")
        self.table.upward[series] = name.endswith(UPWARD)

    def limit(self, series: int) -> float:
        """Return the limit that a series is beyond, or the nearer one of a series that is not flagged."""
        table = self.table
        upper, lower, level = float(table.upper[series]), float(table.lower[series]), float(table.level[series])
        side = int(table.side[series])
        above = side > 0 or (side == 0 and upper - level <= level - lower)
        return upper if above else lower

    def score(self, series: int) -> float:
        """Return how far a series is from its centre, by the distance to the limit: beyond 1 it is off."""
        table, limit = self.table, self.limit(series)
        centre = float(table.centre[series])
        width = abs(limit - centre)
        return min(abs(float(table.level[series]) - centre) / width, 1e9) if width > 0.0 else 0.0

    def update(self, series: Rows, groups: Rows, tick_us: Ints, value: Floats) -> MetricChanges | None:
        """Take in n readings, at most one a series.

        Args:
            series: Shape (n,), each at most once.
            groups: Of the same.
            tick_us: Of the readings.
            value: Finite.

        Returns:
            What changed; None if nothing did.
        """
        value = np.clip(value, -HUGE, HUGE)
        warm_up = np.broadcast_to(self._policies.get("warm_up_checks", groups), series.shape)
        warm = self.table.learned[series] >= warm_up
        if not warm.all():
            cold = ~warm
            self._warm_up(series[cold], groups[cold], tick_us[cold], value[cold], warm_up[cold])
        kept = np.flatnonzero(warm)
        if kept.size == 0:
            return None
        return self._judge(kept, series[kept], groups[kept], tick_us[kept], value[kept])

    def _warm_up(self, series: Rows, groups: Rows, tick_us: Ints, value: Floats, needed: Ints) -> None:
        table = self.table
        learned = table.learned[series]
        begins = learned == 0
        table.first_us[series[begins]] = tick_us[begins]
        table.samples[series, learned] = value
        table.learned[series] = learned + 1
        done = learned + 1 >= needed
        for count in np.unique(learned[done] + 1).tolist():
            here = done & (learned + 1 == count)
            self._begin(series[here], groups[here], tick_us[here], table.samples[series[here], :count])

    def _begin(self, series: Rows, groups: Rows, tick_us: Ints, samples: Floats) -> None:
        """Make the first baseline and blocks of series that are warm, from samples of shape (n, count)."""
        table, count = self.table, samples.shape[1]
        centre = np.median(samples, axis=1)
        mad = np.median(np.abs(samples - centre[:, None]), axis=1)
        table.centre[series], table.spread[series] = centre, 1.4826 * mad * (1.0 + 0.5 / np.sqrt(count))
        table.level[series], table.recent[series] = centre, centre[:, None]
        blocks = min(FIRST_BLOCKS, count)
        bounds = np.linspace(0, count, blocks + 1).astype(np.int64)[:-1]
        table.high[series, -blocks:] = np.maximum.reduceat(samples, bounds, axis=1)
        table.low[series, -blocks:] = np.minimum.reduceat(samples, bounds, axis=1)
        table.block_us[series] = np.maximum((tick_us - table.first_us[series]) // FIRST_BLOCKS, 1)
        table.began_us[series] = tick_us
        self._limits(series, groups)

    def _judge(self, places: Rows, series: Rows, groups: Rows, tick_us: Ints, value: Floats) -> MetricChanges | None:
        table, get = self.table, self._policies.get
        warn_ticks = get("warn_ticks", groups)
        centre = table.centre[series]
        upper, lower = table.upper[series], table.lower[series]
        table.recent[series, table.learned[series] % RECENT] = value
        table.learned[series] += 1
        level = np.sort(table.recent[series], axis=1)[:, RECENT // 2]
        table.level[series] = level

        outside = np.where(level > upper, 1, np.where(level < lower, -1, 0))
        beyond = np.where(outside != 0, table.beyond[series] + 1, 0)
        well = (level < centre + BACK * (upper - centre)) & (level > centre + BACK * (lower - centre))
        within = np.where(well, table.within[series] + 1, 0)
        rising_us = table.rising_us[series]
        rising_us = np.where(outside != 0, np.where(rising_us == NEVER, tick_us, rising_us), NEVER)
        side = table.side[series]
        left = (side == 0) & (beyond >= warn_ticks)
        back = (side != 0) & (within >= warn_ticks)
        side = np.where(left, outside, np.where(back, 0, side))
        table.beyond[series], table.within[series], table.rising_us[series] = beyond, within, rising_us
        table.side[series] = side
        table.since_us[series[left]] = rising_us[left]
        peak = np.where(left, level, table.peak[series])
        table.peak[series] = np.where(np.abs(level - centre) > np.abs(peak - centre), level, peak)
        if back.any():
            self._admit(series[back], groups[back])
        self._learn(series, groups, tick_us, value, (side == 0) & (outside == 0))
        rebased, before = self._rest(series, groups, level, side != 0)
        if rebased.size == 0 and not (left.any() or back.any()):
            return None
        return MetricChanges(places[left], places[back], places[rebased], before)

    def _learn(self, series: Rows, groups: Rows, tick_us: Ints, value: Floats, learns: npt.NDArray[np.bool_]) -> None:
        table = self.table
        row, groups, tick_us, value = series[learns], groups[learns], tick_us[learns], value[learns]
        centre, spread = table.centre[row], table.spread[row]
        slow = 1.0 - 0.5 ** (1.0 / self._policies.get("baseline_half_life_checks", groups))
        rate = np.maximum(slow, 1.0 / table.learned[row])
        # A spread of 0 (a constant so far) opens by the first value that differs.
        scale = np.maximum(spread, 1e-12 + 1e-9 * np.abs(centre))
        clipped = np.clip((value - centre) / scale, -HUBER, HUBER)
        table.centre[row] = centre + rate * clipped * scale
        table.spread[row] = spread + rate * (np.abs(clipped) / MEAN_CLIPPED * scale - spread)
        level = table.level[row]
        over = tick_us - table.began_us[row] >= table.block_us[row]
        if over.any():
            self._turn(row[over], groups[over], tick_us[over], level[over])
        table.high[row, -1] = np.fmax(table.high[row, -1], level)
        table.low[row, -1] = np.fmin(table.low[row, -1], level)

    def _admit(self, row: Rows, groups: Rows) -> None:
        """Let what came back by itself be normal: its peak is an extreme of the block that runs."""
        table = self.table
        table.high[row, -1] = np.fmax(table.high[row, -1], table.peak[row])
        table.low[row, -1] = np.fmin(table.low[row, -1], table.peak[row])
        self._limits(row, groups)

    def _turn(self, row: Rows, groups: Rows, tick_us: Ints, level: Floats) -> None:
        """Begin a new block; when there is no room, pairs of blocks become one, up to the length of a day."""
        table = self.table
        full = ~np.isnan(table.high[row, 0]) & (table.block_us[row] < DAY_US)
        joined = row[full]
        if joined.size:
            half = BLOCKS // 2
            table.high[joined, half:] = table.high[joined].reshape(-1, half, 2).max(axis=2)
            table.low[joined, half:] = table.low[joined].reshape(-1, half, 2).min(axis=2)
            table.high[joined, :half] = table.low[joined, :half] = np.nan
            table.block_us[joined] *= 2
        for extremes in (table.high, table.low):
            extremes[row, :-1] = extremes[row, 1:]
            extremes[row, -1] = level
        table.began_us[row] = tick_us
        self._limits(row, groups)

    def _limits(self, row: Rows, groups: Rows) -> None:
        table, get = self.table, self._policies.get
        centre = table.centre[row]
        budget = get("false_warnings_per_series_week", groups)
        # Half of the budget for each side.
        p = np.clip(0.5 * budget * table.block_us[row] / WEEK_US, 1e-12, 0.5)
        least = least_change(centre, relative=table.relative[row])
        least = np.maximum(least, get("warn_score", groups) * table.spread[row])
        known_us = table.block_us[row] * np.sum(~np.isnan(table.high[row]), axis=1)
        margin = np.where(known_us < YOUNG_US, YOUNG_MARGIN, MARGIN)
        above = table.high[row] - centre[:, None]
        # A block far below the centre, where that is no trouble, does not make peaks likelier.
        above = np.where(table.upward[row][:, None], np.maximum(above, 0.0), above)
        table.upper[row] = centre + np.maximum(_beyond(above, p, margin), least)
        lower = centre - np.maximum(_beyond(centre[:, None] - table.low[row], p, margin), least)
        table.lower[row] = np.where(table.upward[row], -np.inf, lower)

    def _rest(self, series: Rows, groups: Rows, level: Floats, flagged: npt.NDArray[np.bool_]) -> tuple[Rows, Floats]:
        """Follow the level of flagged series; return those for which it has become the norm."""
        table = self.table
        away = np.where(flagged, table.away[series] + 1, 0)
        table.away[series] = away
        places = np.flatnonzero(flagged)
        row, away, level = series[places], away[places], level[places]
        rest = np.where(away == 1, level, table.rest[row])
        rest = rest + np.maximum(1.0 / np.maximum(away, 1), 1.0 / 120.0) * (level - rest)
        table.rest[row] = rest
        still = np.abs(level - rest) < table.upper[row] - table.centre[row]
        done = np.flatnonzero((away >= self._policies.get("rebaseline_checks", groups[places])) & still)
        row = row[done]
        before = table.centre[row]
        moved = rest[done] - before
        table.centre[row] = rest[done]
        table.high[row] += moved[:, None]
        table.low[row] += moved[:, None]
        table.side[row], table.away[row], table.beyond[row], table.rising_us[row] = 0, 0, 0, NEVER
        self._limits(row, groups[places[done]])
        return places[done], before


def judged(metric: str) -> bool:
    """Say whether a metric has a level: what only runs out is for forecasts alone."""
    return metric.partition(":")[0] not in ("tls_days_left", "disk_free_ratio", "inode_free_ratio")


def least_change(centre: Floats, *, relative: Any) -> Floats:
    """Return the change that a person would care for, in the metric's unit."""
    change: Floats = np.where(relative, LEAST_CHANGE * np.abs(centre), LEAST_RATIO_CHANGE)
    return change


def _beyond(extremes: Floats, p: Floats, margin: Floats) -> Floats:
    """Return what the next block's maximum passes with probability p, and at least `margin` times the highest so far.

    Args:
        extremes: By block, as distances from the centre, nan where there is none, shape (n, BLOCKS); at least one of
            each row is a number.
        p, margin: Shape (n,).
    """
    highest: Floats = np.nanmax(extremes, axis=1)
    # One wild day does not blind the others: the highest block is a bound, and no part of the fit.
    others = extremes.copy()
    others[np.arange(others.shape[0]), np.nanargmax(others, axis=1)] = np.nan
    count = np.maximum(np.sum(~np.isnan(others), axis=1), 1)
    mean = np.nansum(others, axis=1) / count
    squares = np.nansum((others - mean[:, None]) ** 2, axis=1)
    # What so few blocks may have missed.
    deviation = np.sqrt(squares / np.maximum(count - 1, 1)) * (1.0 + 3.0 / count)
    limit = mean + deviation * (GUMBEL_SCALE * -np.log(-np.log1p(-p)) - GUMBEL_MEAN)
    alone = np.isnan(others).all(axis=1)
    return np.maximum(np.where(alone, highest, limit), margin * highest)
