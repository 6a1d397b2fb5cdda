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
from typing import Final

import numpy as np

from streams.core.table import Bools, Column, Floats, Ints, Rows, Table
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
    """State by row (a lane, or what the detector's rows are).

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

    def __init__(self, mean: float, scale: float, limit: float) -> None:
        self._prior = {
            "mean": Column(np.float64, mean),
            "variance": Column(np.float64, (scale / _SD_TO_SCALE) ** 2),
            "limit": Column(np.float64, limit),
        }
        super().__init__()

    def columns(self) -> dict[str, Column]:
        """Return the columns; new rows hold the prior."""
        return {**self.COLUMNS, **self._prior}


class Tails:
    """The calibration of one detector's statistic.

    Attributes:
        table: By the detector's rows; its part of the snapshot.
    """

    def __init__(self, *, mean: float, scale: float, budget: float, block_us: int = BLOCK_US) -> None:
        """Begin with a prior.

        Args:
            mean: Of the largest statistic of a block, before any was seen.
            scale: Its Gumbel scale.
            budget: False alarms a series and week, for the first thresholds; later ones are given theirs.
            block_us: Length of a block; several times as long as the statistic remembers.
        """
        self._block_us = block_us
        start = np.array([PRIOR_BLOCKS]), np.array([mean]), np.array([scale])
        self.table = TailTable(mean, scale, float(_limit(*start, budget * block_us / WEEK_US)[0]))

    def limit(self, rows: Rows) -> Floats:
        """Return the threshold of each row, shape (n,)."""
        limit: Floats = self.table.limit[rows]
        return limit

    def observe(self, rows: Rows, at_us: Ints, statistic: Floats, flagged: Bools, budget: float | Floats) -> None:
        """Take in one value of each row; close the blocks that are over.

        Args:
            rows: Shape (n,), each at most once.
            at_us: Ticks, shape (n,).
            statistic: Finite, shape (n,).
            flagged: The series is off its norm: nothing is learned, the block begins anew.
            budget: False alarms a series and week, shape (n,) or a number.
        """
        table = self.table
        top = np.maximum(table.top[rows], statistic)
        checks, began_us = table.checks[rows] + 1, table.began_us[rows]
        began_us = np.where(began_us == NEVER, at_us, began_us)
        length_us = at_us - began_us
        over = (checks >= LEAST_CHECKS) & (length_us >= self._block_us) & ~flagged
        # What is high at the end may be the beginning of a fault: it is learned once it has come down.
        over &= (statistic < HIGH * table.limit[rows]) | (length_us >= PATIENCE * self._block_us)
        if over.any():
            row = rows[over]
            share = np.minimum(length_us[over], PATIENCE * self._block_us) / WEEK_US
            # A block is learned when the next one has passed too: the first hours of a fault are not normal.
            before = table.waits[row]
            known = before > -np.inf
            scale = _SD_TO_SCALE * np.sqrt(table.variance[row])
            peak = np.clip(before, table.mean[row] - LOWEST * scale, table.mean[row] + FURTHEST * scale)
            self._learn(row[known], peak[known], (_of(budget, over) * share)[known])
            table.waits[row] = top[over]
        if flagged.any():
            row = rows[flagged]
            table.held[row] = np.maximum(np.maximum(table.held[row], table.waits[row]), top[flagged])
            table.waits[row] = -np.inf
        anew = over | flagged
        table.top[rows] = np.where(anew, -np.inf, top)
        table.checks[rows] = np.where(anew, 0, checks)
        table.began_us[rows] = np.where(anew, NEVER, began_us)

    def release(self, rows: Rows, innocent: Bools, budget: float | Floats) -> None:
        """End the episodes of these rows.

        Args:
            rows: Shape (k,).
            innocent: It passed without a failure: it moves the limit. Otherwise it is forgotten.
            budget: As for `observe`, shape (k,) or a number.
        """
        table = self.table
        known = innocent & (table.held[rows] > -np.inf)
        if known.any():
            row = rows[known]
            limit = np.minimum(CLIP * table.limit[row], np.maximum(table.limit[row], BEYOND * table.held[row]))
            reach = _reach(table.blocks[row], _of(budget, known) * self._block_us / WEEK_US)
            scale = np.maximum(limit - table.mean[row], 0.0) / reach
            table.variance[row], table.limit[row] = (scale / _SD_TO_SCALE) ** 2, limit
        table.held[rows] = -np.inf

    def _learn(self, rows: Rows, peak: Floats, exceedances: Floats) -> None:
        """Learn the largest value of a block of each row; `exceedances` are wanted in such a block."""
        table = self.table
        blocks = np.minimum(table.blocks[rows] + 1.0, MOST_BLOCKS)
        error = peak - table.mean[rows]
        mean = table.mean[rows] + error / blocks
        variance = table.variance[rows] + (error * (peak - mean) - table.variance[rows]) / blocks
        table.blocks[rows], table.mean[rows], table.variance[rows] = blocks, mean, variance
        table.limit[rows] = _limit(blocks, mean, _SD_TO_SCALE * np.sqrt(variance), exceedances)


def _limit(blocks: Floats, mean: Floats, scale: Floats, exceedances: float | Floats) -> Floats:
    """Return the value that `exceedances` blocks in one exceed, if their largest values are Gumbel."""
    limit: Floats = mean + scale * _reach(blocks, exceedances)
    return limit


def _reach(blocks: Floats, exceedances: float | Floats) -> Floats:
    reach: Floats = (-np.log(np.minimum(exceedances, 0.5)) - _EULER) * (1.0 + CAUTION / np.sqrt(blocks))
    return reach


def _of(budget: float | Floats, places: Bools) -> Floats:
    return np.broadcast_to(np.asarray(budget, dtype=np.float64), places.shape)[places]
