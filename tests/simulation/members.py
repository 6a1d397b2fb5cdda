"""The processes of a world: they drive the protocols step by step, and may die between any two steps.

A generator stands for a piece of work that waits: at each `yield` anything else may happen.
"""

import enum
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from producers.topics import OUTBOX_HEADER
from streams.contract import Snapshot
from streams.flow import Flow
from streams.group import Assigned, Place
from streams.keeper import KEPT
from tests.simulation.log import Headers, SimLog
from tests.simulation.parts import CHECKS, VERDICTS, Clock
from tests.simulation.store import SimStore

READERS: Final[Mapping[str, Sequence[str]]] = {CHECKS: ("sink", "detect"), VERDICTS: ("sink",)}


class Bug(enum.Enum):
    """Mistakes that the simulation must find."""

    COMMIT_BEFORE_SNAPSHOT = "commit before snapshot"
    EPOCHS_COMPARED = "offsets compared across epochs"
    COMMIT_BEFORE_INSERT = "commit before insert"
    SNAPSHOT_BEFORE_ACKNOWLEDGEMENT = "snapshot before outputs are acknowledged"
    GAP_SKIPPED = "a gap before the committed offset is skipped"
    PROVISIONAL_KEPT = "a provisional state is kept and committed"


@dataclass
class Outbox:
    """Messages on disk that are not safe yet, with their numbers."""

    name: str
    entries: list[tuple[int, Place, bytes]] = field(default_factory=list)
    next_seq: int = 0

    def append(self, place: Place, value: bytes) -> int:
        """Keep a message; return its number."""
        self.entries.append((self.next_seq, place, value))
        self.next_seq += 1
        return self.next_seq - 1

    def header(self, seq: int) -> Headers:
        """Return what a published message carries."""
        return ((OUTBOX_HEADER, f"{self.name}:{seq}".encode()),)

    def trim(self, store: SimStore) -> None:
        """Forget what every reader is done with."""
        self.entries = [
            one
            for one in self.entries
            if one[0] > store.done(self.name, one[1].topic, one[1].partition, READERS[one[1].topic])
        ]


@dataclass
class Disk:
    """What of a process outlives it."""

    group: str
    outbox: Outbox
    copies: dict[int, list[Snapshot]] = field(default_factory=dict)
    sent_in: str = ""  # the epoch that has all of the outbox

    def keep(self, snapshot: Snapshot) -> None:
        """Keep the three newest copies."""
        kept = [*self.copies.get(snapshot.partition, []), snapshot]
        self.copies[snapshot.partition] = kept[-KEPT:]


@dataclass
class World:
    """What all processes share."""

    log: SimLog
    store: SimStore
    forgetful: bool
    tell: Callable[[str], None]
    clock: Clock = field(default_factory=Clock)
    bug: Bug | None = None
    complaints: list[str] = field(default_factory=list)


class Member(ABC):
    """One process of a group, from its start to its death.

    Attributes:
        generation: Of its assignment, as far as it knows.
        waiting: An assignment that it has not heard of yet.
        ready: Its places are loaded.
        wants_restart: It has found out that only another start helps.
    """

    def __init__(self, disk: Disk, world: World) -> None:
        self.group = disk.group
        self.disk = disk
        self.world = world
        self.epoch = world.log.epoch
        self.generation = -1
        self.waiting: tuple[int, list[Place]] | None = None
        self.wants_restart = False
        self.put = 0
        self.acknowledged = 0
        self._queue: deque[tuple[Place, bytes, int | None]] = deque()
        self._in_flight = 0
        self._loading: list[Assigned] | None = None
        self._saving: Iterator[None] | None = None
        self._turn = 0
        if world.forgetful and disk.sent_in != self.epoch:
            for seq, place, value in disk.outbox.entries:
                self._enqueue(place, value, seq)
        self._unsent = self.put
        if self._unsent == 0:
            disk.sent_in = self.epoch

    def __str__(self) -> str:
        return self.disk.outbox.name

    @property
    def idle(self) -> bool:
        """Nothing is on its way out and no save is under way."""
        return not self._queue and self._in_flight == 0 and self._saving is None

    # The steps. Each returns whether it did anything.

    def hear(self) -> bool:
        """Hear of a new assignment: nothing of before is valid any more."""
        if self.waiting is None:
            return False
        self.generation, places = self.waiting
        self.waiting = None
        self._saving = None
        self._forget()
        self._loading = self.world.log.assigned(self.group, places)
        return True

    def send(self) -> bool:
        """Publish the next output; in a forgetful world it is on disk before."""
        if not self._queue or self.epoch != self.world.log.epoch:
            return False
        place, value, seq = self._queue.popleft()
        headers: Headers = ()
        if self.world.forgetful:
            seq = self.disk.outbox.append(place, value) if seq is None else seq
            headers = self.disk.outbox.header(seq)
        self.world.log.append(place, value, headers)
        self._in_flight += 1
        return True

    def hear_acknowledgement(self) -> bool:
        """Hear that the log has the next one."""
        if self._in_flight == 0:
            return False
        self._in_flight -= 1
        self.acknowledged += 1
        if self.acknowledged == self._unsent:
            self.disk.sent_in = self.epoch  # not before: what is killed earlier must send all of it again
        return True

    def save(self) -> bool:
        """Go on with a save, or begin one."""
        fresh = self._saving is None
        if self._saving is None:
            self._saving = self._save()
        for _ in self._saving:
            return True
        self._saving = None
        return not fresh

    def trim(self) -> bool:
        """Forget what is safe."""
        before = len(self.disk.outbox.entries)
        self.disk.outbox.trim(self.world.store)
        return len(self.disk.outbox.entries) < before

    @abstractmethod
    def load(self) -> bool:
        """Load what is known of the places; try again later if the store is away."""

    def look_again(self) -> bool:
        """Ask whether what was missing at the start can be had by now."""
        return False

    def take(self, place: Place, offset: int | None = None) -> bool:
        """Take in the next message of a place, or one that came before already."""
        flow = self._flow_of()
        if place not in flow.positions or self.epoch != self.world.log.epoch:
            return False
        message = self.world.log.read(place, flow.positions[place] + 1 if offset is None else offset)
        if message is None or not flow.hold(message):
            return False
        for taken in flow.take():
            if taken.missing:
                self.world.complaints.append(f"{self}: {place} misses {taken.missing}")
            for output in taken.outputs:
                self._enqueue(Place(output.topic, output.partition), output.value, None)
        return True

    def position(self, place: Place) -> int:
        """Return the last message that it has taken in."""
        return self._flow_of().positions[place]

    def places(self) -> list[Place]:
        """Return the places that it takes messages from."""
        return list(self._flow_of().positions)

    def _enqueue(self, place: Place, value: bytes, seq: int | None) -> None:
        self._queue.append((place, value, seq))
        self.put += 1

    def _commit(self, offsets: Mapping[Place, int]) -> bool:
        done = self.world.log.commit(self.group, self.generation, self.epoch, offsets)
        if offsets:
            self.world.tell(f"{self} commits {_shown(offsets)}: {'done' if done else 'refused'}")
        return done

    @abstractmethod
    def _flow_of(self) -> Flow[Any]:
        """Return the protocol of what it takes in."""

    @abstractmethod
    def _forget(self) -> None:
        """Forget everything: the places are lost."""

    @abstractmethod
    def _save(self) -> Iterator[None]:
        """Keep what was taken in, one step at each turn."""


def _shown(offsets: Mapping[Place, int]) -> str:
    return ", ".join(f"{place}@{offset}" for place, offset in sorted(offsets.items())) or "nothing"
