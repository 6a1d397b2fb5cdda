"""A group whose work is a state that grows with every message: it is kept as snapshots (detect, incidents, alerts)."""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol

from producers import telemetry
from producers.away import Away
from producers.errors import TransientError
from producers.marks import Mark
from streams.blocking import in_thread
from streams.contract import Snapshot, StateStore
from streams.errors import StateFoundError
from streams.group import Assigned, LogMessage, OutMessage, Place, Publish
from streams.keeper import Keeper, Rules, StateCut
from streams.kept_marks import KeptMarks, Key, write_marks
from streams.log_range import LogRange
from streams.starts import RUNNING, How, Part, Start

RETRY_S: Final = 2.0
REST: Final = 9.0
LONGEST_REST_S: Final = 60.0
"""Between two turns of saving at least so many times the CPU time that one takes, up to so long: large states are kept
less often. Not what it takes by the clock: a store that hangs for some seconds must not put off the next turn by a
minute."""

STORE_WAIT_S: Final = 15.0
"""So long a start waits for a store that is away before it judges without a state: a store that was killed is back by
then, and what is judged without a state opens incidents that nobody with one would have opened."""

LOOK_AGAIN_S: Final = 5.0
"""How often the store is asked for a state that is missing."""

log_line = telemetry.logger(__name__)


class LocalCopies(StateStore, Protocol):
    """The copies of snapshots in the worker's own directory."""

    def keep_only(self, group: str, partitions: Collection[int]) -> None:
        """Drop the copies of all other partitions.

        Raises:
            TransientError: The directory cannot be changed.
        """


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
        rules: Rules,
        *,
        store: StateStore,
        local: LocalCopies,
        log_range: LogRange,
        marks: KeptMarks | None = None,
    ) -> None:
        """Make a group.

        Args:
            name: Of the consumer group.
            topics: What is read.
            rules: How its states begin and are kept.
            store: Where snapshots are kept.
            local: Their copy in the worker's own directory.
            log_range: Reads again what lies between a snapshot and the committed offsets.
            marks: With a forgetful log: where to say which messages of outboxes the kept state includes.
        """
        self.name = name
        self.topics = topics
        self._store = store
        self._local = local
        self._log_range = log_range
        self._marks = marks
        self._store_away = Away(log_line, "the store is away; commits wait", "the store is back", group=name)
        self._local_away = Away(
            log_line, "the local copy of a snapshot is not written", "local copies are written again", group=name
        )
        self._written_marks: dict[Key, Mark] = {}
        self._keeper = Keeper(name, rules, now_us=_now_us)
        self._forgetful = rules.with_marks
        self._incomplete: dict[int, tuple[Start, Sequence[Assigned]]] = {}
        self._asks_store: int | None = None  # the one partition that asks a store that was away whether it is back
        self._turn = 0
        self._spent_s = 0.0  # CPU time, in this turn of saving

    @property
    def rest_s(self) -> float:
        """See Group."""
        return min(REST * self._spent_s, LONGEST_REST_S)

    def hurry(self) -> None:
        """See Group: a turn of saving puts nothing off."""

    @property
    def parts(self) -> Mapping[int, Part]:
        """The parts that are ours and take messages, by partition number."""
        return self._keeper.parts

    async def run(self, publish: Publish) -> None:  # noqa: ARG002 - for groups that publish beside messages
        """Look whether the states that are missing can be had by now.

        Raises:
            StateFoundError: One can: with another start all of its messages are read again.
        """
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            for number in tuple(self._incomplete):
                await self._look_again(number)

    async def _look_again(self, number: int) -> None:
        term = self._keeper.term
        before, ours = self._incomplete[number]
        copies = await in_thread(lambda: self._local.load(self.name, number))
        try:
            stored = await in_thread(lambda: self._store.load(self.name, number))
        except TransientError:
            return
        if term != self._keeper.term:
            return
        start = self._keeper.choose(number, ours, [*stored, *copies], final=True)
        if before.how is How.PROVISIONAL or start.how in RUNNING:
            raise StateFoundError(
                f"{self.name}: the store says what the state of partition {number} is: starting again"
            )

    def troubles(self) -> Sequence[str]:
        """See Group."""
        return [
            f"partition {number} is judged without its state, and nothing is committed: the store is away"
            if start.how is How.PROVISIONAL
            else f"partition {number} is stopped: no snapshot reaches what was committed, and the log no longer has it"
            for number, (start, _) in sorted(self._incomplete.items())
        ]

    def crowded(self) -> bool:
        """See Group: a state never is."""
        return False

    def due(self) -> bool:
        """See Group: a state never is."""
        return False

    def handle(self, *messages: LogMessage) -> Sequence[OutMessage]:
        """See Group."""
        return self._keeper.handle(*messages)

    def touch(self, number: int) -> None:
        """Say that a part has changed without a message, so that it is kept."""
        self._keeper.touch(number)

    def revoke(self) -> None:
        """See Group."""
        self._keeper.revoke()
        self._incomplete = {}
        self._asks_store = None
        self._export_incomplete()

    async def assign(self, places: Sequence[Assigned]) -> Mapping[Place, int]:
        """See Group."""
        self.revoke()
        by_number: dict[int, list[Assigned]] = {}
        for one in places:
            by_number.setdefault(one.place.partition, []).append(one)
        if self._forgetful:
            await self._drop_copies_of_others(by_number)
        waits_until_s = time.monotonic() + STORE_WAIT_S  # for all of them together
        starts = {number: await self._load(number, ours, waits_until_s) for number, ours in by_number.items()}
        for number, (start, stored) in starts.items():
            if start.how not in RUNNING:
                self._incomplete[number] = (start, by_number[number])
            if start.how is not How.HALTED:
                self._keeper.own(number, by_number[number], start, stored)
        self._export_incomplete()
        for start, _ in starts.values():
            await self._read_again(start, places)
        return self._keeper.positions

    async def _drop_copies_of_others(self, ours: Collection[int]) -> None:
        """Drop copies of what another worker has now: once that log is forgotten nothing would say how old they are."""
        try:
            await in_thread(lambda: self._local.keep_only(self.name, ours))
        except TransientError as error:
            self._local_away.failed(error)

    async def _load(
        self, number: int, ours: Sequence[Assigned], waits_until_s: float
    ) -> tuple[Start, Sequence[Snapshot]]:
        """Return what a partition begins with, and the snapshots that the store has of it."""
        copies = await in_thread(lambda: self._local.load(self.name, number))
        while True:
            try:
                stored = await in_thread(lambda: self._store.load(self.name, number))
            except TransientError as error:
                self._store_away.failed(error)
                start = self._keeper.choose(number, ours, copies, final=False)
                if start.how is How.PROVISIONAL and time.monotonic() < waits_until_s:
                    await asyncio.sleep(RETRY_S)
                    continue
                self._say(number, start)
                return start, ()
            self._store_away.worked()
            start = self._keeper.choose(number, ours, [*stored, *copies], final=True)
            if start.source is None and not await self._warm(start, ours):
                await asyncio.sleep(RETRY_S)
                continue
            self._say(number, start)
            return start, stored

    async def _warm(self, start: Start, ours: Sequence[Assigned]) -> bool:  # noqa: ARG002 - for groups that can
        """Let an empty part learn from what is stored, where a group can; False if that must be tried again."""
        return True

    async def _read_again(self, start: Start, places: Sequence[Assigned]) -> None:
        """Take in what the log has between a snapshot and the committed offset. It was published before: not again."""
        epochs = {one.place: one.epoch for one in places}
        for place, (first, last) in start.again.items():
            async for message in self._log_range.read(place, first, last, epoch=epochs[place]):
                self._keeper.handle(message)

    def _say(self, number: int, start: Start) -> None:
        """Say what a partition begins with, if a person should know."""
        about = {"group": self.name, "partition": number}
        for _, why in start.refused:
            telemetry.SNAPSHOTS.labels(self.name, "refused").inc()
            if start.how is not How.CHANGED:
                log_line.error("a snapshot is not used", **about, reason=why)
        gaps, again = _shown(start.gaps), _shown(start.again)
        if start.how is How.HALTED:
            telemetry.SNAPSHOTS.labels(self.name, "gap").inc()
            log_line.error(
                "STOPPED: no snapshot reaches what was committed; see docs/production.md", **about, gaps=gaps
            )
        elif start.how is How.PROVISIONAL:
            telemetry.SNAPSHOTS.labels(self.name, "provisional").inc()
            log_line.error("the store and the local copy are missing: judging without what is normal", **about)
        elif start.how is How.SKIPPING:
            telemetry.SNAPSHOTS.labels(self.name, "skipped").inc()
            log_line.error("what is missing in the state is skipped, as was asked for", **about, gaps=gaps)
        elif start.how is How.CHANGED:
            telemetry.SNAPSHOTS.labels(self.name, "changed").inc()
            why = start.refused[0][1]
            log_line.warning("a new form of the state: it begins from what is stored", **about, why=why, again=again)
        elif start.how is How.LOST:
            telemetry.SNAPSHOTS.labels(self.name, "lost").inc()
            log_line.error("a state is lost: it begins from what is stored and in the log", **about, again=again)
        elif start.source is not None:
            telemetry.SNAPSHOTS.labels(self.name, "loaded").inc()
            if start.again:
                log_line.warning("an older snapshot: messages are read again from the log", **about, again=again)

    def _export_incomplete(self) -> None:
        hows = [start.how for start, _ in self._incomplete.values()]
        for how in (How.HALTED, How.PROVISIONAL):
            telemetry.PARTITIONS_INCOMPLETE.labels(self.name, how.name.lower()).set(hows.count(how))

    def cut(self, turn: int) -> tuple[StateCut, ...] | None:
        """See Group: small parts together, a large one by itself, so that no message waits for all of them."""
        if turn != self._turn:
            self._turn, self._spent_s = turn, 0.0
        began_s = time.thread_time()
        cut = self._keeper.cut(turn)
        self._spent_s += time.thread_time() - began_s
        return cut

    async def keep(self, cut: Sequence[StateCut]) -> Mapping[Place, int]:
        """See Group. A part's oldest kept position is safe once three are kept; so are the messages in it."""
        snapshots, spent_s = await in_thread(lambda: _packed(cut))
        self._spent_s += spent_s
        for snapshot in snapshots:
            telemetry.SNAPSHOT_BYTES.labels(self.name, str(snapshot.partition)).set(len(snapshot.payload))
        stored = await self._save(snapshots)
        safe = self._keeper.kept(cut, stored=stored)
        await write_marks(self._marks, safe.marks, self._written_marks)
        return safe.positions

    async def _save(self, snapshots: Sequence[Snapshot]) -> bool:
        """Keep snapshots in the local copy and in the store; return whether the store has them."""
        try:
            await in_thread(lambda: self._local.save(*snapshots))
        except TransientError as error:
            telemetry.SNAPSHOTS.labels(self.name, "local_failed").inc(len(snapshots))
            self._local_away.failed(error)
        else:
            self._local_away.worked()
        stored = await self._save_in_store(snapshots)
        telemetry.SNAPSHOTS.labels(self.name, "kept" if stored else "waiting").inc(len(snapshots))
        return stored

    async def _save_in_store(self, snapshots: Sequence[Snapshot]) -> bool:
        partitions = [snapshot.partition for snapshot in snapshots]
        if self._asks_store is not None and self._asks_store not in partitions:
            return False  # it is away, and one partition asks for all: no call may hang for each
        try:
            await in_thread(lambda: self._store.save(*snapshots))
        except TransientError as error:
            self._asks_store = partitions[0]
            self._store_away.failed(error)
            return False
        self._asks_store = None
        self._store_away.worked()
        return True


def _packed(cut: Sequence[StateCut]) -> tuple[list[Snapshot], float]:
    """Return the snapshots, and the CPU time that it took."""
    began_s = time.thread_time()
    return [one.snapshot() for one in cut], time.thread_time() - began_s


def _shown(ranges: Mapping[Place, tuple[int, int]]) -> list[str]:
    return [f"{place}: {first} to {last}" for place, (first, last) in ranges.items()]


def _now_us() -> int:
    return time.time_ns() // 1000
