"""Reading topics for people's eyes, on a real broker."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from forewarn.embedded.broker import TansuBroker
from forewarn.log_reader import LogReader
from producers import codec
from producers.codec import pack
from producers.contract import Check, CheckBatch, ClockTick, Outcome
from producers.errors import InvalidEvent
from producers.log_client import connect
from producers.topics import ALL_TOPICS, CHECKS, DEVIATIONS, VERDICTS
from streams import codec as streams_codec
from streams.contract import Verdict
from tests.analytics.messages import verdict
from tests.producers.brokers import replace_by_empty, running_broker, settings_of

DEADLINE_S = 20.0
NOW_US = time.time_ns() // 1000


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[TansuBroker]:
    """One with our topics."""
    with running_broker(tmp_path) as broker:
        yield broker


def publish(broker: TansuBroker, *messages: tuple[str, int, bytes]) -> None:
    """Write (topic, partition, value) and return when the broker has them."""
    with closing(connect(KafkaProducer, settings_of(broker, forgetful=True))) as producer:
        for topic, partition, value in messages:
            producer.send(topic, partition=partition, value=value).get(timeout=DEADLINE_S)


def read_until(reader: LogReader, enough: Callable[[list[Any]], bool]) -> list[Any]:
    """Poll until that was found, and once more for what should not come."""
    found: list[Any] = []
    deadline_s = time.monotonic() + DEADLINE_S
    while not enough(found):
        assert time.monotonic() < deadline_s, found
        found += reader.poll(timeout_s=0.2)
    return found + list(reader.poll(timeout_s=0.2))


def checks(number: int) -> bytes:
    """Return a message with one check."""
    check = Check(
        target=f"main/t{number}",
        probe="web",
        kind="http",
        location="ams",
        scheduled_at_us=NOW_US,
        started_at_us=NOW_US,
        duration_us=40_000 + number,
        outcome=Outcome.SUCCESS,
    )
    return codec.encode(pack([check], producer="ams"))


def test_all_partitions_of_all_topics_are_read_from_their_start(broker: TansuBroker) -> None:
    """Each message once, decoded as what it is."""
    judged = verdict("failing", NOW_US)
    publish(
        broker,
        *((CHECKS, partition, checks(partition)) for partition in range(3)),
        (CHECKS, 1, codec.encode(ClockTick(v=1, partition=1, at_us=NOW_US))),
        (VERDICTS, 0, streams_codec.encode(judged)),
    )
    with closing(LogReader(settings_of(broker, forgetful=True), ALL_TOPICS, from_start=True)) as reader:
        found = read_until(reader, lambda found: len(found) >= 5)
    assert len(found) == 5
    batches = sorted((event for event in found if isinstance(event, CheckBatch)), key=lambda event: event.target)
    assert [(event.target, event.duration_us) for event in batches] == [
        ([f"main/t{number}"], [40_000 + number]) for number in range(3)
    ]
    assert [event for event in found if isinstance(event, ClockTick)] == [ClockTick(v=1, partition=1, at_us=NOW_US)]
    assert [event for event in found if isinstance(event, Verdict)] == [judged]


def test_a_message_that_cannot_be_read_is_shown_with_its_position(broker: TansuBroker) -> None:
    """Malformed, empty, of another topic's kind: each in its place, and what comes after it is read."""
    publish(
        broker,
        (CHECKS, 2, checks(1)),
        (CHECKS, 2, b"{"),
        (CHECKS, 2, b""),
        (CHECKS, 2, checks(2)),
        (DEVIATIONS, 0, streams_codec.encode(verdict("failing", NOW_US))),
    )
    with closing(LogReader(settings_of(broker, forgetful=True), (CHECKS, DEVIATIONS), from_start=True)) as reader:
        found = read_until(reader, lambda found: len(found) >= 5)
    bad = {event.detail.partition(": ")[0]: event.reason for event in found if isinstance(event, InvalidEvent)}
    assert set(bad) == {"checks.v1[2]@1", "checks.v1[2]@2", "deviations.v1[0]@0"}
    assert bad["checks.v1[2]@1"] == "malformed"
    assert [event.target for event in found if isinstance(event, CheckBatch)] == [["main/t1"], ["main/t2"]]


def test_from_now_shows_nothing_old(broker: TansuBroker) -> None:
    """Only what is published once it reads; and other topics stay unread."""
    publish(broker, (CHECKS, 0, checks(1)))
    with closing(LogReader(settings_of(broker, forgetful=True), (CHECKS,), from_start=False)) as reader:
        assert list(reader.poll(timeout_s=1.0)) == []
        publish(broker, (VERDICTS, 0, streams_codec.encode(verdict("failing", NOW_US))), (CHECKS, 0, checks(2)))
        found = read_until(reader, bool)
    assert [event.target for event in found] == [["main/t2"]]


def test_it_goes_on_in_a_log_that_is_empty_again(broker: TansuBroker) -> None:
    """The broker crashed and forgot everything: the new log is read from its start."""
    with closing(LogReader(settings_of(broker, forgetful=True), (CHECKS,), from_start=True)) as reader:
        publish(broker, *((CHECKS, 0, checks(number)) for number in range(5)))
        assert len(read_until(reader, lambda found: len(found) >= 5)) == 5
        replace_by_empty(broker)
        publish(broker, (CHECKS, 0, checks(7)), (CHECKS, 0, checks(8)))
        found = read_until(reader, lambda found: len(found) >= 2)
    assert [event.target for event in found] == [["main/t7"], ["main/t8"]]
