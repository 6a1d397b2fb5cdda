"""What a group of workers is to the frame that runs it (`streams.worker`)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar


class Place(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogMessage:
    """A message as it was read.

    Attributes:
        timestamp_us: The log's own timestamp; 0 if it has none.
        value: Empty for a message without a value.
    """

    epoch: str
    topic: str
    partition: int
    offset: int
    timestamp_us: int
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def place(self) -> Place:
        """Where it was read."""
        return Place(self.topic, self.partition)

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutMessage:
    """A message to be published.

    Attributes:
        partition: Only `checks` has more than one.
        fleeting: Not worth an outbox: in another log it would mean nothing (a clock event), or be made again (what is
            judged provisionally).
    """

    topic: str
    value: bytes
    key: bytes | None = None
    partition: int = 0
    fleeting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """A place that this worker owns from now on.

    Attributes:
        epoch: Of its topic.
        committed: The group's committed offset, of the next message to read; None if it never committed here.
        end: The offset after the last message, as of the assignment.
        first: The first offset that the log still has.
    """

    place: Place
    epoch: str
    committed: int | None
    end: int
    first: int = 0


Cut = TypeVar("Cut")

Publish = Callable[[Sequence[OutMessage]], None]
"""Queues messages for the log, in order; never waits."""


class Group(Protocol[Cut]):
    """One group's work on the places that one worker owns: detect, incidents, alerts, sink.

    All calls come from the worker's event loop. `handle`, `crowded`, `cut` and `revoke` may come while `keep` waits.

    What the frame promises: messages of a place come in order and once; a message at or before the position that
    `assign` returned never comes; outputs are published in order and acknowledged before `keep` is called for them.

    Attributes:
        name: Of the consumer group.
        topics: What is read.
    """

    name: str
    topics: tuple[str, ...]

    @property
    def rest_s(self) -> float:
        """How long to wait at least before the next turn of saving."""

    async def assign(self, places: Sequence[Assigned]) -> Mapping[Place, int]:
        """Load what is known about these places, all that this worker owns; nothing of before is valid any more.

        Returns:
            The offset of the last message that is already included, -1 for none. A place that is left out is not
            read. May wait for a store that is away (detection of the other workers goes on); is cancelled when the
            places are lost meanwhile.
        """

    def revoke(self) -> None:
        """Forget everything: the places are lost. A last `keep` has been tried before."""

    def handle(self, *messages: LogMessage) -> Sequence[OutMessage]:
        """Take in messages of one place, in order; return what they cause to be published.

        What comes of several is what would come of one call for each. Never raises for what a message holds (that is a
        dead letter); an exception is a bug and ends the process before anything is acknowledged.
        """

    def crowded(self) -> bool:
        """Say that `keep` must come before more can be taken in."""

    def due(self) -> bool:
        """Say that so much waits for `keep` that it should not wait for its time: else it will be crowded soon."""

    def hurry(self) -> None:
        """Put nothing off in the next turn of saving: it may be the last one for these places."""

    def cut(self, turn: int) -> Cut | None:
        """Freeze what has been taken in so far, or a part of it, without waiting; None if nothing is new.

        Args:
            turn: Of saving, one more each time. The frame cuts until None comes, which it does when all that came
                after the last cut that was kept was cut once in this turn.
        """

    async def keep(self, cut: Cut) -> Mapping[Place, int]:
        """Make a cut durable.

        Returns:
            The offset of the last message that is safe for each place: the frame commits the one after it. Empty
            if the store is away and it will be tried again with a later cut. May also wait for the store itself;
            it is cancelled when the worker must end or lose its places.
        """

    def troubles(self) -> Sequence[str]:
        """Return what is wrong with places that are ours, one line each, for /healthz and people."""

    async def run(self, publish: Publish) -> None:
        """Do what the group does beside messages (write clock events, send alerts), until cancelled.

        Started once, before the first `assign`; with nothing to do it returns at once. An error ends the process.
        """
