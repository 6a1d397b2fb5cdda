"""A group whose work is a state that grows with every message: it is kept as snapshots (detect, incidents, alerts)."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from producers import telemetry
from producers.errors import TransientError
from producers.marks import Mark
from streams.blocking import in_thread
from streams.contract import Snapshot, StateStore, payload_checksum
from streams.group import Assigned, LogMessage, OutMessage, Place, Publish
from streams.kept_marks import KeptMarks, Key, Marked, write_marks

KEPT: Final = 3
RETRY_S: Final = 2.0

log_line = telemetry.logger(__name__)


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
class _Kept:
    """How far a snapshot is that the store has."""

    positions: dict[Place, int]
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


@dataclass(frozen=True, slots=True)
class StateCut:
    """Snapshots of the parts that changed, as of one moment of one assignment."""

    term: int
    snapshots: tuple[tuple[Snapshot, tuple[Mark, ...]], ...]


class StateGroup:
    """Keeps its parts' states in the store and in a local copy, and lets the offset of the oldest kept be committed.

    So a damaged newest snapshot never means a gap. With the store away the work goes on and commits wait.

    Attributes:
        parts: By partition number; empty while nothing is assigned or loaded.
    """

    def __init__(
        self,
        name: str,
        topics: tuple[str, ...],
        *,
        code: str,
        make: Callable[[int, Sequence[Assigned]], Part],
        store: StateStore,
        local: StateStore,
        marks: KeptMarks | None = None,
    ) -> None:
        """Make a group.

        Args:
            name: Of the consumer group.
            topics: What is read.
            code: Version of the state's form.
            make: Makes an empty part.
            store: Where snapshots are kept.
            local: Their copy in the worker's own directory.
            marks: With a forgetful log: where to say which messages of outboxes the kept state includes.
        """
        self.name = name
        self.topics = topics
        self._code = code
        self._make = make
        self._store = store
        self._local = local
        self._marks = marks
        self._written_marks: dict[Key, Mark] = {}
        self._owned: dict[int, _Owned] = {}
        self._term = 0

    @property
    def parts(self) -> Mapping[int, Part]:
        """The parts that are ours and loaded, by partition number."""
        return {number: owned.part for number, owned in self._owned.items()}

    async def run(self, publish: Publish) -> None:
        """See Group."""

    def crowded(self) -> bool:
        """See Group: a state never is."""
        return False

    def handle(self, message: LogMessage) -> Sequence[OutMessage]:
        """See Group."""
        owned = self._owned[message.partition]
        outputs = owned.part.handle(message)
        owned.positions[message.place] = message.offset
        owned.marked.note(message)
        owned.dirty = True
        return outputs

    def revoke(self) -> None:
        """See Group."""
        self._term += 1
        self._owned = {}

    async def assign(self, places: Sequence[Assigned]) -> Mapping[Place, int]:
        """See Group."""
        self.revoke()
        by_number: dict[int, list[Assigned]] = {}
        for one in places:
            by_number.setdefault(one.place.partition, []).append(one)
        owned = {number: await self._load(number, ours) for number, ours in by_number.items()}
        self._owned = owned
        return {place: offset for one in owned.values() for place, offset in one.positions.items()}

    async def _load(self, number: int, ours: Sequence[Assigned]) -> _Owned:
        while True:
            copies = await in_thread(lambda: self._local.load(self.name, number))
            try:
                stored = await in_thread(lambda: self._store.load(self.name, number))
            except TransientError as error:
                owned = self._best(number, ours, copies, final=False)
                if owned is not None:
                    return owned
                log_line.warning(
                    "waiting for the store: the state of this partition is there only",
                    group=self.name, partition=number, error=str(error),
                )  # fmt: skip
                await asyncio.sleep(RETRY_S)
            else:
                owned = self._best(number, ours, [*stored, *copies], final=True)
                assert owned is not None
                owned.kept.extend(_kept(stored, ours))
                return owned

    def _best(self, number: int, ours: Sequence[Assigned], found: Sequence[Snapshot], *, final: bool) -> _Owned | None:
        """Return the part restored from the newest snapshot that leaves no gap before the committed offsets.

        Without one: None, or, if there is nowhere else to look (`final`), the newest one or an empty state at the
        committed offsets, which is said if messages are missing in it.
        """
        epochs = {one.place: one.epoch for one in ours}
        for snapshot in sorted(found, key=lambda one: _age(one, ours), reverse=True):
            included = _included(snapshot, ours)
            gap = any(included[one.place] + 1 < (one.committed or 0) for one in ours)
            if gap and not final:
                continue
            part = self._restored(number, ours, snapshot)
            if part is None:
                continue
            if gap:
                self._say_gap(number, ours, included)
                included = {one.place: max(included[one.place], (one.committed or 0) - 1) for one in ours}
            telemetry.SNAPSHOTS.labels(self.name, "loaded").inc()
            return _Owned(part, epochs, included, self._marked())
        if not final:
            return None
        start = {one.place: (one.committed or 0) - 1 for one in ours}
        if any(offset >= 0 for offset in start.values()):
            self._say_gap(number, ours, dict.fromkeys(start, -1))
        return _Owned(self._make(number, ours), epochs, start, self._marked())

    def _marked(self) -> Marked:
        return Marked(self.name, to=self._marks)

    def _say_gap(self, number: int, ours: Sequence[Assigned], included: Mapping[Place, int]) -> None:
        telemetry.SNAPSHOTS.labels(self.name, "gap").inc()
        log_line.error(
            "no snapshot reaches the committed offsets: what lies between is missing in the state",
            group=self.name,
            partition=number,
            gaps=[f"{one.place}: {included[one.place] + 1} to {(one.committed or 0) - 1}" for one in ours],
        )

    def _restored(self, number: int, ours: Sequence[Assigned], snapshot: Snapshot) -> Part | None:
        if snapshot.code != self._code:
            log_line.error(
                "a snapshot of another form is not loaded",
                group=self.name, partition=number, form=snapshot.code, expected=self._code,
            )  # fmt: skip
            return None
        part = self._make(number, ours)
        try:
            part.restore(snapshot.payload)
        except ValueError as error:
            telemetry.SNAPSHOTS.labels(self.name, "damaged").inc()
            log_line.warning("a snapshot is not usable", group=self.name, partition=number, error=str(error))
            return None
        return part

    def cut(self) -> StateCut | None:
        """See Group."""
        changed = {number: owned for number, owned in self._owned.items() if owned.dirty}
        if not changed:
            return None
        snapshots = tuple((self._snapshot(number, owned), owned.marked.copy()) for number, owned in changed.items())
        for owned in changed.values():
            owned.dirty = False
        return StateCut(self._term, snapshots)

    def _snapshot(self, number: int, owned: _Owned) -> Snapshot:
        payload = owned.part.snapshot()
        telemetry.SNAPSHOT_BYTES.labels(self.name, str(number)).set(len(payload))
        return Snapshot(
            group=self.name,
            partition=number,
            positions=tuple((*place, owned.epochs[place], offset) for place, offset in owned.positions.items()),
            taken_at_us=time.time_ns() // 1000,
            code=self._code,
            payload=payload,
            checksum=payload_checksum(payload),
        )

    async def keep(self, cut: StateCut) -> Mapping[Place, int]:
        """See Group. Each part's oldest kept position is safe once three are kept; so are the messages in it."""
        safe: dict[Place, int] = {}
        included: list[Mark] = []
        for snapshot, marks in cut.snapshots:
            stored = await self._save(snapshot)
            owned = self._owned.get(snapshot.partition)
            if owned is None or cut.term != self._term:
                return {}  # the places were lost meanwhile
            if not stored:
                owned.dirty = True
                continue
            positions = {Place(topic, partition): offset for topic, partition, _, offset in snapshot.positions}
            owned.kept.append(_Kept(positions, marks))
            if len(owned.kept) == KEPT:
                safe.update(owned.kept[0].positions)
                included += owned.kept[0].marks
        await write_marks(self._marks, included, self._written_marks)
        return safe

    async def _save(self, snapshot: Snapshot) -> bool:
        """Keep a snapshot in the local copy and in the store; return whether the store has it."""
        try:
            await in_thread(lambda: self._local.save(snapshot))
        except TransientError as error:
            telemetry.SNAPSHOTS.labels(self.name, "local_failed").inc()
            log_line.warning("the local copy of a snapshot is not written", group=self.name, error=str(error))
        try:
            await in_thread(lambda: self._store.save(snapshot))
        except TransientError as error:
            telemetry.SNAPSHOTS.labels(self.name, "waiting").inc()
            log_line.warning("the store is away; commits wait", group=self.name, error=str(error))
            return False
        telemetry.SNAPSHOTS.labels(self.name, "kept").inc()
        return True


def _included(snapshot: Snapshot, ours: Sequence[Assigned]) -> dict[Place, int]:
    """Return the last message of each place that is in a snapshot: -1 where the log is another one by now."""
    known = {(topic, partition, epoch): offset for topic, partition, epoch, offset in snapshot.positions}
    return {one.place: known.get((*one.place, one.epoch), -1) for one in ours}


def _age(snapshot: Snapshot, ours: Sequence[Assigned]) -> tuple[int, int]:
    """Order snapshots by how far they are in this log, then by their time: clocks of two workers may differ."""
    return sum(_included(snapshot, ours).values()), snapshot.taken_at_us


def _kept(stored: Sequence[Snapshot], ours: Sequence[Assigned]) -> list[_Kept]:
    """Return how far the store's snapshots of this log are, oldest first."""
    wanted = {(*one.place, one.epoch) for one in ours}
    of_this_log = [one for one in stored if wanted <= {position[:3] for position in one.positions}]
    return [_Kept(_included(one, ours)) for one in sorted(of_this_log, key=lambda one: _age(one, ours))][-KEPT:]
