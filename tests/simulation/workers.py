"""Detect and sink as members of a world."""

from collections.abc import Iterator, Sequence
from typing import Any

from analytics.buffer import Buffered
from producers.errors import TransientError
from producers.marks import Mark
from streams.contract import Snapshot
from streams.flow import Flow, Saving
from streams.group import Assigned
from streams.keeper import Start, StateCut
from tests.simulation.members import Bug, Disk, Member, World
from tests.simulation.parts import SimDetect, SimPart, SimSink, moved_to


class DetectMember(Member):
    """Keeps a state: read, apply, publish, snapshot, commit; load."""

    def __init__(self, disk: Disk, world: World) -> None:
        super().__init__(disk, world)
        self.judging = SimDetect(world.clock, forgetful=world.forgetful)
        self.flow: Flow[StateCut] = Flow(self.judging)
        self._written: set[Mark] = set()

    @property
    def seen(self) -> dict[int, set[str]]:
        """What its states hold, by partition."""
        return {number: part.seen for number, part in self.judging.keeper.parts.items() if isinstance(part, SimPart)}

    def load(self) -> bool:
        """See Member."""
        if self._loading is None:
            return False
        keeper, chosen = self.judging.keeper, []
        for one in self._loading:
            number = one.place.partition
            found = self._found(one)
            if found is None:
                return False
            start, stored = found
            if start.gaps:
                self.world.complaints.append(f"{self}: no snapshot reaches what was committed: {start.gaps}")
            chosen.append((number, one, start, stored))
        for number, one, start, stored in chosen:
            keeper.own(number, [one], start, stored)
        self.flow.loaded(self._loading, keeper.positions)
        self.world.tell(f"{self} begins at {sorted(keeper.positions.items())}")
        self._loading = None
        return True

    def _found(self, one: Assigned) -> tuple[Start, Sequence[Snapshot]] | None:
        number, keeper = one.place.partition, self.judging.keeper
        copies = self._as_known(self.disk.copies.get(number, []), one.epoch)
        try:
            stored = self._as_known(self.world.store.load("detect", number), one.epoch)
        except TransientError:
            start = keeper.choose(number, [one], copies, final=False)
            return None if start is None else (start, ())
        start = keeper.choose(number, [one], [*stored, *copies], final=True)
        assert start is not None
        return start, stored

    def _as_known(self, snapshots: Sequence[Snapshot], epoch: str) -> list[Snapshot]:
        if self.world.bug is Bug.EPOCHS_COMPARED:
            return [moved_to(one, epoch) for one in snapshots]
        return list(snapshots)

    def _flow_of(self) -> Flow[Any]:
        return self.flow

    def _forget(self) -> None:
        self.flow.forget()

    def _save(self) -> Iterator[None]:
        saving = self.flow.begin_save(self.put)
        if saving is None:
            return
        if self.world.bug is Bug.COMMIT_BEFORE_SNAPSHOT:
            self._commit({place: offset + 1 for place, offset in self.flow.positions.items()})
        while not self._may_keep(saving):
            yield
        stored: list[bool] = []
        for snapshot, _ in saving.cut.snapshots:
            yield
            self.disk.keep(snapshot)
            yield
            stored.append(self._stored(snapshot))
            if saving.cut.term != self.judging.keeper.term:
                return
        yield
        safe = self.judging.keeper.kept(saving.cut, stored)
        self._write(safe.marks)
        yield
        offsets = self.flow.to_commit(saving, safe.positions)
        if self._commit(offsets):
            self.flow.committed(offsets)

    def _may_keep(self, saving: Saving[StateCut]) -> bool:
        if self.world.bug is Bug.SNAPSHOT_BEFORE_ACKNOWLEDGEMENT:
            return True
        return self.flow.may_keep(saving, self.acknowledged)

    def _stored(self, snapshot: Snapshot) -> bool:
        try:
            self.world.store.save(snapshot)
        except TransientError:
            return False
        return True

    def _write(self, marks: Sequence[Mark]) -> None:
        """Write the marks that are news; with the store away the next ones include them."""
        news = [mark for mark in marks if mark not in self._written]
        if not news:
            return
        try:
            self.world.store.keep_marks(news)
        except TransientError:
            return
        self._written.update(news)


class SinkMember(Member):
    """Keeps rows: read, insert, verify, mark, commit."""

    def __init__(self, disk: Disk, world: World) -> None:
        super().__init__(disk, world)
        self.judging = SimSink(forgetful=world.forgetful)
        self.flow: Flow[Buffered[str]] = Flow(self.judging)

    def load(self) -> bool:
        """See Member: it begins at what was committed."""
        if self._loading is None:
            return False
        self.flow.loaded(self._loading, self.judging.buffer.start(self._loading))
        self._loading = None
        return True

    def _flow_of(self) -> Flow[Any]:
        return self.flow

    def _forget(self) -> None:
        self.flow.forget()

    def _save(self) -> Iterator[None]:
        saving = self.flow.begin_save(self.put)
        if saving is None:
            return
        if self.world.bug is Bug.COMMIT_BEFORE_INSERT:
            self._commit(self.flow.to_commit(saving, saving.cut.positions))
        try:
            for table, ids in saving.cut.batches.items():
                yield
                self.world.store.insert(table, ids)
            yield
            if saving.cut.marks:
                self.world.store.keep_marks(list(saving.cut.marks.values()))
        except TransientError:
            return  # what is not stored is part of the next cut
        yield
        offsets = self.flow.to_commit(saving, self.judging.buffer.stored(saving.cut))
        if self._commit(offsets):
            self.flow.committed(offsets)
