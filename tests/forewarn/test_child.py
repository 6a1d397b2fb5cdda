"""A child under care, as a real small process: restarted with a backoff, ended in order, its log bounded."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from forewarn.embedded import child as child_module
from forewarn.embedded import logs
from forewarn.embedded.child import EXIT_RESTART_WANTED, Child

DEADLINE_S = 20.0
SLEEPS = "import time; print('here', flush=True); time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here', flush=True); time.sleep(600)"


@contextmanager
def cared_for(code: str, log_dir: Path, **environment: str) -> Iterator[Child]:
    """A child that runs this Python code, started; dead at the end of the block whatever happened."""
    child = Child("producer home", [sys.executable, "-c", code], log_dir=log_dir, environment=environment)
    child.start()
    try:
        yield child
    finally:
        child.end(deadline_s=0.0)


def wait_until(true: Callable[[], bool]) -> None:
    """Wait generously."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.01)


def next_word(child: Child) -> str:
    """Care until there is something to say."""
    found: list[str] = []

    def said() -> bool:
        line = child.care()
        found.extend([] if line is None else [line])
        return bool(found)

    wait_until(said)
    return found[0]


def test_a_child_says_into_its_log_what_it_says(tmp_path: Path) -> None:
    """Both streams, in a file named like it; it has our environment and its own."""
    code = "import os, sys; print(os.environ['WORD'], bool(os.environ['PATH'])); sys.exit('to stderr')"
    with cared_for(code, tmp_path / "logs", WORD="hello") as child:
        assert "ended with 1" in next_word(child)
        assert (tmp_path / "logs" / "producer-home.log").read_text().splitlines() == ["hello True", "to stderr"]


def test_a_child_that_ends_again_and_again_waits_longer_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.02, 0.04, 0.06 and never more than the last; each line says the exit code, the wait and the log."""
    monkeypatch.setattr(child_module, "BACKOFF_S", (0.02, 0.04, 0.06))
    with cared_for("raise SystemExit(7)", tmp_path) as child:
        log = tmp_path / "producer-home.log"
        for restarts, wait in enumerate(("0.02", "0.04", "0.06", "0.06")):
            assert next_word(child) == (f"producer home ended with 7; it is started again in {wait} s; see {log}")
            assert (child.restarts, child.last_exit, child.pid, child.running) == (restarts, 7, None, False)
        wait_until(lambda: child.care() is None and child.restarts == 4)


def test_a_backoff_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it lasts nothing is started, and nothing is said again."""
    monkeypatch.setattr(child_module, "BACKOFF_S", (600.0,))
    with cared_for("raise SystemExit(7)", tmp_path) as child:
        assert "started again in 600 s" in next_word(child)
        assert [child.care() for _ in range(50)] == [None] * 50
        assert (child.restarts, child.running) == (0, False)


def test_a_child_that_ran_well_for_long_begins_with_the_shortest_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new trouble is not the continuation of an old one."""
    monkeypatch.setattr(child_module, "BACKOFF_S", (0.01, 600.0))
    monkeypatch.setattr(child_module, "_STEADY_S", 0.0)
    with cared_for("raise SystemExit(7)", tmp_path) as child:
        for _ in range(3):
            assert "started again in 0.01 s" in next_word(child)


def test_a_child_that_wants_a_restart_has_it_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 75 is no failure: no wait, however often, and the next failure's wait is the first one."""
    monkeypatch.setattr(child_module, "BACKOFF_S", (0.01, 600.0))
    code = (
        "import os, pathlib, sys; path = pathlib.Path(os.environ['COUNT']); n = int(path.read_text()) + 1;"
        f"path.write_text(str(n)); sys.exit({EXIT_RESTART_WANTED} if n < 3 else 7)"
    )
    count = tmp_path / "count"
    count.write_text("0")
    with cared_for(code, tmp_path, COUNT=str(count)) as child:
        for _ in range(2):
            assert next_word(child) == "producer home starts again: the log is a new one, or a state was found"
        assert "ended with 7; it is started again in 0.01 s" in next_word(child)


def test_a_child_that_a_signal_killed_is_started_again(tmp_path: Path) -> None:
    """As a new process."""
    with cared_for(SLEEPS, tmp_path) as child:
        first = child.pid
        assert first is not None
        child.signal(signal.SIGKILL)
        assert "ended with -9" in next_word(child)
        wait_until(lambda: child.care() is None and child.running)
        assert child.restarts == 1
        assert child.pid not in {None, first}


def test_a_child_that_does_not_end_is_killed(tmp_path: Path) -> None:
    """And that is told; afterwards nobody starts it again."""
    with cared_for(DEAF, tmp_path) as child:
        wait_until(lambda: "here" in (tmp_path / "producer-home.log").read_text())
        pid = child.pid
        assert pid is not None
        child.signal(signal.SIGTERM)
        assert child.end(deadline_s=time.monotonic() + 0.1) is False
        assert not psutil.pid_exists(pid)
        assert child.last_exit == -signal.SIGKILL
        assert child.care() is None
        assert not child.running


def test_a_child_that_ends_in_time_is_not_killed(tmp_path: Path) -> None:
    """Ending and signalling what has ended already does no harm."""
    with cared_for(SLEEPS, tmp_path) as child:
        wait_until(lambda: "here" in (tmp_path / "producer-home.log").read_text())
        child.signal(signal.SIGTERM)
        assert child.end(deadline_s=time.monotonic() + DEADLINE_S) is True
        assert child.last_exit == -signal.SIGTERM
        child.signal(signal.SIGTERM)
        assert child.end(deadline_s=0.0) is True


def test_an_end_beats_a_restart_that_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that waits for its restart when everything ends stays ended."""
    monkeypatch.setattr(child_module, "BACKOFF_S", (0.0,))
    with cared_for("raise SystemExit(7)", tmp_path) as child:
        next_word(child)
        assert child.end(deadline_s=0.0) is True
        assert child.care() is None
        assert not child.running


def test_a_log_past_its_bound_is_put_aside_while_the_child_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child may run for months: what it said is kept once as `.log.1`, and the log begins anew and goes on."""
    monkeypatch.setattr(logs, "LOG_BYTES_KEPT", 1000)
    log, aside = tmp_path / "producer-home.log", tmp_path / "producer-home.log.1"
    code = "import sys\nprint('a' * 1200, flush=True)\nfor line in sys.stdin: pass\nimport time\n"
    code += "while True: print('b', flush=True); time.sleep(0.05)"
    with cared_for(code, tmp_path) as child:
        wait_until(lambda: log.stat().st_size > 1200)
        assert child.care() is None
        assert aside.read_text().startswith("a" * 1200)
        wait_until(lambda: log.read_text().startswith("b\n"))
        assert child.restarts == 0


def test_a_log_past_its_bound_is_put_aside_before_a_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for what an earlier run left; a log under its bound is continued."""
    monkeypatch.setattr(logs, "LOG_BYTES_KEPT", 1000)
    log, aside = tmp_path / "producer-home.log", tmp_path / "producer-home.log.1"
    for size, kept in ((990, False), (1001, True)):  # 990: what the child adds stays under the bound
        log.write_text("x" * size)
        with cared_for("print('new')", tmp_path) as child:
            next_word(child)
        assert log.read_text() == ("new\n" if kept else "x" * size + "new\n")
        assert aside.exists() is kept
