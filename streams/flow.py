"""What a worker takes in, keeps and commits, without I/O: the order in which nothing is lost and nothing skipped.

    loaded ─▶ hold, hold, take, ... ─▶ begin_save: the state is cut, the outputs so far are counted
                                     │ shell: wait until they are acknowledged (`may_keep`)
                                     │ shell: let the group keep the cut
                                 to_commit: what is safe and not committed yet, if the places are still ours
                                     │ shell: commit
                                 committed

`streams.intake` drives it with Faust and Kafka, the simulation in the tests with a simulated log.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, Protocol, TypeVar

from streams.group import Assigned, LogMessage, OutMessage, Place

Cut = TypeVar("Cut")
Cut_co = TypeVar("Cut_co", covariant=True)


class Judging(Protocol[Cut_co]):
    """The part of a `streams.group.Group` that does not wait."""

    def handle(self, *messages: LogMessage) -> Sequence[OutMessage]:
        """See Group."""

    def cut(self, turn: int) -> Cut_co | None:
        """See Group."""

    def revoke(self) -> None:
        """See Group."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of messages of one place.

    Attributes:
        messages: That were taken in.
        outputs: What they cause to be published.
        missing: First and last offset of what the log no longer had before or between them.
    """

    messages: Sequence[LogMessage]
    outputs: Sequence[OutMessage]
    missing: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True, slots=True)
class Saving(Generic[Cut]):
    """A cut on its way.

    Attributes:
        generation: Of the assignment that it belongs to.
        outputs: How many messages were put out before it was cut.
    """

    cut: Cut
    generation: int
    outputs: int


class Flow(Generic[Cut]):
    """Hands each message to the group once and in order, and says what may be committed when.

    Attributes:
        positions: The last message taken in, by place that is ours and loaded.
        logged_us: The log's timestamp of it; only of messages taken in since the assignment.
        ready: The places are loaded and messages are taken in.
    """

    def __init__(self, group: Judging[Cut]) -> None:
        self.positions: dict[Place, int] = {}
        self.logged_us: dict[Place, int] = {}
        self.ready = False
        self._group = group
        self._generation = 0
        self._committed: dict[Place, int] = {}
        self._held: dict[Place, list[LogMessage]] = {}

    def loaded(self, assigned: Sequence[Assigned], positions: Mapping[Place, int]) -> None:
        """Take in messages from now on.

        Args:
            assigned: All places that are ours.
            positions: The last message of each that the group's state includes; a place without one is not read.
        """
        self.positions = {one.place: positions[one.place] for one in assigned if one.place in positions}
        self._committed = {one.place: -1 if one.committed is None else one.committed - 1 for one in assigned}
        self.ready = True

    def forget(self) -> None:
        """Take in nothing more and commit nothing more: the places are lost."""
        self.ready = False
        self.positions = {}
        self.logged_us = {}
        self._committed = {}
        self._held = {}
        self._generation += 1
        self._group.revoke()

    def gap_before(self, place: Place, offset: int) -> tuple[int, int] | None:
        """Return the first and last offset between what was read of a place and this one, if any are there."""
        held = self._held.get(place)
        position = held[-1].offset if held else self.positions.get(place)
        return (position + 1, offset - 1) if position is not None and offset > position + 1 else None

    def hold(self, message: LogMessage) -> bool:
        """Keep a message until `take`; False if it is included already or not ours."""
        place = message.place
        held = self._held.get(place)
        position = held[-1].offset if held else self.positions.get(place)
        if position is None or message.offset <= position:
            return False
        self._held.setdefault(place, []).append(message)
        return True

    def take(self) -> Iterator[Taken]:
        """Take in all that is held, place by place. Each is one step: nothing comes in between."""
        held, self._held = self._held, {}
        for place, messages in held.items():
            outputs = self._group.handle(*messages)
            offsets = [self.positions[place], *(message.offset for message in messages)]
            missing = tuple((before + 1, after - 1) for before, after in pairwise(offsets) if after > before + 1)
            self.positions[place] = messages[-1].offset
            self.logged_us[place] = messages[-1].timestamp_us
            yield Taken(messages, outputs, missing)

    def begin_save(self, turn: int, outputs: int) -> Saving[Cut] | None:
        """Cut the group's state; None if nothing is new or no places are ours.

        Args:
            turn: See Group.cut.
            outputs: How many messages were put out so far, by whomever: all that caused it are among them.
        """
        if not self.ready:
            return None
        cut = self._group.cut(turn)
        return None if cut is None else Saving(cut, self._generation, outputs)

    @staticmethod
    def may_keep(saving: Saving[Cut], acknowledged: int) -> bool:
        """Say whether a cut may be kept: a state that is kept never makes its outputs again."""
        return acknowledged >= saving.outputs

    def to_commit(self, saving: Saving[Cut], safe: Mapping[Place, int]) -> dict[Place, int]:
        """Return the offset of the next message to read of each place, where that is news.

        Args:
            saving: What was kept.
            safe: What the group says is safe now.
        """
        if saving.generation != self._generation or not self.ready:
            return {}
        return {place: offset + 1 for place, offset in safe.items() if offset > self._committed.get(place, -1)}

    def committed(self, offsets: Mapping[Place, int]) -> None:
        """Remember what the log has taken of `to_commit`."""
        self._committed.update({place: offset - 1 for place, offset in offsets.items()})
