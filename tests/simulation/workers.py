"""Detect and sink as members of a world."""

from collections.abc import Iterator, Sequence
from typing import Any

from analytics.buffer import Buffered
from producers.errors import TransientError
from producers.marks import Mark
from streams.contract import Snapshot
from streams.flow import Flow, Saving
from streams.group import Assigned
from streams.keeper import StateCut
from streams.starts import RUNNING, How, Start
from tests.simulation.members import Bug, Disk, Member, World
from tests.simulation.parts import VERDICTS, SimDetect, SimPart, SimSink, moved_to


class DetectMember(Member):
    """Keeps a state: read, apply, publish, snapshot, commit; load."""

    def __init__(self, disk: Disk, world: World) -> None:
        super().__init__(disk, world)
        skip_gaps = world.bug is Bug.GAP_SKIPPED
        self.judging = SimDetect(world.clock, forgetful=world.forgetful, skip_gaps=skip_gaps)
        self.flow: Flow[tuple[StateCut, ...]] = Flow(self.judging)
        self._written: set[Mark] = set()
        self._incomplete: dict[int, tuple[How, Assigned]] = {}

    @property
    def seen(self) -> dict[int, set[str]]:
        """What its states hold, by partition."""
        return {number: part.seen for number, part in self.judging.keeper.parts.items() if isinstance(part, SimPart)}

    def load(self) -> bool:
        """See Member."""
        if self._loading is None:
            return False
        keeper = self.judging.keeper
        chosen = [(one, *self._found(one)) for one in self._loading]
        for one, start, stored in chosen:
            number = one.place.partition
            self.world.tell(f"{self} begins partition {number} {start.how.value}, reads again {dict(start.again)}")
            if start.how in (How.HALTED, How.PROVISIONAL):
                self._incomplete[number] = (start.how, one)
            if start.how is not How.HALTED:
                keeper.own(number, [one], start, stored)
            if not self._read_again(start):
                self.wants_restart = True
                return True
        self.flow.loaded(self._loading, keeper.positions)
        self.world.tell(f"{self} begins at {sorted(keeper.positions.items())}")
        self._loading = None
        return True

    def _read_again(self, start: Start) -> bool:
        """Take in what the log has before the committed offset; False if it has lost it meanwhile."""
        for place, (first, last) in start.again.items():
            for offset in range(first, last + 1):
                message = self.world.log.read(place, offset)
                if message is None:
                    return False
                self.judging.keeper.handle(message)  # what it causes was published before
        return True

    def look_again(self) -> bool:
        """See Member."""
        for how, one in self._incomplete.values():
            start, _ = self._found(one)
            if start.how is How.PROVISIONAL:
                return False
            self.wants_restart |= how is How.PROVISIONAL or start.how in RUNNING
        return self.wants_restart

    def _found(self, one: Assigned) -> tuple[Start, Sequence[Snapshot]]:
        number, keeper = one.place.partition, self.judging.keeper
        copies = self._as_known(self.disk.copies.get(number, []), one.epoch)
        try:
            stored = self._as_known(self.world.store.load("detect", number), one.epoch)
        except TransientError:
            start = keeper.choose(number, [one], copies, final=self.world.bug is Bug.PROVISIONAL_KEPT)
            return start, ()
        return keeper.choose(number, [one], [*stored, *copies], final=True), stored

    def _as_known(self, snapshots: Sequence[Snapshot], epoch: str) -> list[Snapshot]:
        if self.world.bug is Bug.EPOCHS_COMPARED:
            return [moved_to(one, epoch) for one in snapshots]
        return list(snapshots)

    def _flow_of(self) -> Flow[Any]:
        return self.flow

    def _forget(self) -> None:
        self.flow.forget()
        self._incomplete = {}

    def _save(self) -> Iterator[None]:
        self._turn += 1
        while (saving := self.flow.begin_save(self._turn, self.put)) is not None:
            yield from self._save_piece(saving)

    def _save_piece(self, saving: Saving[tuple[StateCut, ...]]) -> Iterator[None]:
        if self.world.bug is Bug.COMMIT_BEFORE_SNAPSHOT:
            self._commit({place: offset + 1 for place, offset in self.flow.positions.items()})
        while not self._may_keep(saving):
            yield
        snapshots = [one.snapshot() for one in saving.cut]
        for snapshot in snapshots:
            yield
            self.disk.keep(snapshot)
        yield
        stored = self._stored(snapshots)
        yield
        safe = self.judging.keeper.kept(saving.cut, stored=stored)
        self._write(safe.marks)
        yield
        offsets = self.flow.to_commit(saving, safe.positions)
        if self._commit(offsets):
            self.flow.committed(offsets)

    def _may_keep(self, saving: Saving[tuple[StateCut, ...]]) -> bool:
        if self.world.bug is Bug.SNAPSHOT_BEFORE_ACKNOWLEDGEMENT:
            return True
        return self.flow.may_keep(saving, self.acknowledged)

    def _stored(self, snapshots: Sequence[Snapshot]) -> bool:
        try:
            self.world.store.save(*snapshots)
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
        self._turn += 1
        saving = self.flow.begin_save(self._turn, self.put)
        if saving is None:
            return
        if self.world.bug is Bug.COMMIT_BEFORE_INSERT:
            self._commit(self.flow.to_commit(saving, saving.cut.positions))
        put_off = VERDICTS if saving.cut.marks and self._turn % 3 else None
        try:
            batches = {table: ids for table, ids in saving.cut.batches.items() if table != put_off}
            for table, ids in batches.items():
                yield
                self.world.store.insert(table, ids)
            yield
            self.judging.buffer.rows_stored(saving.cut, batches)
            if put_off:
                return  # it is not time for the marks yet: they are part of a later cut, and so are some rows
            if saving.cut.marks:
                self.world.store.keep_marks(list(saving.cut.marks.values()))
        except TransientError:
            return  # what is not stored is part of the next cut
        yield
        offsets = self.flow.to_commit(saving, self.judging.buffer.done(saving.cut))
        if self._commit(offsets):
            self.flow.committed(offsets)
