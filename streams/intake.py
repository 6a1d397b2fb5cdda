"""Which messages a worker takes in, and when they count as done: positions, loading, keeping, committing."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import faust
from aiokafka.errors import KafkaError
from faust.types import TP

from producers import telemetry
from producers.errors import LogUnavailableError, TransientError
from producers.settings import LogSettings
from streams import faust_internals
from streams.blocking import in_thread
from streams.group import Assigned, Group, LogMessage, Place
from streams.log_ends import log_ends
from streams.sender import Sender

CROWDED_PAUSE_S: Final = 0.2
RETRY_S: Final = 1.0

log_line = telemetry.logger(__name__)


class Intake:
    """Between Faust and a group: hands each message to the group once and in order, keeps, commits.

    Attributes:
        positions: The last message taken in, by place that is ours and loaded.
        kept_at: `time.monotonic()` of the last time when nothing was left to keep.
    """

    def __init__(
        self,
        group: Group[Any],
        app: faust.App,
        sender: Sender,
        *,
        log: LogSettings,
        current_epochs: Callable[[], Mapping[str, str]],
        fail: Callable[[BaseException], None],
    ) -> None:
        self.positions: dict[Place, int] = {}
        self.kept_at = time.monotonic()
        self._group = group
        self._app = app
        self._sender = sender
        self._log = log
        self._current_epochs = current_epochs
        self._epochs: Mapping[str, str] = {}
        self._fail = fail
        self._committed: dict[Place, int] = {}
        self._ready = asyncio.Event()
        self._generation = -1
        self._loading: asyncio.Task[None] | None = None
        self._saving = asyncio.Lock()

    @property
    def ready(self) -> bool:
        """Whether the places are loaded and messages are taken in."""
        return self._ready.is_set()

    async def take(self, event: Any) -> None:
        """Take in one message as Faust hands it over. Waits while the places are loading or the way out is full."""
        message = event.message
        while True:
            if message.generation_id != faust_internals.generation(self._app):
                return  # read before a rebalance: it comes again, in order, to whoever owns the place now
            if not self._ready.is_set():
                await self._ready.wait()
            elif self._sender.full:
                await self._sender.room()
            elif self._group.crowded():
                await self.save()
                if self._group.crowded():
                    await asyncio.sleep(CROWDED_PAUSE_S)
            else:
                break
        self._take_now(self._log_message(message))

    def _log_message(self, message: Any) -> LogMessage:
        timestamp = message.timestamp
        return LogMessage(
            epoch=self._epochs[message.topic],
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            timestamp_us=0 if timestamp is None else round(timestamp * 1_000_000),
            key=message.key,
            value=b"" if message.value is None else message.value,
            headers=tuple(message.headers or ()),
        )

    def _take_now(self, message: LogMessage) -> None:
        """Hand it to the group, queue what it causes, advance the position: one step, nothing comes between."""
        position = self.positions.get(message.place)
        if position is None or message.offset <= position:
            return
        telemetry.EVENTS.labels(self._group.name, message.topic).inc()
        if message.offset > position + 1:
            log_line.error(
                "messages are missing: the log no longer has them",
                place=str(message.place),
                first=position + 1,
                last=message.offset - 1,
            )
        self._sender.put(self._group.handle(message))
        self.positions[message.place] = message.offset

    async def assigned(self, owned: set[TP]) -> None:
        """Own these places from now on; they are loaded beside the rebalance, so that nobody waits for a store."""
        self._stop_loading()
        places = sorted(Place(one.topic, one.partition) for one in owned)
        self._generation = faust_internals.generation(self._app)
        self._loading = asyncio.create_task(self._load(places))

    async def revoked(self, *, deadline_s: float) -> None:
        """Keep what can be kept before the places go to another worker, then forget them."""
        self._stop_loading()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.save(), deadline_s)
        self.forget()

    def forget(self) -> None:
        """Take in nothing more and keep nothing more."""
        self._ready.clear()
        self._stop_loading()
        self.positions = {}
        self._committed = {}
        self._group.revoke()

    def _stop_loading(self) -> None:
        if self._loading is not None:
            self._loading.cancel()
            self._loading = None

    async def _load(self, places: list[Place]) -> None:
        try:
            assigned = await self._ask_until_answered(places)
            positions = await self._group.assign(assigned)
            self.positions = {one.place: positions[one.place] for one in assigned}
            self._committed = {one.place: -1 if one.committed is None else one.committed - 1 for one in assigned}
            self.kept_at = time.monotonic()
            self._ready.set()
            log_line.info("reading", group=self._group.name, places=[f"{p}@{o}" for p, o in self.positions.items()])
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - it is reported, and ends the worker
            self._fail(error)

    async def _ask_until_answered(self, places: list[Place]) -> list[Assigned]:
        while True:
            try:
                self._epochs = await in_thread(self._current_epochs)
                return await self._ask(places)
            except (LogUnavailableError, KafkaError) as error:
                log_line.warning("the broker is away while places are loaded", error=repr(error))
                await asyncio.sleep(RETRY_S)

    async def _ask(self, places: list[Place]) -> list[Assigned]:
        ends = await log_ends(self._log, places)
        committed = await faust_internals.committed(self._app, [TP(*place) for place in places])
        found = []
        for place in places:
            offset = committed[TP(*place)]
            if offset is not None and offset > ends[place]:
                log_line.error("the committed offset is not in this log; all of it is read", place=str(place))
                offset = None
            found.append(Assigned(place=place, epoch=self._epochs[place.topic], committed=offset, end=ends[place]))
        return found

    async def save(self) -> None:
        """Keep what was taken in so far and commit what is safe. One at a time."""
        async with self._saving:
            if not self._ready.is_set():
                return
            generation = self._generation
            cut = self._group.cut()
            if cut is None:
                self.kept_at = time.monotonic()
                return
            await self._sender.acknowledged(self._sender.sequence)
            with telemetry.SNAPSHOT_SECONDS.labels(self._group.name).time():
                safe = await self._group.keep(cut)
            if generation == self._generation and self._ready.is_set():
                await self._commit(safe)

    async def _commit(self, safe: Mapping[Place, int]) -> None:
        news = {place: offset for place, offset in safe.items() if offset > self._committed.get(place, -1)}
        if safe:
            self.kept_at = time.monotonic()
        if not news:
            return
        done = await faust_internals.commit(self._app, {TP(*place): offset + 1 for place, offset in news.items()})
        telemetry.COMMITS.labels(self._group.name, "done" if done else "refused").inc()
        if done:
            self._committed.update(news)

    async def save_forever(self, interval_s: float) -> None:
        """Save at an interval, until cancelled."""
        while True:
            await asyncio.sleep(interval_s)
            try:
                await self.save()
            except TransientError as error:
                log_line.warning("state is not kept; it is tried again", group=self._group.name, error=str(error))

    def export_lag(self) -> None:
        """Export how many messages of each place are not taken in yet."""
        for place, position in self.positions.items():
            end = faust_internals.end_offset_seen(self._app, TP(*place))
            if end is not None:
                lag = max(0, end - 1 - position)
                telemetry.CONSUMER_LAG.labels(self._group.name, place.topic, str(place.partition)).set(lag)
