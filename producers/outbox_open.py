"""Opening an outbox: its lock, its id, its segments, and what to do about damage."""

import fcntl
import json
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Final

from producers import telemetry
from producers.errors import ForewarnError, OutboxCorruptError, OutboxLockedError
from producers.outbox_segment import SUFFIX, Damage, Place, Segment, scan

SEQ_GAP_AFTER_DAMAGE: Final = 1 << 20
"""A seq whose record was lost to damage may be stored already: it must never be given to another record."""

_log = telemetry.logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What lies in an outbox's directory."""

    segments: list[Segment]
    next_seq: int
    safe: dict[Place, int]


def take_lock(directory: Path) -> int:
    """Return a descriptor that holds the outbox's lock until it is closed (or the process ends).

    Raises:
        OutboxLockedError: Another process owns it.
        ForewarnError: The directory cannot be made or written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ForewarnError(f"cannot write to {directory}: {error.strerror or error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise OutboxLockedError(f"{directory} is in use by another process (pid {owner})") from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def identity(directory: Path, outbox_id: str) -> str:
    """Return the id in `outbox.json`, made now if there is none.

    Raises:
        ForewarnError: The directory belongs to an outbox of another name.
    """
    path = directory / "outbox.json"
    try:
        found = json.loads(path.read_text())["id"]
    except FileNotFoundError:
        made = f"{outbox_id}.{uuid.uuid4().hex[:8]}"
        write_atomically(path, json.dumps({"id": made}))
        return made
    except (ValueError, KeyError, TypeError):
        raise ForewarnError(f"{path} is damaged: remove it (messages in the directory are sent again)") from None
    if found.rpartition(".")[0] != outbox_id:
        raise ForewarnError(f"{directory} belongs to {found}, not to {outbox_id}")
    return str(found)


def load(directory: Path, full_id: str, *, quarantine: bool) -> Opened:
    """Read all segments; cut damaged tails; refuse or repair damage before them.

    Raises:
        OutboxCorruptError: There is some, and not `quarantine`.
    """
    segments: list[Segment] = []
    damaged = False
    paths = sorted(path for path in directory.glob(f"*{SUFFIX}") if path.stem.isdigit())
    for path, following in zip_longest(paths, paths[1:]):
        segment, damages, frames = scan(path)
        if damages:
            damaged = True
            # A cut tail is an append that never returned, unless a later file says that its seqs were given.
            unfinished = damages[0].tail and (following is None or int(following.stem) == segment.last_seq + 1)
            if unfinished:
                _cut_tail(path, damages[0], full_id)
            else:
                _repair(path, damages, frames, full_id, quarantine=quarantine)
            segment = scan(path)[0]
        if segment.count:
            segments.append(segment)
        else:
            path.unlink()  # a first append that never returned
    safe = read_marks(directory)
    last = max((segment.last_seq for segment in segments), default=0)
    last = max(last, *safe.values(), 0) if safe else last
    return Opened(segments=segments, next_seq=last + 1 + (SEQ_GAP_AFTER_DAMAGE if damaged else 0), safe=safe)


def last_seq(directory: Path) -> tuple[str, int] | None:
    """Return an outbox's id and the last number that it gave, without owning it; None if there is no outbox.

    Raises:
        ForewarnError: It cannot be read.
    """
    try:
        full_id = str(json.loads((directory / "outbox.json").read_text())["id"])
        newest = max((path for path in directory.glob(f"*{SUFFIX}") if path.stem.isdigit()), default=None)
        found = 0 if newest is None else max(scan(newest)[0].last_seq, int(newest.stem) - 1)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ForewarnError(f"the outbox in {directory} cannot be read: {error}") from error
    return full_id, max(found, *read_marks(directory).values(), 0)


def _cut_tail(path: Path, damage: Damage, full_id: str) -> None:
    telemetry.SPOOL_DAMAGED.labels(full_id, "tail").inc()
    _log.warning("cut an unfinished append off", file=str(path), byte=damage.offset, cut_bytes=damage.length)
    with path.open("r+b") as file:
        file.truncate(damage.offset)
        os.fsync(file.fileno())


def _repair(path: Path, damages: list[Damage], frames: list[bytes], full_id: str, *, quarantine: bool) -> None:
    first = damages[0]
    telemetry.SPOOL_DAMAGED.labels(full_id, "middle").inc()
    if not quarantine:
        raise OutboxCorruptError(f"{path} is damaged at byte {first.offset} ({first.length} bytes)")
    aside = path.parent / "damaged" / f"{path.name}.{time.time_ns()}"
    aside.parent.mkdir(exist_ok=True)
    shutil.copyfile(path, aside)
    write_atomically(path, b"".join(frames))
    _log.error(
        "outbox file was DAMAGED: messages in it are lost, the rest is kept",
        file=str(path),
        byte=first.offset,
        lost_bytes=sum(damage.length for damage in damages),
        kept_as=str(aside),
    )


def read_marks(directory: Path) -> dict[Place, int]:
    """Return the safe marks, none if the file is not there or unreadable: then more is sent again, that is all."""
    try:
        rows = json.loads((directory / "trimmed.json").read_text())
        return {(str(topic), int(partition)): int(seq) for topic, partition, seq in rows}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError) as error:
        _log.warning("trimmed.json is unreadable: safe messages are sent again", error=str(error))
        return {}


def keep_marks(directory: Path, safe: Mapping[Place, int]) -> None:
    """Write the safe marks. A failure (disk full) costs redeliveries after a restart and nothing else."""
    rows = [[topic, partition, seq] for (topic, partition), seq in safe.items()]
    try:
        write_atomically(directory / "trimmed.json", json.dumps(rows), flush=False)
    except OSError as error:
        _log.warning("cannot write trimmed.json", error=str(error))


def write_atomically(path: Path, content: str | bytes, *, flush: bool = True) -> None:
    """Replace a file by `content`: a reader, or a start after a crash, sees the old one or the new one."""
    raw = content.encode() if isinstance(content, str) else content
    beside = path.with_name(f"{path.name}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
        file.write(raw)
        file.flush()
        if flush:
            os.fsync(descriptor)
    beside.replace(path)
    if flush:
        flush_directory(path.parent)


def flush_directory(directory: Path) -> None:
    """Make names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
