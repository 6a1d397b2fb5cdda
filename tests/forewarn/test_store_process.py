"""The embedded store as a process: start, end, crash, and everything that it refuses at its start."""

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from analytics.client import connect
from analytics.errors import StoreUnavailableError
from analytics.settings import StoreSettings
from forewarn.embedded.store_process import StoreProcess
from tests.crash import crash

TOKEN = secrets.token_urlsafe(16)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where a test's own store lies."""
    return tmp_path / "a store"


@pytest.fixture
def process(directory: Path) -> StoreProcess:
    """A store of the test's own; the test starts and ends it."""
    return StoreProcess(directory)


def launched(directory: Path, *, port: int = 0, token: str = TOKEN) -> "subprocess.Popen[str]":
    """Start the bare process, to see all that it says; an empty token leaves the variable out."""
    environment = {name: value for name, value in os.environ.items() if name != "FOREWARN_STORE_TOKEN"}
    return subprocess.Popen(
        [sys.executable, "-m", "forewarn.embedded.store", "--path", str(directory), "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment | ({"FOREWARN_STORE_TOKEN": token} if token else {}),
    )


def refusal(directory: Path, *, port: int = 0, token: str = TOKEN) -> str:
    """Start one that must refuse; return its one line."""
    started = launched(directory, port=port, token=token)
    out, error = started.communicate(timeout=30)
    assert (started.returncode, out) == (1, "")
    assert error.count("\n") == 1
    return error


def test_what_was_stored_is_there_at_the_next_start(process: StoreProcess) -> None:
    """SIGTERM ends it with 0; the same directory has everything again."""
    client = connect(process.start())
    client.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    client.insert("t", [[1], [2]], column_names=["a"])
    client.command("CREATE DATABASE other")
    client.close()
    assert process.stop() is True
    client = connect(process.start())
    assert client.command("SELECT sum(a) FROM t") == 3
    assert "other" in client.query("SHOW DATABASES").result_columns[0]
    client.close()
    assert process.stop() is True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1",
        "SELECT sleepEachRow(3) FROM numbers(100) SETTINGS max_block_size = 1",
        "INSERT INTO slow SELECT number FROM numbers(1000000000000) WHERE sipHash64(number) = 1",
    ],
)
def test_a_signal_ends_it_while_a_query_runs(process: StoreProcess, number: signal.Signals, sql: str) -> None:
    """The query is cancelled and its client told; the process ends with 0, long before the query would have."""
    settings = process.start()
    ended: list[BaseException] = []
    client = connect(settings)
    client.command("CREATE TABLE slow (n UInt64) ENGINE = MergeTree ORDER BY n")

    def ask() -> None:
        own = connect(settings)
        try:
            own.command(sql)
        except Exception as error:  # noqa: BLE001 - kept for the assert
            ended.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    # Cut in two, so that the question does not find itself.
    running = "SELECT count() FROM system.processes WHERE query LIKE concat('%numb', 'ers(1%')"
    while client.query(running).result_rows == [(0,)]:
        time.sleep(0.02)
    assert process.pid is not None
    os.kill(process.pid, number)
    ended_by = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert ended_by is not None
    assert (ended_by.si_code, ended_by.si_status) == (os.CLD_EXITED, 0)
    asking.join(timeout=10)
    assert len(ended) == 1
    process.stop()


def test_rows_that_were_acknowledged_survive_kill_9(process: StoreProcess) -> None:
    """Killed four times while eight batches a moment go in: no acknowledged row is missing, none is there twice."""
    settings = process.start()
    client = connect(settings)
    client.command("CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n")
    client.close()
    acknowledged: list[int] = []
    number = 0
    for round_ in range(4):
        enough = threading.Event()

        def write(start: int, settings: StoreSettings = settings, enough: threading.Event = enough) -> None:
            own = connect(settings)
            try:
                for batch in range(start, start + 1000):
                    own.insert("t", [[batch * 100 + row] for row in range(100)], column_names=["n"])
                    acknowledged.append(batch)
                    if len(acknowledged) % 10 == 9:
                        enough.set()
            except Exception:  # noqa: BLE001 - the kill, in whichever form it arrives
                return

        writers = [threading.Thread(target=write, args=(number + 1000 * writer,)) for writer in range(2)]
        number += 2000
        for writer in writers:
            writer.start()
        assert enough.wait(30), f"round {round_}"
        crash(process)
        for writer in writers:
            writer.join()
        settings = process.start()
    client = connect(settings)
    stored = client.query("SELECT intDiv(n, 100) AS batch, count(), uniqExact(n) FROM t GROUP BY batch").result_rows
    assert {batch for batch, _, _ in stored} >= set(acknowledged)
    assert {(rows, unique) for _, rows, unique in stored} == {(100, 100)}
    client.close()
    process.stop()


def test_a_second_process_on_the_same_directory_is_refused(process: StoreProcess, directory: Path) -> None:
    """One line with the directory and the owner; the first goes on."""
    settings = process.start()
    assert refusal(directory) == f"another store process ({process.pid}) has the directory {directory}\n"
    assert connect(settings).command("SELECT 1") == 1
    process.stop()


def test_a_port_that_is_taken_is_refused(process: StoreProcess, tmp_path: Path) -> None:
    """One line with the port."""
    port = urlsplit(process.start().url).port or 0
    said = refusal(tmp_path / "second", port=port)
    assert said == f"the store cannot listen on 127.0.0.1:{port}: Address already in use\n"
    process.stop()


def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """One line with the directory; a file in its place stands for any reason, since root may write everywhere."""
    (tmp_path / "file").write_text("x")
    line = refusal(tmp_path / "file" / "store")
    assert line == f"the store cannot write to {tmp_path / 'file' / 'store'}: Not a directory\n"


def test_without_a_token_it_does_not_start(directory: Path) -> None:
    """One line with the variable's name."""
    said = "the store needs its token in the environment variable FOREWARN_STORE_TOKEN\n"
    assert refusal(directory, token="") == said


def test_it_prints_the_port_and_nothing_else_and_never_the_token(directory: Path) -> None:
    """One JSON line on stdout; neither stream, nor a file of the directory, nor /proc has the token."""
    started = launched(directory)
    assert started.stdout is not None
    assert list(json.loads(started.stdout.readline())) == ["port"]
    command = Path(f"/proc/{started.pid}/cmdline")
    assert not command.exists() or TOKEN not in command.read_text()
    started.terminate()
    out, error = started.communicate(timeout=10)
    assert (out, error) == ("", "")
    files = [path.read_bytes() for path in directory.rglob("*") if path.is_file()]
    assert not any(TOKEN.encode() in content for content in files)


def test_it_listens_on_loopback_alone(process: StoreProcess) -> None:
    """The listening sockets of the process are one, on 127.0.0.1."""
    port = urlsplit(process.start().url).port
    listening = [c.laddr for c in psutil.Process(process.pid).net_connections("tcp") if c.status == "LISTEN"]
    assert [(address.ip, address.port) for address in listening] == [("127.0.0.1", port)]
    process.stop()


def test_a_store_that_has_gone_is_unavailable_in_one_line(process: StoreProcess) -> None:
    """The client's error names the address and the reason."""
    settings = process.start()
    process.stop()
    with pytest.raises(StoreUnavailableError) as caught:
        connect(settings)
    assert str(caught.value) == f"the store at {settings.url} cannot be reached: connection refused"


def test_the_command_lines_help_names_both_options() -> None:
    """And a wrong command line ends with 2."""
    command = [sys.executable, "-m", "forewarn.embedded.store"]
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "--path" in shown.stdout
    assert "--port" in shown.stdout
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2
