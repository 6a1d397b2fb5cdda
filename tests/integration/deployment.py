"""An installation under test: the ordinary commands as processes, cared for as their supervisor would.

Two of a kind. `OneMachine` is the product's own `Installation`, as `forewarn up` runs it. `Cluster` is what
docs/production.md describes: Kafka, a store, and each command with the environment and the rights of its role,
started again by whoever supervises it there.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from analytics.client import connect
from analytics.errors import StoreUnavailableError
from analytics.settings import StoreSettings
from forewarn.config import load
from forewarn.embedded.child import Child
from forewarn.embedded.store_process import StoreProcess
from forewarn.runtime import FILE_NAME
from forewarn.up import WORKERS, Installation
from producers.settings import LogSettings
from tests.integration.brokers import Kafka
from tests.integration.config import LOCATIONS, config_text, log_section, store_section
from tests.integration.local import Local

CARE_EVERY_S: Final = 0.2
COMMAND_S: Final = 60.0
END_S: Final = 30.0
SECOND_DETECT: Final = "detect 2"
LAST_LINES: Final = 25


class Deployment(ABC):
    """Everything that runs, with the site that it watches and the webhook that it alerts.

    Attributes:
        local: Site and webhook.
        directory: Of everything; `logs/` holds what the processes said.
        config_file: Of the processes.
        said: What the supervisor found ended, a line each.
        failure: What the supervisor itself died of.
        worn: A test left it in a state that another test should not start from.
    """

    def __init__(self, directory: Path, local: Local) -> None:
        self.local = local
        self.directory = directory
        self.config_file = directory / "forewarn.yaml"
        self.said: list[str] = []
        self.failure: BaseException | None = None
        self.worn = False
        self._attended = threading.Lock()
        self._ended = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        directory.mkdir(parents=True, exist_ok=True)

    @property
    @abstractmethod
    def log(self) -> LogSettings:
        """How a reader with all rights reaches the log."""

    @property
    @abstractmethod
    def store(self) -> StoreSettings:
        """How to reach the store."""

    @property
    @abstractmethod
    def children(self) -> list[Child]:
        """The commands that run."""

    @abstractmethod
    def pids(self) -> dict[str, int]:
        """Process ids of all that lives, by name: `broker`, `store`, `detect`, `producer ams`, ..."""

    @abstractmethod
    def command(self, role: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one command to its end, with the environment of a role."""

    @abstractmethod
    def start_second_detect(self) -> None:
        """Start another worker of the group detect, with a data directory of its own."""

    def end_second_detect(self) -> None:
        """End it in order; it is not started again."""
        with self.unattended():
            child = self.child(SECOND_DETECT)
            self.children.remove(child)
            child.signal(signal.SIGTERM)
            assert child.end(deadline_s=time.monotonic() + END_S), "the second detect worker did not end"

    @abstractmethod
    def _start(self) -> None:
        """Start everything."""

    @abstractmethod
    def _care(self) -> list[str]:
        """Start again what has ended; return a line for each."""

    @abstractmethod
    def _stop(self) -> None:
        """End everything in order."""

    def start(self) -> None:
        """Start everything, and the supervisor's care for it."""
        self._start()
        self._supervisor.start()

    def stop(self) -> None:
        """End everything."""
        self._ended.set()
        if self._supervisor.is_alive():
            self._supervisor.join()
        self._stop()

    def _supervise(self) -> None:
        try:
            while not self._ended.wait(CARE_EVERY_S):
                with self._attended:
                    self.said += self._care()
        except BaseException as error:  # noqa: BLE001 - the next test that looks shows it
            self.failure = error

    @contextlib.contextmanager
    def unattended(self) -> Iterator[None]:
        """For the time of the block nothing is started again."""
        with self._attended:
            yield

    def kill(self, name: str) -> None:
        """End a process as a crash does."""
        os.kill(self.pids()[name], signal.SIGKILL)

    def kill_and_reap(self, name: str) -> None:
        """The same for the broker or the store; returns when it is gone."""
        pid = self.pids()[name]
        os.kill(pid, signal.SIGKILL)
        while self.pids().get(name) == pid and Path(f"/proc/{pid}").exists() and not _is_zombie(pid):
            time.sleep(0.05)

    @property
    def forgot(self) -> bool:
        """Whether the broker was replaced by an empty one since the start."""
        return False

    def store_answers(self) -> bool:
        """Whether the store can be asked now."""
        try:
            connect(self.store).close()
        except StoreUnavailableError:
            return False
        return True

    def workers_read(self) -> bool:
        """Whether every worker has said that its places are loaded and read."""
        return all('"reading"' in self.output(name) for name in WORKERS)

    def child(self, name: str) -> Child:
        """Return one of the commands."""
        return next(child for child in self.children if child.name == name)

    def restarts(self) -> dict[str, int]:
        """How often each command had to be started again."""
        return {child.name: child.restarts for child in self.children}

    def is_well(self) -> bool:
        """Whether everything lives, so that another test may use it."""
        return not self.worn and self.failure is None and all(child.running for child in self.children)

    def output(self, name: str) -> str:
        """Return all that a process said."""
        path = self._logs() / f"{name.replace(' ', '-')}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def outputs(self) -> dict[str, str]:
        """Return all that the processes said, by name."""
        return {path.stem: path.read_text(errors="replace") for path in sorted(self._logs().glob("*.log"))}

    def errors(self) -> list[str]:
        """Return every line that is an error, and every traceback, by process."""
        return [
            f"{name}: {line}"
            for name, text in self.outputs().items()
            for line in text.splitlines()
            if "Traceback" in line or '"level": "error"' in line or '"level": "critical"' in line
        ]

    def last_words(self) -> str:
        """Return the last lines of every process, for a test that failed."""
        parts = [f"supervisor: {self.said}, {self.failure!r}"]
        for name, text in self.outputs().items():
            parts += [f"--- {name}", *text.splitlines()[-LAST_LINES:]]
        return "\n".join(parts)

    @abstractmethod
    def _logs(self) -> Path:
        """Where the processes' output lies."""


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def forewarn(
    *words: str, config: Path, data_dir: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end and return what it said."""
    return subprocess.run(
        command_line(*words, config=config, data_dir=data_dir),
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_S,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
    )


def command_line(*words: str, config: Path, data_dir: Path) -> list[str]:
    """Return the command as a user would type it."""
    return [sys.executable, "-m", "forewarn", *words, "--config", str(config), "--data-dir", str(data_dir)]


class OneMachine(Deployment):
    """`forewarn up` without its screen: the product's own installation on Tansu."""

    def __init__(self, directory: Path, local: Local) -> None:
        super().__init__(directory, local)
        self.config_file.write_text(config_text(site=local.site.port, hook=local.hook.port))
        self._data_dir = directory / "installation"
        self._installation = Installation(load(self.config_file), self.config_file, self._data_dir)

    @property
    def log(self) -> LogSettings:
        """See Deployment."""
        return self._installation.log_settings()

    @property
    def store(self) -> StoreSettings:
        """See Deployment."""
        return self._installation.store_settings()

    @property
    def children(self) -> list[Child]:
        """See Deployment."""
        return self._installation.children

    def pids(self) -> dict[str, int]:
        """See Deployment."""
        return self._installation.pids()

    @property
    def forgot(self) -> bool:
        """See Deployment."""
        return any("the broker ended" in line for line in self.said)

    def command(self, role: str, *words: str) -> subprocess.CompletedProcess[str]:
        """See Deployment. On one machine there are no roles."""
        del role
        return forewarn(*words, config=self.config_file, data_dir=self._data_dir)

    def start_second_detect(self) -> None:
        """See Deployment. It finds broker and store as everybody does."""
        data_dir = self.directory / "second"
        data_dir.mkdir(exist_ok=True)
        shutil.copy(self._data_dir / FILE_NAME, data_dir)
        words = command_line("worker", "detect", config=self.config_file, data_dir=data_dir)
        child = Child(SECOND_DETECT, words, log_dir=self._logs(), environment={})
        child.start()
        self._installation.children.append(child)

    def _start(self) -> None:
        self._installation.start()

    def _care(self) -> list[str]:
        return self._installation.care()

    def _stop(self) -> None:
        self.said += self._installation.stop()

    def _logs(self) -> Path:
        return self._data_dir / "logs"


class Cluster(Deployment):
    """Kafka, a store, and every command on its own."""

    def __init__(self, directory: Path, local: Local, kafka: Kafka) -> None:
        super().__init__(directory, local)
        self.kafka = kafka
        self._children: list[Child] = []
        self._store = StoreProcess(directory / "store")

    @property
    def log(self) -> LogSettings:
        """See Deployment."""
        return self.kafka.log

    @property
    def store(self) -> StoreSettings:
        """See Deployment."""
        return self._store.settings

    @property
    def children(self) -> list[Child]:
        """See Deployment."""
        return self._children

    def pids(self) -> dict[str, int]:
        """See Deployment."""
        found = {child.name: child.pid for child in self._children}
        broker = self.kafka.broker.process
        found |= {"store": self._store.pid, "broker": None if broker is None else broker.pid}
        return {name: pid for name, pid in found.items() if pid is not None}

    def environment(self, role: str) -> dict[str, str]:
        """Return what the process of a role is given: its own secrets and no others."""
        given = {} if role == "producer" else {"STORE_TOKEN": self.store.token or ""}
        if self.kafka.passwords:
            given |= {"KAFKA_USER": role, "KAFKA_PASSWORD": self.kafka.passwords[role]}
        return given

    def command(self, role: str, *words: str) -> subprocess.CompletedProcess[str]:
        """See Deployment."""
        data_dir = self.directory / "commands"
        return forewarn(*words, config=self.config_file, data_dir=data_dir, environment=self.environment(role))

    def start_second_detect(self) -> None:
        """See Deployment."""
        self._start_child(SECOND_DETECT, "detect", ("worker", "detect"))

    def _start(self) -> None:
        self._store.start()
        text = config_text(site=self.local.site.port, hook=self.local.hook.port)
        text += log_section(self.kafka.broker.bootstrap, ca_file=self.kafka.log.ca_file)
        self.config_file.write_text(text + store_section(self.store.url))
        done = self.command("migrate", "migrate")
        assert done.returncode == 0, done.stderr
        for name in WORKERS:
            self._start_child(name, name, ("worker", name))
        for name in LOCATIONS:
            self._start_child(f"producer {name}", "producer", ("producer", "--location", name))

    def _start_child(self, name: str, role: str, words: Sequence[str]) -> None:
        data_dir = self.directory / name.replace(" ", "-")
        line = command_line(*words, config=self.config_file, data_dir=data_dir)
        child = Child(name, line, log_dir=self._logs(), environment=self.environment(role))
        child.start()
        self._children.append(child)

    def _care(self) -> list[str]:
        said = []
        if not self._store.running:
            said.append("the store ended")
            self._store.start()
        if not self.kafka.broker.running:
            said.append("the broker ended")
            self.kafka.broker.start()
        return said + [line for line in (child.care() for child in self._children) if line is not None]

    def _stop(self) -> None:
        for child in self._children:
            child.signal(signal.SIGTERM)
        deadline_s = time.monotonic() + END_S
        for child in self._children:
            if not child.end(deadline_s=deadline_s):
                self.said.append(f"{child.name} was killed")
        self._store.stop()
        self.kafka.broker.stop()

    def _logs(self) -> Path:
        return self.directory / "logs"
