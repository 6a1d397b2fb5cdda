"""Up to which tick each partition of `checks` is closed, and when that is enough to judge what waits.

A partition tells each slot that it closes, after the verdicts in it. As a rule what waits is judged once all partitions
are closed through it, or, so that a dead partition stops nothing, once the leading one has judged checks that are later
by the lateness.

A log that begins anew (a broker that forgets was restarted) breaks the order within a partition: who judged it before
sends again what the old log had, and who judges it now goes on from there; whoever is quicker comes first. So in its
first two minutes the slots of a partition count only without a gap, like the bytes of a stream: what lies beyond a gap
is held until the slots between have come. And nobody leads: how long somebody takes to send again says nothing of how
far he was.

The same is done when the log stood still, for longer if it stood for long: those that judge have a backlog then, and
each works it off in its own time.
"""

from typing import Final

import msgspec

from streams.contract import TickSummary
from streams.core.standstill import stood_still
from streams.policy import SECOND_US

NEVER: Final = -1

GATHER_US: Final = 120 * SECOND_US
"""So long, by the timestamps of a new log, those that send again may take: as long as detection gathers."""

LONGEST_US: Final = 600 * SECOND_US


def time_to_gather(gap_us: int) -> int:
    """Return how long all partitions are awaited, microseconds.

    Those that judge start anew one after the other, and have the more to work off the longer there was no log.

    Args:
        gap_us: For how long the log had stood still; 0 if it had not, and only begins anew.
    """
    return min(max(GATHER_US, gap_us // 6), LONGEST_US)


class Closing(msgspec.Struct, kw_only=True):
    """How far the partitions are. Part of a snapshot as it is.

    Attributes:
        closed_us: By partition: every tick at or before this is judged and was read here; NEVER: none.
        leading_us: The latest tick of which some partition has judged checks.
        gathers_until_us: The log began anew or stood still: until this, by its timestamps, all may come back.
        logged_us: The log's newest timestamp.
        held: By partition: first and last microsecond of slots beyond a gap.
    """

    closed_us: dict[int, int]
    leading_us: int = NEVER
    gathers_until_us: int | None = None
    logged_us: int = NEVER
    held: dict[int, list[tuple[int, int]]] = {}

    @property
    def through_us(self) -> int:
        """Every tick of every partition at or before this has come."""
        return min(self.closed_us.values())

    @property
    def gathering(self) -> bool:
        """Whether what a partition says may come in another order than it was made in."""
        return self.gathers_until_us is not None

    def logged(self, at_us: int, *, first: bool = False) -> bool:
        """Say when the log took the message that comes next. What is held from a log before stays: it has come.

        Args:
            at_us: Its timestamp; 0 if it has none.
            first: The log begins with it.

        Returns:
            Whether this log goes on after it stood still.
        """
        gap_us = stood_still(self.logged_us, at_us)
        if first or gap_us:
            until_us = at_us + time_to_gather(0 if first else gap_us)
            self.gathers_until_us = max(self.gathers_until_us or NEVER, until_us)
        self.logged_us = max(self.logged_us, at_us)
        return gap_us > 0 and not first

    def close(self, summary: TickSummary) -> None:
        """Take note of a slot that a partition has closed."""
        if summary.locations:
            # A partition without checks is ahead of time by the clock alone: it is no measure of who lags.
            judged_us = min(summary.slot_us + summary.width_us - 1, summary.closed_through_us)
            self.leading_us = max(self.leading_us, judged_us)
        number = summary.partition
        closed_us = self.closed_us.get(number, NEVER)
        if self.gathers_until_us is None or closed_us == NEVER:
            self.closed_us[number] = max(closed_us, summary.closed_through_us)
        else:
            slots = [*self.held.pop(number, ()), (summary.slot_us, summary.closed_through_us)]
            self._join(number, sorted(slots))
        if self.gathers_until_us is not None and self._now_us(summary) >= self.gathers_until_us:
            self._end_gathering()

    def _now_us(self, summary: TickSummary) -> int:
        """Return when a summary was written; of a log without timestamps, as late as its slot was over."""
        return self.logged_us if self.logged_us > 0 else summary.closed_through_us

    def _join(self, number: int, slots: list[tuple[int, int]]) -> None:
        """Close a partition through the slots that follow what is closed; hold the others."""
        while slots and slots[0][0] <= self.closed_us[number] + 1:
            self.closed_us[number] = max(self.closed_us[number], slots.pop(0)[1])
        if slots:
            self.held[number] = slots

    def _end_gathering(self) -> None:
        """What is held is closed, whatever lies before it: it does not come any more."""
        for number, slots in self.held.items():
            self.closed_us[number] = max(self.closed_us[number], *(last_us for _, last_us in slots))
        self.gathers_until_us, self.held = None, {}

    def enough(self, tick_us: int, lateness_us: int) -> bool:
        """Say whether what waits at a tick may be judged: nobody can add to it, or whoever could had its time."""
        return tick_us <= self.through_us or (not self.gathering and tick_us + lateness_us <= self.leading_us)

    def finish(self, end_us: int) -> None:
        """Say that nothing more will come up to a time."""
        self._end_gathering()
        self.closed_us = {number: max(closed_us, end_us) for number, closed_us in self.closed_us.items()}
