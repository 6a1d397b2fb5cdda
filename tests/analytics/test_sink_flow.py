"""The sink as a process between the embedded broker and the embedded store, disturbed in the middle."""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka import KafkaProducer

from analytics.migrate import migrate
from analytics.session import Session
from analytics.settings import StoreSettings
from forewarn.embedded.broker import TansuBroker
from forewarn.embedded.store_process import StoreProcess
from producers import codec as checks_codec
from producers.log import create_topics
from producers.settings import LogSettings
from producers.topics import CHECKS, OUTBOX_HEADER, VERDICTS, partition_of
from streams import codec
from tests.analytics.messages import NOW_US, batch, read, sink_marks, summary, verdict
from tests.analytics.sink_process import SinkProcess
from tests.crash import crash

PARTITIONS = 3
WITHIN_S = 90.0


class Flow:
    """A producer, a log, a store.

    Attributes:
        sent: Identities of all checks that were sent.
    """

    def __init__(self, broker: TansuBroker, store: StoreSettings) -> None:
        create_topics(LogSettings(bootstrap=(broker.bootstrap,), partitions=PARTITIONS))
        self.sent: set[tuple[str, int]] = set()
        self.seq = 0
        self.store = store
        self.producer = KafkaProducer(bootstrap_servers=broker.bootstrap, acks="all")
        self._random = random.Random(3)

    def send(self, messages: int, *, checks: int = 50) -> None:
        """Send messages of checks with new ticks, sometimes one twice, and a verdict for each."""
        for _ in range(messages):
            tick_us = NOW_US - 1_000_000 * self.seq
            by_partition: dict[int, list[str]] = {}
            for target in (f"main/{number}" for number in range(checks)):
                by_partition.setdefault(partition_of(target, PARTITIONS), []).append(target)
            for partition, targets in by_partition.items():
                self.sent |= {(target, tick_us) for target in targets}
                for _ in range(2 if self._random.random() < 0.1 else 1):
                    self._write(CHECKS, checks_codec.encode(batch(targets, tick_us=tick_us)), partition)
            self._write(VERDICTS, codec.encode(verdict("healthy", tick_us, id=f"v{self.seq}")), 0)
        self.producer.flush()

    def send_summary(self) -> None:
        """Send the summary of a slot."""
        self._write(VERDICTS, codec.encode(summary(NOW_US)), 0)
        self.producer.flush()

    def _write(self, topic: str, value: bytes, partition: int) -> None:
        self.seq += 1
        header = (OUTBOX_HEADER, f"north:{self.seq}".encode())
        self.producer.send(topic, value=value, partition=partition, headers=[header])

    def stored(self) -> set[tuple[str, int]]:
        """Return the identities of all checks in the store; empty while it is away."""
        session = Session(self.store)
        try:
            rows = read(session, "SELECT target, toUnixTimestamp64Micro(scheduled_at) AS tick FROM checks")
        finally:
            session.close()
        assert len(rows) == len({(row["target"], row["tick"]) for row in rows}), "a view has an identity twice"
        return {(row["target"], row["tick"]) for row in rows}

    def complete(self) -> bool:
        """Whether all that was sent is stored, marks included."""
        marks = sink_marks(self.store, "north")
        return self.stored() == self.sent and max(marks.values(), default=0) == self.seq


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Wait for something to happen; fail if it does not."""
    deadline = time.monotonic() + WITHIN_S
    while not true():
        assert time.monotonic() < deadline, f"not within {WITHIN_S:g} s: {what}"
        time.sleep(0.2)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[TansuBroker]:
    """An empty embedded broker."""
    one = TansuBroker(tmp_path / "broker")
    one.start()
    yield one
    one.stop()


def test_everything_sent_is_stored_once_even_if_the_sink_is_killed(
    broker: TansuBroker, database: StoreSettings, tmp_path: Path
) -> None:
    """Killed between inserts and commits: what was not committed is read again and replaces itself."""
    flow = Flow(broker, database)
    with SinkProcess(broker.bootstrap, database, tmp_path / "sink", partitions=PARTITIONS) as sink:
        flow.send(40)
        wait_until(lambda: len(flow.stored()) > 0, "first rows")
        flow.send(40)
        sink.kill()
        flow.send(20)
        sink.start()
        wait_until(flow.complete, "everything stored, marks written")
        assert sink.terminate() == 0, sink.log()
    [row] = read(Session(database), "SELECT count() AS n, uniqExact(id) AS ids FROM verdicts")
    assert row["n"] == row["ids"] == 100


def test_an_orderly_end_puts_nothing_off(broker: TansuBroker, database: StoreSettings, tmp_path: Path) -> None:
    """Marks, commits and summaries wait for ten seconds where the sink goes on; at its end they do not."""
    flow = Flow(broker, database)
    with SinkProcess(broker.bootstrap, database, tmp_path / "sink", partitions=PARTITIONS) as sink:
        flow.send(5)
        wait_until(flow.complete, "the first marks")
        flow.send(5)
        flow.send_summary()
        wait_until(lambda: flow.stored() == flow.sent, "rows, sooner than their marks")
        assert sink.terminate() == 0, sink.log()
    assert flow.complete()
    assert len(read(Session(database), "SELECT id FROM verdict_summaries")) == 1


def test_a_store_that_is_killed_and_comes_back_misses_nothing(broker: TansuBroker, tmp_path: Path) -> None:
    """The sink lives on, commits nothing meanwhile, and stores all of it afterwards."""
    store = StoreProcess(tmp_path / "store")
    settings = store.start()
    try:
        migrate(settings)
        flow = Flow(broker, settings)
        with SinkProcess(broker.bootstrap, settings, tmp_path / "sink", partitions=PARTITIONS) as sink:
            flow.send(30)
            wait_until(lambda: len(flow.stored()) > 0, "first rows")
            flow.send(30)
            crash(store)
            flow.send(30)
            wait_until(lambda: "rows wait for the store" in sink.log(), "the sink says so")
            assert sink.process is not None
            assert sink.process.poll() is None, "it lives"
            store.start()
            wait_until(flow.complete, "everything stored")
            assert sink.terminate() == 0, sink.log()
    finally:
        store.stop()
