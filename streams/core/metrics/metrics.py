"""The detector `metric_level`: a metric is off if its level is (`metric_level`), or if it is unlike itself (`unusual`).

Every series has a level. Those that come every SLOW_US or slower are looked at by `unusual` too, from the reading on at
which their interval is known: it costs more than a fast series may.
"""

from typing import NamedTuple

import numpy as np

from streams.core.metrics.level import MetricChanges, MetricLevels, least_change
from streams.core.metrics.unusual import SLOW_US, Unusual
from streams.core.policies import Policies
from streams.core.table import Bools, Column, Floats, Ints, Rows, Table
from streams.core.watermark import NEVER

NO_ROW = -1


class MetricTable(Table):
    """State by series.

    Attributes:
        off, since_us: It is off, since that reading.
        row: Of `unusual`; NO_ROW where it is not looked at.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "off": Column(np.bool_, 0),
        "since_us": Column(np.int64, NEVER),
        "row": Column(np.int64, NO_ROW),
    }
    off: Bools
    since_us: Ints
    row: Ints


class Said(NamedTuple):
    """What there is to say of a series, in the metric's unit.

    Attributes:
        baseline: What is normal; of what is unusual, at this hour.
        limit: From where on it is off; None of what is unusual: it is in its range.
        score: 1 at the limit.
    """

    value: float
    baseline: float
    limit: float | None
    score: float


class Metrics:
    """Levels and what is unusual, as one detector."""

    def __init__(self, policies: Policies) -> None:
        self.levels = MetricLevels(policies)
        self.unusual = Unusual(policies)
        self.table = MetricTable()

    @property
    def tables(self) -> dict[str, Table]:
        """The tables of all series by name; those of `unusual` have their own number of rows."""
        return {"metric": self.table, "metric_level": self.levels.table}

    def add(self, series: int, metric: str) -> None:
        """Begin a series."""
        self.table.grow(series + 1)
        self.levels.add(series, metric)

    def update(
        self, series: Rows, groups: Rows, tick_us: Ints, interval_us: Ints, value: Floats
    ) -> MetricChanges | None:
        """Take in n readings, at most one a series.

        Args:
            series: Shape (n,), each at most once.
            groups: Of the same.
            tick_us: Of the readings.
            interval_us: Of their groups.
            value: Finite.

        Returns:
            What changed; None if nothing did.
        """
        table = self.table
        was = table.off[series]
        found = self.levels.update(series, groups, tick_us, value)
        off = self.levels.table.side[series] != 0
        since_us = np.where(off, self.levels.table.since_us[series], tick_us)
        slow = self._slow(series, interval_us)
        if slow.size:
            row = table.row[series[slow]]
            levels, these = self.levels.table, series[slow]
            least = least_change(levels.centre[these], relative=levels.relative[these])
            off[slow] |= self.unusual.update(row, groups[slow], tick_us[slow], value[slow], least, levels.upward[these])
        rebased, before = (np.zeros(0, dtype=np.intp), np.zeros(0)) if found is None else (found.rebased, found.before)
        if rebased.size:
            # A new norm is new in every way.
            off[rebased] = False
            rows = table.row[series[rebased]]
            self.unusual.accept(rows[rows != NO_ROW])
        table.off[series] = off
        left, back = off & ~was, was & ~off
        back[rebased] = False
        if rebased.size == 0 and not (left.any() or back.any()):
            return None
        table.since_us[series[left]] = since_us[left]
        return MetricChanges(np.flatnonzero(left), np.flatnonzero(back), rebased, before)

    def said(self, series: int) -> Said:
        """Return what there is to say of a series now."""
        levels, row = self.levels, int(self.table.row[series])
        value = float(levels.table.level[series])
        if levels.table.side[series] == 0 and row != NO_ROW and self.unusual.table.flagged[row]:
            return Said(value, float(self.unusual.table.normal[row]), None, self.unusual.score(row))
        return Said(value, float(levels.table.centre[series]), levels.limit(series), levels.score(series))

    def load(self, arrays: dict[str, np.ndarray], series: int) -> None:
        """Take over the arrays of a snapshot with so many series.

        Raises:
            ValueError: If one is missing, or has another type, length or width.
        """
        for name, table in self.tables.items():
            table.load(name, arrays, series)
        rows = int((self.table.row[:series] != NO_ROW).sum())
        for name, table in self.unusual.tables.items():
            table.load(name, arrays, rows)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all arrays, for a snapshot."""
        tables = {**self.tables, **self.unusual.tables}
        return {name: array for prefix, table in tables.items() for name, array in table.arrays(prefix).items()}

    def _slow(self, series: Rows, interval_us: Ints) -> Rows:
        """Return the places of the series that `unusual` looks at, new ones included."""
        row = self.table.row[series]
        new = np.flatnonzero((row == NO_ROW) & (interval_us >= SLOW_US))
        if new.size:
            first = self.unusual.table.rows
            self.unusual.grow(first + new.size)
            self.table.row[series[new]] = first + np.arange(new.size)
        return np.flatnonzero(self.table.row[series] != NO_ROW)
