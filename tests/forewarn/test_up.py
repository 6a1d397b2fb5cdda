"""The one-machine mode's own care: one owner of a data directory, nothing left behind, what ended is started again."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from analytics.client import connect
from forewarn import up as up_module
from forewarn.cli import exit_code_of
from forewarn.config.config import load
from forewarn.embedded.process import popen
from forewarn.errors import DataDirectoryError, ExitCode
from forewarn.runtime import FILE_NAME
from forewarn.up import WORKERS, Installation, lock_data_dir
from producers.errors import ForewarnError
from producers.outbox import Outbox
from producers.topics import CHECKS
from tests.forewarn.cli_process import start
from tests.producers.brokers import closed_port

DEADLINE_S = 60.0
TICKS = "SELECT count() FROM checks"
WHOLE = """
SELECT count(), uniqExact(scheduled_at), dateDiff('second', min(scheduled_at), max(scheduled_at)) FROM checks
"""
CONFIG = "targets: [{url: 'http://127.0.0.1:9/', interval: 1s, timeout: 900ms}]\n"


def installation(tmp_path: Path) -> Installation:
    """One that has not been started."""
    config_file = tmp_path / "forewarn.yaml"
    config_file.write_text(CONFIG)
    return Installation(load(config_file), config_file, tmp_path / "data")


def left_of(data_dir: Path) -> list[str]:
    """Return what runs on a data directory, by its command line or the file that it has open."""
    found = []
    for process in psutil.process_iter(["cmdline", "pid"]):
        words = " ".join(process.info["cmdline"] or ())
        if str(data_dir) in words and process.info["pid"] != os.getpid():
            found.append(words)
    return found


def children() -> set[int]:
    """Return the ids of all living processes below this one."""
    return {child.pid for child in psutil.Process().children(recursive=True) if child.is_running()}


def wait_until(true: Callable[[], bool], *, within_s: float = DEADLINE_S) -> None:
    """Wait generously."""
    deadline_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.05)


def cared_for(made: Installation) -> str:
    """Care until there is something to say, and return it; two ends may be found at one look."""
    said: list[str] = []

    def care() -> bool:
        said.extend(made.care())
        return bool(said)

    wait_until(care)
    return "\n".join(said)


def test_a_second_owner_is_refused_in_one_line(tmp_path: Path) -> None:
    """It names the process; the lock is free again when its owner closes it, or dies."""
    data_dir = tmp_path / "data"
    code = (
        "import sys, pathlib, forewarn.up as up; lock = up.lock_data_dir(pathlib.Path(sys.argv[1]));"
        "print(1, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "1\n"
        with pytest.raises(DataDirectoryError) as caught:
            lock_data_dir(data_dir)
        assert str(caught.value) == f"the data directory {data_dir} is in use by process {owner.pid}"
        owner.kill()
        owner.wait()
        with closing(lock_data_dir(data_dir)):
            assert (data_dir / "lock").read_text() == f"{os.getpid()}\n"
            assert data_dir.stat().st_mode & 0o777 == 0o700
    lock_data_dir(data_dir).close()


@pytest.mark.parametrize(("name", "why"), [("file", "File exists"), ("file/data", "Not a directory")])
def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path, name: str, why: str) -> None:
    """One line with its name and the system's reason; a file in its place, since root may write everywhere."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataDirectoryError) as caught:
        lock_data_dir(tmp_path / name)
    assert str(caught.value) == f"the data directory {tmp_path / name} cannot be written: {why}"
    assert (tmp_path / "file").read_text() == "mine"


def test_nothing_is_left_when_a_later_step_of_the_start_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nursery, store and broker run, `migrate` fails: its line and code are the error; after `stop` nothing runs."""
    before = children()
    made = installation(tmp_path)
    command = [sys.executable, "-c", "import sys; print('forewarn: no such luck', file=sys.stderr); sys.exit(3)"]
    monkeypatch.setattr(made, "_command", lambda *_: command)
    monkeypatch.setattr(made, "_launch", popen)
    with pytest.raises(ForewarnError, match=r"^no such luck$") as caught:
        made.start()
    assert exit_code_of(caught.value) == ExitCode.UNREACHABLE
    assert len(children() - before) == 3
    assert made.stop() == []
    assert children() - before == set()
    assert not (tmp_path / "data" / FILE_NAME).exists()
    lock_data_dir(tmp_path / "data").close()


def test_a_dead_letter_that_no_log_takes_does_not_keep_it_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that an earlier version put into the outbox: the start says it, and goes on."""
    monkeypatch.setattr(up_module, "WORKERS", ())
    made = installation(tmp_path)
    directory = tmp_path / "data" / "outbox" / "dead-letters"
    with Outbox(directory, outbox_id="dead-letters", max_bytes=1 << 50) as outbox:
        outbox.append(CHECKS, 0, None, b"x" * 5_000_000)
    try:
        made.start()
        assert cared_for(made) == (
            f"letters 1 messages that were sent again are refused for good: see {directory}/refused"
        )
    finally:
        made.stop()


def test_up_with_kafka_away_says_so_once_and_ends_with_3(tmp_path: Path) -> None:
    """The line of `migrate` as it is."""
    port = closed_port()
    (tmp_path / "forewarn.yaml").write_text(f"log: {{bootstrap: '127.0.0.1:{port}'}}\n{CONFIG}")
    process = start("up", "--data-dir", tmp_path / "data", cwd=tmp_path)
    out, err = process.communicate(timeout=DEADLINE_S)
    said = f"forewarn: cannot reach the broker at 127.0.0.1:{port} (Connection refused)\n"
    assert (process.returncode, err) == (ExitCode.UNREACHABLE, said), out


def test_up_leaves_nothing_when_its_start_fails(tmp_path: Path) -> None:
    """The command itself: one line, exit 4, no process, the directory free."""
    (tmp_path / "forewarn.yaml").write_text(CONFIG)
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    (data_dir / "store").write_text("no directory")
    process = start("up", "--data-dir", data_dir, cwd=tmp_path)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, err) == (
        ExitCode.REFUSED,
        f"forewarn: the store cannot write to {data_dir / 'store'}: File exists\n",
    ), out
    assert left_of(data_dir) == []
    lock_data_dir(data_dir).close()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_demo_that_is_ended_leaves_nothing(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """Ended by a supervisor or by Ctrl-C while it starts its parts: none of them lives on."""
    data_dir = tmp_path / "demo"
    process = start("demo", "--data-dir", data_dir, cwd=tmp_path)
    wait_until(lambda: (data_dir / FILE_NAME).exists() or process.poll() is not None)
    assert len(left_of(data_dir)) > 2
    process.send_signal(number)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == code, err
    assert left_of(data_dir) == []
    assert not (data_dir / FILE_NAME).exists()


def test_a_store_and_a_broker_that_ended_are_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is told in a line; the store at its address and with its rows, the broker at its address as a new epoch."""
    monkeypatch.setattr(up_module, "WORKERS", ())
    made = installation(tmp_path)
    try:
        made.start()
        assert made.care() == []
        settings, runtime, pids = made.store_settings(), made.runtime, made.pids()
        assert set(pids) == {"up", "broker", "store", "nursery", "producer local"}
        for name, said in (("store", "the store ended; it is started again"), ("broker", "the broker ended; it is")):
            psutil.Process(pids[name]).kill()
            line = cared_for(made)
            assert line.startswith(said)
            assert made.pids()[name] != pids[name]
        assert (made.store_settings(), made.runtime) == (settings, runtime)
        with closing(connect(settings)) as client:
            assert client.query("SELECT count() > 0 FROM migrations").result_rows == [(1,)]
        assert made.care() == []
    finally:
        said_last = made.stop()
    assert said_last == []
    assert left_of(tmp_path / "data") == []


def test_every_process_is_observed(tmp_path: Path) -> None:
    """/healthz and /metrics of `up` on the port that is asked for, of each child on the next ones; all get well."""
    first = ports_in_a_row(6)
    (tmp_path / "forewarn.yaml").write_text(CONFIG)
    process = start("up", "--data-dir", tmp_path / "data", "--observe-port", str(first), cwd=tmp_path)
    try:
        for number in range(6):
            wait_until(lambda port=first + number: asked(port, "healthz")[0] == 200)  # type: ignore[misc]
        state = json.loads(asked(first, "healthz")[1])
        names = ["alerts", "detect", "incidents", "producer local", "sink"]
        assert (state["ok"], state["reason"], sorted(state["restarts"])) == (True, None, names)
        for name in ("broker", "store", *names):
            assert f'forewarn_child_running{{child="{name}"}} 1.0' in asked(first, "metrics")[1]
        assert "forewarn_checks_judged_total" in asked(first + 2, "metrics")[1]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE_S)
        assert asked(first, "healthz")[0] == 0
    finally:
        process.kill()
        process.communicate()


def ports_in_a_row(count: int) -> int:
    """Return the first of so many free ports."""
    while True:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            first: int = one.getsockname()[1]
        try:
            with ExitStack() as stack:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            continue
        return first


def asked(port: int, path: str) -> tuple[int, str]:
    """Return status and body; 0 if nobody answers."""
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/{path}", timeout=5.0)
    except httpx.TransportError:
        return 0, ""
    return answer.status_code, answer.text


def test_an_observation_port_that_is_taken_is_refused_at_once(tmp_path: Path) -> None:
    """One line with the address, before anything is started."""
    (tmp_path / "forewarn.yaml").write_text(CONFIG)
    with socket.socket() as owner:
        owner.bind(("127.0.0.1", 0))
        owner.listen()
        port = owner.getsockname()[1]
        process = start("up", "--data-dir", tmp_path / "data", "--observe-port", str(port), cwd=tmp_path)
        out, err = process.communicate(timeout=DEADLINE_S)
    said = f"forewarn: cannot serve /healthz and /metrics on 127.0.0.1:{port}: "
    assert (process.returncode, err.startswith(said), err.count("\n")) == (ExitCode.REFUSED, True, 1), out + err
    assert left_of(tmp_path / "data") == []


@pytest.mark.timeout(240)  # three states of each, one each ten seconds, and it starts twice
def test_a_broker_that_has_grown_is_started_anew_when_all_are_done_with_what_it_holds(tmp_path: Path) -> None:
    """With all workers and a producer at work; no check is lost or twice, and it stays at its address."""
    config_file = tmp_path / "forewarn.yaml"
    config_file.write_text(CONFIG)
    made = Installation(load(config_file), config_file, tmp_path / "data", broker_limit_bytes=1)
    try:
        made.start()
        first, bootstrap = made.pids()["broker"], made.log_settings().bootstrap
        # Detect and incidents commit the oldest of three states, one each ten seconds.
        wait_until(lambda: "it starts anew" in "".join(made.care()), within_s=4 * DEADLINE_S)
        assert made.pids()["broker"] != first
        assert made.log_settings().bootstrap == bootstrap
        with closing(connect(made.store_settings())) as client:
            before = client.query(TICKS).result_rows[0][0]
            wait_until(lambda: bool(made.care()) or client.query(TICKS).result_rows[0][0] > before + 3)
            ticks, distinct, seconds = client.query(WHOLE).result_rows[0]
        assert ticks == distinct == seconds + 1
    finally:
        made.stop()


def test_a_store_that_dies_while_the_broker_is_made_anew_ends_nothing(tmp_path: Path) -> None:
    """What could not be prepared is said and tried again; the workers start when the new log has its topics."""
    made = installation(tmp_path)
    try:
        made.start()
        pids = made.pids()
        port = urlsplit(made.store_settings().url).port
        psutil.Process(pids["store"]).kill()
        psutil.Process(pids["broker"]).kill()
        with taken(port or 0):  # so the store cannot come back
            assert "tried again in" in cared_for(made)
        told: list[str] = []

        def all_run() -> bool:
            told.extend(made.care())
            return set(made.pids()) == set(pids) and all(child.running for child in made.children)

        wait_until(all_run)
        assert any(line.startswith("the broker ended; it is started again") for line in told)
        assert {made.pids()[name] for name in ("store", "broker", *WORKERS)}.isdisjoint(pids.values())
    finally:
        made.stop()


def taken(port: int) -> socket.socket:
    """Listen on the port of a process that was killed, as soon as it has gone."""
    found: list[socket.socket] = []

    def take() -> bool:
        with suppress(OSError):
            found.append(socket.create_server(("127.0.0.1", port)))
        return bool(found)

    wait_until(take)
    return found[0]
