"""The local copy of snapshots: three are kept, a damaged one is left out, nothing is half there."""

import stat
from pathlib import Path

import pytest

from producers.errors import TransientError
from streams.contract import Snapshot, payload_checksum
from streams.local_state import LocalStateStore


def snapshot(number: int, *, group: str = "detect", partition: int = 3) -> Snapshot:
    """Return one of a series."""
    payload = bytes([number]) * 1000 + b"\nwith a line in it"
    return Snapshot(
        group=group,
        partition=partition,
        positions=(("checks.v1", partition, "cluster/topic", 100 + number),),
        taken_at_us=1_000_000 * number,
        code="detect-1",
        payload=payload,
        checksum=payload_checksum(payload),
    )


def test_the_three_newest_come_back_newest_first(tmp_path: Path) -> None:
    """The fourth pushes out the first."""
    store = LocalStateStore(tmp_path)
    for number in (1, 2, 3, 4):
        store.save(snapshot(number))
    assert LocalStateStore(tmp_path).load("detect", 3) == [snapshot(4), snapshot(3), snapshot(2)]


def test_groups_and_partitions_are_apart(tmp_path: Path) -> None:
    """What one keeps pushes out nothing of another."""
    store = LocalStateStore(tmp_path)
    for number in range(5):
        store.save(snapshot(number))
    store.save(snapshot(9, group="incidents"))
    store.save(snapshot(8, partition=1))
    assert store.load("incidents", 3) == [snapshot(9, group="incidents")]
    assert store.load("detect", 1) == [snapshot(8, partition=1)]
    assert store.load("detect", 2) == []


@pytest.mark.parametrize("damage", ["cut", "flip", "head", "empty"])
def test_a_damaged_one_is_left_out(tmp_path: Path, damage: str) -> None:
    """The one before it is what comes back."""
    store = LocalStateStore(tmp_path)
    store.save(snapshot(1))
    store.save(snapshot(2))
    path = max(tmp_path.rglob("*.snapshot"))
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-5] ^= 1
    elif damage == "head":
        content[3] = 0
    path.write_bytes(content[:-1] if damage == "cut" else b"" if damage == "empty" else content)
    assert store.load("detect", 3) == [snapshot(1)]


def test_what_was_not_finished_is_not_seen_and_is_swept(tmp_path: Path) -> None:
    """A process that died while writing leaves a part; the next save removes it."""
    store = LocalStateStore(tmp_path)
    store.save(snapshot(1))
    part = next(tmp_path.rglob("*.snapshot")).with_name("00000000000000000009.part")
    part.write_bytes(b"half")
    assert store.load("detect", 3) == [snapshot(1)]
    store.save(snapshot(2))
    assert not part.exists()


def test_a_directory_that_cannot_be_written_is_a_transient_error(tmp_path: Path) -> None:
    """With the path in its one line."""
    (tmp_path / "detect").write_text("a file where a directory should be")
    with pytest.raises(TransientError, match="cannot write") as refusal:
        LocalStateStore(tmp_path).save(snapshot(1))
    assert "\n" not in str(refusal.value)


def test_the_files_are_for_their_owner(tmp_path: Path) -> None:
    """A state holds names of targets and addresses: nobody else on the machine reads it."""
    LocalStateStore(tmp_path).save(snapshot(1))
    path = next(tmp_path.rglob("*.snapshot"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
