"""From checks to messages in the spool: packs, appends, and only then takes note of the ticks.

A thread of its own: the disk never holds the probes up. What sends the spool to the log is `sender`.
"""

import queue
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Final

from producers import telemetry
from producers.codec import decode, encode, pack, pick
from producers.contract import MAX_BATCH_CHECKS, MAX_MESSAGE_BYTES, Check, CheckBatch, CheckMessage
from producers.errors import InvalidEvent, TransientError
from producers.outbox import Outbox, OutboxRecord
from producers.ticks import Ledger
from producers.topics import CHECKS, partition_of

MAX_WAITING_CHECKS: Final = 100_000
"""Checks that wait in memory while the disk takes nothing; more are lost, and counted."""

RETRY_S: Final = 1.0
ANY_TIME_US: Final = 1 << 61
"""A log timestamp after which nothing lies in the far future: what is in the spool was never in a log."""

_log = telemetry.logger(__name__)

_Item = Check | tuple[int, CheckMessage]


class Publisher:
    """Takes checks from any thread and has them in the spool soon after.

    Attributes:
        lost: Checks that the disk did not take and memory had no room for.
        failing: Why the spool cannot be written now, one line; None if it can.
    """

    def __init__(self, outbox: Outbox, *, producer: str, partitions: int, pack_us: int, ledger: Ledger) -> None:
        """Prepare.

        Args:
            outbox: The spool. Its checkpoints become the ledger's.
            producer: The producer's name.
            partitions: Of the topic `checks`.
            pack_us: How long a message may wait for more checks.
            ledger: Is told the ticks that are in the spool.
        """
        self.lost = 0
        self.failing: str | None = None
        self._outbox = outbox
        self._producer = producer
        self._partitions = partitions
        self._pack_s = pack_us / 1e6
        self._ledger = ledger
        self._items: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._max_bytes = MAX_MESSAGE_BYTES  # less, once the log has refused a message for its size
        self._appending = threading.Lock()  # an append and its note in the ledger are one: a checkpoint lies between
        self._thread = threading.Thread(target=self._run, name=f"spooler {producer}", daemon=True)
        outbox.use_checkpoints(ledger.dump)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def put(self, check: Check) -> None:
        """Take a check. Never blocks."""
        if self._items.qsize() >= MAX_WAITING_CHECKS:
            self.lost += 1
            telemetry.SPOOL_DROPPED.labels(self._outbox.id).inc()
            return
        self._items.put(check)

    def announce(self, message: CheckMessage, partitions: Iterable[int]) -> None:
        """Take a message about the producer itself. Never blocks."""
        for partition in partitions:
            self._items.put((partition, message))

    def stop(self, *, timeout_s: float) -> bool:
        """End it when all that it took is in the spool. Blocks.

        Returns:
            False if that was not so after `timeout_s`: the disk takes nothing, what waits is lost.
        """
        self._items.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def append_batches(self, batches: Iterable[tuple[int, CheckBatch]]) -> int:
        """Put (partition, batch) into the spool in the caller's thread and return how many checks that were.

        Raises:
            TransientError: The disk is full or fails.
        """
        count = 0
        for partition, batch in batches:
            self._append([(partition, batch)])
            count += len(batch.target)
        return count

    def _run(self) -> None:
        ended = False
        while not ended:
            checks: dict[int, list[Check]] = {}
            announced: list[tuple[int, CheckMessage]] = []
            ended = self._collect(checks, announced)
            batches = [(partition, batch) for partition, members in checks.items() for batch in self._packed(members)]
            # Checks first: nothing of a producer follows its announcement that it stops.
            self._append_until_it_works([*batches, *announced])

    def _collect(self, checks: dict[int, list[Check]], messages: list[tuple[int, CheckMessage]]) -> bool:
        """Take what comes within `pack_us` of the first, or until a message is full. True: it is the end."""
        item = self._items.get()
        deadline_s = time.monotonic() + self._pack_s
        while True:
            if item is None:
                return True
            if isinstance(item, Check):
                members = checks.setdefault(partition_of(item.target, self._partitions), [])
                members.append(item)
                if len(members) >= MAX_BATCH_CHECKS:
                    return False
            else:
                messages.append(item)
            try:
                item = self._items.get(timeout=max(deadline_s - time.monotonic(), 0))
            except queue.Empty:
                return False

    def _packed(self, checks: Sequence[Check]) -> list[CheckBatch]:
        """Return the checks as one batch, or as several where one would be too large for a message."""
        batch = pack(checks, producer=self._producer)
        size = len(encode(batch))
        if size <= self._max_bytes or (len(checks) == 1 and size <= MAX_MESSAGE_BYTES):
            return [batch]
        if len(checks) == 1:
            _log.error("a check is too large for a message and is LOST", target=checks[0].target)
            self.lost += 1
            return []
        middle = len(checks) // 2
        return self._packed(checks[:middle]) + self._packed(checks[middle:])

    def _append_until_it_works(self, messages: Sequence[tuple[int, CheckMessage]]) -> None:
        while True:
            try:
                self._append(messages)
            except TransientError as error:
                if self.failing is None:
                    _log.error("the spool cannot be written: checks wait in memory", error=str(error))
                self.failing = str(error)
                time.sleep(RETRY_S)
            else:
                if self.failing is not None:
                    _log.info("the spool can be written again")
                self.failing = None
                return

    def repack(self, record: OutboxRecord) -> bool:
        """Put the checks of a message that the log refuses into the spool again, in smaller messages. Any thread.

        Returns:
            False if that is not possible: it is one check, or says something else.

        Raises:
            TransientError: The disk is full or fails.
        """
        try:
            batch = decode(record.value, log_timestamp_us=ANY_TIME_US)
        except InvalidEvent:
            return False
        if not isinstance(batch, CheckBatch):
            return False
        rows: dict[int, list[int]] = {}
        for row, target in enumerate(batch.target):
            rows.setdefault(partition_of(target, self._partitions), []).append(row)
        groups = list(rows.items())
        if list(rows) == [record.partition]:  # it was not its partition: so it was its size
            half = len(batch.target) // 2
            if half == 0:
                return False
            groups = [(record.partition, part) for part in (groups[0][1][:half], groups[0][1][half:])]
            self._pack_smaller(len(record.value) // 2)
        self._append([(partition, pick(batch, part)) for partition, part in groups])
        return True

    def _pack_smaller(self, size: int) -> None:
        if size < self._max_bytes:
            self._max_bytes = size
            _log.warning("the log refuses a message for its size: smaller ones from now on", bytes=size)

    def _append(self, messages: Sequence[tuple[int, CheckMessage]]) -> None:
        with self._appending:
            self._outbox.append_many((CHECKS, partition, None, encode(message)) for partition, message in messages)
            for _, message in messages:
                if isinstance(message, CheckBatch):
                    self._ledger.note(message)


def restore_ledger(outbox: Outbox) -> Ledger:
    """Return the ticks that a spool holds: its checkpoint and every batch after it.

    Raises:
        ValueError: The checkpoint is of another form.
    """
    ledger = Ledger()
    ledger.load(outbox.checkpoint())
    for record in outbox.after_checkpoint():
        try:
            message = decode(record.value, log_timestamp_us=ANY_TIME_US)
        except InvalidEvent as error:
            _log.error("the spool holds a message that cannot be read", seq=record.seq, error=str(error))
            continue
        if isinstance(message, CheckBatch):
            ledger.note(message)
    return ledger
