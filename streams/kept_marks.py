"""Which messages of outboxes a group's kept state includes: what a forgetful log makes necessary."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from producers import telemetry
from producers.errors import TransientError
from producers.marks import Mark, mark_of
from producers.outbox import OutboxMarks
from streams.blocking import in_thread
from streams.group import LogMessage

log_line = telemetry.logger(__name__)

Key = tuple[str, str, int]
"""Outbox id, topic, partition."""


class KeptMarks(Protocol):
    """Where a group writes its marks. Implemented by `analytics`."""

    def keep_marks(self, marks: Sequence[Mark]) -> None:
        """Write them down: the outboxes may forget these messages when all other readers are done too.

        Raises:
            TransientError: The store is away.
        """


class Marks(OutboxMarks, KeptMarks, Protocol):
    """Both sides: what the outbox of a worker reads, and what its group writes."""


class Marked:
    """The marks of what one state has taken in, by outbox and place; nothing unless they are wanted (`noting`)."""

    def __init__(self, reader: str, *, noting: bool) -> None:
        self._reader = reader
        self._noting = noting
        self._marks: dict[Key, Mark] = {}

    def note(self, message: LogMessage) -> None:
        """Take note of a message that is in the state now."""
        found = mark_of(message.headers) if self._noting else None
        if found is None:
            return
        outbox_id, seq = found
        key = (outbox_id, message.topic, message.partition)
        known = self._marks.get(key)
        if known is None or known.seq < seq:
            self._marks[key] = Mark(outbox_id, message.topic, message.partition, seq, message.epoch, self._reader)

    def copy(self) -> tuple[Mark, ...]:
        """Return them as they are now."""
        return tuple(self._marks.values())


async def write_marks(to: KeptMarks | None, marks: Iterable[Mark], written: dict[Key, Mark]) -> None:
    """Write the marks that are not in `written`, and add them there. With the store away the next call does it."""
    news = {(one.outbox_id, one.topic, one.partition): one for one in marks}
    news = {key: one for key, one in news.items() if written.get(key) != one}
    if to is None or not news:
        return
    try:
        await in_thread(lambda: to.keep_marks(list(news.values())))
    except TransientError as error:
        log_line.warning("marks are not written; outboxes grow", error=str(error))
    else:
        written.update(news)
