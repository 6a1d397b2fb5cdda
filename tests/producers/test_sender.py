"""From an outbox to a real broker: everything, in order, over every outage."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from forewarn.embedded.broker import TansuBroker
from producers import sender as sender_module
from producers.errors import TransientError
from producers.log import create_topics
from producers.outbox import Outbox
from producers.outbox_segment import Place
from producers.sender import Sender
from producers.settings import LogSettings
from producers.topics import CHECKS
from tests.producers.brokers import (
    PARTITIONS,
    Found,
    closed_port,
    read_all,
    replace_by_empty,
    running_broker,
    settings_of,
)


class Marks:
    """A store that has what a test says."""

    def __init__(self) -> None:
        self.stored: dict[Place, int] = {}
        self.away = False
        self.asked = 0

    def stored_marks(self, outbox_id: str) -> dict[Place, int]:
        """See OutboxMarks."""
        assert outbox_id.startswith("paris.")
        self.asked += 1
        if self.away:
            raise TransientError("the store is away")
        return dict(self.stored)


@contextmanager
def sending(directory: Path, log: LogSettings, marks: Marks | None) -> Iterator[tuple[Outbox, Sender]]:
    """Run a sender over an outbox for the time of the block."""
    outbox = Outbox(directory, outbox_id="paris", max_bytes=1 << 28)
    sender = Sender(outbox, log, topics=[CHECKS], marks=marks)
    sender.start()
    try:
        yield outbox, sender
    finally:
        sender.stop(flush_s=0)
        outbox.close()


def wait_until(enough: Callable[[], bool]) -> None:
    """Wait, generously."""
    deadline = time.monotonic() + 40
    while not enough():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def append(outbox: Outbox, count: int, *, size: int = 200) -> None:
    """Append numbered messages round the partitions."""
    for _ in range(count):
        number = outbox.last_seq + 1
        outbox.append(CHECKS, number % PARTITIONS, None, (b"%d " % number).ljust(size, b"."))


def first_seen(found: list[Found], partition: int) -> list[int]:
    """Return the seqs of a partition in the order in which they are seen first."""
    return list(dict.fromkeys(message.seq for message in found if message.partition == partition))


def assert_all_in_order(broker: TansuBroker, outbox: Outbox, first: int, last: int) -> None:
    """Every record of first..last is in the log, first sightings in order, under this outbox's id."""
    found = read_all(broker)
    assert {message.outbox for message in found} == {outbox.id}
    for partition in range(PARTITIONS):
        expected = [seq for seq in range(first, last + 1) if seq % PARTITIONS == partition]
        assert first_seen(found, partition) == expected
    assert all(message.value.startswith(b"%d " % message.seq) for message in found)


def test_everything_arrives_in_order_with_its_header(tmp_path: Path) -> None:
    """A backlog and what comes later, over several requests."""
    with running_broker(tmp_path / "broker") as broker:
        marks = Marks()
        with sending(tmp_path / "spool", settings_of(broker, forgetful=True), marks) as (outbox, sender):
            append(outbox, 600, size=3000)
            wait_until(lambda: sender.all_acknowledged)
            append(outbox, 10)
            wait_until(lambda: sender.all_acknowledged)
            assert_all_in_order(broker, outbox, 1, 610)
            assert len(read_all(broker)) == 610  # nothing failed, so nothing came twice
            assert sender.trouble is None


def test_a_log_that_keeps_is_trimmed_by_its_acknowledgement(tmp_path: Path) -> None:
    """After a restart of the process nothing is sent again."""
    with running_broker(tmp_path / "broker") as broker:
        log = settings_of(broker, forgetful=False)
        with sending(tmp_path / "spool", log, None) as (outbox, sender):
            append(outbox, 30)
            wait_until(lambda: sender.all_acknowledged)
            wait_until(lambda: outbox.records == 0)
        with sending(tmp_path / "spool", log, None) as (outbox, sender):
            append(outbox, 3)
            wait_until(lambda: sender.all_acknowledged)
            assert [message.seq for message in read_all(broker)].count(1) == 1
            assert len(read_all(broker)) == 33


def test_a_forgetful_log_is_trimmed_by_what_the_store_has_and_by_nothing_else(tmp_path: Path) -> None:
    """Acknowledged is not safe there; and a store that is away trims nothing."""
    with running_broker(tmp_path / "broker") as broker:
        marks = Marks()
        marks.away = True
        with sending(tmp_path / "spool", settings_of(broker, forgetful=True), marks) as (outbox, sender):
            append(outbox, 9)
            wait_until(lambda: sender.all_acknowledged)
            wait_until(lambda: marks.asked >= 1)
            assert outbox.records == 9
            marks.stored = {(CHECKS, 0): 6, (CHECKS, 1): 7}
            marks.away = False
            wait_until(lambda: outbox.records == 4)
            assert [record.seq for record in outbox.pending()] == [2, 5, 8, 9]


def test_a_store_that_hangs_holds_up_no_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes minutes until it fails: warnings must not wait for that. It is asked by one question at a time."""
    monkeypatch.setattr(sender_module, "LOOK_EVERY_S", 0.1)
    answers = threading.Event()

    class Hanging(Marks):
        def stored_marks(self, outbox_id: str) -> dict[Place, int]:
            stored = super().stored_marks(outbox_id)
            assert answers.wait(40)
            return stored

    with running_broker(tmp_path / "broker") as broker:
        marks = Hanging()
        with sending(tmp_path / "spool", settings_of(broker, forgetful=True), marks) as (outbox, sender):
            wait_until(lambda: marks.asked == 1)
            for _ in range(3):
                append(outbox, 9)
                wait_until(lambda: sender.all_acknowledged)
            assert (marks.asked, outbox.records) == (1, 27)
            marks.stored = {(CHECKS, 0): 27}
            answers.set()
            wait_until(lambda: outbox.records == 18)


def test_a_broker_replaced_by_an_empty_one_gets_everything_that_is_not_stored(tmp_path: Path) -> None:
    """In mid-flow, again and again: nothing lost, first sightings in order, the stored ones not again."""
    with running_broker(tmp_path / "broker") as broker:
        marks = Marks()
        with sending(tmp_path / "spool", settings_of(broker, forgetful=True), marks) as (outbox, sender):
            append(outbox, 100)
            wait_until(lambda: sender.all_acknowledged)
            marks.stored = dict.fromkeys(((CHECKS, partition) for partition in range(PARTITIONS)), 60)
            wait_until(lambda: outbox.records == 40)
            for _ in range(3):
                append(outbox, 50, size=5000)
                replace_by_empty(broker)
                append(outbox, 50, size=5000)
            wait_until(lambda: sender.all_acknowledged)
            assert_all_in_order(broker, outbox, 61, outbox.last_seq)
            assert outbox.last_seq == 400


def test_a_broker_replaced_without_any_traffic_is_noticed(tmp_path: Path) -> None:
    """Nothing is appended meanwhile: the epoch itself is looked at."""
    with (
        running_broker(tmp_path / "broker") as broker,
        sending(tmp_path / "spool", settings_of(broker, forgetful=True), Marks()) as (outbox, sender),
    ):
        append(outbox, 30)
        wait_until(lambda: sender.all_acknowledged)
        replace_by_empty(broker)
        wait_until(lambda: len(read_all(broker)) >= 30)
        assert_all_in_order(broker, outbox, 1, 30)


def test_with_the_broker_away_it_waits_and_sends_when_there_is_one(tmp_path: Path) -> None:
    """The trouble is one line; the outbox keeps growing; everything arrives at the end, once."""
    broker = TansuBroker(tmp_path / "broker", port=closed_port())
    port = broker._port
    log = LogSettings(bootstrap=(f"127.0.0.1:{port}",), partitions=PARTITIONS, forgetful=True)
    with sending(tmp_path / "spool", log, Marks()) as (outbox, sender):
        append(outbox, 30)
        wait_until(lambda: sender.trouble is not None)
        assert f"cannot reach the broker at 127.0.0.1:{port}" in str(sender.trouble)
        append(outbox, 30)
        broker.start()
        try:
            # The broker is there, its topics are not yet: that is waited for, not mended.
            wait_until(lambda: "checks.v1 is not there" in str(sender.trouble))
            create_topics(log)
            wait_until(lambda: sender.all_acknowledged)
            assert sender.trouble is None
            assert_all_in_order(broker, outbox, 1, 60)
        finally:
            broker.stop()


def test_stop_says_whether_everything_was_acknowledged(tmp_path: Path) -> None:
    """With a broker it flushes; without one it gives up in time and the records stay."""
    with running_broker(tmp_path / "broker") as broker:
        log = settings_of(broker, forgetful=True)
        outbox = Outbox(tmp_path / "spool", outbox_id="paris", max_bytes=1 << 28)
        append(outbox, 20)
        sender = Sender(outbox, log, topics=[CHECKS], marks=Marks())
        sender.start()
        assert sender.stop(flush_s=30)
        assert len(read_all(broker)) == 20
    sender = Sender(outbox, log, topics=[CHECKS], marks=Marks())
    sender.start()
    assert not sender.stop(flush_s=0.5)
    assert outbox.records == 20
    outbox.close()


def test_a_forgetful_log_needs_marks(tmp_path: Path) -> None:
    """Without them nothing would ever be safe."""
    with Outbox(tmp_path, outbox_id="paris", max_bytes=1 << 20) as outbox, pytest.raises(ValueError, match="marks"):
        Sender(outbox, LogSettings(bootstrap=("127.0.0.1:1",), forgetful=True), topics=[CHECKS], marks=None)
