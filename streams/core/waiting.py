"""Checks that wait for their tick to close, by group: to take those of some groups costs nothing of the others.

A location that is dead lets a minute of all others' checks wait, and what the config does not name waits two; every
message would pass over all of that. All rows of a group are taken together and what is left of them is put back
together, so each group has one range of the pool, what is put goes to the pool's end, and what was taken leaves a gap
until half of the pool is gaps.
"""

from typing import Final

import numpy as np

from streams.core.pending import ROW, Structured, expand
from streams.core.table import Rows

LEAST: Final = 1024
"""Rows of the smallest pool."""


class Waiting:
    """The rows that wait, of all groups of a partition."""

    def __init__(self) -> None:
        self._pool: Structured = np.zeros(0, dtype=ROW)
        self._end = 0  # of what was ever put into this pool
        self._start: Rows = np.zeros(0, dtype=np.intp)
        self._stop: Rows = np.zeros(0, dtype=np.intp)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def grow(self, groups: int) -> None:
        """Make room for so many groups."""
        if groups > self._start.size:
            more = np.zeros(max(groups, 2 * self._start.size) - self._start.size, dtype=np.intp)
            self._start, self._stop = np.concatenate([self._start, more]), np.concatenate([self._stop, more])

    def take(self, groups: Rows) -> Structured:
        """Take out all rows of these groups, which are distinct."""
        if self._count == 0:
            return self._pool[:0]
        rows = self._pool[expand(self._start[groups], self._stop[groups])]
        self._start[groups] = self._stop[groups] = 0
        self._count -= rows.size
        return rows

    def put(self, rows: Structured) -> None:
        """Put rows in that are ordered by group, of groups that have none here."""
        if rows.size == 0:
            return
        if self._end + rows.size > self._pool.size:
            self._make_room(rows.size)
        begin, self._end = self._end, self._end + rows.size
        self._pool[begin : self._end] = rows
        self._count += rows.size
        first = np.flatnonzero(np.append(True, rows["group"][1:] != rows["group"][:-1]))
        group = rows["group"][first]
        self._start[group] = begin + first
        self._stop[group] = begin + np.append(first[1:], rows.size)

    def all(self) -> Structured:
        """Return all rows by group; a view or a copy, not to be changed."""
        return self._pool[expand(self._start, self._stop)]

    def _make_room(self, more: int) -> None:
        """Move the rows to the beginning of a pool that is at least half empty then."""
        rows = self.all()
        length = self._stop - self._start
        self._pool = np.zeros(max(LEAST, 2 * (rows.size + more)), dtype=ROW)
        self._pool[: rows.size] = rows
        self._stop = np.cumsum(length)
        self._start = self._stop - length
        self._end = rows.size
