"""How a state that grows with every message is kept, without I/O: what to start from, what to cut, what is safe.

    assigned ─▶ choose (newest snapshot of this log without a gap) ─▶ own ─▶ handle, handle, ...
                                                                       │
                              kept (three in the store) ◀── shell saves ◀── cut
                                │
                                └─▶ the oldest kept one's positions may be committed

`streams.state_group` drives it with a store, the simulation in the tests with a simulated one.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from producers.marks import Mark
from streams.contract import Snapshot, payload_checksum
from streams.group import Assigned, LogMessage, OutMessage, Place
from streams.kept_marks import Marked

KEPT: Final = 3


class Part(Protocol):
    """The state for one partition number, and the only way to advance it."""

    def handle(self, message: LogMessage) -> Sequence[OutMessage]:
        """Take in one message; see Group.handle."""

    def snapshot(self) -> bytes:
        """Return the whole state."""

    def restore(self, payload: bytes) -> None:
        """Replace the whole state.

        Raises:
            ValueError: It is of another form or damaged.
        """


@dataclass(frozen=True, slots=True)
class Start:
    """What a partition begins with.

    Attributes:
        part: Restored, or empty.
        source: The snapshot that it was restored from.
        included: The last message of each place that is in it; -1 for none.
        gaps: First and last offset of what was committed and is in no snapshot that can be used.
        refused: Snapshots that could not be used, and why.
    """

    part: Part
    source: Snapshot | None
    included: Mapping[Place, int]
    gaps: Mapping[Place, tuple[int, int]]
    refused: tuple[tuple[Snapshot, str], ...]


@dataclass(frozen=True, slots=True)
class StateCut:
    """Snapshots of the parts that changed, as of one moment of one assignment."""

    term: int
    snapshots: tuple[tuple[Snapshot, tuple[Mark, ...]], ...]


@dataclass(frozen=True, slots=True)
class Safe:
    """What needs not be read again.

    Attributes:
        positions: The last message of each place that three kept snapshots include.
        marks: The messages of outboxes that are in them.
    """

    positions: Mapping[Place, int]
    marks: tuple[Mark, ...]


NOTHING_SAFE: Final = Safe({}, ())


@dataclass(frozen=True, slots=True)
class _Kept:
    """How far a snapshot is that the store has."""

    positions: Mapping[Place, int]
    marks: tuple[Mark, ...] = ()


@dataclass(slots=True)
class _Owned:
    """A part and how far it is.

    Attributes:
        marked: Which messages of outboxes are in it.
        kept: The snapshots that the store has, of this epoch, oldest first.
        dirty: Something was taken in since the last cut that was kept.
    """

    part: Part
    epochs: dict[Place, str]
    positions: dict[Place, int]
    marked: Marked
    kept: deque[_Kept] = field(default_factory=lambda: deque(maxlen=KEPT))
    dirty: bool = False


class Keeper:
    """The protocol of a group that keeps its state as snapshots. Does nothing but decide.

    Attributes:
        term: Of the assignment: one more at each `revoke`.
    """

    def __init__(
        self,
        name: str,
        *,
        code: str,
        make: Callable[[int, Sequence[Assigned]], Part],
        now_us: Callable[[], int],
        with_marks: bool = False,
    ) -> None:
        """Make one that owns nothing.

        Args:
            name: Of the consumer group.
            code: Version of the state's form.
            make: Makes an empty part.
            now_us: The clock that snapshots are stamped with.
            with_marks: Note which messages of outboxes a state includes: only with a forgetful log.
        """
        self.term = 0
        self._name = name
        self._code = code
        self._make = make
        self._now_us = now_us
        self._with_marks = with_marks
        self._owned: dict[int, _Owned] = {}

    @property
    def parts(self) -> Mapping[int, Part]:
        """The parts that are ours and loaded, by partition number."""
        return {number: owned.part for number, owned in self._owned.items()}

    @property
    def positions(self) -> dict[Place, int]:
        """The last message of each place that is in the state."""
        return {place: offset for one in self._owned.values() for place, offset in one.positions.items()}

    def revoke(self) -> None:
        """Forget everything: the places are lost, and no cut of before counts any more."""
        self.term += 1
        self._owned = {}

    def choose(self, number: int, ours: Sequence[Assigned], found: Sequence[Snapshot], *, final: bool) -> Start | None:
        """Choose the newest snapshot that can be used and leaves no gap before the committed offsets.

        Args:
            number: Of the partition.
            ours: Its places.
            found: Snapshots from wherever there are any.
            final: There is nowhere else to look: then the newest one is taken in spite of a gap, or an empty state at
                the committed offsets.

        Returns:
            None if nothing without a gap was found and it is not final.
        """
        refused: list[tuple[Snapshot, str]] = []
        for snapshot in sorted(found, key=lambda one: _age(one, ours), reverse=True):
            reached = included(snapshot, ours)
            gaps = _gaps(ours, reached)
            if gaps and not final:
                continue
            part = self._make(number, ours)
            why = self._refusal(part, snapshot)
            if why is not None:
                refused.append((snapshot, why))
                continue
            for place, (_, last) in gaps.items():
                reached[place] = last
            return Start(part, snapshot, reached, gaps, tuple(refused))
        if not final:
            return None
        start = {one.place: (one.committed or 0) - 1 for one in ours}
        gaps = _gaps(ours, dict.fromkeys(start, -1))
        return Start(self._make(number, ours), None, start, gaps, tuple(refused))

    def _refusal(self, part: Part, snapshot: Snapshot) -> str | None:
        if snapshot.code != self._code:
            return f"it is of the form {snapshot.code}, expected {self._code}"
        try:
            part.restore(snapshot.payload)
        except ValueError as error:
            return f"it is damaged: {error}"
        return None

    def own(self, number: int, ours: Sequence[Assigned], start: Start, stored: Sequence[Snapshot]) -> None:
        """Own a partition from now on.

        Args:
            number: Of the partition.
            ours: Its places.
            start: What it begins with.
            stored: The snapshots that the store has; none if it is away.
        """
        owned = _Owned(
            start.part,
            {one.place: one.epoch for one in ours},
            dict(start.included),
            Marked(self._name, noting=self._with_marks),
        )
        wanted = {(*one.place, one.epoch) for one in ours}
        of_this_log = [one for one in stored if wanted <= {position[:3] for position in one.positions}]
        by_age = sorted(of_this_log, key=lambda one: _age(one, ours))
        owned.kept.extend(_Kept(included(one, ours)) for one in by_age[-KEPT:])
        self._owned[number] = owned

    def handle(self, message: LogMessage) -> Sequence[OutMessage]:
        """Take in one message; see Group.handle."""
        owned = self._owned[message.partition]
        outputs = owned.part.handle(message)
        owned.positions[message.place] = message.offset
        owned.marked.note(message)
        owned.dirty = True
        return outputs

    def cut(self) -> StateCut | None:
        """Freeze the parts that changed; None if none did."""
        changed = {number: owned for number, owned in self._owned.items() if owned.dirty}
        if not changed:
            return None
        snapshots = tuple((self._snapshot(number, owned), owned.marked.copy()) for number, owned in changed.items())
        for owned in changed.values():
            owned.dirty = False
        return StateCut(self.term, snapshots)

    def _snapshot(self, number: int, owned: _Owned) -> Snapshot:
        payload = owned.part.snapshot()
        return Snapshot(
            group=self._name,
            partition=number,
            positions=tuple((*place, owned.epochs[place], offset) for place, offset in owned.positions.items()),
            taken_at_us=self._now_us(),
            code=self._code,
            payload=payload,
            checksum=payload_checksum(payload),
        )

    def kept(self, cut: StateCut, stored: Sequence[bool]) -> Safe:
        """Say what is safe now: of each part what the oldest kept snapshot includes, once three are kept.

        Args:
            cut: What was to be kept.
            stored: For each of its snapshots whether the store has it.
        """
        if cut.term != self.term:
            return NOTHING_SAFE  # the places were lost meanwhile
        positions: dict[Place, int] = {}
        marks: list[Mark] = []
        for (snapshot, included_marks), is_stored in zip(cut.snapshots, stored, strict=True):
            owned = self._owned[snapshot.partition]
            if not is_stored:
                owned.dirty = True
                continue
            reached = {Place(topic, partition): offset for topic, partition, _, offset in snapshot.positions}
            owned.kept.append(_Kept(reached, included_marks))
            if len(owned.kept) == KEPT:
                positions.update(owned.kept[0].positions)
                marks += owned.kept[0].marks
        return Safe(positions, tuple(marks))


def included(snapshot: Snapshot, ours: Sequence[Assigned]) -> dict[Place, int]:
    """Return the last message of each place that is in a snapshot: -1 where the log is another one by now."""
    known = {(topic, partition, epoch): offset for topic, partition, epoch, offset in snapshot.positions}
    return {one.place: known.get((*one.place, one.epoch), -1) for one in ours}


def _age(snapshot: Snapshot, ours: Sequence[Assigned]) -> tuple[int, int]:
    """Order snapshots by how far they are in this log, then by their time: clocks of two workers may differ."""
    return sum(included(snapshot, ours).values()), snapshot.taken_at_us


def _gaps(ours: Sequence[Assigned], reached: Mapping[Place, int]) -> dict[Place, tuple[int, int]]:
    """Return what was committed and is not included."""
    return {
        one.place: (reached[one.place] + 1, (one.committed or 0) - 1)
        for one in ours
        if reached[one.place] + 1 < (one.committed or 0)
    }
