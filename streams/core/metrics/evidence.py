"""How unusual a number is among those before it: its rank among the largest, and how far it leaves their range.

A series of numbers is remembered in two halves of up to HALF numbers each: when the newer one is full, the older one
is forgotten. Of each half its range is kept, and its TOP largest strangenesses (distances from a slow centre). The
evidence of a number is -log10 of its conformal p-value, which cannot be less than one in all that was seen, and
beyond the range the logarithm of how far it is out, in widths of the range.

Source:
    Conformal anomaly detection: Laxhammar & Falkman (2014); Vovk et al. (2005). The sliding window in two halves
    is the usual approximation that needs no single number twice.
"""

from typing import Final, NamedTuple

import numpy as np

from streams.core.table import Bools, Column, Floats, Ints, Rows, Table

HALF: Final = 3000
TOP: Final = 64
LEAST: Final = 50
"""Numbers before which nothing is unusual."""

SMALL: Final = 0.02
"""So much of a range beyond it is little: what is out twice as far counts almost twice, a hundred times as far not."""

HUBER: Final = 1.5
FURTHEST: Final = 1e6
"""In widths: further out is no stronger evidence."""

LEAST_WIDTH: Final = 1e-100


class EvidenceTable(Table):
    """State by series, `width` numbers each.

    Attributes:
        counts: Numbers in the older and the newer half, shape (width, 2).
        high, low: Their ranges, shape (width, 2).
        top: The largest strangenesses of each, in no order, shape (width, 2, TOP); -1 where there is none.
        least: The smallest of the newer half's, shape (width,).
        centre, spread: Slow and robust, shape (width,).
    """

    counts: Ints
    high: Floats
    low: Floats
    top: Floats
    least: Floats
    centre: Floats
    spread: Floats

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__()

    def columns(self) -> dict[str, Column]:
        """Return the columns, `width` numbers wide."""
        width = self.width
        return {
            "counts": Column(np.int64, 0, (width, 2)),
            "high": Column(np.float64, -np.inf, (width, 2)),
            "low": Column(np.float64, np.inf, (width, 2)),
            "top": Column(np.float64, -1.0, (width, 2, TOP)),
            "least": Column(np.float64, -1.0, (width,)),
            "centre": Column(np.float64, 0.0, (width,)),
            "spread": Column(np.float64, 0.0, (width,)),
        }


class Weighed(NamedTuple):
    """What was weighed, to be taken in or not. All of shape (n, width) but `series`.

    Attributes:
        evidence: >= 0; 0 before LEAST numbers, and where there is none.
        there: Where there is a number.
    """

    series: Rows
    evidence: Floats
    numbers: Floats
    strangeness: Floats
    there: Bools

    def of(self, chosen: Bools) -> "Weighed":
        """Return those of some series, shape (n,)."""
        return Weighed(
            self.series[chosen],
            self.evidence[chosen],
            self.numbers[chosen],
            self.strangeness[chosen],
            self.there[chosen],
        )


def weigh(table: EvidenceTable, series: Rows, numbers: Floats, *, levels: int) -> Weighed:
    """Weigh n times `width` numbers against those before them.

    Args:
        table: Of all series.
        series: Shape (n,), each at most once.
        numbers: Shape (n, width); NaN is no evidence and is never taken in.
        levels: The first `levels` columns are strange by their distance from their centre, the others from 0.
    """
    there = np.isfinite(numbers)
    y = np.where(there, numbers, 0.0)
    total = table.counts[series].sum(axis=2)
    strangeness = _strangeness(table, series, y, total, levels)
    found = np.where(
        there & (total >= LEAST), _rank(table, series, strangeness, total) + _excess(table, series, y), 0.0
    )
    return Weighed(series, found, y, strangeness, there)


def take_in(table: EvidenceTable, weighed: Weighed, *, levels: int) -> None:
    """Let numbers that were weighed be part of what was seen."""
    _learn(table, weighed, levels)
    _note(table, weighed.series, weighed.numbers, weighed.strangeness, weighed.there)


def _strangeness(table: EvidenceTable, series: Rows, y: Floats, total: Ints, levels: int) -> Floats:
    """The distance from the centre, or from 0; nothing has a distance before there is a centre."""
    away = np.abs(y)
    centre = table.centre[series, :levels]
    away[:, :levels] = np.where(total[:, :levels] == 0, 0.0, np.abs(y[:, :levels] - centre))
    return away


def _learn(table: EvidenceTable, weighed: Weighed, levels: int) -> None:
    """Let the centres follow: after LEAST numbers none moves its centre by more than HUBER spreads times its weight."""
    series, y, there = weighed.series, weighed.numbers[:, :levels], weighed.there[:, :levels]
    total = table.counts[series, :levels].sum(axis=2)
    centre, spread = table.centre[series, :levels], table.spread[series, :levels]
    away = y - centre
    rate = np.maximum(1.0 / (total + 1.0), 1.0 / HALF)
    free = total < LEAST
    moved = centre + rate * np.where(free, away, np.clip(away, -HUBER * spread, HUBER * spread))
    widened = np.where(free, np.abs(away), np.minimum(np.abs(away), 2.0 * HUBER * spread + LEAST_WIDTH))
    first = there & (total == 0)
    table.centre[series, :levels] = np.where(first, y, np.where(there, moved, centre))
    spread += np.where(there & ~first, rate * (widened - spread), 0.0)
    table.spread[series, :levels] = spread


def _rank(table: EvidenceTable, series: Rows, strangeness: Floats, total: Ints) -> Floats:
    larger = (table.top[series] >= strangeness[:, :, None, None]).sum(axis=(2, 3))
    rank: Floats = -np.log10((larger + 1.0) / (total + 1.0))
    return rank


def _excess(table: EvidenceTable, series: Rows, y: Floats) -> Floats:
    high, low = table.high[series].max(axis=2), table.low[series].min(axis=2)
    known = high >= low
    high, low = np.where(known, high, y), np.where(known, low, y)
    out = np.maximum(np.maximum(y - high, low - y), 0.0)
    # Of a constant series every other number is far out, but rounding is nothing.
    width = np.maximum(high - low, 1e-9 * np.maximum(np.abs(high), np.abs(low)))
    excess: Floats = np.log1p(np.minimum(out / np.maximum(width, LEAST_WIDTH), FURTHEST) / SMALL)
    return excess


def _note(table: EvidenceTable, series: Rows, y: Floats, strangeness: Floats, there: Bools) -> None:
    full = there & (table.counts[series, :, 1] >= HALF)
    if full.any():
        place, column = np.nonzero(full)
        _forget(table, series[place], column)
    table.counts[series, :, 1] += there
    high, low = table.high[series, :, 1], table.low[series, :, 1]
    table.high[series, :, 1] = np.where(there, np.maximum(high, y), high)
    table.low[series, :, 1] = np.where(there, np.minimum(low, y), low)
    place, column = np.nonzero(there & (strangeness > table.least[series]))
    row = series[place]
    top = table.top[row, column, 1]
    smallest = top.argmin(axis=1)
    every = np.arange(row.size)
    top[every, smallest] = strangeness[place, column]
    table.top[row, column, 1, smallest] = strangeness[place, column]
    table.least[row, column] = top.min(axis=1)


def _forget(table: EvidenceTable, row: Rows, column: Rows) -> None:
    """The newer half becomes the older one."""
    for array, empty in ((table.counts, 0), (table.high, -np.inf), (table.low, np.inf), (table.top, -1.0)):
        array[row, column, 0] = array[row, column, 1]
        array[row, column, 1] = empty
    table.least[row, column] = -1.0
