"""Where the partitions of a log begin and end, and what it has from an offset on.

The end is asked by a fetch, not by ListOffsets: Tansu answers that with the offset after the *first* message of the
last batch.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import aiokafka
from aiokafka.errors import KafkaError

from producers.errors import LogUnavailableError
from producers.settings import LogSettings
from streams import faust_internals  # noqa: F401 - keeps aiokafka from creating topics
from streams.faust_app import tls_context
from streams.group import Place

TIMEOUT_S: Final = 10.0
FETCH_WAIT_MS: Final = 50

Answer = TypeVar("Answer")


class Bounds(NamedTuple):
    """What the log has of a partition: from `first` to before `end`."""

    first: int
    end: int


async def log_bounds(log: LogSettings, places: Sequence[Place]) -> dict[Place, Bounds]:
    """Return the first offset and the offset after the last message of each place.

    Raises:
        LogUnavailableError: The broker does not answer in time.
    """
    if not places:
        return {}
    return await _with_client(log, lambda client: _ask(client, places))


async def first_from(log: LogSettings, place: Place, offset: int) -> int:
    """Return the offset of the first message that a place has at or after `offset`; there must be one.

    Raises:
        LogUnavailableError: The broker does not answer in time.
    """

    async def ask(client: aiokafka.AIOKafkaConsumer) -> int:
        partition = aiokafka.TopicPartition(*place)
        client.assign([partition])
        client.seek(partition, offset)
        return int((await client.getone(partition)).offset)

    return await _with_client(log, ask)


async def _with_client(log: LogSettings, ask: Callable[[aiokafka.AIOKafkaConsumer], Awaitable[Answer]]) -> Answer:
    options = client_options(log, "forewarn-ends")
    client = aiokafka.AIOKafkaConsumer(**options, max_poll_records=1, auto_offset_reset="earliest")
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await client.start()
            return await ask(client)
    except (KafkaError, TimeoutError) as error:
        raise LogUnavailableError(f"the broker does not say what its log has: {error!r}") from error
    finally:
        await client.stop()


async def _ask(client: aiokafka.AIOKafkaConsumer, places: Sequence[Place]) -> dict[Place, Bounds]:
    wanted = {aiokafka.TopicPartition(*place): place for place in places}
    client.assign(list(wanted))
    firsts = await client.beginning_offsets(list(wanted))
    for partition, end in (await client.end_offsets(list(wanted))).items():
        client.seek(partition, max(0, end - 1))
    while True:
        await client.getmany(timeout_ms=FETCH_WAIT_MS)
        ends = {place: client.highwater(partition) for partition, place in wanted.items()}
        known = {place: int(end) for place, end in ends.items() if end is not None}
        if len(known) == len(wanted):
            return {place: Bounds(int(firsts[partition]), known[place]) for partition, place in wanted.items()}
        for partition, place in wanted.items():
            if place in known:
                client.pause(partition)  # its answer is known: do not read on


def client_options(log: LogSettings, client_id: str) -> dict[str, Any]:
    """Return the options of a client that reads apart from any group."""
    return {
        "bootstrap_servers": list(log.bootstrap),
        "client_id": client_id,
        "enable_auto_commit": False,
        "fetch_max_wait_ms": FETCH_WAIT_MS,
        "security_protocol": log.security.upper(),
        "ssl_context": tls_context(log),
        "sasl_mechanism": log.sasl_mechanism,
        "sasl_plain_username": log.username,
        "sasl_plain_password": log.password,
    }
