"""Which messages a worker takes in, and when they count as done: positions, loading, keeping, committing."""

import asyncio
import contextlib
import gc
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
from streams.flow import Flow
from streams.group import Assigned, Group, LogMessage, Place
from streams.log_ends import first_from, log_bounds
from streams.rereading import Rereading
from streams.sender import Sender

CROWDED_PAUSE_S: Final = 0.2

GATHER_S: Final = 0.01
HELD_BYTES: Final = 2_000_000
"""Messages that follow each other so closely are handed over together, up to so many bytes: judging one of several
costs less than half of judging one alone, and nobody who is warned notices a hundredth of a second."""

RETRY_S: Final = 1.0
BEHIND_S: Final = 300.0
"""What is read so long after it was written is said."""


log_line = telemetry.logger(__name__)


class Intake:
    """Between Faust and a group: hands each message to the group once and in order, keeps, commits.

    Attributes:
        kept_at: `time.monotonic()` of the last time when nothing was left to keep.
        behind_s: How old the messages are that are taken in now; 0 where all are.
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
        self.kept_at = time.monotonic()
        self.behind_s = 0.0
        self._said_behind = False
        self._flow = Flow(group)
        self._group = group
        self._app = app
        self._sender = sender
        self._log = log
        self._current_epochs = current_epochs
        self._epochs: Mapping[str, str] = {}
        self._fail = fail
        self._ready = asyncio.Event()
        self._loading: asyncio.Task[None] | None = None
        self._saving = asyncio.Lock()
        self._turn = 0  # of saving
        self._due = asyncio.Event()  # the group says that so much waits that it is saved now
        self._held_bytes = 0
        self._handing_over: asyncio.TimerHandle | None = None
        self._rereading = Rereading(app, positions=lambda: self._flow.positions, fail=fail)

    @property
    def ready(self) -> bool:
        """Whether the places are loaded and messages are taken in."""
        return self._ready.is_set()

    @property
    def positions(self) -> Mapping[Place, int]:
        """The last message taken in, by place that is ours and loaded."""
        return self._flow.positions

    async def take(self, event: Any) -> None:
        """Take in one message as Faust hands it over. Waits while the places are loading or the way out is full."""
        message = event.message
        place = Place(message.topic, message.partition)
        are_gone = False
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
            elif not are_gone and (gap := self._flow.gap_before(place, message.offset)) is not None:
                are_gone = await self._are_gone(place, gap, message)
                if not are_gone:
                    return  # it comes again, after what has to come first
            else:
                break
        if self._flow.hold(self._log_message(message)):
            self._held_bytes += len(message.value or b"")
            if self._held_bytes >= HELD_BYTES:
                self._hand_over()
            elif self._handing_over is None:
                self._handing_over = asyncio.get_running_loop().call_later(GATHER_S, self._hand_over)

    async def _are_gone(self, place: Place, gap: tuple[int, int], message: Any) -> bool:
        """Whether the log no longer has what lies before a message; else see to it that it is read."""
        offset: int = message.offset
        wanted = self._rereading.wanted.get(place)
        if wanted is not None:
            return wanted == offset
        first = await self._first_in_log(place, gap[0])
        is_current = self._ready.is_set() and message.generation_id == faust_internals.generation(self._app)
        if first < offset and is_current:
            self._rereading.begin(place, first, before=offset)
        return first >= offset

    async def _first_in_log(self, place: Place, offset: int) -> int:
        while True:
            try:
                return await first_from(self._log, place, offset)
            except LogUnavailableError as error:
                log_line.warning("the broker is away while a gap is looked at", place=str(place), error=str(error))
                await asyncio.sleep(RETRY_S)

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

    def _hand_over(self) -> None:
        """Hand what is held to the group and queue what it causes: one step for each place, nothing comes between."""
        self._drop_timer()
        try:
            for taken in self._flow.take():
                place = taken.messages[0].place
                telemetry.EVENTS.labels(self._group.name, place.topic).inc(len(taken.messages))
                for first, last in taken.missing:
                    log_line.error(
                        "messages are missing: the log no longer has them", place=str(place), first=first, last=last
                    )
                self._sender.put(taken.outputs)
                if self._group.due():
                    self._due.set()
        except BaseException as error:  # noqa: BLE001 - it is reported, and ends the worker
            self._fail(error)

    def _drop_timer(self) -> None:
        self._held_bytes = 0
        if self._handing_over is not None:
            self._handing_over.cancel()
            self._handing_over = None

    async def assigned(self, owned: set[TP]) -> None:
        """Own these places from now on; they are loaded beside the rebalance, so that nobody waits for a store."""
        self.forget()
        places = sorted(Place(one.topic, one.partition) for one in owned)
        self._loading = asyncio.create_task(self._load(places))

    async def revoked(self, *, deadline_s: float) -> None:
        """Keep what can be kept before the places go to another worker, then forget them."""
        self._stop_loading()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.save(last=True), deadline_s)
        self.forget()

    def forget(self) -> None:
        """Take in nothing more and keep nothing more."""
        self._ready.clear()
        self._drop_timer()
        self._rereading.stop()
        self._stop_loading()
        self._flow.forget()

    def _stop_loading(self) -> None:
        if self._loading is not None:
            self._loading.cancel()
            self._loading = None

    async def _load(self, places: list[Place]) -> None:
        try:
            assigned = await self._ask_until_answered(places)
            positions = await self._group.assign(assigned)
            self._flow.loaded(assigned, positions)
            _spare_the_collector()
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
        bounds = await log_bounds(self._log, places)
        committed = await faust_internals.committed(self._app, [TP(*place) for place in places])
        found = []
        for place in places:
            offset, (first, end) = committed[TP(*place)], bounds[place]
            if offset is not None and offset > end:
                log_line.error("the committed offset is not in this log; all of it is read", place=str(place))
                offset = None
            epoch = self._epochs[place.topic]
            found.append(Assigned(place=place, epoch=epoch, committed=offset, end=end, first=first))
        return found

    async def save(self, *, last: bool = False) -> None:
        """Keep what was taken in so far and commit what is safe. One at a time.

        Args:
            last: The end comes after it, or the places are lost.
        """
        async with self._saving:
            if not self._ready.is_set():
                return
            if last:
                self._group.hurry()
            self._hand_over()
            self._turn += 1
            if not await self._save_piece():
                self.kept_at = time.monotonic()
                return
            while await self._save_piece():
                pass

    async def _save_piece(self) -> bool:
        """Keep one piece and commit what is safe; return whether there was one."""
        with telemetry.SNAPSHOT_PAUSE_SECONDS.labels(self._group.name).time():
            saving = self._flow.begin_save(self._turn, self._sender.sequence)
        if saving is None:
            return False
        await self._sender.acknowledged(saving.outputs)
        with telemetry.SNAPSHOT_SECONDS.labels(self._group.name).time():
            safe = await self._group.keep(saving.cut)
        if safe:
            self.kept_at = time.monotonic()
        await self._commit(self._flow.to_commit(saving, safe))
        return True

    async def _commit(self, offsets: Mapping[Place, int]) -> None:
        if not offsets:
            return
        done = await faust_internals.commit(self._app, {TP(*place): offset for place, offset in offsets.items()})
        telemetry.COMMITS.labels(self._group.name, "done" if done else "refused").inc()
        if done:
            self._flow.committed(offsets)

    async def save_forever(self, interval_s: float) -> None:
        """Save at an interval, until cancelled; less often where the group wants to rest, at once where it is due."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._due.wait(), max(interval_s, self._group.rest_s))
            self._due.clear()
            try:
                await self.save()
            except TransientError as error:
                log_line.warning("state is not kept; it is tried again", group=self._group.name, error=str(error))

    def export_lag(self) -> None:
        """Export how many messages of each place are not taken in yet, and how old they are; say it if they are old."""
        oldest_us = now_us = time.time_ns() // 1000
        for place, position in self.positions.items():
            end = faust_internals.end_offset_seen(self._app, TP(*place))
            if end is not None:
                lag = max(0, end - 1 - position)
                telemetry.CONSUMER_LAG.labels(self._group.name, place.topic, str(place.partition)).set(lag)
                if lag > 0:
                    oldest_us = min(oldest_us, self._flow.logged_us.get(place) or now_us)
        self.behind_s = (now_us - oldest_us) / 1e6
        telemetry.CONSUMER_DELAY.labels(self._group.name).set(self.behind_s)
        if not self._said_behind and self.behind_s > BEHIND_S:
            self._said_behind = True
            log_line.error("reading is behind", group=self._group.name, behind_s=round(self.behind_s))
        elif self._said_behind and self.behind_s < BEHIND_S / 2:
            self._said_behind = False
            log_line.info("reading has caught up", group=self._group.name)


def _spare_the_collector() -> None:
    """Take all that is there now out of the garbage collector's sight.

    Else it looks through the state now and then, and messages wait: 0.4 s for 33,000 targets. What refers in a circle
    is not freed any more; nothing in a part of detect does, the largest there is (a test holds that).
    """
    gc.collect()
    gc.freeze()
