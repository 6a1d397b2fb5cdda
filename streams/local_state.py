"""The copy of the snapshots in a worker's own directory: three a partition, checksummed, whole or not there."""

import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

import msgspec

from producers import telemetry
from producers.errors import TransientError
from streams.contract import Snapshot, payload_checksum

KEPT: Final = 3
SUFFIX: Final = ".snapshot"

log_line = telemetry.logger(__name__)


class _Head(msgspec.Struct, frozen=True):
    group: str
    partition: int
    positions: list[tuple[str, int, str, int]]
    taken_at_us: int
    code: str
    checksum: str
    payload_bytes: int


class LocalStateStore:
    """A StateStore in a directory that one process owns.

    A file is a line of JSON and then the payload. It gets its name only when it is whole and on disk.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, *snapshots: Snapshot) -> None:
        """Keep snapshots and drop all but the three newest ones of each partition.

        Raises:
            TransientError: The disk is full or the directory is not writable.
        """
        for snapshot in snapshots:
            self._save(snapshot)

    def _save(self, snapshot: Snapshot) -> None:
        directory = self._folder(snapshot.group, snapshot.partition)
        path = directory / f"{snapshot.taken_at_us:020d}{SUFFIX}"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for unfinished in directory.glob("*.part"):
                unfinished.unlink()
            _write_whole(path, _to_bytes(snapshot))
            for old in self._files(directory)[KEPT:]:
                old.unlink()
        except OSError as error:
            raise TransientError(f"cannot write {path}: {error.strerror or error}") from error

    def load(self, group: str, partition: int) -> Sequence[Snapshot]:
        """Return the kept snapshots whose checksum holds, newest first; a damaged one is said and left out.

        Raises:
            TransientError: The directory cannot be read.
        """
        found = []
        try:
            for path in self._files(self._folder(group, partition)):
                try:
                    found.append(_from_bytes(path.read_bytes()))
                except ValueError as error:
                    log_line.warning("a snapshot is damaged; an older one is used", path=str(path), error=str(error))
        except OSError as error:
            raise TransientError(f"cannot read {error.filename}: {error.strerror or error}") from error
        return found

    def keep_only(self, group: str, partitions: Collection[int]) -> None:
        """Drop the copies of all other partitions.

        Raises:
            TransientError: The directory cannot be changed.
        """
        kept = {str(partition) for partition in partitions}
        try:
            for folder in (self._directory / group).glob("*"):
                if folder.name not in kept:
                    shutil.rmtree(folder)
        except OSError as error:
            raise TransientError(f"cannot remove {error.filename}: {error.strerror or error}") from error

    def _folder(self, group: str, partition: int) -> Path:
        return self._directory / group / str(partition)

    @staticmethod
    def _files(directory: Path) -> list[Path]:
        return sorted(directory.glob(f"*{SUFFIX}"), reverse=True)


def _write_whole(path: Path, content: bytes) -> None:
    part = path.with_suffix(".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # the name itself must survive a loss of power
    finally:
        os.close(directory)


def _to_bytes(snapshot: Snapshot) -> bytes:
    head = _Head(
        group=snapshot.group,
        partition=snapshot.partition,
        positions=list(snapshot.positions),
        taken_at_us=snapshot.taken_at_us,
        code=snapshot.code,
        checksum=snapshot.checksum,
        payload_bytes=len(snapshot.payload),
    )
    return msgspec.json.encode(head) + b"\n" + snapshot.payload


def _from_bytes(content: bytes) -> Snapshot:
    line, _, payload = content.partition(b"\n")
    try:
        head = msgspec.json.decode(line, type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"its head is not readable: {error}") from error
    if len(payload) != head.payload_bytes:
        raise ValueError(f"it holds {len(payload)} bytes of {head.payload_bytes}")
    if payload_checksum(payload) != head.checksum:
        raise ValueError("its checksum does not hold")
    return Snapshot(
        group=head.group,
        partition=head.partition,
        positions=tuple(head.positions),
        taken_at_us=head.taken_at_us,
        code=head.code,
        payload=payload,
        checksum=head.checksum,
    )
