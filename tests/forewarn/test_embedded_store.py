"""The store as the one-machine mode starts it: its own line when it refuses, the same address after a restart."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from analytics.client import connect
from analytics.errors import StoreRefusedError
from forewarn.embedded.store_process import StoreProcess


@pytest.fixture
def process(tmp_path: Path) -> Iterator[StoreProcess]:
    """One that the test starts; it has ended afterwards."""
    process = StoreProcess(tmp_path / "data" / "store")
    yield process
    process.stop()


def test_it_comes_back_after_a_crash_where_it_was(process: StoreProcess) -> None:
    """The same address and token, and everything that it had answered: nobody need be told."""
    process.start()
    settings, pid = process.settings, process.pid
    assert pid is not None
    with closing(connect(settings)) as client:
        client.command("CREATE TABLE t (a Int64) ENGINE = MergeTree ORDER BY a")
        client.command("INSERT INTO t VALUES (7)")
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert not process.running
    process.start()
    assert (process.settings, process.running) == (settings, True)
    assert process.pid != pid
    with closing(connect(settings)) as client:
        assert client.command("SELECT a FROM t") == 7
    assert process.stop() is True
    assert process.stop() is True
    assert (process.pid, process.running) == (None, False)


def test_a_store_that_refuses_is_told_in_its_own_words(process: StoreProcess, tmp_path: Path) -> None:
    """A directory that is locked, a port that is taken: the line that the store wrote this time, not an older one."""
    process.start()
    (tmp_path / "data" / "store.log").open("a").write("an old line\n")
    second = StoreProcess(tmp_path / "data" / "store")
    with pytest.raises(StoreRefusedError) as caught:
        second.start()
    assert str(caught.value) == f"another store process ({process.pid}) has the directory {tmp_path / 'data' / 'store'}"
    assert not second.running
    port = int(process.settings.url.rpartition(":")[2])
    third = StoreProcess(tmp_path / "other" / "store", port=port)
    with pytest.raises(StoreRefusedError) as caught:
        third.start()
    assert str(caught.value) == f"the store cannot listen on 127.0.0.1:{port}: Address already in use"
    with closing(connect(process.settings)) as client:
        assert client.command("SELECT 1") == 1


def test_a_file_where_the_directory_should_be_is_refused(tmp_path: Path) -> None:
    """In one line; it stands for every directory that cannot be written."""
    (tmp_path / "store").write_text("mine")
    with pytest.raises(StoreRefusedError) as caught:
        StoreProcess(tmp_path / "store").start()
    assert str(caught.value) == f"the store cannot write to {tmp_path / 'store'}: File exists"


def test_a_store_that_dies_without_a_word_is_told_with_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code and where its log lies; it is not mistaken for one that is slow."""
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(StoreRefusedError) as caught:
        StoreProcess(tmp_path / "store").start()
    assert str(caught.value) == f"the embedded store ended with 1; see {tmp_path / 'store.log'}"
