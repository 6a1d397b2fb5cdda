"""Marks of outboxes: how far those who read a message are with it, so that its outbox may forget it.

A forgetful log loses everything when it is restarted. So an outbox keeps a message until the store has it, and until
the kept state of every group that folds its topic includes it: a group that comes back with an older state must find
again what it has not seen.
"""

from collections.abc import Iterable
from typing import NamedTuple

from producers.topics import OUTBOX_HEADER


class Mark(NamedTuple):
    """A reader is done with every message of this outbox in this partition up to `seq`.

    Attributes:
        epoch: Of the log in which it read the last one.
        reader: `sink`: they are stored. Another group: its kept state includes them.
    """

    outbox_id: str
    topic: str
    partition: int
    seq: int
    epoch: str
    reader: str = "sink"


def mark_of(headers: Iterable[tuple[str, bytes]]) -> tuple[str, int] | None:
    """Return (outbox id, number) of a message's header `outbox`; None without one, or if it is not of that form."""
    for name, value in headers:
        if name == OUTBOX_HEADER:
            outbox_id, _, number = value.decode("utf-8", errors="replace").rpartition(":")
            if outbox_id and number.isascii() and number.isdigit() and len(number) < 19:
                return outbox_id, int(number)
    return None
