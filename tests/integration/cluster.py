"""An installation as docs/production.md describes it: Kafka, a store, and every command on its own."""

import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from analytics.settings import StoreSettings
from forewarn.embedded.child import Child
from forewarn.embedded.store_process import StoreProcess
from forewarn.up import WORKERS
from producers.settings import LogSettings
from tests.integration.brokers import Kafka
from tests.integration.config import Watched, log_section, store_section
from tests.integration.deployment import END_S, Deployment, command_line, forewarn
from tests.integration.local import Local


class Cluster(Deployment):
    """Kafka, a store, and every command on its own."""

    def __init__(self, directory: Path, local: Local, kafka: Kafka, watched: Watched | None = None) -> None:
        super().__init__(directory, local, watched)
        self.kafka = kafka
        self._children: list[Child] = []
        self._store = self._make_store(directory / "store")

    def _make_store(self, directory: Path) -> StoreProcess:
        return StoreProcess(directory)

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

    def start_detect(self, name: str) -> None:
        """See Deployment."""
        self._start_worker(name, "detect")

    def _start(self) -> None:
        self._store.start()
        text = self.watched.text + log_section(self.kafka.broker.bootstrap, ca_file=self.kafka.log.ca_file)
        self.config_file.write_text(text + store_section(self.store.url))
        done = self.command("migrate", "migrate")
        assert done.returncode == 0, done.stderr
        for name in WORKERS:
            self._start_worker(name, name)
        for location in self.watched.locations:
            name = f"producer {location}"
            self._start_child(name, "producer", self.producer_line(location, self._data_dir(name)))

    def _data_dir(self, name: str) -> Path:
        return self.directory / name.replace(" ", "-")

    def _start_worker(self, name: str, role: str) -> None:
        line = command_line("worker", role, config=self.config_file, data_dir=self._data_dir(name))
        self._start_child(name, role, line)

    def _start_child(self, name: str, role: str, line: Sequence[str]) -> None:
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
