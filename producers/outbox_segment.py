"""One file of an outbox: frames, each with a checksum, each written by one append.

A frame is written, flushed to the disk, and only then followed by another. So a damaged frame with nothing good
after it is an append that never returned (cut off), and a damaged frame with a good one after it is damage to
what was safe (an error).
"""

import struct
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

RECORDS_MAGIC: Final = b"FWR1"
CHECKPOINT_MAGIC: Final = b"FWC1"
SUFFIX: Final = ".outbox"

_HEAD: Final = struct.Struct("<4sII")  # magic, length of the payload, its CRC-32
_MAX_PAYLOAD: Final = 1 << 30

Place = tuple[str, int]
"""(topic, partition)."""


class OutboxRecord(msgspec.Struct, frozen=True, array_like=True):
    """A message on its way. `seq` grows by one a message, over all topics, and is never used twice."""

    seq: int
    topic: str
    partition: int
    key: bytes | None
    value: bytes


_decode_records: Final = msgspec.msgpack.Decoder(list[OutboxRecord]).decode
_encode: Final = msgspec.msgpack.Encoder().encode


def records_frame(records: list[OutboxRecord]) -> bytes:
    """Return the frame of one append."""
    return _frame(RECORDS_MAGIC, _encode(records))


def checkpoint_frame(blob: bytes) -> bytes:
    """Return the frame that a segment begins with."""
    return _frame(CHECKPOINT_MAGIC, blob)


def _frame(magic: bytes, payload: bytes) -> bytes:
    return _HEAD.pack(magic, len(payload), zlib.crc32(payload)) + payload


@dataclass(slots=True, kw_only=True)
class Segment:
    """What is known of one file without reading it again.

    Attributes:
        first_seq: Of the first record that it holds or will hold; its name.
        size: Bytes up to the end of the last good frame.
        frame_seqs: First seq of each frame; `frame_offsets` is where it begins.
        seqs: All seqs by (topic, partition), ascending.
        checkpoint: What the owner wrote at its start.
    """

    path: Path
    first_seq: int
    size: int = 0
    last_seq: int = 0
    count: int = 0
    frame_seqs: "array[int]" = field(default_factory=lambda: array("Q"))
    frame_offsets: "array[int]" = field(default_factory=lambda: array("Q"))
    seqs: "dict[Place, array[int]]" = field(default_factory=dict)
    checkpoint: bytes = b""

    def add(self, records: list[OutboxRecord], length: int) -> None:
        """Note a frame that was appended at `size`."""
        self.frame_seqs.append(records[0].seq)
        self.frame_offsets.append(self.size)
        for record in records:
            self.seqs.setdefault((record.topic, record.partition), array("Q")).append(record.seq)
        self.size += length
        self.last_seq = records[-1].seq
        self.count += len(records)

    def unsafe(self, safe: Mapping[Place, int]) -> int:
        """Return how many records lie above the safe marks."""
        return sum(len(seqs) - bisect_right(seqs, safe.get(place, 0)) for place, seqs in self.seqs.items())

    def records_after(self, seq: int) -> Iterator[OutboxRecord]:
        """Yield the records above `seq`, in order, as of now; nothing if the file was dropped meanwhile."""
        if self.last_seq <= seq or not self.frame_seqs:
            return
        frame = max(bisect_right(self.frame_seqs, seq) - 1, 0)
        end = self.size
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return
        with file:
            file.seek(self.frame_offsets[frame])
            while file.tell() < end:
                _magic, length, _checksum = _HEAD.unpack(file.read(_HEAD.size))
                for record in _decode_records(file.read(length)):
                    if record.seq > seq:
                        yield record


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Bytes that are no good frame.

    Attributes:
        tail: Nothing good follows them in the file.
    """

    offset: int
    length: int
    tail: bool


def scan(path: Path) -> tuple[Segment, list[Damage], list[bytes]]:
    """Read a file from its start to its end.

    Returns:
        The segment as far as it is good, every damage, and the good frames (for a repair; empty if undamaged).
    """
    content = path.read_bytes()
    segment = Segment(path=path, first_seq=int(path.stem))
    damages: list[Damage] = []
    frames: list[bytes] = []
    offset = 0
    while offset < len(content):
        end = _note_frame(segment, content, offset)
        if end is not None:
            frames.append(content[offset:end])
            offset = end
            continue
        following = _next_good(content, offset + 1)
        stop = len(content) if following is None else following
        damages.append(Damage(offset=offset, length=stop - offset, tail=following is None))
        offset = stop
    return segment, damages, frames if damages else []


def _note_frame(segment: Segment, content: bytes, offset: int) -> int | None:
    """Add the frame at `offset` to the segment and return its end, or None if it is no good frame."""
    head = _good_head(content, offset)
    if head is None:
        return None
    magic, end = head
    payload = memoryview(content)[offset + _HEAD.size : end]
    if magic == CHECKPOINT_MAGIC:
        segment.checkpoint = bytes(payload)
        segment.size += end - offset
        return end
    try:
        records = _decode_records(payload)
    except msgspec.MsgspecError:
        return None
    if not records or records[0].seq <= segment.last_seq:
        return None
    segment.add(records, end - offset)
    return end


def _good_head(content: bytes, offset: int) -> tuple[bytes, int] | None:
    if offset + _HEAD.size > len(content):
        return None
    magic, length, checksum = _HEAD.unpack_from(content, offset)
    end = offset + _HEAD.size + length
    if magic not in {RECORDS_MAGIC, CHECKPOINT_MAGIC} or length > _MAX_PAYLOAD or end > len(content):
        return None
    return (magic, end) if zlib.crc32(memoryview(content)[offset + _HEAD.size : end]) == checksum else None


def _next_good(content: bytes, offset: int) -> int | None:
    """Return where the next good frame begins, at or after `offset`."""
    places = []
    for magic in (RECORDS_MAGIC, CHECKPOINT_MAGIC):
        place = content.find(magic, offset)
        while place >= 0 and _good_head(content, place) is None:
            place = content.find(magic, place + 1)
        if place >= 0:
            places.append(place)
    return min(places, default=None)
