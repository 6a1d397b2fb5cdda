"""What came too late to be judged: the log of checks as it was, read all the time, and judged message by message.

The design lets a verdict depend on the checks that arrive within their lateness, and on no others. Which ones do not,
the stored rows do not say; the order of the log does. A forgetful log is lost at each start of its broker, so it is
read while it is there.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Self

import numpy as np
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from forewarn.config.config import Config
from producers import codec
from producers.contract import CheckBatch, ClockTick, ProducerStopped
from producers.errors import ForewarnError, InvalidEvent
from producers.log import read_epochs
from producers.log_client import connect
from producers.settings import LogSettings
from producers.topics import CHECKS
from streams.core.detect import Detector
from streams.core.outputs import Outputs
from tests.integration.reading import Logged, messages_of

POLL_MS: Final = 200
AGAIN_S: Final = 0.2

Check = tuple[str, str, str, int]
"""Target, probe, location, tick."""


class Arrivals:
    """Reads `checks` in a thread of its own, over every start of the broker. Use it as a context.

    Attributes:
        messages: Each partition in the order of the log, the logs one after the other.
        failure: What it died of.
    """

    def __init__(self, log: LogSettings, epoch: Callable[[], str]) -> None:
        """Prepare.

        Args:
            log: How to reach it.
            epoch: Which log the broker has now: changes before the new one answers.
        """
        self.messages: list[Logged] = []
        self.failure: BaseException | None = None
        self._log = log
        self._epoch = epoch
        self._next: dict[tuple[str, int], int] = {}  # by log and partition
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="arrivals", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def has_all_until(self, at_us: int) -> bool:
        """Whether each partition has been read to a message that the log took after this; clock events always follow.

        Raises:
            BaseException: What the reading died of.
        """
        if self.failure is not None:
            raise self.failure
        newest = dict.fromkeys(range(self._log.partitions), 0)
        for message in self.messages:
            newest[message.partition] = max(newest[message.partition], message.timestamp_us)
        return min(newest.values()) > at_us

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._ended.wait(AGAIN_S):
                with contextlib.suppress(ForewarnError, KafkaError, OSError):
                    self._read(self._epoch())
        except BaseException as error:  # noqa: BLE001 - whoever asks for the result shows it
            self.failure = error

    def _read(self, epoch: str) -> None:
        """Read one log until it is another one."""
        read_epochs(self._log, (CHECKS,))  # a consumer that asks first would make the topic, with the wrong partitions
        consumer = connect(KafkaConsumer, self._log, group_id=None, enable_auto_commit=False)
        try:
            places = [TopicPartition(CHECKS, number) for number in range(self._log.partitions)]
            consumer.assign(places)
            for place in places:
                consumer.seek(place, self._next.get((epoch, place.partition), 0))
            while not self._ended.is_set():
                batches = consumer.poll(timeout_ms=POLL_MS)
                if self._epoch() != epoch:
                    return  # these may be of the next log already, read from the middle
                for message in messages_of(batches):
                    self.messages.append(message)
                    self._next[epoch, message.partition] = message.offset + 1
        finally:
            consumer.close()


def late_checks(config: Config, messages: Sequence[Logged], *, partitions: int) -> set[Check]:
    """Return the checks that came after their tick was closed, or before their location counted.

    A copy of a check that was in time is not late, however often it comes again.
    """
    by_partition: dict[int, list[Logged]] = {}
    for message in messages:
        by_partition.setdefault(message.partition, []).append(message)
    late: set[Check] = set()
    for partition, own in by_partition.items():
        # Nearly always there are none; only the messages that have some are taken apart, in a second run.
        with_late = {number for number, _ in _late(config, partition, partitions, own, frozenset())}
        if with_late:
            late.update(check for _, check in _late(config, partition, partitions, own, with_late))
    return late


def _late(
    config: Config, partition: int, partitions: int, messages: Iterable[Logged], apart: Iterable[int]
) -> Iterator[tuple[int, Check]]:
    """Yield (message, check) of what is late: each check of the messages in `apart`, else the first of a message."""
    detector = Detector(config.detect_policy, config.expectations(), partition=partition, partitions=partitions)
    apart = frozenset(apart)
    for number, message in enumerate(messages):
        detector.logged(message.timestamp_us, first=message.offset == 0)
        with contextlib.suppress(InvalidEvent):
            event = codec.decode(message.value, log_timestamp_us=message.timestamp_us)
            if isinstance(event, ClockTick):
                detector.clock(event.at_us)
            elif isinstance(event, ProducerStopped):
                detector.stopped(event.location, event.at_us)
            elif isinstance(event, CheckBatch):
                for row, outputs in _apply(detector, event, apart=number in apart):
                    if outputs.late:
                        yield number, _identity(event, row)


def _apply(detector: Detector, batch: CheckBatch, *, apart: bool) -> Iterator[tuple[int, Outputs]]:
    columns = codec.columns(batch)
    if not apart:
        yield 0, detector.apply(columns)
        return
    for row in range(len(columns)):
        yield row, detector.apply(codec.take(columns, np.array([row], dtype=np.intp)))


def _identity(batch: CheckBatch, row: int) -> Check:
    return batch.target[row], batch.probe[row], batch.location, batch.scheduled_at_us[row]
