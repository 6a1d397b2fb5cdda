"""A real embedded broker for tests, and what lies in its topics."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kafka import KafkaConsumer, TopicPartition

from forewarn.embedded.broker import TansuBroker
from producers.log import create_topics
from producers.settings import LogSettings
from producers.topics import CHECKS

PARTITIONS = 3


def settings_of(broker: TansuBroker, *, forgetful: bool) -> LogSettings:
    """Return how to reach a broker."""
    return LogSettings(bootstrap=(broker.bootstrap,), partitions=PARTITIONS, forgetful=forgetful)


@contextmanager
def running_broker(directory: Path) -> Iterator[TansuBroker]:
    """Run one for the time of the block, with our topics."""
    broker = TansuBroker(directory)
    broker.start()
    try:
        create_topics(settings_of(broker, forgetful=True))
        yield broker
    finally:
        broker.stop()


def replace_by_empty(broker: TansuBroker) -> None:
    """Start it anew after a crash: another log under the same address, with our topics."""
    broker.kill()
    broker.start()
    create_topics(settings_of(broker, forgetful=True))


@dataclass(frozen=True)
class Found:
    """One message."""

    partition: int
    offset: int
    value: bytes
    outbox: str
    seq: int
    timestamp_ms: int


def read_all(broker: TansuBroker | LogSettings, topic: str = CHECKS) -> list[Found]:
    """Return all messages of a topic, each partition in its order."""
    consumer = KafkaConsumer(
        bootstrap_servers=broker.bootstrap, group_id=None, auto_offset_reset="earliest", enable_auto_commit=False
    )
    try:
        places = [TopicPartition(topic, partition) for partition in sorted(consumer.partitions_for_topic(topic))]
        consumer.assign(places)
        ends = consumer.end_offsets(places)
        found: list[Found] = []
        while len(found) < sum(ends.values()):
            for place, messages in consumer.poll(timeout_ms=500).items():
                found += [_found(place.partition, message) for message in messages]
        return sorted(found, key=lambda message: (message.partition, message.offset))
    finally:
        consumer.close()


def _found(partition: int, message: object) -> Found:
    headers = dict(message.headers)  # type: ignore[attr-defined]
    outbox, _, seq = headers["outbox"].decode().rpartition(":")
    return Found(partition, message.offset, message.value, outbox, int(seq), message.timestamp)  # type: ignore[attr-defined]


def closed_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
