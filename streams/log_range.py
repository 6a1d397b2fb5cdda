"""Reads a range of messages of one partition, apart from the group: what must be taken in again at a start."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final, Protocol

import aiokafka
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from producers import telemetry
from producers.away import Away
from producers.settings import LogSettings
from streams.errors import StateFoundError
from streams.group import LogMessage, Place
from streams.log_ends import client_options

RETRY_S: Final = 1.0
POLL_MS: Final = 500
POLL_MESSAGES: Final = 500

log_line = telemetry.logger(__name__)


class LogRange(Protocol):
    """Reads a part of a partition that the log has."""

    def read(self, place: Place, first: int, last: int, *, epoch: str) -> AsyncIterator[LogMessage]:
        """Yield the messages from offset `first` through `last` in order, however long the broker is away.

        Raises:
            StateFoundError: The log no longer has all of them: the choice must be made again.
        """


class KafkaRange:
    """A LogRange over the log."""

    def __init__(self, log: LogSettings) -> None:
        self._log = log

    async def read(self, place: Place, first: int, last: int, *, epoch: str) -> AsyncIterator[LogMessage]:
        """See LogRange."""
        away = Away(log_line, "the broker is away while a state is completed", "the broker is back", place=str(place))
        while first <= last:
            try:
                async for message in self._read_once(place, first, last):
                    away.worked()
                    first = message.offset + 1
                    yield log_message(message, epoch)
                first = last + 1
            except OffsetOutOfRangeError as error:
                raise StateFoundError(f"{place}: the log no longer has offset {first}: starting again") from error
            except (KafkaError, TimeoutError) as error:
                away.failed(error)
                await asyncio.sleep(RETRY_S)

    async def _read_once(self, place: Place, first: int, last: int) -> AsyncIterator[Any]:
        options = client_options(self._log, "forewarn-range")
        client = aiokafka.AIOKafkaConsumer(**options, max_poll_records=POLL_MESSAGES, auto_offset_reset="none")
        partition = aiokafka.TopicPartition(*place)
        try:
            await client.start()
            client.assign([partition])
            client.seek(partition, first)
            while await client.position(partition) <= last:
                for message in (await client.getmany(timeout_ms=POLL_MS)).get(partition, ()):
                    if message.offset <= last:
                        yield message
        finally:
            await client.stop()


def log_message(message: Any, epoch: str) -> LogMessage:
    """Return a message of the log's client as groups take it."""
    return LogMessage(
        epoch=epoch,
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp_us=max(0, message.timestamp) * 1000,
        key=message.key,
        value=b"" if message.value is None else message.value,
        headers=tuple(message.headers or ()),
    )
