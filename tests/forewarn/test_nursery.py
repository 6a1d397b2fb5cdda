"""The nursery: commands of forewarn that are forked behave as commands that were started."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from forewarn.embedded.nursery import COMMAND, FORKING_IS_SAFE, Nursery
from forewarn.embedded.process import Process, popen
from forewarn.leash import PARENT
from producers.errors import ForewarnError
from tests.forewarn.test_child import wait_until

pytestmark = pytest.mark.skipif(not FORKING_IS_SAFE, reason="forking after imports is not safe on this platform")

CONFIG = """
log: {bootstrap: ["127.0.0.1:9"]}
store: {url: "http://127.0.0.1:9"}
targets: [{url: 'http://127.0.0.1:9/'}]
"""


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    """One in a directory of its own."""
    made = Nursery(tmp_path / "data")
    made.start()
    yield made
    made.stop()


def waiting_worker(nursery: Nursery, tmp_path: Path) -> Process:
    """A worker whose broker is away: it waits for half a minute."""
    config = tmp_path / "forewarn.yaml"
    config.write_text(CONFIG)
    words = [*COMMAND, "worker", "detect", "--config", str(config), "--data-dir", str(tmp_path / "data")]
    log = tmp_path / "worker.log"
    process = nursery.spawn(words, log, dict(os.environ))
    wait_until(lambda: log.exists() and "waiting for the broker" in log.read_text())
    return process


@pytest.mark.parametrize(
    "words", [["schema"], ["validate", "--config", "nowhere.yaml"], ["worker", "nobody"], ["--help"]]
)
def test_a_forked_command_says_and_returns_what_a_started_one_does(
    nursery: Nursery, tmp_path: Path, words: list[str]
) -> None:
    """The same bytes on stdout and stderr, the same exit code."""
    found = []
    environment = {**os.environ, "COLUMNS": "80"}
    for number, launch in enumerate((nursery.spawn, popen)):
        log = tmp_path / f"{number}.log"
        code = launch([*COMMAND, *words], log, environment).wait(timeout=60.0)
        found.append((code, log.read_text()))
    assert found[0] == found[1]
    assert found[0][1]


def test_a_forked_command_has_the_environment_that_it_is_given(nursery: Nursery, tmp_path: Path) -> None:
    """All of it and nothing else, but for its parent, which it follows."""
    process = waiting_worker(nursery, tmp_path)
    assert PARENT not in os.environ
    child = psutil.Process(process.pid)
    assert child.ppid() == nursery.pid
    assert os.getsid(process.pid) == process.pid
    assert child.name() == "fw worker detect"[:15]
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.05)
    process.kill()
    assert process.wait(timeout=10.0) == -signal.SIGKILL
    process.send_signal(signal.SIGTERM)  # harmless
    assert process.poll() == process.returncode == -signal.SIGKILL


def test_a_worker_ends_when_its_nursery_was_killed(nursery: Nursery, tmp_path: Path) -> None:
    """It follows its parent; its end is known as one that nobody could ask about, and the next call has a nursery."""
    process = waiting_worker(nursery, tmp_path)
    first = nursery.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert process.wait(timeout=30.0) == -signal.SIGKILL
    assert not psutil.pid_exists(process.pid) or psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
    assert nursery.spawn([*COMMAND, "schema"], tmp_path / "next.log", dict(os.environ)).wait(timeout=60.0) == 0
    assert nursery.pid != first


def test_a_nursery_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """Also when that one was killed: nothing imports and waits for nobody."""
    code = (
        "import sys, time, pathlib; from forewarn.embedded.nursery import Nursery;"
        "made = Nursery(pathlib.Path(sys.argv[1])); made.start(); print(made.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        nursery = psutil.Process(int(owner.stdout.readline()))
        owner.kill()
    wait_until(lambda: not nursery.is_running() or nursery.status() == psutil.STATUS_ZOMBIE)


def test_other_commands_are_not_for_a_nursery(nursery: Nursery, tmp_path: Path) -> None:
    """It forks what it has imported: anything else is a bug of the caller."""
    with pytest.raises(ValueError, match="not a command of forewarn"):
        nursery.spawn(["ls"], tmp_path / "log", {})


def test_a_nursery_that_cannot_import_says_where_its_words_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that names its log; the log has the reason."""
    (tmp_path / "msgspec.py").write_text("raise ImportError('broken on purpose')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    made = Nursery(tmp_path / "data")
    made.start()
    log = tmp_path / "data" / "logs" / "nursery.log"
    with pytest.raises(ForewarnError, match=f"the nursery does not answer .*; see {log}"):
        made.spawn([*COMMAND, "schema"], tmp_path / "log", {})
    assert "broken on purpose" in log.read_text()
    made.stop()
