"""Logs that are read again at a start."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from streams.group import LogMessage, Place


@dataclass
class Messages:
    """A LogRange over messages in memory; `asked` is what was read."""

    messages: Sequence[LogMessage] = ()
    asked: list[tuple[Place, int, int]] = field(default_factory=list)

    async def read(self, place: Place, first: int, last: int, *, epoch: str) -> AsyncIterator[LogMessage]:
        """See LogRange."""
        self.asked.append((place, first, last))
        for message in self.messages:
            if message.place == place and message.epoch == epoch and first <= message.offset <= last:
                yield message
