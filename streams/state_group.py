"""A group whose work is a state that grows with every message: it is kept as snapshots (detect, incidents, alerts)."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from producers import telemetry
from producers.away import Away
from producers.errors import TransientError
from producers.marks import Mark
from streams.blocking import in_thread
from streams.contract import Snapshot, StateStore
from streams.group import Assigned, LogMessage, OutMessage, Place, Publish
from streams.keeper import Keeper, Part, Start, StateCut
from streams.kept_marks import KeptMarks, Key, write_marks

RETRY_S: Final = 2.0

log_line = telemetry.logger(__name__)


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
        self._store = store
        self._local = local
        self._marks = marks
        self._store_away = Away(log_line, "the store is away; commits wait", "the store is back", group=name)
        self._local_away = Away(
            log_line, "the local copy of a snapshot is not written", "local copies are written again", group=name
        )
        self._written_marks: dict[Key, Mark] = {}
        self._keeper = Keeper(name, code=code, make=make, now_us=_now_us, with_marks=marks is not None)

    @property
    def parts(self) -> Mapping[int, Part]:
        """The parts that are ours and loaded, by partition number."""
        return self._keeper.parts

    async def run(self, publish: Publish) -> None:
        """See Group."""

    def crowded(self) -> bool:
        """See Group: a state never is."""
        return False

    def handle(self, message: LogMessage) -> Sequence[OutMessage]:
        """See Group."""
        return self._keeper.handle(message)

    def revoke(self) -> None:
        """See Group."""
        self._keeper.revoke()

    async def assign(self, places: Sequence[Assigned]) -> Mapping[Place, int]:
        """See Group."""
        self.revoke()
        by_number: dict[int, list[Assigned]] = {}
        for one in places:
            by_number.setdefault(one.place.partition, []).append(one)
        starts = {number: await self._load(number, ours) for number, ours in by_number.items()}
        for number, (start, stored) in starts.items():
            self._keeper.own(number, by_number[number], start, stored)
        return self._keeper.positions

    async def _load(self, number: int, ours: Sequence[Assigned]) -> tuple[Start, Sequence[Snapshot]]:
        """Return what a partition begins with, and the snapshots that the store has of it."""
        gone = "waiting for the store: the state of this partition is there only"
        waiting = Away(log_line, gone, "the store is back", group=self.name, partition=number)
        while True:
            copies = await in_thread(lambda: self._local.load(self.name, number))
            try:
                stored = await in_thread(lambda: self._store.load(self.name, number))
            except TransientError as error:
                start = self._keeper.choose(number, ours, copies, final=False)
                if start is not None:
                    self._say(number, start)
                    return start, ()
                waiting.failed(error)
                await asyncio.sleep(RETRY_S)
            else:
                waiting.worked()
                start = self._keeper.choose(number, ours, [*stored, *copies], final=True)
                assert start is not None
                if start.source is None and not await self._warm(start, ours):
                    await asyncio.sleep(RETRY_S)
                    continue
                self._say(number, start)
                return start, stored

    async def _warm(self, start: Start, ours: Sequence[Assigned]) -> bool:  # noqa: ARG002 - for groups that can
        """Let an empty part learn from what is stored, where a group can; False if that must be tried again."""
        return True

    def _say(self, number: int, start: Start) -> None:
        """Say what a partition begins with, if a person should know."""
        for _, why in start.refused:
            telemetry.SNAPSHOTS.labels(self.name, "refused").inc()
            log_line.error("a snapshot is not used", group=self.name, partition=number, reason=why)
        if start.gaps:
            telemetry.SNAPSHOTS.labels(self.name, "gap").inc()
            log_line.error(
                "no snapshot reaches the committed offsets: what lies between is missing in the state",
                group=self.name,
                partition=number,
                gaps=[f"{place}: {first} to {last}" for place, (first, last) in start.gaps.items()],
            )
        if start.source is not None:
            telemetry.SNAPSHOTS.labels(self.name, "loaded").inc()

    def cut(self) -> StateCut | None:
        """See Group."""
        cut = self._keeper.cut()
        for snapshot, _ in () if cut is None else cut.snapshots:
            telemetry.SNAPSHOT_BYTES.labels(self.name, str(snapshot.partition)).set(len(snapshot.payload))
        return cut

    async def keep(self, cut: StateCut) -> Mapping[Place, int]:
        """See Group. Each part's oldest kept position is safe once three are kept; so are the messages in it."""
        stored: list[bool] = []
        for snapshot, _ in cut.snapshots:
            # Once it is away the rest of the cut waits for the next one, ten seconds later: no call may hang for each.
            stored.append(await self._save(snapshot, to_store=all(stored)))
            if cut.term != self._keeper.term:
                return {}  # the places were lost meanwhile
        safe = self._keeper.kept(cut, stored)
        await write_marks(self._marks, safe.marks, self._written_marks)
        return safe.positions

    async def _save(self, snapshot: Snapshot, *, to_store: bool) -> bool:
        """Keep a snapshot in the local copy and, if it is wished, in the store; return whether the store has it."""
        try:
            await in_thread(lambda: self._local.save(snapshot))
        except TransientError as error:
            telemetry.SNAPSHOTS.labels(self.name, "local_failed").inc()
            self._local_away.failed(error)
        else:
            self._local_away.worked()
        try:
            if to_store:
                await in_thread(lambda: self._store.save(snapshot))
        except TransientError as error:
            self._store_away.failed(error)
            to_store = False
        else:
            if to_store:
                self._store_away.worked()
        telemetry.SNAPSHOTS.labels(self.name, "kept" if to_store else "waiting").inc()
        return to_store


def _now_us() -> int:
    return time.time_ns() // 1000
