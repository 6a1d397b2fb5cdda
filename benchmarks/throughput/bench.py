"""Broker, store and worker processes of one run, each a process of its own, and what they spend."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
from kafka import KafkaProducer

from analytics.migrate import migrate
from analytics.rollups import Rollups
from analytics.session import Session
from benchmarks.throughput.load import PARTITIONS, Load
from forewarn.embedded.broker import TansuBroker
from forewarn.embedded.process import LEAN, end
from forewarn.embedded.store_process import StoreProcess
from forewarn.leash import PARENT
from producers.log import create_topics
from producers.log_client import kafka_options
from producers.settings import LogSettings
from producers.topics import CHECKS

START_S: Final = 900.0
RUN_S: Final = 1800.0
REPOSITORY: Final = Path(__file__).resolve().parents[2]


@dataclass(kw_only=True)
class Spent:
    """What a run took.

    Attributes:
        seconds: From the gate to the last check, by worker.
        cpu_s: CPU seconds by process, user and system.
        peak_mb: The largest resident set by process.
        load_average: Of the last minute, at the end: who else used the machine.
    """

    checks: int
    seconds: dict[str, float] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)
    peak_mb: dict[str, int] = field(default_factory=dict)
    load_average: float = 0.0

    @property
    def checks_per_s(self) -> float:
        """End to end: until the slowest worker has the last check."""
        return self.checks / max(self.seconds.values())


class Site:
    """A broker with a full topic and an empty store."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.broker = TansuBroker(directory)
        self.store = StoreProcess(directory / "store")
        self.log = LogSettings(bootstrap=("",), partitions=PARTITIONS, forgetful=True)
        self._gates = 0

    def start(self) -> None:
        """Start both and make topics and tables."""
        self.broker.start()
        self.store.start()
        self.log = LogSettings(bootstrap=(self.broker.bootstrap,), partitions=PARTITIONS, forgetful=True)
        create_topics(self.log)
        migrate(self.store.settings)

    def stop(self) -> None:
        """End both."""
        self.store.stop()
        self.broker.stop()

    def fill(self, messages: Iterator[tuple[int, bytes]], *, topic: str = CHECKS) -> None:
        """Put messages into a topic, all of them acknowledged at the end."""
        producer = KafkaProducer(
            **kafka_options(self.log), compression_type="lz4", linger_ms=20, batch_size=512 * 1024, acks="all"
        )
        for partition, value in messages:
            producer.send(topic, value=value, partition=partition)
        producer.flush()
        producer.close()

    def job(self, load: Load, *, warm: bool) -> Path:
        """Write what a worker needs to know, with a new gate."""
        self._gates += 1
        gate = self.directory / f"gate-{self._gates}"
        made = asdict(load)
        made.pop("targets")
        path = self.directory / f"job-{self._gates}.json"
        path.write_text(
            json.dumps(
                {
                    "load": made,
                    "warm": warm,
                    "gate": str(gate),
                    "directory": str(self.directory / f"workers-{self._gates}"),
                    "bootstrap": self.broker.bootstrap,
                    "store_url": self.store.settings.url,
                    "store_token": self.store.settings.token,
                    "session_timeout_s": 10.0,
                }
            )
        )
        return path

    def stored(self) -> int:
        """Return the final rows of checks."""
        session = Session(self.store.settings)
        with session.client() as client:
            rows: int = client.query("SELECT count() FROM checks").result_rows[0][0]
        session.close()
        return rows

    def rollups(self) -> tuple[int, float]:
        """Compute all rollups that wait, as the sink does beside the flow; return their number and the seconds."""
        rollups = Rollups(self.store.settings)
        rollups.own(range(PARTITIONS))
        began = time.perf_counter()
        while rollups.step(now_us=time.time_ns() // 1000 + 2 * 3600 * 1_000_000) is not None:
            pass
        took = time.perf_counter() - began
        session = Session(self.store.settings)
        with session.client() as client:
            hours: int = client.query("SELECT count() FROM check_hours").result_rows[0][0]
        session.close()
        return hours, took


class Told:
    """A worker process and what it told last."""

    def __init__(self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.name, self.checks, self.at, self.ready = name, 0, 0.0, False
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [*command],
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **environment, PARENT: str(os.getpid())},
                cwd=REPOSITORY,
            )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with contextlib.suppress(json.JSONDecodeError):
                said: Any = json.loads(line)
                self.ready = self.ready or bool(said.get("ready"))
                if said.get("checks", 0) > self.checks:
                    self.checks, self.at = said["checks"], said["at"]

    def look(self) -> None:
        """Raise if it failed. A peer may end in order at the topic's end."""
        if self.process.poll():
            raise SystemExit(f"{self.name} ended with {self.process.returncode}:\n{self._log.read_text()[-3000:]}")

    def stop(self) -> None:
        """End it."""
        end(self.process, hard=False, patience_s=10.0)


def run_workers(site: Site, job: Path, names: Sequence[str], checks: int) -> Spent:
    """Run workers of ours over what is in the topic."""
    return run(site, _commands(names, job), gate_of(job), checks)


def gate_of(job: Path) -> Path:
    """Return the file that the workers of a job wait for."""
    return Path(json.loads(job.read_text())["gate"])


def load_average() -> float:
    """Return how many processes wanted to run in the last minute."""
    return round(os.getloadavg()[0], 1)


@contextlib.contextmanager
def workers(site: Site, job: Path, names: Sequence[str]) -> Iterator[list["Told"]]:
    """Start workers of ours, and end them."""
    with _running(site, _commands(names, job), LEAN) as told:
        yield told


def _commands(names: Sequence[str], job: Path) -> dict[str, Sequence[str]]:
    return {name: (sys.executable, "-m", "benchmarks.throughput.workers", name, str(job)) for name in names}


@contextlib.contextmanager
def _running(
    site: Site, commands: Mapping[str, Sequence[str]], environment: Mapping[str, str]
) -> Iterator[list["Told"]]:
    logs = site.directory / "logs"
    told = [Told(name, command, logs / f"{name}.log", environment) for name, command in commands.items()]
    try:
        yield told
    finally:
        for one in told:
            one.stop()


def run(
    site: Site,
    commands: Mapping[str, Sequence[str]],
    gate: Path,
    checks: int,
    *,
    shared: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Spent:
    """Start processes, wait until all are ready, open the gate, wait until they have all checks, and end them.

    Args:
        site: Where.
        commands: By name.
        gate: The file that they wait for.
        checks: How many each of them must have; all together, if they are `shared`.
        shared: They are members of one group.
        environment: Of all of them, beside this process's own.
    """
    with _running(site, commands, {**LEAN, **(environment or {})}) as told:
        wait(told, lambda: all(one.ready for one in told), START_S)
        before, began = cpu(site, told), time.time()
        gate.touch()
        if shared:
            wait(told, lambda: sum(one.checks for one in told) >= checks, RUN_S)
            seconds = {"all": max(one.at for one in told) - began}
        else:
            wait(told, lambda: all(one.checks >= checks for one in told), RUN_S)
            seconds = {one.name: one.at - began for one in told}
        after = cpu(site, told)
        return Spent(
            checks=checks,
            seconds=seconds,
            cpu_s={name: after[name] - before[name] for name in after},
            peak_mb={name: peak_mb(pid) for name, pid in pids(site, told).items()},
            load_average=load_average(),
        )


def pids(site: Site, told: Sequence[Told]) -> dict[str, int]:
    """Return the process ids by name."""
    assert site.broker.process is not None and site.store.pid is not None  # noqa: PT018 - one fact: both run
    return {"broker": site.broker.process.pid, "store": site.store.pid, **{one.name: one.process.pid for one in told}}


def cpu(site: Site, told: Sequence[Told]) -> dict[str, float]:
    """Return CPU seconds so far, by process."""
    found = {}
    for name, pid in pids(site, told).items():
        with contextlib.suppress(psutil.NoSuchProcess):
            times = psutil.Process(pid).cpu_times()
            found[name] = times.user + times.system
    return found


def peak_mb(pid: int) -> int:
    """Return the largest resident set that a process ever had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    # One that has ended and was not waited for has no memory any more.
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0) // 1024


def wait(told: Sequence[Told], done: Callable[[], bool], seconds: float) -> None:
    """Wait for something.

    Raises:
        SystemExit: A process ended, or it takes too long.
    """
    deadline = time.monotonic() + seconds
    while not done():
        for one in told:
            one.look()
        if time.monotonic() > deadline:
            state = {one.name: (one.ready, one.checks) for one in told}
            raise SystemExit(f"not done after {seconds:g} s: {state}")
        time.sleep(0.05)


@contextlib.contextmanager
def site() -> Iterator[Site]:
    """Yield a running one, in a directory of its own that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="forewarn-throughput-") as directory:
        made = Site(Path(directory))
        made.start()
        try:
            yield made
        finally:
            made.stop()
