"""Readings of named metrics: numbers for (lane, metric), and the readings that wait for their tick to close."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from streams.core.pending import READING, Runs, Structured, expand
from streams.core.table import Floats, Ints, Rows


class Reading(NamedTuple):
    """Readings of one round, each of shape (n,), in the order of groups."""

    series: Rows
    lanes: Rows
    groups: Rows
    tick_us: Ints
    value: Floats


class Readings:
    """What one detector of metrics reads.

    Attributes:
        names: (lane, metric) by series.
        waiting: Readings whose tick is open, beside the check (uid) that brought each.
    """

    def __init__(self, begin: Callable[[int, str], None]) -> None:
        self._begin = begin
        self._numbers: dict[tuple[int, str], int] = {}
        self._by_run: tuple[Rows, Rows, Rows, Rows] | None = None
        self.names: list[tuple[int, str]] = []
        self.waiting: Structured = np.zeros(0, dtype=READING)

    def add(self, uids: Ints, lanes: Rows, metric: str, value: Floats) -> None:
        """Keep n readings of one metric, each of another check."""
        keys = [(lane, metric) for lane in lanes.tolist()]
        for key in keys:
            if key not in self._numbers:
                self._number(key)
        readings = np.zeros(len(keys), dtype=READING)
        readings["uid"], readings["value"] = uids, value
        readings["series"] = [self._numbers[key] for key in keys]
        self.waiting = np.concatenate([self.waiting, readings])

    def drop(self, uids: Ints) -> None:
        """Drop the readings of checks that wait no longer."""
        if self.waiting.size:
            self.waiting = self.waiting[~np.isin(self.waiting["uid"], uids)]

    def sort(self, runs: Runs) -> None:
        """Sort what waits by its run, before rounds are taken."""
        self._by_run = None
        if self.waiting.size == 0:
            return
        uids = runs.rows["uid"]
        by_uid = np.argsort(uids)
        place = np.minimum(np.searchsorted(uids, self.waiting["uid"], sorter=by_uid), uids.size - 1)
        row = by_uid[place]
        found = np.flatnonzero(uids[row] == self.waiting["uid"])
        run = np.searchsorted(runs.start, row[found], side="right") - 1
        order = np.lexsort((self.waiting["series"][found], run))
        bounds = np.searchsorted(run[order], np.arange(runs.start.size + 1))
        self._by_run = (bounds[:-1], bounds[1:], found[order], row[found][order])

    def round(self, runs: Runs, places: Rows, active_us: Ints) -> Reading | None:
        """Return the readings of one round, of the lanes that count at its ticks; None if there are none.

        Args:
            runs: As they were sorted.
            places: The groups in `runs.groups` that the round is about.
            active_us: From which tick on each lane counts, shape (n_lanes,).
        """
        if self._by_run is None:
            return None
        start, stop, reading, row = self._by_run
        run = runs.head[places]
        here = expand(start[run], stop[run])
        if here.size == 0:
            return None
        rows = runs.rows[row[here]]
        counts = active_us[rows["lane"]] <= rows["tick_us"]
        rows, readings = rows[counts], self.waiting[reading[here][counts]]
        return Reading(readings["series"], rows["lane"], rows["group"], rows["tick_us"], readings["value"])

    def load(self, names: list[Any], waiting: npt.NDArray[Any]) -> None:
        """Take over names and waiting readings of a snapshot into an empty one."""
        for lane, metric in names:
            self._number((int(lane), str(metric)))
        self.waiting = waiting.view(READING)

    def _number(self, key: tuple[int, str]) -> None:
        number = self._numbers[key] = len(self.names)
        self.names.append(key)
        self._begin(number, key[1])
