"""The one-machine mode: broker, store, workers and producers on this machine, watched until the end.

The children are the ordinary commands (`forewarn producer`, `forewarn worker ...`); they find the broker and the
store through `runtime.json` in the data directory, so there is no second way to run anything.
"""

import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from analytics.settings import StoreSettings
from forewarn.baselines import latency_baselines
from forewarn.config import Config
from forewarn.embedded.broker import TansuBroker
from forewarn.embedded.child import BACKOFF_S, Child
from forewarn.embedded.nursery import FORKING_IS_SAFE, Nursery
from forewarn.embedded.process import LEAN, Launch, popen
from forewarn.embedded.store_process import StoreProcess
from forewarn.errors import DataDirectoryError
from forewarn.leash import PARENT
from forewarn.runtime import Runtime, remove_runtime, write_runtime
from producers.errors import ForewarnError
from producers.settings import LogSettings

WORKERS: Final = ("sink", "detect", "incidents", "alerts")
ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that ask for an orderly end: Ctrl-C, a supervisor, and the terminal that is closed."""

PRODUCERS_END_S: Final = 1.5
FLOW_S: Final = 0.7
"""How long the workers go on when the producers are told to end: usually all of these have ended by then."""
CHILDREN_END_S: Final = 3.3
STORE_END_S: Final = 1.4


class Installation:
    """Everything that runs on one machine.

    Attributes:
        runtime: How to reach broker and store, once started.
    """

    def __init__(self, config: Config, config_file: Path, data_dir: Path) -> None:
        self.runtime: Runtime | None = None
        self.children: list[Child] = []
        self._config = config
        self._config_file = config_file
        self._data_dir = data_dir
        self._lock: IO[str] | None = None
        self._broker = TansuBroker(data_dir)
        self._store = StoreProcess(data_dir / "store", port=config.embedded_store_port)
        self._unprepared = False  # the broker is a new one, and the topics are not made yet
        self._failures = 0  # of starting store or broker again, in a row
        self._again_s = 0.0  # not before
        self._nursery = Nursery(data_dir)
        self._launch: Launch = self._nursery.spawn if FORKING_IS_SAFE else popen

    def start(self) -> None:
        """Start everything; returns when all children run.

        Raises:
            DataDirectoryError: It is in use or cannot be written.
            ForewarnError: Broker or store did not start, or refused.
        """
        self._lock = lock_data_dir(self._data_dir)
        # The nursery imports while the store opens; neither needs the other.
        if FORKING_IS_SAFE:
            self._nursery.start()
        self._store.launch()
        self._broker.start()
        self._store.wait_until_ready()
        self._prepare()
        self._start_children()

    def _prepare(self) -> None:
        """Tell where everything is, and make what must be there before anybody: topics, tables, the config's version.

        The broker's log is empty and of a new epoch.
        """
        settings = self._store.settings
        self.runtime = Runtime(
            pid=os.getpid(),
            bootstrap=self._broker.bootstrap,
            store_url=settings.url,
            store_token=settings.token or "",
        )
        write_runtime(self._data_dir, self.runtime)
        log_file = self._data_dir / "logs" / "migrate.log"
        log_file.parent.mkdir(parents=True, exist_ok=True)
        log_file.unlink(missing_ok=True)
        code = self._launch(self._command("migrate"), log_file, {**LEAN, **os.environ}).wait()
        if code != 0:
            said = log_file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise ForewarnError(said[-1] if said else f"forewarn migrate ended with {code}")

    def _command(self, *words: str) -> list[str]:
        config, data_dir = str(self._config_file), str(self._data_dir)
        return [sys.executable, "-m", "forewarn", *words, "--config", config, "--data-dir", data_dir]

    def _start_children(self) -> None:
        log_dir = self._data_dir / "logs"
        commands: list[tuple[str, tuple[str, ...]]] = [(name, ("worker", name)) for name in WORKERS]
        # The workers first: a check that waits in the log costs nothing, but the first warning should not wait.
        commands += [(f"producer {name}", ("producer", "--location", name)) for name in self._config.location_names()]
        for name, words in commands:
            environment = {**LEAN, **os.environ, PARENT: str(os.getpid())}
            child = Child(name, self._command(*words), log_dir=log_dir, environment=environment, launch=self._launch)
            self.children.append(child)
            child.start()

    def log_settings(self) -> LogSettings:
        """How to reach the broker."""
        return self._config.log_settings(self.runtime)

    def store_settings(self) -> StoreSettings:
        """How to reach the store."""
        return self._config.store_settings(self.runtime)

    def latency_baselines(self) -> dict[tuple[str, str], float]:
        """The normal latency by target, microseconds; see `forewarn.baselines`."""
        return latency_baselines(self._config, self._data_dir, partitions=self.log_settings().partitions)

    def care(self) -> list[str]:
        """Look after everything once; call it about five times a second.

        Returns:
            A line for each thing that had ended and is started again, or that could not be and is tried again later.
        """
        said: list[str | None] = []
        self._store.care()
        self._broker.care()
        if time.monotonic() >= self._again_s:
            try:
                for line in self._care_for_store_and_broker():
                    said.append(line)  # noqa: PERF402 - what was said before an error is kept
                self._failures = 0
            except (ForewarnError, OSError) as error:
                wait_s = BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)]
                self._failures += 1
                self._again_s = time.monotonic() + wait_s
                said.append(f"{error}; tried again in {wait_s:g} s")
        said += [child.care() for child in self.children]
        return [line for line in said if line is not None]

    def _care_for_store_and_broker(self) -> Iterator[str]:
        if not self._store.running:
            self._store.start()  # same address, same token: nobody need be told
            yield "the store ended; it is started again"
        if not self._broker.running:
            # The workers hold positions of the old epoch: they are ended before the new log has its first message.
            yield "the broker ended; it is started again with an empty log, and outboxes are published again"
            yield from _end(self._workers(), signal.SIGKILL, CHILDREN_END_S)
            self._unprepared = True
            self._broker.start()
        if self._unprepared:
            self._prepare()
            self._unprepared = False
            for worker in self._workers():
                worker.start()

    def _workers(self) -> list[Child]:
        return [child for child in self.children if child.name in WORKERS]

    def pids(self) -> dict[str, int]:
        """Return the process ids of everything that lives, by name; this process is `up`."""
        found = {"up": os.getpid()}
        if self._broker.process is not None:
            found["broker"] = self._broker.process.pid
        if self._store.pid is not None:
            found["store"] = self._store.pid
        if self._nursery.pid is not None:
            found["nursery"] = self._nursery.pid
        return found | {child.name: child.pid for child in self.children if child.pid is not None}

    def stop_producers(self) -> list[str]:
        """End the producers in order; they are not started again. Returns as `stop` does."""
        producers = [child for child in self.children if child.name not in WORKERS]
        self.children = [child for child in self.children if child.name in WORKERS]
        return list(_end(producers, signal.SIGTERM, PRODUCERS_END_S))

    def stop(self) -> list[str]:
        """End everything in order, within five seconds. What is not stored yet waits in the outboxes.

        Returns:
            A line for each thing that had to be killed.
        """
        deadline_s = time.monotonic() + CHILDREN_END_S
        producers = [child for child in self.children if child.name not in WORKERS]
        workers = self._workers()
        for child in producers:
            child.signal(signal.SIGTERM)
        _wait(producers, FLOW_S)
        for child in workers:
            child.signal(signal.SIGTERM)
        said = list(_ended(self.children, deadline_s))
        self._nursery.stop()
        self._broker.stop()
        if not self._store.stop(timeout_s=STORE_END_S):
            said.append("the store did not end in time and was killed; what it had answered is on disk")
        if self._lock is not None:
            remove_runtime(self._data_dir)
            self._lock.close()
        return said


def _end(children: list[Child], number: signal.Signals, seconds: float) -> Iterator[str]:
    for child in children:
        child.signal(number)
    return _ended(children, time.monotonic() + seconds)


def _wait(children: list[Child], seconds: float) -> None:
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s and any(child.running for child in children):
        time.sleep(0.02)


def _ended(children: list[Child], deadline_s: float) -> Iterator[str]:
    for child in children:
        if not child.end(deadline_s=deadline_s):
            yield f"{child.name} did not end in time and was killed; nothing is lost by that"


def end_undisturbed() -> None:
    """Ignore what asks for the end from now on: it takes less than five seconds and must leave no child behind."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def lock_data_dir(data_dir: Path) -> IO[str]:
    """Own a data directory until the returned file is closed.

    Raises:
        DataDirectoryError: Another instance owns it, or it cannot be written.
    """
    try:
        # One that is there keeps its owner's mode; our secrets are files of 0600.
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (data_dir / "lock").open("a+")
    except OSError as error:
        raise DataDirectoryError(f"the data directory {data_dir} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        owner = lock.read().strip()
        lock.close()
        raise DataDirectoryError(f"the data directory {data_dir} is in use by process {owner or 'unknown'}") from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock
