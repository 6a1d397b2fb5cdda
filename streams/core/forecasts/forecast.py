"""Time left until something is used up: one series a (lane, metric), judged by what kind of thing it is.

What ends at a known time is in `certificates`, what runs out by being used in `depletion`.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streams.core.forecasts.certificates import Renewals, time_left_us
from streams.core.forecasts.depletion import Depletions
from streams.core.nearer import UNKNOWN_US, nearer
from streams.core.policies import Policies
from streams.core.table import Bools, Column, Floats, Ints, Rows, Table
from streams.core.watermark import NEVER

CERTIFICATE: Final = 0
FREE_RATIO: Final = 1
MEMORY: Final = 2
"""Kinds; the readings of MEMORY are what is used of it."""

KINDS: Final = {
    "tls_days_left": CERTIFICATE,
    "disk_free_ratio": FREE_RATIO,
    "inode_free_ratio": FREE_RATIO,
    "memory_used_ratio": MEMORY,
}


class ForecastTable(Table):
    """State by series (lane x metric).

    Attributes:
        kind: CERTIFICATE, FREE_RATIO or MEMORY.
        lane: Whose; row: its place in the table of its kind.
        last: The newest reading; nan before the first.
        active, since_us: It warns, since the first reading that did.
        left_us, left_upper_us: Bounds of the time left; UNKNOWN_US if open.
        told_us: The lower bound when it was told last; UNKNOWN_US if none was.
        limit: The reading at which nothing is left; of a certificate the days left from which it warns.
        score: How sure that is.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "kind": Column(np.int64, FREE_RATIO),
        "lane": Column(np.int64, 0),
        "row": Column(np.int64, 0),
        "last": Column(np.float64, np.nan),
        "active": Column(np.bool_, 0),
        "since_us": Column(np.int64, NEVER),
        "left_us": Column(np.int64, UNKNOWN_US),
        "left_upper_us": Column(np.int64, UNKNOWN_US),
        "told_us": Column(np.int64, UNKNOWN_US),
        "limit": Column(np.float64, 0.0),
        "score": Column(np.float64, 0.0),
    }
    kind: Ints
    lane: Ints
    row: Ints
    last: Floats
    active: Bools
    since_us: Ints
    left_us: Ints
    left_upper_us: Ints
    told_us: Ints
    limit: Floats
    score: Floats


def kind_of(metric: str) -> int | None:
    """Return how a metric is forecast, None if it is not."""
    return KINDS.get(metric.partition(":")[0])


class ForecastChanges(NamedTuple):
    """Places whose warning began or ended, and those that warn on with much less time left than was told."""

    turned: Rows
    nearer: Rows


class Forecasts:
    """The detector `forecast`."""

    def __init__(self, policies: Policies) -> None:
        self.table = ForecastTable()
        self._renewals = Renewals(policies)
        self._depletions = Depletions(policies)

    def add(self, series: int, lane: int, kind: int) -> None:
        """Begin a series."""
        self.table.grow(series + 1)
        part = self._renewals.table if kind == CERTIFICATE else self._depletions.table
        row = part.rows
        part.grow(row + 1)
        if kind != CERTIFICATE:
            self._depletions.table.memory[row] = kind == MEMORY
        self.table.kind[series], self.table.lane[series], self.table.row[series] = kind, lane, row
        self.table.limit[series] = 1.0 if kind == MEMORY else 0.0

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return everything for a snapshot."""
        return {
            **self.table.arrays("forecast"),
            **self._renewals.table.arrays("renewal"),
            **self._depletions.table.arrays("depletion"),
        }

    def load(self, arrays: Mapping[str, npt.NDArray[Any]], series: int) -> None:
        """Take over the arrays of a snapshot of so many series.

        Raises:
            ValueError: If one is missing or has another form.
        """
        self.table.load("forecast", arrays, series)
        certificates = int((self.table.kind[:series] == CERTIFICATE).sum())
        self._renewals.table.load("renewal", arrays, certificates)
        self._depletions.table.load("depletion", arrays, series - certificates)
        self._renewals.reconfigure()

    def update(self, series: Rows, groups: Rows, tick_us: Ints, value: Floats) -> ForecastChanges:
        """Take in n readings, at most one a series.

        Args:
            series: Shape (n,).
            groups: Of the same.
            tick_us: Of the readings.
            value: Finite.

        Returns:
            What is to be told.
        """
        table = self.table
        was = table.active[series]
        table.last[series] = value
        certificates = table.kind[series] == CERTIFICATE
        for mine, judge in ((certificates, self._certificates), (~certificates, self._ratios)):
            there = np.flatnonzero(mine)
            if there.size:
                judge(series[there], groups[there], tick_us[there], value[there])
        active, left_us, told_us = table.active[series], table.left_us[series], table.told_us[series]
        turned = active != was
        near = active & ~turned & nearer(left_us, told_us)
        begun = active & turned
        table.since_us[series[begun]] = tick_us[begun]
        table.told_us[series] = np.where(~active, UNKNOWN_US, np.where(begun | near, left_us, told_us))
        return ForecastChanges(np.flatnonzero(turned), np.flatnonzero(near))

    def _certificates(self, series: Rows, groups: Rows, tick_us: Ints, days: Floats) -> None:  # noqa: ARG002 - as `_ratios`
        table = self.table
        active, limit = self._renewals.update(table.row[series], groups, days, table.active[series])
        table.active[series], table.limit[series] = active, limit
        table.left_us[series] = table.left_upper_us[series] = time_left_us(days)
        table.score[series] = np.maximum(limit - days, 0.0)

    def _ratios(self, series: Rows, groups: Rows, tick_us: Ints, value: Floats) -> None:
        table = self.table
        free = np.where(table.kind[series] == MEMORY, 1.0 - value, value)
        active, found = self._depletions.update(table.row[series], groups, tick_us, free, table.active[series])
        table.active[series] = active
        for place, left in found.items():
            row = series[place]
            table.left_us[row] = UNKNOWN_US if left.lower_us is None else left.lower_us
            table.left_upper_us[row] = UNKNOWN_US if left.upper_us is None else left.upper_us
            table.score[row] = left.score
        over = series[~active]
        table.left_us[over] = table.left_upper_us[over] = UNKNOWN_US
        table.score[over] = 0.0
