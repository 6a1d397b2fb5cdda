"""What is judged together: one tick of each of many groups, with all their lanes."""

from typing import NamedTuple

import numpy as np

from streams.core.pending import Structured, expand
from streams.core.table import Bools, Ints, Rows


class Round(NamedTuple):
    """One tick of each of m groups, with all n lanes of these groups, reported or not, ordered by (group, location).

    Attributes:
        groups, tick_us: Shape (m,).
        first: Where the lanes of each group begin, shape (m,).
        lanes: Shape (n,); local: the place of each one's group in `groups`; at_us: its tick.
        rows: The check of each lane; what stands where `present` is false means nothing.
        present: It has a check that counts.
        reported, failed: That check says something of the target; it says that it fails.
    """

    groups: Rows
    tick_us: Ints
    first: Rows
    lanes: Rows
    local: Rows
    at_us: Ints
    rows: Structured
    present: Bools
    reported: Bools
    failed: Bools

    def total(self, of: Bools) -> Ints:
        """Return by group how many of its lanes have it. Shape (m,)."""
        if self.first.size == self.lanes.size:  # one each
            return of.astype(np.int64)
        return np.add.reduceat(of, self.first, dtype=np.int64)

    def of(self, places: Rows) -> tuple["Round", Rows]:
        """Return the round of these places in `groups` alone, ascending, and which of the lanes are theirs."""
        if places.size == self.groups.size:
            return self, np.arange(self.lanes.size)
        start = self.first[places]
        size = np.append(self.first[1:], self.lanes.size)[places] - start
        there = expand(start, start + size)
        return Round(
            groups=self.groups[places],
            tick_us=self.tick_us[places],
            first=np.cumsum(size) - size,
            lanes=self.lanes[there],
            local=np.repeat(np.arange(places.size, dtype=np.intp), size),
            at_us=self.at_us[there],
            rows=self.rows[there],
            present=self.present[there],
            reported=self.reported[there],
            failed=self.failed[there],
        ), there
