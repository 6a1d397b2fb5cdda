"""Messages on disk until they are safe: the producer's spool, and the outbox of every process that publishes.

    directory/
      outbox.json                      the outbox's id, made once
      lock                             held by the one process that owns it
      00000000000000000001.outbox      segments, named by their first seq
      trimmed.json                     marks up to which records are safe, by topic and partition
      damaged/                         what was damaged, kept for a person to look at
      refused/                         what the log refuses for good; see `outbox_aside`

`append` returns when the record is on the disk. `trim` says what is safe elsewhere; whole segments go when all
of their records are. At `max_bytes` the oldest segment goes although it is not safe, and that is counted.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol, Self

from producers import outbox_open, telemetry
from producers.errors import TransientError
from producers.outbox_aside import Aside
from producers.outbox_segment import (
    SUFFIX,
    OutboxRecord,
    Place,
    Segment,
    checkpoint_frame,
    records_frame,
)
from producers.topics import OUTBOX_HEADER

__all__ = ["Outbox", "OutboxMarks", "OutboxRecord"]

MAX_SEGMENT_BYTES: Final = 8 * 1024 * 1024
MIN_SEGMENT_BYTES: Final = 64 * 1024
SEGMENTS_AT_BOUND: Final = 16

_log = telemetry.logger(__name__)


class OutboxMarks(Protocol):
    """Who knows what the store has. Implemented by `analytics`."""

    def stored_marks(self, outbox_id: str) -> dict[Place, int]:
        """Return the highest seq by (topic, partition) at and below which the store has every record.

        Raises:
            TransientError: The store is away.
        """


class Outbox:
    """The outbox of one process. Safe to use from several of its threads.

    Attributes:
        id: `<outbox_id>.<8 hex digits>`; the digits are new for each new directory, so that marks of an outbox
            that was deleted never count for its successor.
        dropped: Records that were dropped at the bound since the start.
        refused: Records that were set aside since the start.
    """

    def __init__(self, directory: Path, *, outbox_id: str, max_bytes: int, quarantine: bool = False) -> None:
        """Open or make it.

        Args:
            directory: Owned by this process alone.
            outbox_id: Name of the owner.
            max_bytes: The bound of all segments together.
            quarantine: Repair a file that is damaged in its middle: keep what is good, put the damaged file
                into `damaged/`, say so loudly. Without it that is an error.

        Raises:
            OutboxLockedError: Another process owns it.
            OutboxCorruptError: Damaged in its middle, and not `quarantine`.
            ForewarnError: The directory cannot be written.
        """
        self._directory = directory
        self._lock_file = outbox_open.take_lock(directory)
        try:
            self.id = outbox_open.identity(directory, outbox_id)
            opened = outbox_open.load(directory, self.id, quarantine=quarantine)
        except BaseException:
            os.close(self._lock_file)
            raise
        self.dropped = self.refused = 0
        self._aside = Aside(directory, self.id)
        self._max_bytes = max_bytes
        self._segment_bytes = min(MAX_SEGMENT_BYTES, max(MIN_SEGMENT_BYTES, max_bytes // SEGMENTS_AT_BOUND))
        self._segments: list[Segment] = opened.segments
        self._next_seq: int = opened.next_seq
        self._safe: dict[Place, int] = opened.safe
        self._checkpoint_source: Callable[[], bytes] = bytes
        self._lock = threading.RLock()
        self._appended = threading.Condition(self._lock)
        self._active: int | None = None  # descriptor of the last segment; None: the next append makes one
        self._report()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it. Harmless when done twice."""
        with self._lock:
            self._close_active()
            if self._lock_file >= 0:
                os.close(self._lock_file)
                self._lock_file = -1

    @property
    def last_seq(self) -> int:
        """The seq of the last record that was appended, 0 if none ever was."""
        with self._lock:
            return self._next_seq - 1

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        with self._lock:
            return sum(segment.size for segment in self._segments)

    @property
    def records(self) -> int:
        """Records that are not safe yet; without those that were set aside."""
        with self._lock:
            if not self._segments:
                return 0
            aside = self._aside.unsafe(self._safe, first_seq=self._segments[0].first_seq)
            return sum(segment.unsafe(self._safe) for segment in self._segments) - aside

    def header(self, seq: int) -> tuple[str, bytes]:
        """Return the message header by which the sink knows that a record has reached the store."""
        return OUTBOX_HEADER, f"{self.id}:{seq}".encode()

    def append(self, topic: str, partition: int, key: bytes | None, value: bytes) -> int:
        """Put one message on the disk and return its seq. See `append_many`."""
        return self.append_many([(topic, partition, key, value)])[0]

    def append_many(self, messages: Iterable[tuple[str, int, bytes | None, bytes]]) -> list[int]:
        """Put (topic, partition, key, value) on the disk, all or none, with one flush to it.

        Returns:
            The seqs, in order.

        Raises:
            TransientError: The disk is full or fails; nothing was appended.
        """
        with self._lock:
            records = [
                OutboxRecord(seq, topic, partition, key, value)
                for seq, (topic, partition, key, value) in enumerate(messages, self._next_seq)
            ]
            if not records:
                return []
            frame = records_frame(records)
            try:
                self._write(frame, records)
            except OSError as error:
                telemetry.SPOOL_ERRORS.labels(self.id).inc()
                self._close_active()
                raise TransientError(f"cannot write to {self._directory}: {error.strerror or error}") from error
            self._next_seq = records[-1].seq + 1
            self._drop_beyond_bound()
            self._report()
            self._appended.notify_all()
            return [record.seq for record in records]

    def wait(self, after_seq: int, timeout_s: float) -> bool:
        """Return whether a record above `after_seq` was appended, waiting up to `timeout_s` for one."""
        with self._appended:
            return self._appended.wait_for(lambda: self._next_seq - 1 > after_seq, timeout_s)

    def pending(self, after_seq: int = 0) -> Iterator[OutboxRecord]:
        """Yield the records above `after_seq` that are not safe, in order, as far as they are there now."""
        with self._lock:
            segments, safe, last = list(self._segments), dict(self._safe), self._next_seq - 1
            aside = set(self._aside.places)
        for segment in segments:
            for record in segment.records_after(after_seq):
                if record.seq > last:
                    return
                if record.seq > safe.get((record.topic, record.partition), 0) and record.seq not in aside:
                    yield record

    def set_aside(self, record: OutboxRecord, why: str) -> None:
        """Put a record that the log refuses for good out of the way: it is pending no more, and kept in `refused/`.

        Raises:
            TransientError: The disk is full or fails; it is pending still.
        """
        with self._lock:
            try:
                self.dropped += self._aside.keep(record, why)
            except OSError as error:
                telemetry.SPOOL_ERRORS.labels(self.id).inc()
                raise TransientError(f"cannot write to {self._directory}: {error.strerror or error}") from error
            self.refused += 1
            self._report()

    def trim(self, safe: Mapping[Place, int]) -> None:
        """Say that every record of a (topic, partition) up to its seq is safe elsewhere. Marks never fall back."""
        with self._lock:
            grown = {place: seq for place, seq in safe.items() if seq > self._safe.get(place, 0)}
            if not grown:
                return
            self._safe |= grown
            # The newest one stays for its checkpoint; one without a record is not known to be on the disk yet.
            while len(self._segments) > 1 and self._segments[-1].count and not self._unsafe_in_oldest():
                self._remove_oldest()
            outbox_open.keep_marks(self._directory, self._safe)
            self._report()

    def use_checkpoints(self, source: Callable[[], bytes]) -> None:
        """Write `source()` at the start of each new segment: the owner's state as of the records before it."""
        self._checkpoint_source = source

    def checkpoint(self) -> bytes:
        """Return what the owner wrote at the start of the newest segment, empty if nothing."""
        with self._lock:
            return self._segments[-1].checkpoint if self._segments else b""

    def after_checkpoint(self) -> Iterator[OutboxRecord]:
        """Yield all records since that checkpoint, the safe ones too."""
        with self._lock:
            newest = self._segments[-1:]
        for segment in newest:
            yield from segment.records_after(0)

    def _write(self, frame: bytes, records: list[OutboxRecord]) -> None:
        if self._active is None or self._segments[-1].size + len(frame) > self._segment_bytes:
            self._start_segment()
        assert self._active is not None
        segment = self._segments[-1]
        try:
            _write_all(self._active, frame)
            os.fsync(self._active)
        except OSError:
            # What is half there must not stand before what comes next.
            with contextlib.suppress(OSError):
                os.ftruncate(self._active, segment.size)
            raise
        segment.add(records, len(frame))

    def _start_segment(self) -> None:
        self._close_active()
        path = self._directory / f"{self._next_seq:020d}{SUFFIX}"
        if self._segments and self._segments[-1].path == path:
            self._segments.pop()  # it has no record: a first write failed, and it is begun anew
        blob = self._checkpoint_source()
        frame = checkpoint_frame(blob)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        self._active = descriptor
        _write_all(descriptor, frame)
        outbox_open.flush_directory(self._directory)
        segment = Segment(path=path, first_seq=self._next_seq, size=len(frame), checkpoint=blob)
        self._segments.append(segment)

    def _close_active(self) -> None:
        if self._active is not None:
            os.close(self._active)
            self._active = None

    def _drop_beyond_bound(self) -> None:
        while len(self._segments) > 1 and sum(segment.size for segment in self._segments) > self._max_bytes:
            lost = self._unsafe_in_oldest()
            if lost:
                self.dropped += lost
                telemetry.SPOOL_DROPPED.labels(self.id).inc(lost)
                _log.error("outbox at its bound: the oldest messages are LOST", outbox=self.id, messages=lost)
            self._remove_oldest()

    def _unsafe_in_oldest(self) -> int:
        return self._segments[0].unsafe(self._safe)

    def _remove_oldest(self) -> None:
        self._segments.pop(0).path.unlink(missing_ok=True)

    def _report(self) -> None:
        telemetry.SPOOL_BYTES.labels(self.id).set(sum(segment.size for segment in self._segments))
        telemetry.SPOOL_RECORDS.labels(self.id).set(self.records)


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
