"""The parts one by one, as processes on a real broker and store: migrate, producer, worker, tail."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from analytics.client import connect
from analytics.settings import StoreSettings
from forewarn.cli import run
from forewarn.embedded.broker import TansuBroker, free_port
from forewarn.log_reader import LogReader
from forewarn.runtime import Runtime, write_runtime
from producers.settings import LogSettings
from producers.topics import ACTIONS
from streams.contract import Action
from tests.forewarn.cli_process import forewarn, start

CHECKS = ("tail", "--topic", "checks", "--from-start")
DEADLINE_S = 60.0
CONFIG = """\
store: {{url: '{url}', database: {database}, token: '{token}'}}
targets:
  - name: web
    interval: 1s
    probes:
      - tcp: "127.0.0.1:{port}"
"""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TansuBroker]:
    """An embedded broker of this module's own."""
    broker = TansuBroker(tmp_path_factory.mktemp("broker"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture(scope="module")
def installed(broker: TansuBroker, store: StoreSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with forewarn.yaml and forewarn-data, topics and tables made by `migrate`; the target answers."""
    directory = tmp_path_factory.mktemp("installed")
    data_dir = directory / "forewarn-data"
    data_dir.mkdir()
    runtime = Runtime(pid=os.getpid(), bootstrap=broker.bootstrap, store_url=store.url, store_token=store.token or "")
    write_runtime(data_dir, runtime)
    port = int(broker.bootstrap.rpartition(":")[2])
    text = CONFIG.format(url=store.url, database=f"commands_{os.getpid()}", token=store.token, port=port)
    (directory / "forewarn.yaml").write_text(text)
    made = forewarn("migrate", cwd=directory)
    assert made.returncode == 0, made.stderr
    yield directory
    with closing(connect(store, use_database=False)) as client:
        client.command(f"DROP DATABASE commands_{os.getpid()}")


def wait_until(true: Callable[[], bool]) -> None:
    """Wait generously."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.2)


def end(process: "subprocess.Popen[str]", number: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
    """Send a signal and return exit code, stdout and stderr."""
    process.send_signal(number)
    out, err = process.communicate(timeout=DEADLINE_S)
    return process.returncode, out, err


def test_migrate_can_be_repeated_and_numbers_configs(installed: Path, broker: TansuBroker) -> None:
    """The same config is no new version; another one is, in the store and as an action in the log, secrets masked."""
    again = forewarn("migrate", cwd=installed)
    assert again.stdout.splitlines() == [
        "topics  7 there, 12 partitions for checks",
        "tables  up to date",
        "config  version 1, unchanged",
    ]
    other = installed / "other.yaml"
    other.write_text((installed / "forewarn.yaml").read_text().replace("interval: 1s", "interval: 2s"))
    assert "config  version 2\n" in forewarn("migrate", "--config", "other.yaml", cwd=installed).stdout
    query = "SELECT config_version, position(text, 'interval: 2s') > 0 AS changed FROM config_versions ORDER BY 1"
    assert forewarn("sql", "-f", "TSV", query, cwd=installed).stdout == "1\t0\n2\t1\n"
    reader = LogReader(LogSettings(bootstrap=(broker.bootstrap,)), [ACTIONS], from_start=True)
    actions: list[Action] = []

    def both_there() -> bool:
        actions.extend(message for message in reader.poll(timeout_s=1) if isinstance(message, Action))
        return len(actions) >= 2

    wait_until(both_there)
    reader.close()
    assert [(action.kind, action.config_version) for action in actions] == [("configure", 1), ("configure", 2)]
    assert "token: '***'" in (actions[0].text or "")


def test_a_producer_publishes_until_it_is_told_to_end(
    installed: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`tail` shows its checks as lines and as JSON, `healthcheck` says that it is well, SIGTERM ends it with 0."""
    monkeypatch.chdir(installed)
    port = free_port()
    producer = start("producer", "--location", "local", "--observe-port", str(port), cwd=installed)
    try:
        assert run([*CHECKS, "--limit", "2", "--target", "web", "--seconds", str(DEADLINE_S)]) == 0
        lines = capfd.readouterr().out.splitlines()
        form = (
            r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d  main/web  +tcp  +local  +success  +[\d.]+ ms  127\.0\.0\.1(  disturbed)?"
        )
        assert len(lines) == 2
        assert all(re.fullmatch(form, line) for line in lines), lines
        assert run([*CHECKS, "--limit", "1", "--json", "--seconds", str(DEADLINE_S)]) == 0
        found = json.loads(capfd.readouterr().out)
        assert (found["type"], found["target"], found["outcome"]) == ("check", "main/web", "success")
        assert isinstance(found["duration_us"], int)
        assert run([*CHECKS, "--target", "other/*", "--seconds", "1"]) == 0
        assert capfd.readouterr().out == ""
        wait_until(lambda: run(["healthcheck", "--port", str(port)]) == 0)
    finally:
        code, _, said = end(producer)
    assert code == 0, said
    assert "Traceback" not in said
    capfd.readouterr()
    assert run(["tail", "--from-start", "--seconds", "3"]) == 0
    stopped = [line for line in capfd.readouterr().out.splitlines() if "was stopped in order" in line]
    assert len(stopped) == 1  # though it is written to every partition


def test_tail_goes_on_until_ctrl_c(installed: Path) -> None:
    """With 130 and no word."""
    tail = start("tail", "--from-start", cwd=installed)
    assert tail.stdout is not None
    line = tail.stdout.readline()
    code, _, said = end(tail, signal.SIGINT)
    assert (code, said) == (130, "")
    assert line.startswith("20")


@pytest.mark.parametrize("name", ["detect", "incidents", "alerts", "sink"])
def test_a_worker_runs_until_it_is_told_to_end(name: str, installed: Path) -> None:
    """Each of the four becomes healthy, and SIGTERM ends it with 0."""
    port = free_port()
    worker = start("worker", name, "--observe-port", str(port), cwd=installed)
    try:
        wait_until(lambda: worker.poll() is not None or run(["healthcheck", "--port", str(port)]) == 0)
    finally:
        code, _, said = end(worker)
    assert code == 0, said
    assert "Traceback" not in said


def test_a_location_that_is_not_there_is_refused(installed: Path) -> None:
    """With those that are."""
    ended = forewarn("producer", "--location", "nowhere", cwd=installed)
    assert ended.returncode == 2
    assert ended.stderr.endswith("the location nowhere is not there, expected one of: local\n")


def test_a_broker_that_is_away(installed: Path) -> None:
    """`tail` and `migrate` say so in one line and end with 3."""
    away = installed / "away.yaml"
    away.write_text("log: {bootstrap: ['127.0.0.1:1']}\n" + (installed / "forewarn.yaml").read_text())
    for words in (["tail"], ["migrate"]):
        ended = forewarn(*words, "--config", "away.yaml", cwd=installed)
        assert ended.returncode == 3
        assert ended.stderr == "forewarn: cannot reach the broker at 127.0.0.1:1 (Connection refused)\n"
