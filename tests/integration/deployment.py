"""An installation under test: the ordinary commands as processes, cared for as their supervisor would.

Two of a kind. `OneMachine` is the product's own `Installation`, as `forewarn up` runs it. `Cluster` (in `cluster`) is
what docs/production.md describes: Kafka, a store, and each command with the environment and the rights of its role,
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
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from analytics.client import connect
from analytics.errors import StoreUnavailableError
from analytics.settings import StoreSettings
from forewarn.config.config import Config, load
from forewarn.embedded.child import Child
from forewarn.runtime import FILE_NAME
from forewarn.up import WORKERS, Installation
from producers.settings import LogSettings
from tests.integration.config import Watched
from tests.integration.local import Local

CARE_EVERY_S: Final = 0.2
COMMAND_S: Final = 300.0
END_S: Final = 30.0
LAST_LINES: Final = 25


class Deployment(ABC):
    """Everything that runs, with the site that it watches and the webhook that it alerts.

    Attributes:
        local: Site and webhook.
        directory: Of everything; `logs/` holds what the processes said.
        config_file: Of the processes.
        watched: What is watched, and from where.
        said: What the supervisor found ended, a line each.
        failure: What the supervisor itself died of.
        worn: A test left it in a state that another test should not start from.
    """

    def __init__(self, directory: Path, local: Local, watched: Watched | None = None) -> None:
        self.local = local
        self.watched = watched or Watched.of(site=local.site.port, hook=local.hook.port)
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
    def start_detect(self, name: str) -> None:
        """Start another worker of the group detect under this name, with a data directory of its own."""

    def end(self, name: str) -> None:
        """End one of the commands in order; it is not started again."""
        with self.unattended():
            child = self.child(name)
            self.children.remove(child)
            child.signal(signal.SIGTERM)
            assert child.end(deadline_s=time.monotonic() + END_S), f"{name} did not end"

    def producer_line(self, location: str, data_dir: Path) -> list[str]:
        """Return the command that runs the producer of a location."""
        return command_line("producer", "--location", location, config=self.config_file, data_dir=data_dir)

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

    def __init__(self, directory: Path, local: Local, watched: Watched | None = None) -> None:
        super().__init__(directory, local, watched)
        self.config_file.write_text(self.watched.text)
        self._data_dir = directory / "installation"
        self._installation = self._install(load(self.config_file), self._data_dir)

    def _install(self, config: Config, data_dir: Path) -> Installation:
        return Installation(config, self.config_file, data_dir)

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

    def start_detect(self, name: str) -> None:
        """See Deployment. It finds broker and store as everybody does."""
        data_dir = self.directory / name.replace(" ", "-")
        data_dir.mkdir(exist_ok=True)
        shutil.copy(self._data_dir / FILE_NAME, data_dir)
        words = command_line("worker", "detect", config=self.config_file, data_dir=data_dir)
        child = Child(name, words, log_dir=self._logs(), environment={})
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
