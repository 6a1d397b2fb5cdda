"""The sink: a group of its own that puts every topic into the store and commits after the store's proof.

A group of its own, so that a store that is down never delays a warning. Rows collect in memory for a second; then
each table's rows are inserted and verified, then it is noted which hours they touched, then the offsets are committed.
Where the log is forgetful, the outboxes' marks are written before that, and both only every MARKS_EVERY_S, and the rows
that nobody waits for as well: a request costs the store the same whatever is in it. What a dead sink has not committed
is read again and replaces itself.
While the store is away nothing is committed, what was read waits, and reading pauses at the buffer's bound.
"""

import asyncio
import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Final

import pyarrow as pa

from analytics.buffer import Buffer, Buffered
from analytics.errors import StoreRefusedError, StoreUnavailableError
from analytics.insert import Inserter
from analytics.marks import ClickHouseMarks
from analytics.rollups import Rollups, note_touched
from analytics.rows import one_table, rows_of_all
from analytics.session import Session
from analytics.settings import StoreSettings, WatchdogSettings
from analytics.tables import LOG_TABLES, VERDICT_SUMMARIES, Table
from analytics.watchdog import Watchdog
from producers import codec as checks_codec
from producers.away import Away
from producers.contract import CheckBatch, CheckMessage
from producers.errors import InvalidEvent
from producers.settings import LogSettings
from producers.telemetry import DEAD_LETTERS, ROWS_STORED, STORE_ERRORS, logger
from producers.topics import ALL_TOPICS, CHECKS, Position
from streams import codec
from streams.blocking import in_thread
from streams.codec import Event
from streams.dead_letters import dead_letter
from streams.group import Assigned, LogMessage, OutMessage, Place, Publish
from streams.policy import SECOND_US
from streams.settings import WorkerSettings
from streams.worker import run_worker

GROUP: Final = "sink"
FLUSH_US: Final = 3 * SECOND_US
"""What somebody waits for is told by the log at once. Each insert costs the store 20 to 40 ms of CPU and some 90 KB of
files, however few rows are in it."""
MAX_BUFFERED_BYTES: Final = 64 * 1024 * 1024
"""Of messages whose rows are not stored yet; about 400,000 checks. Above it reading pauses."""

MARKS_EVERY_S: Final = 10.0
"""Outboxes forget what all readers are done with, and the other readers keep their states each ten seconds."""

WAITED_FOR: Final = tuple(table for table in LOG_TABLES if table is not VERDICT_SUMMARIES)
"""Tables whose rows somebody wants to see at once; the others' may go with the marks."""

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 10.0

_log = logger(__name__)


class Sink:
    """Implements `streams.group.Group`: what is read becomes rows, what is kept is stored rows."""

    name = GROUP
    topics: tuple[str, ...] = ALL_TOPICS

    def __init__(self, store: StoreSettings, *, with_marks: bool, watchdog: Watchdog | None = None) -> None:
        """Make a sink.

        Args:
            with_marks: Write the marks of outboxes: only where the log is forgetful does anybody read them.
            watchdog: Runs beside it.
        """
        self._session = Session(store)
        self._inserter = Inserter(self._session)
        self._rollups = Rollups(store)
        self._watchdog = watchdog
        self._marks = ClickHouseMarks(store)
        self._away = Away(_log, "rows wait for the store; nothing is committed", "the store is back")
        self._buffer: Buffer[pa.RecordBatch] = Buffer(with_marks=with_marks)
        self._pause_s = FIRST_PAUSE_S
        self._next_marks_s = 0.0

    @property
    def rest_s(self) -> float:
        """See Group: none, somebody waits for the rows."""
        return 0.0

    async def assign(self, places: Sequence[Assigned]) -> Mapping[Place, int]:
        """See Buffer.start."""
        self._rollups.own([one.place.partition for one in places if one.place.topic == CHECKS])
        return self._buffer.start(places)

    def revoke(self) -> None:
        """See Group."""
        self._buffer.revoke()
        self._rollups.own(())

    async def run(self, publish: Publish) -> None:  # noqa: ARG002 - the sink publishes nothing of its own
        """Compute the rollups of hours that are over; look and ping."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._rollups.run())
            if self._watchdog is not None:
                tasks.create_task(self._watchdog.run())

    def handle(self, *messages: LogMessage) -> Sequence[OutMessage]:
        """Turn messages into rows; one that cannot be used into a dead letter."""
        refused: list[OutMessage] = []
        good: list[tuple[LogMessage, CheckMessage | Event]] = []
        for message in messages:
            self._buffer.note(message)
            try:
                good.append((message, _decoded(message)))
            except InvalidEvent as error:
                refused += self._refused(message, error)
        try:
            self._add(*good)
        except InvalidEvent:  # one of them: which one?
            for one in good:
                try:
                    self._add(one)
                except InvalidEvent as error:
                    refused.append(dead_letter(one[0], error, group=GROUP))
        return refused

    def _refused(self, message: LogMessage, error: InvalidEvent) -> Sequence[OutMessage]:
        if message.topic != CHECKS:
            return (dead_letter(message, error, group=GROUP),)
        _log.debug("skipped: detect writes its dead letter", place=str(message), reason=error.reason)
        DEAD_LETTERS.labels(GROUP, error.reason).inc()
        return ()

    def _add(self, *good: tuple[LogMessage, CheckMessage | Event]) -> None:
        """Add the rows of decoded messages to what waits; none if one of them cannot be a row."""
        new = self._buffer.new
        for table, batch in rows_of_all((event, _position(message)) for message, event in good):
            new.batches.setdefault(table.name, []).append(batch)
        for message, event in good:
            if isinstance(event, CheckBatch):
                note_touched(new.touched, message.partition, event)

    def troubles(self) -> Sequence[str]:
        """See Group: rows that wait are told by how long nothing was kept."""
        return ()

    def crowded(self) -> bool:
        """See Group."""
        return self._buffer.weight >= MAX_BUFFERED_BYTES

    def due(self) -> bool:
        """See Group: half of what may wait, so that reading goes on while it is stored."""
        return self._buffer.new.weight >= MAX_BUFFERED_BYTES // 2

    def hurry(self) -> None:
        """See Group."""
        self._next_marks_s = 0.0

    def cut(self, turn: int) -> Buffered[pa.RecordBatch] | None:
        """See Group: all at once. What an earlier cut could not store is part of this one."""
        return self._buffer.cut(turn)

    async def keep(self, cut: Buffered[pa.RecordBatch]) -> Mapping[Place, int]:
        """Store a cut's rows, then, where it is time, its marks; after an error wait a little, longer each time."""
        try:
            is_due = not cut.marks or time.monotonic() >= self._next_marks_s
            tables = LOG_TABLES if is_due else WAITED_FOR
            await in_thread(lambda: self._store(cut, tables))
            self._buffer.rows_stored(cut, [table.name for table in tables])
            if cut.marks and is_due:
                await in_thread(lambda: self._marks.keep_marks(list(cut.marks.values())))
                self._next_marks_s = time.monotonic() + MARKS_EVERY_S
        except (StoreUnavailableError, StoreRefusedError) as error:
            STORE_ERRORS.labels(GROUP).inc()
            self._away.failed(error, bytes=cut.weight)
            pause_s, self._pause_s = self._pause_s, min(self._pause_s * 2, LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)
            return {}
        self._away.worked()
        self._pause_s = FIRST_PAUSE_S
        return self._buffer.done(cut) if is_due else {}

    def _store(self, cut: Buffered[pa.RecordBatch], tables: Sequence[Table]) -> None:
        for table in tables:
            batches = cut.batches.get(table.name)
            if batches:
                done = self._inserter.insert(table, one_table(batches, table.schema))
                ROWS_STORED.labels(table.name).inc(done.rows)
        self._rollups.mark(cut.touched, self._inserter)


def _position(message: LogMessage) -> Position:
    return Position(epoch=message.epoch, topic=message.topic, partition=message.partition, offset=message.offset)


def _decoded(message: LogMessage) -> CheckMessage | Event:
    if message.topic == CHECKS:
        return checks_codec.decode(message.value, log_timestamp_us=message.timestamp_us)
    return codec.decode(message.topic, message.value)


def run(
    log: LogSettings, store: StoreSettings, worker: WorkerSettings, *, watchdog: WatchdogSettings | None = None
) -> None:
    """Run one sink until SIGTERM or SIGINT; return after an orderly end.

    Raises:
        LogUnavailableError, LogRefusedError, EpochChangedError, WorkerFailedError: See `streams.worker.run_worker`.
    """
    marks = ClickHouseMarks(store) if log.forgetful else None
    flushing = dataclasses.replace(worker, snapshot_interval_us=min(worker.snapshot_interval_us, FLUSH_US))
    dog = None if watchdog is None else Watchdog(store, watchdog, partitions=log.partitions)
    run_worker(Sink(store, with_marks=log.forgetful, watchdog=dog), log, flushing, marks=marks)
