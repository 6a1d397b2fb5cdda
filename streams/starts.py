"""What a partition of a state's group begins with: the choices, and how far snapshots reach. No I/O."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from streams.contract import Snapshot
from streams.group import Assigned, LogMessage, OutMessage, Place


class Frozen(Protocol):
    """A state as of one moment.

    Attributes:
        size: Bytes that were copied for it.
    """

    @property
    def size(self) -> int:
        """See the attributes."""

    def pack(self) -> bytes:
        """Return it as bytes; may take long, in any thread."""


class Part(Protocol):
    """The state for one partition number, and the only way to advance it."""

    def handle(self, *messages: LogMessage) -> Sequence[OutMessage]:
        """Take in messages of one place; see Group.handle."""

    def freeze(self) -> Frozen:
        """Return the whole state as it is now; as quick as a copy, because nothing is taken in meanwhile."""

    def restore(self, payload: bytes) -> None:
        """Replace the whole state.

        Raises:
            ValueError: It is of another form or damaged.
        """


class How(enum.Enum):
    """How a partition begins."""

    LOADED = "from a snapshot"
    SKIPPING = "from a snapshot, and what is missing is skipped: a person asked for it"
    ANEW = "without a snapshot"
    LOST = "without a snapshot of what was committed once"
    CHANGED = "without a snapshot: all that there are have another form"
    PROVISIONAL = "without the store: nothing is kept"
    HALTED = "not at all: something is missing"


RUNNING: Final = frozenset({How.LOADED, How.SKIPPING, How.ANEW, How.LOST, How.CHANGED})


@dataclass(frozen=True, slots=True)
class Start:
    """What a partition begins with.

    Attributes:
        part: Restored, or empty.
        source: The snapshot that it was restored from; of HALTED the newest that there is.
        included: The last message of each place that is in it; -1 for none.
        again: First and last offset of what must be read from the log again, before anything else.
        gaps: First and last offset of what was committed and is nowhere.
        refused: Snapshots that could not be used, and why.
    """

    how: How
    part: Part
    source: Snapshot | None
    included: Mapping[Place, int]
    again: Mapping[Place, tuple[int, int]]
    gaps: Mapping[Place, tuple[int, int]]
    refused: tuple[tuple[Snapshot, str], ...]


def included(snapshot: Snapshot, ours: Sequence[Assigned]) -> dict[Place, int]:
    """Return the last message of each place that is in a snapshot: -1 where the log is another one by now."""
    known = {(topic, partition, epoch): offset for topic, partition, epoch, offset in snapshot.positions}
    return {one.place: known.get((*one.place, one.epoch), -1) for one in ours}


def age(snapshot: Snapshot, ours: Sequence[Assigned]) -> tuple[int, int]:
    """Order snapshots by how far they are in this log, then by their time: clocks of two workers may differ."""
    return sum(included(snapshot, ours).values()), snapshot.taken_at_us


def between(ours: Sequence[Assigned], reached: Mapping[Place, int]) -> dict[Place, tuple[int, int]]:
    """Return what was committed and is not included."""
    return {
        one.place: (reached[one.place] + 1, (one.committed or 0) - 1)
        for one in ours
        if reached[one.place] + 1 < (one.committed or 0)
    }


def not_in_log(ours: Sequence[Assigned], ranges: Mapping[Place, tuple[int, int]]) -> dict[Place, tuple[int, int]]:
    """Return what of it the log no longer has."""
    firsts = {one.place: one.first for one in ours}
    return {
        place: (first, min(last, firsts[place] - 1)) for place, (first, last) in ranges.items() if first < firsts[place]
    }
