"""The way out of a worker: outputs are sent in order, many in flight, and known to be acknowledged.

With a forgetful log they are on disk in an outbox before they are sent; what the store does not have yet is sent
again when the log has become another one.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from producers import telemetry
from producers.errors import TransientError
from producers.outbox import Outbox
from streams.blocking import in_thread
from streams.group import OutMessage

QUEUE_MESSAGES: Final = 10_000
"""Above it `room` waits: the broker is slower than the core, or away."""

RETRY_S: Final = 1.0

log_line = telemetry.logger(__name__)

Headers = list[tuple[str, bytes]]
Publish = Callable[[OutMessage, Headers], Awaitable["asyncio.Future[object]"]]


class Sender:
    """Sends what is put into it, in order.

    Attributes:
        sequence: How many messages were put in so far.
    """

    def __init__(self, publish: Publish, *, outbox: Outbox | None = None) -> None:
        self.sequence = 0
        self._publish = publish
        self._outbox = outbox
        self._queue: deque[tuple[OutMessage, int | None]] = deque()
        self._flying: deque[asyncio.Future[object]] = deque()
        self._acknowledged = 0
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._failed: asyncio.Future[BaseException] | None = None

    def put(self, messages: Sequence[OutMessage]) -> None:
        """Queue messages. Never waits; see `room`."""
        self._put([(message, None) for message in messages])

    def put_stored(self, messages: Sequence[tuple[int, OutMessage]]) -> None:
        """Queue messages that the outbox has already, with their numbers there."""
        self._put([(message, number) for number, message in messages])

    def _put(self, entries: Sequence[tuple[OutMessage, int | None]]) -> None:
        if not entries:
            return
        self._queue.extend(entries)
        self.sequence += len(entries)
        self._filled.set()
        if len(self._queue) > QUEUE_MESSAGES:
            self._drained.clear()

    @property
    def full(self) -> bool:
        """Whether the queue is above its bound."""
        return not self._drained.is_set()

    async def room(self) -> None:
        """Wait until the queue is under its bound."""
        await self._drained.wait()

    @property
    def unacknowledged(self) -> int:
        """How many messages the broker has not acknowledged yet."""
        return self.sequence - self._acknowledged

    async def acknowledged(self, through: int) -> None:
        """Wait until the broker has acknowledged the first `through` messages."""
        if self._acknowledged >= through:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((through, waiter))
        await waiter

    async def run(self) -> None:
        """Send until cancelled.

        Raises:
            Exception: Whatever the log's client says of a message that it could not deliver: the worker must end,
                because the order is broken; what was not acknowledged is made again from the last snapshot.
        """
        self._failed = asyncio.get_running_loop().create_future()
        sending: asyncio.Future[None] = asyncio.create_task(self._send())
        waited: list[asyncio.Future[Any]] = [sending, self._failed]
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if self._failed.done():
                raise self._failed.result()
            sending.result()
        finally:
            sending.cancel()

    async def _send(self) -> None:
        while True:
            await self._filled.wait()
            batch = list(self._queue)
            self._queue.clear()
            self._filled.clear()
            self._drained.set()
            for message, number in await self._numbered(batch):
                headers = [] if number is None or self._outbox is None else [self._outbox.header(number)]
                flight = await self._publish(message, headers)
                self._flying.append(flight)
                flight.add_done_callback(self._landed)

    async def _numbered(
        self, batch: Sequence[tuple[OutMessage, int | None]]
    ) -> Sequence[tuple[OutMessage, int | None]]:
        """Put into the outbox what is not there yet, with one fsync."""
        outbox = self._outbox
        if outbox is None:
            return batch
        new = [one for one, number in batch if number is None and not one.fleeting]
        rows = [(one.topic, one.partition, one.key, one.value) for one in new]
        numbers = iter(await _durable(outbox, rows))
        return [(one, number if number is not None or one.fleeting else next(numbers)) for one, number in batch]

    def _landed(self, flight: "asyncio.Future[object]") -> None:
        error = asyncio.CancelledError("the client was stopped") if flight.cancelled() else flight.exception()
        if error is not None:
            if self._failed is not None and not self._failed.done():
                self._failed.set_result(error)
            return
        while self._flying and self._flying[0].done() and self._flying[0].exception() is None:
            self._flying.popleft()
            self._acknowledged += 1
        waiting = []
        for through, waiter in self._waiters:
            if waiter.done():
                continue
            if self._acknowledged >= through:
                waiter.set_result(None)
            else:
                waiting.append((through, waiter))
        self._waiters = waiting


async def _durable(outbox: Outbox, rows: Sequence[tuple[str, int, bytes | None, bytes]]) -> Sequence[int]:
    """Put the rows into the outbox, however long the disk is full; what is read waits meanwhile."""
    while True:
        try:
            return await in_thread(lambda: outbox.append_many(rows))
        except TransientError as error:
            log_line.warning("nothing is published while the outbox cannot be written", error=str(error))
            await asyncio.sleep(RETRY_S)
