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
from typing import IO, Any, Final

from analytics.settings import StoreSettings
from forewarn.baselines import latency_baselines
from forewarn.config.config import Config
from forewarn.embedded.broker import TansuBroker
from forewarn.embedded.child import BACKOFF_S, Child
from forewarn.embedded.growth import LIMIT_BYTES, Growth, GrowthWatch, resident_bytes
from forewarn.embedded.nursery import FORKING_IS_SAFE, Nursery
from forewarn.embedded.process import LEAN, Launch, popen
from forewarn.embedded.store_process import StoreProcess
from forewarn.errors import CommandError, DataDirectoryError, ExitCode
from forewarn.leash import PARENT
from forewarn.runtime import Runtime, remove_runtime, write_runtime
from forewarn.up_observation import UpObservation, health
from producers.errors import ForewarnError
from producers.settings import LogSettings

WORKERS: Final = ("sink", "detect", "incidents", "alerts")
TOLD: Final = "letters "
"""How the line of `migrate` begins that a person should see: dead letters that the new log did not take."""

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
        observed: The port of /healthz and /metrics of each child, by name.
    """

    def __init__(
        self,
        config: Config,
        config_file: Path,
        data_dir: Path,
        *,
        observe_host: str = "127.0.0.1",
        observe_port: int | None = None,
        broker_limit_bytes: int = LIMIT_BYTES,
    ) -> None:
        """Prepare; `start` starts.

        Args:
            config: Of the installation.
            config_file: Where it was read from: the children read it again.
            data_dir: Where everything is kept.
            observe_host: What all /healthz and /metrics bind to.
            observe_port: Of our own; each child takes the next one. None: nothing is served.
            broker_limit_bytes: A broker that has grown past this is restarted when its log is stored.
        """
        self.runtime: Runtime | None = None
        self.children: list[Child] = []
        self.observed: dict[str, int] = {}
        self._config = config
        self._config_file = config_file
        self._data_dir = data_dir
        self._lock: IO[str] | None = None
        self._broker = TansuBroker(data_dir)
        self._store = StoreProcess(data_dir / "store", port=config.embedded_store_port)
        self._growth = GrowthWatch(Growth(broker_limit_bytes), self.log_settings)
        self._unprepared = False  # the broker is a new one, and the topics are not made yet
        self._failures = 0  # of starting store or broker again, in a row
        self._again_s = 0.0  # not before
        self._nursery = Nursery(data_dir)
        self._observe = (observe_host, observe_port)
        self._observation: UpObservation | None = None
        self._told: list[str] = []  # by a start, for the next round of care
        self._launch: Launch = self._nursery.spawn if FORKING_IS_SAFE else popen

    def start(self) -> None:
        """Start everything; returns when all children run.

        Raises:
            DataDirectoryError: It is in use or cannot be written.
            ForewarnError: Broker or store did not start, or refused.
        """
        self._lock = lock_data_dir(self._data_dir)
        host, port = self._observe
        if port is not None:
            # The first thing, so that a port that is taken stops nothing half-way.
            self._observation = UpObservation(host, port, self._health)
            self._observation.start()
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
        said = log_file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        self._told += [line for line in said if line.startswith(TOLD)]
        if code != 0:
            text = said[-1].removeprefix("forewarn: ") if said else f"forewarn migrate ended with {code}"
            raise CommandError(text, ExitCode(code) if code in list(ExitCode) else ExitCode.REFUSED)

    def _command(self, *words: str) -> list[str]:
        config, data_dir = str(self._config_file), str(self._data_dir)
        return [sys.executable, "-m", "forewarn", *words, "--config", config, "--data-dir", data_dir]

    def _start_children(self) -> None:
        log_dir = self._data_dir / "logs"
        commands: list[tuple[str, tuple[str, ...]]] = [(name, ("worker", name)) for name in WORKERS]
        # The workers first: a check that waits in the log costs nothing, but the first warning should not wait.
        commands += [(f"producer {name}", ("producer", "--location", name)) for name in self._config.location_names()]
        host, port = self._observe
        for number, (name, words) in enumerate(commands, start=1):
            seen: tuple[str, ...] = ()
            if port is not None:
                seen = ("--observe-host", host, "--observe-port", str(port + number))
                self.observed[name] = port + number
            environment = {**LEAN, **os.environ, PARENT: str(os.getpid())}
            child = Child(
                name, self._command(*words, *seen), log_dir=log_dir, environment=environment, launch=self._launch
            )
            self.children.append(child)
            child.start()

    def _health(self) -> dict[str, Any]:
        """What /healthz shows."""
        running = {"broker": self._broker.running, "store": self._store.running}
        return health(running, self.children)

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
            A line for each thing that had ended and is started again, or that could not be and is tried again later;
            and what the last start had to say.
        """
        said: list[str | None] = list(self._told)
        self._told.clear()
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

    def _care_for_store_and_broker(self) -> Iterator[str | None]:
        if not self._store.running:
            self._store.start()  # same address, same token: nobody need be told
            yield "the store ended; it is started again"
        if not self._broker.running and not self._unprepared:
            yield "the broker ended; it is started again with an empty log, and outboxes are published again"
            yield from self._renew_broker(signal.SIGKILL)
        elif self._broker.process is not None and not self._unprepared:
            yield from self._care_for_size(self._broker.process.pid)
        if self._unprepared:
            if not self._broker.running:
                self._broker.start()
            self._prepare()
            self._unprepared = False
            for worker in self._workers():
                worker.start()

    def _care_for_size(self, pid: int) -> Iterator[str | None]:
        """Restart a broker that has grown too large, when all are done with what it holds."""
        due, complaint = self._growth.due(pid)
        yield complaint
        if due:
            yield f"the broker has grown to {resident_bytes(pid) // 2**20} MB; all are done with it, and it starts anew"
            yield from self._renew_broker(signal.SIGTERM)

    def _renew_broker(self, end_workers: signal.Signals) -> Iterator[str]:
        """Begin a new log; the workers start when it is prepared."""
        # The workers hold positions of the old epoch: they are ended before the new log has its first message.
        self._unprepared = True
        yield from _end(self._workers(), end_workers, CHILDREN_END_S)
        self._broker.stop()
        self._broker.start()

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
        if self._observation is not None:
            self._observation.stop()
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
