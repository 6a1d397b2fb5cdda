"""How a state that grows with every message is kept, without I/O: what to start from, what to cut, what is safe.

    assigned ─▶ choose ─┬─▶ own ─▶ handle, handle, ...
                        │             │
                        │   kept (three in the store) ◀── shell saves ◀── cut, some parts at a time
                        │             │
                        │             └─▶ the oldest kept one's positions may be committed
                        ├─▶ a gap that the log still has ─▶ shell reads it again ─▶ own
                        ├─▶ nobody to ask ─▶ provisional: handled, never cut, until the store says what is true
                        └─▶ a gap that nobody has ─▶ halted: nothing is handled

`streams.state_group` drives it with a store, the simulation in the tests with a simulated one.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from producers.marks import Mark
from streams.contract import Snapshot, payload_checksum
from streams.group import Assigned, LogMessage, OutMessage, Place
from streams.kept_marks import Marked
from streams.starts import Frozen, How, Part, Start, age, between, included, not_in_log

KEPT: Final = 3

TOGETHER_BYTES: Final = 4 * 1024 * 1024
"""Parts are cut together until they are so large: each write costs the store the same however little is in it, and
copying so much takes about 10 ms, which a message may wait."""


@dataclass(frozen=True, slots=True)
class StateCut:
    """A part that changed, as of one moment of one assignment.

    Attributes:
        number: Of its partition.
        marks: The messages of outboxes that are in it.
    """

    term: int
    group: str
    number: int
    positions: tuple[tuple[str, int, str, int], ...]
    taken_at_us: int
    code: str
    frozen: Frozen
    marks: tuple[Mark, ...]

    def snapshot(self) -> Snapshot:
        """Return it packed. May take long, in any thread."""
        payload = self.frozen.pack()
        return Snapshot(
            group=self.group,
            partition=self.number,
            positions=self.positions,
            taken_at_us=self.taken_at_us,
            code=self.code,
            payload=payload,
            checksum=payload_checksum(payload),
        )


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
        provisional: It is never cut.
        kept: The snapshots that the store has, of this epoch, oldest first.
        dirty: Something was taken in since the last cut that was kept.
        cut_turn: When it was cut last, by turn of saving.
    """

    part: Part
    epochs: dict[Place, str]
    positions: dict[Place, int]
    marked: Marked
    provisional: bool = False
    kept: deque[_Kept] = field(default_factory=lambda: deque(maxlen=KEPT))
    dirty: bool = False
    cut_turn: int = 0


Make = Callable[[int, Sequence[Assigned], How], Part]
"""Makes the empty part of a partition and its places, that begins so; LOADED: it is about to be restored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How a group begins and keeps.

    Attributes:
        code: Version of the state's form.
        make: Makes an empty part.
        from_log: The log alone makes a whole state (its messages are few); else a lost one begins where it was
            committed, and learns elsewhere.
        skip_gaps: What is missing and nowhere is skipped, because a person asked for it.
        with_marks: Note which messages of outboxes a state includes: only with a forgetful log.
    """

    code: str
    make: Make
    from_log: bool = False
    skip_gaps: bool = False
    with_marks: bool = False


class Keeper:
    """The protocol of a group that keeps its state as snapshots. Does nothing but decide.

    Attributes:
        term: Of the assignment: one more at each `revoke`.
    """

    def __init__(self, name: str, rules: Rules, *, now_us: Callable[[], int]) -> None:
        """Make one that owns nothing.

        Args:
            name: Of the consumer group.
            rules: How it begins and keeps.
            now_us: The clock that snapshots are stamped with.
        """
        self.term = 0
        self._name = name
        self._rules = rules
        self._now_us = now_us
        self._owned: dict[int, _Owned] = {}

    @property
    def parts(self) -> Mapping[int, Part]:
        """The parts that are ours and take messages, by partition number."""
        return {number: owned.part for number, owned in self._owned.items()}

    @property
    def positions(self) -> dict[Place, int]:
        """The last message of each place that is in a state."""
        return {place: offset for one in self._owned.values() for place, offset in one.positions.items()}

    def revoke(self) -> None:
        """Forget everything: the places are lost, and no cut of before counts any more."""
        self.term += 1
        self._owned = {}

    def choose(self, number: int, ours: Sequence[Assigned], found: Sequence[Snapshot], *, final: bool) -> Start:
        """Choose what a partition begins with.

        The newest snapshot that can be used, if nothing lies between it and the committed offsets that the log no
        longer has. Without one: provisionally, as long as there is somebody else to ask; else not at all if there is
        one that is too old; else anew.

        Args:
            number: Of the partition.
            ours: Its places.
            found: Snapshots from wherever there are any.
            final: There is nowhere else to look.
        """
        refused: list[tuple[Snapshot, str]] = []
        too_old: Start | None = None
        for snapshot in sorted(found, key=lambda one: age(one, ours), reverse=True):
            part = self._rules.make(number, ours, How.LOADED)
            why = self._refusal(part, snapshot)
            if why is not None:
                refused.append((snapshot, why))
                continue
            reached = included(snapshot, ours)
            missing = between(ours, reached)
            gaps = not_in_log(ours, missing)
            if not gaps:
                return Start(How.LOADED, part, snapshot, reached, missing, {}, tuple(refused))
            if too_old is None:
                how = How.SKIPPING if self._rules.skip_gaps else How.HALTED
                reached |= {place: last for place, (_, last) in missing.items()}
                too_old = Start(how, part, snapshot, reached, {}, gaps, tuple(refused))
        if not final:
            return self._without(How.PROVISIONAL, number, ours, refused)
        if too_old is not None:
            return too_old
        changed = bool(refused) and all(one.code != self._rules.code for one, _ in refused)
        return self._without(How.CHANGED if changed else How.ANEW, number, ours, refused)

    def _refusal(self, part: Part, snapshot: Snapshot) -> str | None:
        if snapshot.code != self._rules.code:
            return f"it is of the form {snapshot.code}, expected {self._rules.code}"
        try:
            part.restore(snapshot.payload)
        except ValueError as error:
            return f"it is damaged: {error}"
        return None

    def _without(
        self, how: How, number: int, ours: Sequence[Assigned], refused: Sequence[tuple[Snapshot, str]]
    ) -> Start:
        """Begin without a snapshot: at the committed offsets, or with all that the log has before them."""
        missing = between(ours, {one.place: -1 for one in ours})
        reached = {one.place: (one.committed or 0) - 1 for one in ours}
        gaps, again = missing, {}
        if self._rules.from_log:
            gaps = not_in_log(ours, missing)
            again = {
                one.place: (one.first, missing[one.place][1])
                for one in ours
                if one.place in missing and one.first <= missing[one.place][1]
            }
            reached |= {place: first - 1 for place, (first, _) in again.items()}
        if how is How.ANEW and (refused or gaps or again):
            how = How.LOST
        return Start(how, self._rules.make(number, ours, how), None, reached, again, gaps, tuple(refused))

    def own(self, number: int, ours: Sequence[Assigned], start: Start, stored: Sequence[Snapshot]) -> None:
        """Own a partition from now on. What must be read again is then handed to `handle`, its outputs to nobody.

        Args:
            number: Of the partition.
            ours: Its places.
            start: What it begins with; not HALTED.
            stored: The snapshots that the store has; none if it is away.
        """
        owned = _Owned(
            start.part,
            {one.place: one.epoch for one in ours},
            dict(start.included),
            Marked(self._name, noting=self._rules.with_marks),
            provisional=start.how is How.PROVISIONAL,
        )
        wanted = {(*one.place, one.epoch) for one in ours}
        of_this_log = [one for one in stored if wanted <= {position[:3] for position in one.positions}]
        by_age = sorted(of_this_log, key=lambda one: age(one, ours))
        owned.kept.extend(_Kept(included(one, ours)) for one in by_age[-KEPT:])
        self._owned[number] = owned

    def handle(self, *messages: LogMessage) -> Sequence[OutMessage]:
        """Take in messages of one place, at least one; see Group.handle."""
        last = messages[-1]
        owned = self._owned[last.partition]
        outputs = owned.part.handle(*messages)
        owned.positions[last.place] = last.offset
        for message in messages:
            owned.marked.note(message)
        owned.dirty = True
        return outputs

    def touch(self, number: int) -> None:
        """Say that a part has changed without a message."""
        self._owned[number].dirty = True

    def cut(self, turn: int) -> tuple[StateCut, ...] | None:
        """Freeze parts that changed, until they are TOGETHER_BYTES; None if none is left.

        Args:
            turn: Of saving; each part is frozen once in it at most. Those come first that were cut longest ago.
        """
        changed = [
            number
            for number, owned in self._owned.items()
            if owned.dirty and not owned.provisional and owned.cut_turn < turn
        ]
        if not changed:
            return None
        cuts: list[StateCut] = []
        size = 0
        for number in sorted(changed, key=lambda one: self._owned[one].cut_turn):
            cuts.append(self._cut(number, turn))
            size += cuts[-1].frozen.size
            if size >= TOGETHER_BYTES:
                break
        return tuple(cuts)

    def _cut(self, number: int, turn: int) -> StateCut:
        owned = self._owned[number]
        owned.cut_turn, owned.dirty = turn, False
        return StateCut(
            term=self.term,
            group=self._name,
            number=number,
            positions=tuple((*place, owned.epochs[place], offset) for place, offset in owned.positions.items()),
            taken_at_us=self._now_us(),
            code=self._rules.code,
            frozen=owned.part.freeze(),
            marks=owned.marked.copy(),
        )

    def kept(self, cuts: Sequence[StateCut], *, stored: bool) -> Safe:
        """Say what is safe now: what the oldest kept snapshot of each part includes, once three are kept.

        Args:
            cuts: What was to be kept.
            stored: Whether the store has all of them.
        """
        if any(cut.term != self.term for cut in cuts):
            return NOTHING_SAFE  # the places were lost meanwhile
        if not stored:
            for cut in cuts:
                self._owned[cut.number].dirty = True
            return NOTHING_SAFE
        safe = [self._kept(cut) for cut in cuts]
        positions = {place: offset for one in safe for place, offset in one.positions.items()}
        return Safe(positions, tuple(mark for one in safe for mark in one.marks))

    def _kept(self, cut: StateCut) -> Safe:
        owned = self._owned[cut.number]
        reached = {Place(topic, partition): offset for topic, partition, _, offset in cut.positions}
        owned.kept.append(_Kept(reached, cut.marks))
        if len(owned.kept) < KEPT:
            return NOTHING_SAFE
        return Safe(owned.kept[0].positions, owned.kept[0].marks)
