"""A stream worker as a process of its own, to be killed and stopped; and the log that it talks to.

The state store is a directory: the same protocol as the real one, and its files can be looked at.
"""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from aiokafka.consumer.fetcher import Fetcher
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from producers import telemetry, topics
from producers.errors import ForewarnError, TransientError
from producers.log import create_topics
from producers.settings import LogSettings
from streams import alerts, codec, detect, incidents, state_group
from streams.codec import Event
from streams.contract import Snapshot
from streams.group import LogMessage, OutMessage, Publish
from streams.keeper import Rules
from streams.local_state import LocalStateStore
from streams.log_range import KafkaRange
from streams.policy import AlertPolicy, Channel, DetectPolicy, Expectations, IncidentPolicy
from streams.settings import WorkerSettings
from streams.state_group import StateGroup
from streams.worker import run_worker

REPOSITORY = Path(__file__).parents[2]
SECOND_US = 1_000_000


@dataclass(frozen=True)
class WorkerOptions:
    """What one process is told, as JSON.

    Attributes:
        withheld: First and last offset of what the client has and does not hand over, once.
    """

    group: str
    bootstrap: str
    data_dir: str
    store_dir: str
    partitions: int = 2
    forgetful: bool = False
    snapshot_interval_us: int = SECOND_US
    session_timeout_s: float = 4.0
    start_timeout_s: float = 30.0
    store_wait_s: float = 1.0
    end_timeout_s: float = 20.0
    detect: dict[str, Any] = field(default_factory=dict)
    incidents: dict[str, Any] = field(default_factory=dict)
    alerts: dict[str, Any] = field(default_factory=dict)
    channels: list[dict[str, Any]] = field(default_factory=list)
    withheld: tuple[int, int] | None = None


def log_settings(bootstrap: str, *, partitions: int = 2, forgetful: bool = False) -> LogSettings:
    """Return the settings of a test's log."""
    return LogSettings(bootstrap=(bootstrap,), partitions=partitions, forgetful=forgetful)


class WorkerProcess:
    """A started worker. `port` of /healthz is in its log; use `wait_until`."""

    def __init__(self, options: WorkerOptions) -> None:
        self.options = options
        self.log_file = Path(options.data_dir).with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "WorkerProcess":
        """Start it; returns at once."""
        Path(self.options.data_dir).mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.streams.worker_process", json.dumps(asdict(self.options))],
                cwd=REPOSITORY,
                stdout=log,
                stderr=log,
            )
        return self

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process; it must have been started."""
        assert self._process is not None
        return self._process

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def terminate(self, *, within_s: float = 15.0) -> int:
        """End it in order; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=within_s)

    def wait(self, *, within_s: float = 60.0) -> int:
        """Wait until it ends by itself; return its exit code."""
        return self.process.wait(timeout=within_s)

    def said(self, text: str) -> bool:
        """Whether its log holds a text."""
        return text in self.log()

    def log(self) -> str:
        """Return all that it said so far."""
        return self.log_file.read_text() if self.log_file.exists() else ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()


def wait_until(true: Callable[[], bool], *, what: str, within_s: float = 60.0) -> None:
    """Wait for something to happen; fail if it does not."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(0.1)


class TestLog:
    """Writes to a log and reads it as any Kafka client would."""

    __test__ = False

    def __init__(self, bootstrap: str, *, partitions: int = 2, forgetful: bool = False) -> None:
        self.bootstrap = bootstrap
        create_topics(log_settings(bootstrap, partitions=partitions, forgetful=forgetful))
        self._producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", allow_auto_create_topics=False)
        self._readers: dict[TopicPartition, tuple[KafkaConsumer, list[Any]]] = {}

    def write(self, topic: str, values: Iterable[bytes], *, partition: int = 0) -> None:
        """Write messages in order; returns when they are acknowledged."""
        for value in values:
            self._producer.send(topic, value=value, partition=partition)
        self._producer.flush()

    def read(self, topic: str, *, partition: int = 0) -> list[bytes]:
        """Return the values of a whole partition as it is now."""
        return [record.value for record in self.records(topic, partition=partition)]

    def records(self, topic: str, *, partition: int = 0) -> list[Any]:
        """Return a whole partition as it is now."""
        place = TopicPartition(topic, partition)
        if place not in self._readers:
            consumer = KafkaConsumer(
                bootstrap_servers=self.bootstrap,
                auto_offset_reset="earliest",
                group_id=None,
                allow_auto_create_topics=False,
            )
            consumer.assign([place])
            consumer.seek_to_beginning()
            self._readers[place] = (consumer, [])
        consumer, found = self._readers[place]
        while batches := consumer.poll(timeout_ms=300):
            found += [record for records in batches.values() for record in records]
        return found

    def events(self, topic: str) -> list[Event]:
        """Return the decoded events of a topic, each id once, in the order of their first arrival."""
        found: dict[str, Event] = {}
        for value in self.read(topic):
            event = codec.decode(topic, value)
            found.setdefault(event.id, event)
        return list(found.values())

    def close(self) -> None:
        """Let go of the connections."""
        self._producer.close()
        for consumer, _ in self._readers.values():
            consumer.close()


class SwitchedStore:
    """A store in a directory that is away while there is a file of its name with `.away`."""

    def __init__(self, directory: Path) -> None:
        self._store = LocalStateStore(directory)
        self._away = away_file(directory)

    def save(self, *snapshots: Snapshot) -> None:
        """See StateStore."""
        self._answer()
        self._store.save(*snapshots)

    def load(self, group: str, partition: int) -> Sequence[Snapshot]:
        """See StateStore."""
        self._answer()
        return self._store.load(group, partition)

    def _answer(self) -> None:
        if self._away.exists():
            raise TransientError("the store is away")


def away_file(store_dir: Path) -> Path:
    """Return the file that makes a store be away."""
    return store_dir.with_suffix(".away")


class Broken:
    """A part that publishes what it reads and has a bug."""

    def __init__(self, *_: object) -> None:
        self.seen: list[str] = []

    def handle(self, *messages: LogMessage) -> Sequence[OutMessage]:
        """Raise what a bug raises."""
        for message in messages:
            if message.value == b"bug":
                raise ZeroDivisionError(f"a bug at {message}")
        return [OutMessage(topic=topics.DEVIATIONS, value=message.value) for message in messages]

    def freeze(self) -> "Broken":
        """Return no state."""
        return self

    @property
    def size(self) -> int:
        """None."""
        return 0

    def pack(self) -> bytes:
        """Return no state."""
        return b"-"

    def restore(self, payload: bytes) -> None:
        """Take no state."""


def withhold(first: int, last: int) -> None:
    """Let the client go past these messages of any partition, once: as Faust does when a rebalance hits its fetch."""
    fetched_records = Fetcher.fetched_records
    gone: set[TopicPartition] = set()

    async def without(fetcher: Fetcher, *given: Any, **options: Any) -> dict[Any, list[Any]]:
        found: dict[Any, list[Any]] = await fetched_records(fetcher, *given, **options)
        for place, records in found.items():
            if place not in gone and any(first <= one.offset <= last for one in records):
                found[place] = [one for one in records if not first <= one.offset <= last]
            if any(one.offset >= last for one in records):
                gone.add(place)
        return found

    Fetcher.fetched_records = without


class Stubborn(StateGroup):
    """A group with a task that no cancelling ends, as a client of a broker that is away may have one."""

    async def run(self, publish: Publish) -> None:  # noqa: ARG002 - as in the group
        """Wait for ever."""
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)


def run(options: WorkerOptions) -> None:
    """Run one worker in this process."""
    state_group.STORE_WAIT_S = options.store_wait_s  # type: ignore[misc]
    if options.withheld is not None:
        withhold(*options.withheld)
    log = log_settings(options.bootstrap, partitions=options.partitions, forgetful=options.forgetful)
    worker = WorkerSettings(
        data_dir=Path(options.data_dir),
        observe_port=0,
        snapshot_interval_us=options.snapshot_interval_us,
        session_timeout_s=options.session_timeout_s,
        start_timeout_s=options.start_timeout_s,
        end_timeout_s=options.end_timeout_s,
    )
    store = SwitchedStore(Path(options.store_dir))
    if options.group == "detect":
        policy = DetectPolicy(**options.detect)
        detect.run(log, worker, policy=policy, expectations=Expectations(), store=store, history=None, marks=None)
    elif options.group == "incidents":
        steps = IncidentPolicy(**options.incidents)
        incidents.run(
            log,
            worker,
            policy=steps,
            settle_ticks=DetectPolicy().settle_ticks,
            expectations=Expectations(),
            store=store,
            marks=None,
        )
    elif options.group in {"broken", "stubborn"}:
        local = LocalStateStore(worker.data_dir / "snapshots")
        rules = Rules(code="1", make=Broken)
        made = Stubborn if options.group == "stubborn" else StateGroup
        group = made(options.group, (topics.CHECKS,), rules, store=store, local=local, log_range=KafkaRange(log))
        run_worker(group, log, worker)
    else:
        channels = tuple(Channel(**one) for one in options.channels)
        sending = AlertPolicy(channels=channels, **options.alerts)
        alerts.run(log, worker, alerts=sending, store=store, marks=None)


def main(arguments: Sequence[str]) -> int:
    """Run it; return the exit code."""
    telemetry.configure_logging(json=True)
    try:
        run(WorkerOptions(**json.loads(arguments[0])))
    except ForewarnError as error:
        print(f"ended: {error}", file=sys.stderr)  # noqa: T201 - the test reads it
        return int(getattr(error, "exit_code", 1))
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    raise SystemExit(code)
