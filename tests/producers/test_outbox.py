"""The outbox: what was appended is there, whatever happens to the process or the disk."""

import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.errors import ForewarnError, OutboxCorruptError, OutboxLockedError, TransientError
from producers.outbox import Outbox

BIG = 1 << 30


def opened(directory: Path, *, max_bytes: int = BIG, quarantine: bool = False) -> Outbox:
    """Open the outbox of `paris`."""
    return Outbox(directory, outbox_id="paris", max_bytes=max_bytes, quarantine=quarantine)


def values(outbox: Outbox, after_seq: int = 0) -> list[bytes]:
    """Return the values that are pending."""
    return [record.value for record in outbox.pending(after_seq)]


def newest(directory: Path) -> Path:
    """Return the newest segment."""
    return max(directory.glob("*.outbox"))


def test_what_was_appended_is_pending_in_order_after_a_reopening(tmp_path: Path) -> None:
    """Seq, topic, partition, key and value come back as they went in, and seqs go on."""
    with opened(tmp_path) as outbox:
        assert outbox.append("a.v1", 3, b"k", b"one") == 1
        assert outbox.append_many([("a.v1", 3, None, b"two"), ("b.v1", 0, None, b"")]) == [2, 3]
        identity = outbox.id
    with opened(tmp_path) as again:
        found = [(r.seq, r.topic, r.partition, r.key, r.value) for r in again.pending()]
        assert found == [(1, "a.v1", 3, b"k", b"one"), (2, "a.v1", 3, None, b"two"), (3, "b.v1", 0, None, b"")]
        assert again.append("a.v1", 3, None, b"four") == 4
        assert again.id == identity
        assert again.header(4) == ("outbox", f"{identity}:4".encode())


def test_a_second_owner_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    """Two writers would tear the file."""
    with opened(tmp_path), pytest.raises(OutboxLockedError, match=str(os.getpid())):
        opened(tmp_path)
    opened(tmp_path).close()


def test_another_owners_directory_is_refused(tmp_path: Path) -> None:
    """A spool directory that was copied to another producer is not published under its name."""
    opened(tmp_path).close()
    with pytest.raises(ForewarnError, match="belongs to paris"):
        Outbox(tmp_path, outbox_id="berlin", max_bytes=BIG)


def test_a_new_directory_has_a_new_id(tmp_path: Path) -> None:
    """Marks that the store keeps of a deleted outbox must not trim its successor, whose seqs start at 1 again."""
    with opened(tmp_path / "one") as one, opened(tmp_path / "two") as two:
        assert one.id != two.id
        assert one.id.startswith("paris.")


def test_a_directory_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    """The error names the directory."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ForewarnError, match="file"):
        opened(tmp_path / "file" / "spool")


def test_trim_hides_what_is_safe_by_partition_and_survives_a_reopening(tmp_path: Path) -> None:
    """A mark of one partition says nothing of another; a mark never falls back."""
    with opened(tmp_path) as outbox:
        for seq in range(1, 7):
            outbox.append("a.v1", seq % 2, None, b"%d" % seq)
        outbox.trim({("a.v1", 1): 3})
        assert values(outbox) == [b"2", b"4", b"5", b"6"]
        outbox.trim({("a.v1", 1): 1, ("a.v1", 0): 2})
        assert values(outbox) == [b"4", b"5", b"6"]
        assert outbox.records == 3
    with opened(tmp_path) as again:
        assert values(again) == [b"4", b"5", b"6"]
        assert values(again, after_seq=4) == [b"5", b"6"]


def test_safe_segments_are_deleted_and_the_newest_stays_with_its_checkpoint(tmp_path: Path) -> None:
    """The disk is freed as marks come in; the owner's state is there after everything was trimmed."""
    with opened(tmp_path, max_bytes=1 << 20) as outbox:
        ticks = 0
        outbox.use_checkpoints(lambda: b"state %d" % ticks)
        for ticks in range(1, 41):  # noqa: B007 - the checkpoint reads it
            outbox.append("a.v1", 0, None, bytes(10_000))
        assert len(list(tmp_path.glob("*.outbox"))) > 3
        outbox.trim({("a.v1", 0): 40})
        assert len(list(tmp_path.glob("*.outbox"))) == 1
        assert values(outbox) == []
    with opened(tmp_path, max_bytes=1 << 20) as again:
        at = int(again.checkpoint().removeprefix(b"state "))
        # What the owner did since its checkpoint is in the records that follow it.
        assert [record.seq for record in again.after_checkpoint()] == list(range(at, 41))
        assert again.append("a.v1", 0, None, b"next") == 41


def test_at_its_bound_the_oldest_go_and_are_counted(tmp_path: Path) -> None:
    """The size stays under the bound, the newest are there, and what was lost is a number."""
    with opened(tmp_path, max_bytes=400_000) as outbox:
        for _ in range(100):
            outbox.append("a.v1", 0, None, bytes(10_000))
        assert outbox.size_bytes <= 400_000
        left = [record.seq for record in outbox.pending()]
        assert left[-1] == 100
        assert left == list(range(left[0], 101))
        assert outbox.dropped == 100 - len(left) > 0


def test_pending_goes_on_when_its_segment_is_dropped_meanwhile(tmp_path: Path) -> None:
    """A reader in mid-way is not torn by the writer's bound."""
    with opened(tmp_path, max_bytes=400_000) as outbox:
        for _ in range(30):
            outbox.append("a.v1", 0, None, bytes(10_000))
        reader = outbox.pending()
        first = next(reader).seq
        for _ in range(100):
            outbox.append("a.v1", 0, None, bytes(10_000))
        seqs = [first, *(record.seq for record in reader)]
        assert seqs == sorted(set(seqs))


def test_a_torn_tail_is_cut_off_and_its_seqs_are_not_given_again(tmp_path: Path) -> None:
    """Half an append is no message. Seqs leap: the store may have seen those that were lost."""
    with opened(tmp_path) as outbox:
        outbox.append("a.v1", 0, None, b"whole")
        outbox.append("a.v1", 0, None, b"torn")
    path = newest(tmp_path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 2)
    with opened(tmp_path) as again:
        assert values(again) == [b"whole"]
        assert again.append("a.v1", 0, None, b"new") > 2
    with opened(tmp_path) as third:
        assert values(third) == [b"whole", b"new"]


def test_damage_in_the_middle_names_file_and_byte(tmp_path: Path) -> None:
    """Nothing is repaired in silence."""
    with opened(tmp_path) as outbox:
        for number in range(5):
            outbox.append("a.v1", 0, None, b"message %d" % number)
    path = newest(tmp_path)
    content = bytearray(path.read_bytes())
    place = content.index(b"message 2")
    content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(OutboxCorruptError, match=rf"{path.name} is damaged at byte \d+"):
        opened(tmp_path)
    with opened(tmp_path, quarantine=True) as again:
        assert values(again) == [b"message 0", b"message 1", b"message 3", b"message 4"]
        assert [aside.read_bytes() for aside in (tmp_path / "damaged").iterdir()] == [bytes(content)]
    opened(tmp_path).close()  # repaired: no error any more


def test_a_lost_end_of_an_older_segment_is_damage_not_a_torn_append(tmp_path: Path) -> None:
    """A later file says that those seqs were given, so they were lost."""
    with opened(tmp_path) as outbox:
        outbox.append_many([("a.v1", 0, None, b"1")])
        outbox.append_many([("a.v1", 0, None, b"2")])
    with opened(tmp_path) as outbox:
        outbox.append("a.v1", 0, None, b"3")
    oldest = min(tmp_path.glob("*.outbox"))
    with oldest.open("r+b") as file:
        file.truncate(oldest.stat().st_size - 1)
    with pytest.raises(OutboxCorruptError):
        opened(tmp_path)


@settings(max_examples=60, deadline=None)
@given(
    cut=st.integers(min_value=0, max_value=2000),
    appends=st.lists(st.lists(st.binary(max_size=60), min_size=1, max_size=4), min_size=1, max_size=8),
)
def test_after_a_cut_anywhere_a_prefix_of_whole_appends_is_there(
    tmp_path_factory: pytest.TempPathFactory, cut: int, appends: list[list[bytes]]
) -> None:
    """All of an append or none of it, in order, wherever the file ends."""
    directory = tmp_path_factory.mktemp("cut")
    with opened(directory) as outbox:
        for append in appends:
            outbox.append_many([("a.v1", 0, None, value) for value in append])
    path = newest(directory)
    with path.open("r+b") as file:
        file.truncate(min(cut, path.stat().st_size))
    with opened(directory) as again:
        found = values(again)
    prefixes = [[value for append in appends[:count] for value in append] for count in range(len(appends) + 1)]
    assert found in prefixes


WRITER = textwrap.dedent("""
    import sys
    from pathlib import Path
    from producers.outbox import Outbox
    outbox = Outbox(Path(sys.argv[1]), outbox_id="paris", max_bytes=1 << 30)
    while True:
        seqs = outbox.append_many([("a.v1", p, None, b"x" * 20000) for p in range(3)])
        sys.stdout.write(f"{seqs[-1]}\\n")
        sys.stdout.flush()
""")


def test_kill_9_in_mid_append_loses_nothing_that_returned(tmp_path: Path) -> None:
    """Many times: every seq that the writer printed after an append is there at the next start."""
    last = 0
    for round_ in range(12):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(3 + round_):
            last = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate()
        last = max([last, *(int(line) for line in rest.splitlines(keepends=True) if line.endswith(b"\n"))])
        with opened(tmp_path) as outbox:
            seqs = [record.seq for record in outbox.pending()]
            assert last in seqs
            assert seqs == sorted(seqs)
            outbox.trim({("a.v1", partition): seqs[-1] for partition in range(3)})


FULL_DISK = textwrap.dedent("""
    import resource, signal, sys
    from pathlib import Path
    from producers.errors import TransientError
    from producers.outbox import Outbox
    outbox = Outbox(Path(sys.argv[1]), outbox_id="paris", max_bytes=1 << 30)
    outbox.append("a.v1", 0, None, b"before")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30000, resource.RLIM_INFINITY))
    try:
        outbox.append("a.v1", 0, None, bytes(50000))
    except TransientError as error:
        print("refused", error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(outbox.append("a.v1", 0, None, b"after"), [r.value for r in outbox.pending()])
""")


def test_a_full_disk_is_transient_and_leaves_no_half_message(tmp_path: Path) -> None:
    """The kernel refuses the write half-way; what comes after it is readable, now and at the next start."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "refused cannot write to" in done.stdout
    assert "2 [b'before', b'after']" in done.stdout
    with opened(tmp_path) as again:
        assert values(again) == [b"before", b"after"]


def test_a_failing_write_is_an_error_of_the_kind_that_is_retried(tmp_path: Path) -> None:
    """The directory vanishes: TransientError, not a traceback of the operating system."""
    outbox = opened(tmp_path / "spool")
    for path in sorted((tmp_path / "spool").iterdir()):
        path.unlink()
    (tmp_path / "spool").rmdir()
    with pytest.raises(TransientError, match="cannot write"):
        outbox.append("a.v1", 0, None, b"x")
    outbox.close()


def test_wait_returns_when_another_thread_appends(tmp_path: Path) -> None:
    """False after the timeout, true as soon as there is something above the seq."""
    with opened(tmp_path) as outbox:
        assert not outbox.wait(0, 0.01)
        outbox.append("a.v1", 0, None, b"x")
        assert outbox.wait(0, 5)
        assert not outbox.wait(1, 0.01)
