"""Everything that we call and that is private in Faust. A test fails on any other Faust version, and so does import."""

import asyncio
import contextlib
import functools
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Final, cast

import aiokafka
import aiokafka.client
import faust
from aiokafka.protocol.metadata import MetadataRequest
from faust.types import TP
from mode.threads import WorkerThread

FAUST_VERSION: Final = "0.15.3"

if faust.__version__ != FAUST_VERSION:
    raise ImportError(
        f"faust-streaming {faust.__version__} is installed, but its private calls are known for {FAUST_VERSION} only"
    )


# aiokafka asks for a topic's metadata in a way that makes a broker create it, with partitions as the broker likes: an
# embedded one that has just been started anew would have wrong topics before anybody can make the right ones.
aiokafka.client.MetadataRequest = functools.partial(MetadataRequest, allow_auto_topic_creation=False)


async def commit(app: faust.App, offsets: Mapping[TP, int]) -> bool:
    """Commit offsets (of the next message to read) under our own control.

    Faust fences it: partitions that are not ours any more are left out, and the broker refuses a former member.

    Returns:
        False if the group has rebalanced meanwhile, so nothing was committed.
    """
    if not offsets:
        return True
    return bool(await _consumer(app)._commit_offsets(dict(offsets)))  # noqa: SLF001 - the point of this file


def _consumer(app: faust.App) -> Any:
    return app.consumer


def _client(app: faust.App) -> tuple[aiokafka.AIOKafkaConsumer, asyncio.AbstractEventLoop]:
    thread = _consumer(app)._thread  # noqa: SLF001
    return thread._ensure_consumer(), thread.thread_loop  # noqa: SLF001


async def committed(app: faust.App, places: Iterable[TP]) -> dict[TP, int | None]:
    """Return the group's committed offset (of the next message to read) of each place; None where there is none."""
    client, loop = _client(app)

    async def ask() -> dict[TP, int | None]:
        return {place: await client.committed(aiokafka.TopicPartition(*place)) for place in places}

    found: dict[TP, int | None] = await _in_thread(ask(), loop)
    return found


async def _in_thread(question: Any, loop: asyncio.AbstractEventLoop) -> Any:
    # The consumer lives in a thread with a loop of its own; its method queue may be busy with a long fetch.
    answer: Future[Any] = asyncio.run_coroutine_threadsafe(question, loop)
    return await asyncio.wrap_future(answer)


async def read_from(app: faust.App, place: TP, offset: int) -> None:
    """Let the client go back to a message, and Faust take what comes from there on.

    Raises:
        IllegalStateError: aiokafka's; the place is not ours any more.
    """
    client, loop = _client(app)

    async def seek() -> None:
        client.seek(aiokafka.TopicPartition(*place), offset)

    await _in_thread(seek(), loop)
    # What is not above this counts as old; None takes anything, and 0 is not told from it.
    _consumer(app)._read_offset[place] = offset or None  # noqa: SLF001


class _DaemonThread(WorkerThread):
    def __init__(self, service: Any, **options: Any) -> None:
        super().__init__(service, **options)
        self.daemon = True

    def run(self) -> None:
        # Left alone in the middle of its end, because the broker is away: not worth a traceback.
        with contextlib.suppress(asyncio.CancelledError):
            super().run()


def use_daemon_threads(app: faust.App) -> None:
    """Let the process end even if the consumer's thread hangs in a broker that is away. Before the start."""
    _consumer(app)._thread.Worker = _DaemonThread  # noqa: SLF001


def shorten_waits(app: faust.App, *, fetch_wait_ms: int | None) -> None:
    """Leave out the second that Faust gives tables to register, of which there are none. Before the start.

    Args:
        app: That will be started.
        fetch_wait_ms: How long the broker may keep a fetch that has nothing to answer; None leaves Faust's 1500.
    """
    cast("Any", app.tables).sleep = _at_once
    if fetch_wait_ms is None:
        return
    thread = _consumer(app)._thread  # noqa: SLF001
    create = thread._create_consumer  # noqa: SLF001

    def create_with_wait(*given: Any, **options: Any) -> aiokafka.AIOKafkaConsumer:
        client = create(*given, **options)
        client._fetch_max_wait_ms = fetch_wait_ms  # noqa: SLF001 - read when the client starts
        return client

    thread._create_consumer = create_with_wait  # noqa: SLF001


def take_turns(app: faust.App) -> None:
    """Let the partitions of a backlog be read side by side. Before the start.

    aiokafka hands out all that a fetch brought of one partition before it looks at the next one. A fetch brings a
    megabyte of each, and five from Tansu, which does not heed what is asked for: thousands of small messages.
    """
    thread = _consumer(app)._thread  # noqa: SLF001
    fetch = thread._fetch_records  # noqa: SLF001

    async def fetch_in_turn(client: aiokafka.AIOKafkaConsumer, *given: Any, **options: Any) -> Any:
        records = await fetch(client, *given, **options)
        left = client._fetcher._records  # noqa: SLF001 - in the order in which it is handed out
        for partition in records:
            if partition in left:
                left[partition] = left.pop(partition)
        return records

    thread._fetch_records = fetch_in_turn  # noqa: SLF001


async def _at_once(_seconds: object) -> None:
    await asyncio.sleep(0)


def generation(app: faust.App) -> int:
    """Return the number of the group's current assignment."""
    return int(app.consumer_generation_id)


def end_offset_seen(app: faust.App, place: TP) -> int | None:
    """Return the end of a partition as of the last fetch, without asking the broker; None if it was never fetched."""
    if app._consumer is None or place not in app.consumer.assignment():  # noqa: SLF001
        return None
    end = app.consumer.highwater(place)
    return None if end is None else int(end)
