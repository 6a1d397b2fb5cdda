"""The frame of every stream worker: Faust reads, a `Group` judges, this decides when anything is acknowledged.

One agent a topic reads raw messages with `noack`. A message is handed to the group and its outputs to the sender,
without a wait in between. Every `snapshot_interval_us`, when the places are revoked and at the end: cut the group's
state, wait until the outputs are acknowledged, let the group keep the cut, commit the positions that are safe. So a
worker that dies at any point reads again what was not kept, and publishes it again with the same ids.
"""

import asyncio
import contextlib
import faulthandler
import logging
import signal
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final, cast

import faust
from aiokafka.errors import KafkaError

from producers import telemetry
from producers.errors import ForewarnError, LogUnavailableError
from producers.log import read_epochs
from producers.outbox import OutboxMarks
from producers.settings import LogSettings
from producers.topics import ALL_TOPICS
from streams import faust_internals
from streams.blocking import in_thread
from streams.errors import EpochChangedError, WorkerFailedError
from streams.faust_app import create_app
from streams.group import Group, OutMessage
from streams.intake import Intake
from streams.outgoing import Outgoing, open_outgoing
from streams.sender import Headers, Sender
from streams.settings import WorkerSettings

EPOCH_CHECK_S: Final = 15.0
"""As often as producers look: each look opens a connection. `forewarn up` ends workers itself when its broker is made
anew, and does not wait for this."""

LAG_EXPORT_S: Final = 5.0
KEPT_TOO_LONG_AGO_S: Final = 180.0
FAUST_STOP_S: Final = 1.0
START_RETRY_S: Final = 1.0
FORGETFUL_FETCH_WAIT_MS: Final = 500
"""Tansu does not answer a waiting fetch when a message comes, but looks again after half of this. Kafka does."""

log_line = telemetry.logger(__name__)


def run_worker(
    group: Group[Any], log: LogSettings, worker: WorkerSettings, *, marks: OutboxMarks | None = None
) -> None:
    """Run one worker until SIGTERM or SIGINT; return after an orderly end. The process must end soon after it.

    `marks` says where the store's marks of outboxes are read, for a forgetful log; None with Kafka.

    Raises:
        LogUnavailableError: The broker is away at the start for `start_timeout_s`.
        LogRefusedError: It says no: credentials, rights, topics.
        EpochChangedError: The log was replaced by another one: start again.
        StateFoundError: A state that was missing at the start can be had now: start again.
        WorkerFailedError: A bug; nothing of the message at hand was acknowledged.
    """
    worker.data_dir.mkdir(parents=True, exist_ok=True)
    epochs = _epochs_at_start(log, _topics(group, log), worker.start_timeout_s)
    with open_outgoing(group.name, log, worker, epochs=epochs, marks=marks) as outgoing:
        asyncio.run(_run(group, log, worker, outgoing, epochs))


async def _run(
    group: Group[Any], log: LogSettings, worker: WorkerSettings, outgoing: Outgoing, epochs: Mapping[str, str]
) -> None:
    await Worker(group, log, worker, outgoing=outgoing, epochs=epochs).run()


def _topics(group: Group[Any], log: LogSettings) -> tuple[str, ...]:
    """Return the topics whose epochs count: with Kafka a role may look only at what it reads or writes."""
    return ALL_TOPICS if log.forgetful else group.topics


def _epochs_at_start(log: LogSettings, topics: Sequence[str], timeout_s: float) -> dict[str, str]:
    """Return the epochs; waits for a broker that is not there yet. The same call shows wrong credentials."""
    deadline = time.monotonic() + timeout_s
    said = False
    while True:
        try:
            return read_epochs(log, topics)
        except LogUnavailableError as error:
            if time.monotonic() >= deadline:
                raise
            if not said:
                log_line.warning("waiting for the broker", error=str(error), at_most_s=timeout_s)
                said = True
            time.sleep(START_RETRY_S)


class Worker:
    """One process of one group. Use `run_worker`."""

    def __init__(
        self,
        group: Group[Any],
        log: LogSettings,
        settings: WorkerSettings,
        *,
        outgoing: Outgoing,
        epochs: Mapping[str, str],
    ) -> None:
        self._group = group
        self._log = log
        self._settings = settings
        self._epochs = epochs
        self._outgoing = outgoing
        self._app: faust.App = create_app(group.name, log, settings)
        self._sender = Sender(self._publish, outbox=outgoing.outbox)
        self._intake = Intake(
            group, self._app, self._sender, log=log, current_epochs=self._same_epochs, fail=self._fail
        )
        self._ended = asyncio.Event()
        self._failure: BaseException | None = None
        self._silent_log: str | None = None  # why the broker does not answer
        self._tasks: list[asyncio.Task[None]] = []
        for topic in group.topics:
            self._add_agent(topic)
        self._app.on_partitions_assigned.connect(cast("Any", self._on_assigned))
        self._app.on_partitions_revoked.connect(cast("Any", self._on_revoked))

    def _add_agent(self, topic: str) -> None:
        channel = self._app.topic(
            topic, key_type=bytes, key_serializer="raw", value_type=bytes, value_serializer="raw", acks=False
        )

        async def agent(stream: Any) -> None:
            async for event in stream.noack().events():
                try:
                    await self._intake.take(event)
                except asyncio.CancelledError:
                    raise
                except BaseException as error:  # noqa: BLE001 - what leaves an agent loses messages
                    self._fail(error)
                    await asyncio.Event().wait()  # for ever: nothing more of this topic is taken in

        self._app.agent(channel, name=f"{self._group.name}-{topic}")(agent)

    async def _publish(self, message: OutMessage, headers: Headers) -> "asyncio.Future[object]":
        flight: Any = await self._app.producer.send(
            message.topic, message.key, message.value, message.partition, None, headers or None
        )
        return cast("asyncio.Future[object]", flight)

    async def _on_assigned(self, _app: Any, assigned: Any, **_: Any) -> None:
        await self._intake.assigned(assigned)

    async def _on_revoked(self, _app: Any, *_: Any, **__: Any) -> None:
        try:
            await self._intake.revoked(
                deadline_s=min(self._settings.stop_timeout_s, self._settings.session_timeout_s / 2)
            )
        except ForewarnError as error:
            log_line.warning("state is not kept at the rebalance", group=self._group.name, error=str(error))
        except BaseException as error:  # noqa: BLE001 - it ends the worker
            self._fail(error)

    def _same_epochs(self) -> Mapping[str, str]:
        """Return the epochs of our topics (blocking).

        Raises:
            EpochChangedError: They are not those of the start.
        """
        now = read_epochs(self._log, _topics(self._group, self._log))
        for topic, epoch in self._epochs.items():
            if now[topic] != epoch:
                raise EpochChangedError(f"topic {topic} is another one than at the start: starting again")
        return now

    def _fail(self, error: BaseException) -> None:
        """End the worker for this error, before anything more is acknowledged."""
        if self._failure is None:
            self._failure = error
        self._intake.forget()
        self._ended.set()

    async def run(self) -> None:
        """Run until a signal or a failure. See `run_worker`."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ended.set)
        observation = await self._observe()
        try:
            await self._start_and_wait()
        finally:
            await self._end()
            if observation is not None:
                await observation.close()
        if self._failure is not None:
            raise self._outward(self._failure)

    async def _observe(self) -> telemetry.Observation | None:
        if self._settings.observe_port is None:
            return None
        return await telemetry.serve_observation(self._settings.observe_host, self._settings.observe_port, self.health)

    async def _start_and_wait(self) -> None:
        faust_internals.use_daemon_threads(self._app)
        faust_internals.take_turns(self._app)
        wait_ms = FORGETFUL_FETCH_WAIT_MS if self._log.forgetful else None
        faust_internals.shorten_waits(self._app, fetch_wait_ms=wait_ms)
        starting = self._task(self._start_faust())
        self._sender.put_stored(self._outgoing.unsent)
        self._task(self._intake.save_forever(self._settings.snapshot_interval_us / 1_000_000))
        self._task(self._watch_epochs())
        self._task(self._export_lag())
        self._task(self._outgoing.trim_forever())
        self._task(self._group.run(self._sender.put))
        await self._ended.wait()
        starting.cancel()

    def _task(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        task.add_done_callback(self._task_ended)
        self._tasks.append(task)
        return task

    def _task_ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled():
            error = task.exception()
            if error is not None:
                self._fail(error)

    async def _start_faust(self) -> None:
        await self._app.start()
        self._task(self._sender.run())  # not before: there is no producer to send with
        await self._sender.acknowledged(len(self._outgoing.unsent))
        self._outgoing.sent_again()
        await self._app.wait_until_stopped()  # it crashed: nobody else stops it before `_end`
        if not self._ended.is_set():
            raise WorkerFailedError(f"Faust stopped by itself: {self._app.crash_reason!r}")

    async def _watch_epochs(self) -> None:
        while True:
            await asyncio.sleep(EPOCH_CHECK_S)
            try:
                await in_thread(self._same_epochs)
            except EpochChangedError:
                raise
            except ForewarnError as error:
                if self._silent_log is None:
                    log_line.warning("the broker does not say which log it has; waiting for it", error=str(error))
                self._silent_log = str(error)
            else:
                if self._silent_log is not None:
                    log_line.info("the broker answers again")
                self._silent_log = None

    async def _export_lag(self) -> None:
        while True:
            await asyncio.sleep(LAG_EXPORT_S)
            self._intake.export_lag()

    async def _end(self) -> None:
        if self._failure is None:
            try:
                await asyncio.wait_for(self._intake.save(last=True), self._settings.stop_timeout_s)
            except TimeoutError:
                log_line.warning("the last state is not kept in time; it will be made again", group=self._group.name)
            except ForewarnError as error:
                log_line.warning("the last state is not kept", group=self._group.name, error=str(error))
        self._intake.forget()
        # From here on nothing is lost by an end in the middle. Clients of a broker that is away may wait for ever.
        faulthandler.dump_traceback_later(self._settings.end_timeout_s, exit=True)
        for task in self._tasks:
            task.remove_done_callback(self._task_ended)
            task.cancel()
        try:
            await asyncio.wait_for(self._app.stop(), FAUST_STOP_S)
        except TimeoutError:
            log_line.warning("the log's client does not end; leaving it", group=self._group.name)
            # What it says while its tasks are cancelled is this again, as errors.
            logging.getLogger("faust").setLevel(logging.CRITICAL)
        except Exception as error:  # noqa: BLE001 - all is kept or given up: only the client's own end is left
            log_line.warning("the log's client ended badly", group=self._group.name, error=repr(error))
        with contextlib.suppress(Exception):
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _outward(self, error: BaseException) -> BaseException:
        """Return the error as the caller's contract has it."""
        if isinstance(error, KafkaError):
            return LogUnavailableError(f"the broker does not answer: {error!r}")
        if isinstance(error, ForewarnError | KeyboardInterrupt | SystemExit):
            return error
        failed = WorkerFailedError(f"{self._group.name}: {type(error).__name__}: {error}")
        failed.__cause__ = error
        return failed

    def health(self) -> Mapping[str, object]:
        """Return what /healthz shows: `ok` is False while the broker is away, places load, or no state is kept."""
        waited_s = time.monotonic() - self._intake.kept_at
        troubles = self._group.troubles()
        reason = None
        if self._failure is not None:
            reason = f"ending: {self._failure}"
        elif self._silent_log is not None:
            reason = self._silent_log
        elif not self._intake.ready:
            reason = "no places are assigned and loaded yet"
        elif troubles:
            reason = "; ".join(troubles)
        elif waited_s > KEPT_TOO_LONG_AGO_S + self._settings.snapshot_interval_us / 1_000_000:
            reason = f"state was not kept for {waited_s:.0f} s; commits wait"
        return {
            "ok": reason is None,
            "group": self._group.name,
            "reason": reason,
            "positions": {str(place): offset for place, offset in self._intake.positions.items()},
            "unacknowledged": self._sender.unacknowledged,
            "behind_s": round(self._intake.behind_s, 1),
        }
