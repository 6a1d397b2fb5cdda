"""The topics, what identifies a place in them, and which partition a target belongs to."""

import zlib
from dataclasses import dataclass
from typing import Final

CHECKS: Final = "checks.v1"
DEVIATIONS: Final = "deviations.v1"
VERDICTS: Final = "verdicts.v1"
INCIDENTS: Final = "incidents.v1"
ALERTS: Final = "alerts.v1"
ACTIONS: Final = "actions.v1"
DEAD_LETTERS: Final = "dead-letters.v1"

ALL_TOPICS: Final = (CHECKS, DEVIATIONS, VERDICTS, INCIDENTS, ALERTS, ACTIONS, DEAD_LETTERS)
"""Only `checks` is spread over partitions: whoever reads the others must see all targets in one order."""

OUTBOX_HEADER: Final = "outbox"
"""Message header `outbox` = `<outbox id>:<seq>`: what the sink stores as the high-water mark of an outbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place in the log. Offsets are compared only inside one epoch.

    Attributes:
        epoch: `<cluster id>/<topic id>`: another log under the same name is another epoch.
        offset: Of the message. -1: before the first.
    """

    epoch: str
    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


def partition_of(target: str, partitions: int) -> int:
    """Return the partition of `checks` for a target: all its locations keep one order.

    Args:
        target: `customer/name`.
        partitions: The number of partitions of the topic, >= 1.
    """
    return zlib.crc32(target.encode()) % partitions
