"""A log in memory: partitions, committed offsets, groups with generations. It may forget everything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from streams.group import Assigned, LogMessage, Place

Headers = tuple[tuple[str, bytes], ...]


@dataclass
class SimLog:
    """What the broker has.

    Attributes:
        life: How often it began anew; gives the epoch.
        messages: Value and headers by place and offset.
        committed: Offset of the next message to read, by group and place.
        generations: Of the groups: a commit of an older one is refused.
        firsts: The first offset that is still there, by place.
    """

    places: Sequence[Place]
    life: int = 0
    messages: dict[Place, list[tuple[bytes, Headers]]] = field(default_factory=dict)
    committed: dict[tuple[str, Place], int] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)
    firsts: dict[Place, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.messages = {place: [] for place in self.places}

    @property
    def epoch(self) -> str:
        """The id of this life."""
        return f"epoch-{self.life}"

    def append(self, place: Place, value: bytes, headers: Headers = ()) -> None:
        """Take a message."""
        self.messages[place].append((value, headers))

    def read(self, place: Place, offset: int) -> LogMessage | None:
        """Return a message; None if it is not there yet, or no longer."""
        if not self.firsts.get(place, 0) <= offset < len(self.messages[place]):
            return None
        value, headers = self.messages[place][offset]
        return LogMessage(
            epoch=self.epoch,
            topic=place.topic,
            partition=place.partition,
            offset=offset,
            timestamp_us=0,
            key=None,
            value=value,
            headers=headers,
        )

    def assigned(self, group: str, places: Sequence[Place]) -> list[Assigned]:
        """Return what a member is told of its places."""
        return [
            Assigned(
                place=place,
                epoch=self.epoch,
                committed=self.committed.get((group, place)),
                end=len(self.messages[place]),
                first=self.firsts.get(place, 0),
            )
            for place in places
        ]

    def commit(self, group: str, generation: int, epoch: str, offsets: Mapping[Place, int]) -> bool:
        """Commit offsets, unless a member of before asks."""
        if epoch != self.epoch or generation != self.generations.get(group, 0):
            return False
        for place, offset in offsets.items():
            self.committed[group, place] = offset
        return True

    def drop_committed(self, place: Place, groups: Sequence[str]) -> bool:
        """Drop what all of these groups have committed, as retention does; say whether there was anything."""
        before = min(self.committed.get((group, place), 0) for group in groups)
        dropped = before > self.firsts.get(place, 0)
        self.firsts[place] = max(before, self.firsts.get(place, 0))
        return dropped

    def forget(self) -> None:
        """Begin anew with nothing, as the embedded broker does."""
        self.life += 1
        self.messages = {place: [] for place in self.places}
        self.committed = {}
