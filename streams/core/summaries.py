"""Summaries: per slot, how many checks each location reported, and how far this partition is judged."""

from typing import Final

import numpy as np

from streams.contract import VERSION, LocationCount, TickSummary, derived_id
from streams.core.table import Bools, Ints, Rows
from streams.core.watermark import NEVER

MOST_EMPTY: Final = 8640
"""After a gap in time no more empty slots are told one by one than these, the last ones (a day of 10 s)."""


class Summaries:
    """Counts of the slots that are not told yet.

    Attributes:
        next_us: Start of the next slot to tell; NEVER before anything happened.
        told: A slot was told. Until then what comes may begin earlier than what came first.
        whole_from_us: Of slots that begin before it only a part of their checks may have come.
        counts: (reported, failed) by slot start and location number.
    """

    def __init__(self, width_us: int, partition: int) -> None:
        self._width_us = width_us
        self._partition = partition
        self.next_us = NEVER
        self.told = False
        self.whole_from_us = NEVER
        self.counts: dict[int, dict[int, tuple[int, int]]] = {}

    def begin(self, at_us: int) -> None:
        """Start with the slot of this time, if nothing has started yet, or nothing was told and it is earlier."""
        slot_us = at_us // self._width_us * self._width_us
        if self.next_us == NEVER or (not self.told and slot_us < self.next_us):
            self.next_us = slot_us

    def count(self, tick_us: Ints, location: Rows, reported: Bools, failed: Bools) -> None:
        """Count n judged checks. Those of slots that are told already are not."""
        if tick_us.size == 0:
            return
        self.begin(int(tick_us.min()))
        slot = tick_us // self._width_us
        first, spread = int(slot.min()), int(slot.max() - slot.min()) + 1
        if spread > MOST_EMPTY:  # ticks far from each other: a row for each slot there is
            slots, slot = np.unique(slot, return_inverse=True)
        else:
            slots, slot = np.arange(first, first + spread), slot - first
        locations = int(location.max()) + 1
        key = slot * locations + location
        size = slots.size * locations
        seen = np.bincount(key, minlength=size)
        all_reported = np.bincount(key[reported], minlength=size)
        all_failed = np.bincount(key[failed], minlength=size)
        for place in np.flatnonzero(seen).tolist():
            slot_us = int(slots[place // locations]) * self._width_us
            if slot_us < self.next_us:
                continue
            counts = self.counts.setdefault(slot_us, {})
            before = counts.get(place % locations, (0, 0))
            counts[place % locations] = (
                before[0] + int(all_reported[place]),
                before[1] + int(all_failed[place]),
            )

    def tell(self, closed_through_us: int, locations: list[str]) -> list[TickSummary]:
        """Return the summaries of the slots that are over.

        Args:
            closed_through_us: Every tick at or before it is judged.
            locations: Their names by number.
        """
        if self.next_us == NEVER:
            return []
        end_us = (closed_through_us + 1) // self._width_us * self._width_us
        first_us = max(self.next_us, end_us - MOST_EMPTY * self._width_us)
        slots = sorted(slot_us for slot_us in self.counts if slot_us < min(first_us, end_us))
        slots += range(first_us, end_us, self._width_us)
        self.next_us = max(self.next_us, end_us)
        self.told = self.told or bool(slots)
        return [self._summary(slot_us, locations) for slot_us in slots]

    def _summary(self, slot_us: int, locations: list[str]) -> TickSummary:
        counts = self.counts.pop(slot_us, {})
        named = sorted((locations[number], *both) for number, both in counts.items())
        return TickSummary(
            v=VERSION,
            id=derived_id("summary", self._partition, slot_us),
            partition=self._partition,
            slot_us=slot_us,
            width_us=self._width_us,
            # Not how far all is closed by now: that depends on how checks are cut into messages, and a summary that is
            # published again must say the same.
            closed_through_us=slot_us + self._width_us - 1,
            locations=[
                LocationCount(location=name, reported=reported, failed=failed) for name, reported, failed in named
            ],
            partial=slot_us < self.whole_from_us,
        )
