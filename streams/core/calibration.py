"""Thresholds that mean the same false-alarm rate on every series: the tail of the largest statistic of a block of time.

A detector's statistic is calibrated on itself, smoothed and correlated as it is: of each block of some hours only the
largest value is kept. Largest values of blocks are nearly independent even where checks are not, and their tail is
nearly exponential (Gumbel) whatever the noise. Mean and variance of these, forgotten slowly, give the value that one
block in 1 / (budget x block) exceeds. Until there are blocks, pseudo-blocks of the detector's own prior speak, and
the scale is widened by what few blocks may have missed.

While a series is flagged its values are held back: an episode that ends well by itself moves the limit, by a bounded
step (or the same innocent thing would warn again and again); one that ends in failures, or in a new norm, does not.

Source:
    Gumbel (1958), Statistics of Extremes, estimates by moments; the streaming use for anomalies after
    Siffert et al. (2017), SPOT, with block maxima instead of excesses because checks are autocorrelated.
"""

import math
from typing import Any, Final

import numpy as np

from streams.core.table import Bools, Column, Floats, Ints, Rows, Table, put, take
from streams.core.watermark import NEVER
from streams.policy import WEEK_US

BLOCK_US: Final = 7_200 * 1_000_000
LEAST_CHECKS: Final = 60
"""A block is over after this time and so many checks: the tail needs some independent values in each."""

MOST_BLOCKS: Final = 336.0
"""Older blocks are forgotten: four weeks of two hours."""

PRIOR_BLOCKS: Final = 6.0
CAUTION: Final = 1.0
"""The scale is widened by CAUTION / sqrt(blocks)."""

FURTHEST: Final = 4.0
"""The largest value of a block counts as so many scales above the mean at most: wilder series take a few blocks."""

LOWEST: Final = 2.0
"""And so many below: a series that is calmer than the prior is not one of a large variance."""

CLIP: Final = 2.0
BEYOND: Final = 1.2
"""An innocent episode moves the limit a bit beyond what it reached, at most so many times as far as it was."""

HIGH: Final = 0.5
PATIENCE: Final = 6
"""A block ends when the statistic is under this part of its limit, or so many times as long."""

_SD_TO_SCALE: Final = math.sqrt(6.0) / math.pi
_EULER: Final = 0.5772156649015329


class TailTable(Table):
    """State by row (a lane, or what the detector's rows are), and by place where each row has several statistics.

    Attributes:
        top, checks, began_us: Largest statistic, checks and first tick of the open block.
        waits: Largest statistic of the block before, not learned yet; -inf none.
        held: Largest statistic of the episode that lasts; -inf without one.
        blocks, mean, variance: Of the largest values of blocks, prior included.
        limit: The threshold.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "top": Column(np.float64, -np.inf),
        "checks": Column(np.int64, 0),
        "began_us": Column(np.int64, NEVER),
        "waits": Column(np.float64, -np.inf),
        "held": Column(np.float64, -np.inf),
        "blocks": Column(np.float64, PRIOR_BLOCKS),
        "mean": Column(np.float64, 0.0),
        "variance": Column(np.float64, 0.0),
        "limit": Column(np.float64, 0.0),
    }
    top: Floats
    checks: Ints
    began_us: Ints
    waits: Floats
    held: Floats
    blocks: Floats
    mean: Floats
    variance: Floats
    limit: Floats

    def __init__(self, mean: float, scale: float, limit: float, width: int) -> None:
        self._shape = () if width == 1 else (width,)
        self._prior = {
            "mean": Column(np.float64, mean),
            "variance": Column(np.float64, (scale / _SD_TO_SCALE) ** 2),
            "limit": Column(np.float64, limit),
        }
        super().__init__()

    def columns(self) -> dict[str, Column]:
        """Return the columns; new rows hold the prior."""
        return {name: column._replace(shape=self._shape) for name, column in {**self.COLUMNS, **self._prior}.items()}


class Tails:
    """The calibration of one detector's statistic, or of several that each of its rows has.

    Shapes are (n,), or (n, width) where a row has several; `rows` and `at_us` are (n,) always.

    Attributes:
        table: By the detector's rows; its part of the snapshot.
    """

    def __init__(self, *, mean: float, scale: float, budget: float, block_us: int = BLOCK_US, width: int = 1) -> None:
        """Begin with a prior.

        Args:
            mean: Of the largest statistic of a block, before any was seen.
            scale: Its Gumbel scale.
            budget: False alarms a series and week, for the first thresholds; later ones are given theirs.
            block_us: Length of a block; several times as long as the statistic remembers.
            width: How many statistics a row has.
        """
        self._block_us = block_us
        self._width = width
        start = np.array([PRIOR_BLOCKS]), np.array([mean]), np.array([scale])
        self.table = TailTable(mean, scale, float(_limit(*start, budget * block_us / WEEK_US)[0]), width)

    def limit(self, rows: Rows) -> Floats:
        """Return the thresholds of these rows."""
        return take(self.table.limit, rows)

    def observe(self, rows: Rows, at_us: Ints, statistic: Floats, flagged: Bools, budget: float | Floats) -> None:
        """Take in one value of each statistic; close the blocks that are over.

        Args:
            rows: Each at most once.
            at_us: Ticks.
            statistic: Finite.
            flagged: The series is off its norm: nothing is learned, the block begins anew.
            budget: False alarms a statistic and week, shape (n,) or a number.
        """
        table = self.table
        at_us = self._beside(at_us)
        top = np.maximum(take(table.top, rows), statistic)
        checks, began_us = take(table.checks, rows) + 1, take(table.began_us, rows)
        np.copyto(began_us, at_us, where=began_us == NEVER)
        length_us = at_us - began_us
        over = (checks >= LEAST_CHECKS) & (length_us >= self._block_us) & ~flagged
        # What is high at the end may be the beginning of a fault: it is learned once it has come down.
        over &= (statistic < HIGH * take(table.limit, rows)) | (length_us >= PATIENCE * self._block_us)
        if over.any():
            cells = _cells(rows, over)
            share = np.minimum(length_us[over], PATIENCE * self._block_us) / WEEK_US
            # A block is learned when the next one has passed too: the first hours of a fault are not normal.
            before = table.waits[cells]
            known = before > -np.inf
            mean, scale = table.mean[cells], _SD_TO_SCALE * np.sqrt(table.variance[cells])
            peak = np.clip(before, mean - LOWEST * scale, mean + FURTHEST * scale)
            learned = tuple(places[known] for places in cells)
            self._learn(learned, peak[known], (self._of(budget, over) * share)[known])
            table.waits[cells] = top[over]
        if flagged.any():
            cells = _cells(rows, flagged)
            table.held[cells] = np.maximum(np.maximum(table.held[cells], table.waits[cells]), top[flagged])
            table.waits[cells] = -np.inf
        anew = over | flagged
        top[anew], checks[anew], began_us[anew] = -np.inf, 0, NEVER
        put(table.top, rows, top)
        put(table.checks, rows, checks)
        put(table.began_us, rows, began_us)

    def release(self, rows: Rows, innocent: Bools, budget: float | Floats) -> None:
        """End the episodes of these rows.

        Args:
            rows: Shape (k,).
            innocent: It passed without a failure: it moves the limits. Otherwise it is forgotten. Shape (k,).
            budget: As for `observe`, shape (k,) or a number.
        """
        table = self.table
        known = self._beside(innocent) & (take(table.held, rows) > -np.inf)
        if known.any():
            cells = _cells(rows, known)
            before = table.limit[cells]
            limit = np.minimum(CLIP * before, np.maximum(before, BEYOND * table.held[cells]))
            reach = _reach(table.blocks[cells], self._of(budget, known) * self._block_us / WEEK_US)
            scale = np.maximum(limit - table.mean[cells], 0.0) / reach
            table.variance[cells], table.limit[cells] = (scale / _SD_TO_SCALE) ** 2, limit
        table.held[rows] = -np.inf

    def _learn(self, cells: tuple[Rows, ...], peak: Floats, exceedances: Floats) -> None:
        """Learn the largest value of a block of each cell; `exceedances` are wanted in such a block."""
        table = self.table
        blocks = np.minimum(table.blocks[cells] + 1.0, MOST_BLOCKS)
        error = peak - table.mean[cells]
        mean = table.mean[cells] + error / blocks
        variance = table.variance[cells] + (error * (peak - mean) - table.variance[cells]) / blocks
        table.blocks[cells], table.mean[cells], table.variance[cells] = blocks, mean, variance
        table.limit[cells] = _limit(blocks, mean, _SD_TO_SCALE * np.sqrt(variance), exceedances)

    def _beside(self, values: Any) -> Any:
        """Return what rows have beside each of their statistics."""
        return values if self._width == 1 else values[:, None]

    def _of(self, budget: float | Floats, places: Bools) -> Floats:
        each = np.asarray(budget, dtype=np.float64)
        return np.broadcast_to(each if each.ndim == 0 else self._beside(each), places.shape)[places]


def _limit(blocks: Floats, mean: Floats, scale: Floats, exceedances: float | Floats) -> Floats:
    """Return the value that `exceedances` blocks in one exceed, if their largest values are Gumbel."""
    limit: Floats = mean + scale * _reach(blocks, exceedances)
    return limit


def _reach(blocks: Floats, exceedances: float | Floats) -> Floats:
    reach: Floats = (-np.log(np.minimum(exceedances, 0.5)) - _EULER) * (1.0 + CAUTION / np.sqrt(blocks))
    return reach


def _cells(rows: Rows, places: Bools) -> tuple[Rows, ...]:
    """Return the index, into columns, of these places of these rows."""
    row, *statistic = np.nonzero(places)
    return rows[row], *statistic
