"""Reads topics for people's eyes: without a group, so that nobody's position moves."""

from collections.abc import Iterator, Sequence
from typing import Final

from kafka import KafkaConsumer, TopicPartition

import producers.codec
import streams.codec
from producers.contract import CheckMessage
from producers.errors import InvalidEvent
from producers.log_client import connect
from producers.settings import LogSettings
from producers.topics import CHECKS
from streams.codec import Event

_LOOK_AGAIN_MS: Final = 1000


class LogReader:
    """A consumer of whole topics, from their start or from now.

    It goes on when the embedded broker was replaced by an empty one: then it reads from the new start.
    """

    def __init__(self, settings: LogSettings, topics: Sequence[str], *, from_start: bool) -> None:
        """Connect.

        Raises:
            LogUnavailableError, LogRefusedError: See `producers.log_client.connect`.
        """
        self._consumer = connect(
            KafkaConsumer,
            settings,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest" if from_start else "latest",
            metadata_max_age_ms=_LOOK_AGAIN_MS * 10,
        )
        self._places = [
            TopicPartition(topic, partition)
            for topic in topics
            for partition in sorted(self._consumer.partitions_for_topic(topic) or ())
        ]
        self._consumer.assign(self._places)
        self._cluster = self._cluster_id()

    def poll(self, *, timeout_s: float) -> Iterator[CheckMessage | Event | InvalidEvent]:
        """Yield what has come, waiting at most `timeout_s` for the first. What cannot be decoded is yielded as such."""
        self._begin_again_in_a_new_log()
        for place, records in self._consumer.poll(timeout_ms=int(timeout_s * 1000)).items():
            for record in records:
                try:
                    yield _decoded(place.topic, record.value or b"", record.timestamp * 1000)
                except InvalidEvent as error:
                    where = f"{place.topic}[{place.partition}]@{record.offset}"
                    yield InvalidEvent(error.reason, f"{where}: {error.detail}")

    def _begin_again_in_a_new_log(self) -> None:
        # Offsets of the old log mean nothing in the new one, and the embedded broker answers none for those past its
        # end: without this the reader would be silent until the new log had grown past the old position.
        found = self._cluster_id()
        if found is not None and found != self._cluster:
            self._cluster = found
            self._consumer.seek_to_beginning(*self._places)

    def _cluster_id(self) -> str | None:
        """Return the cluster that the consumer last heard of: each start of the embedded broker is another."""
        cluster: str | None = self._consumer._cluster.cluster_id  # noqa: SLF001 - there is no public way; a test fails without it
        return cluster

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()


def _decoded(topic: str, value: bytes, log_timestamp_us: int) -> CheckMessage | Event:
    if topic == CHECKS:
        return producers.codec.decode(value, log_timestamp_us=log_timestamp_us)
    return streams.codec.decode(topic, value)
