"""One producer process: wires scheduler, publisher, spool, sender and self-observation."""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Final

from producers import telemetry
from producers.clock import Clock, LoopLag, SystemClock
from producers.contract import VERSION, ProducerHealth, ProducerStopped
from producers.errors import ForewarnError, TransientError
from producers.outbox import Outbox, OutboxMarks
from producers.probes.run import run_probe
from producers.publisher import Publisher, restore_ledger
from producers.scheduler import RunProbe, Scheduler
from producers.sender import Sender
from producers.settings import LogSettings, ProducerSettings
from producers.ticks import Ledger, Series, missed_while_stopped, series_at
from producers.topics import CHECKS, partition_of

HEALTH_EVERY_S: Final = 60.0
UNHEALTHY_AFTER_S: Final = 60.0
FLUSH_S: Final = 3.0
SPOOLED_CHECK_BYTES: Final = 500
"""A check alone in its message, the worst case; packed ones need a quarter of it."""

_log = telemetry.logger(__name__)


async def run_producer(
    settings: ProducerSettings,
    log: LogSettings,
    *,
    marks: OutboxMarks | None,
    stop: asyncio.Event,
    clock: Clock | None = None,
    probe: RunProbe = run_probe,
) -> None:
    """Run all probes of one location until `stop` is set. With the broker away it goes on into the spool.

    Args:
        settings: What to run.
        log: Where to publish.
        marks: What the store has; needed if the log is forgetful.
        stop: Ends it in order: announced to every partition, flushed for at most FLUSH_S seconds.
        clock: The machine's by default.
        probe: How a check is run.

    Raises:
        OutboxLockedError: Another process owns the spool.
        ForewarnError: No probe runs here, the spool cannot be written, or the port is taken.
    """
    series = series_at(settings.location, settings.targets)
    if not series:
        raise ForewarnError(f"no probe of any target has location {settings.location!r}")
    outbox = await asyncio.to_thread(_open_spool, settings, series)
    try:
        await _Producer(settings, log, series, outbox, marks, clock or SystemClock(), probe).run(stop)
    finally:
        outbox.close()


def _open_spool(settings: ProducerSettings, series: Sequence[Series]) -> Outbox:
    outbox = Outbox(settings.spool_dir, outbox_id=settings.name, max_bytes=settings.spool_max_bytes, quarantine=True)
    checks_an_hour = sum(3600e6 / one.probe.interval_us for one in series)
    _log.info(
        "spool opened",
        spool=str(settings.spool_dir),
        holds_hours=round(settings.spool_max_bytes / SPOOLED_CHECK_BYTES / checks_an_hour, 1),
        not_safe_yet=outbox.records,
    )
    return outbox


class _Producer:
    def __init__(
        self,
        settings: ProducerSettings,
        log: LogSettings,
        series: Sequence[Series],
        outbox: Outbox,
        marks: OutboxMarks | None,
        clock: Clock,
        probe: RunProbe,
    ) -> None:
        self._settings = settings
        self._partitions = log.partitions
        self._series = series
        self._outbox = outbox
        self._clock = clock
        self._started_at_us = clock.now_us()
        self._lag = LoopLag()
        self._ledger: Ledger = restore_ledger(outbox)
        self._publisher = Publisher(
            outbox,
            producer=settings.name,
            partitions=log.partitions,
            pack_us=settings.pack_us,
            ledger=self._ledger,
        )
        self._sender = Sender(outbox, log, topics=[CHECKS], marks=marks, repack=self._publisher.repack)
        self._scheduler = Scheduler(
            series,
            location=settings.location,
            concurrency=settings.concurrency,
            run_probe=probe,
            emit=self._publisher.put,
            ledger=self._ledger,
            clock=clock,
            lag=self._lag,
        )
        self._drops_seen = (0, -UNHEALTHY_AFTER_S)

    async def run(self, stop: asyncio.Event) -> None:
        async with contextlib.AsyncExitStack() as stack:
            if self._settings.observe_port is not None:
                observation = await telemetry.serve_observation(
                    self._settings.observe_host, self._settings.observe_port, self.health
                )
                stack.push_async_callback(observation.close)
                _log.info("observation", port=observation.port)
            await asyncio.to_thread(self._report_stopped_time)
            self._publisher.start()
            self._sender.start()
            try:
                await self._run_until(stop)
            finally:
                await asyncio.to_thread(self._end)

    def _report_stopped_time(self) -> None:
        batches = missed_while_stopped(
            self._series,
            self._ledger,
            producer=self._settings.name,
            location=self._settings.location,
            partitions=self._partitions,
            now_us=self._clock.now_us(),
        )
        try:
            count = self._publisher.append_batches(batches)
        except TransientError as error:
            # Watching goes on: a gap that nobody can report is less than no checks at all.
            _log.error("the ticks of the stopped time cannot be reported: LOST", error=str(error))
            return
        if count:
            telemetry.CHECKS_MISSED.labels(self._settings.location, "stopped").inc(count)
            _log.warning("ticks were missed while the producer was stopped", ticks=count)

    async def _run_until(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(self._lag.measure()),
                tasks.create_task(self._scheduler.run()),
                tasks.create_task(self._tell_health()),
            ]
            await stop.wait()
            for task in running:
                task.cancel()

    async def _tell_health(self) -> None:
        while True:
            self._publisher.announce(
                ProducerHealth(
                    v=VERSION,
                    producer=self._settings.name,
                    location=self._settings.location,
                    at_us=self._clock.now_us(),
                    started_at_us=self._started_at_us,
                    loop_lag_us=self._lag.take_largest_us(),
                    spool_bytes=self._outbox.size_bytes,
                    spool_records=self._outbox.records,
                    spool_dropped=self._outbox.dropped + self._publisher.lost,
                    checks=self._scheduler.done,
                    missed=self._scheduler.missed,
                ),
                [partition_of(self._settings.name, self._partitions)],
            )
            await self._clock.sleep(HEALTH_EVERY_S)

    def _end(self) -> None:
        """The last words, then the flush; what is not acknowledged by then stays in the spool."""
        self._publisher.announce(
            ProducerStopped(
                v=VERSION,
                producer=self._settings.name,
                location=self._settings.location,
                at_us=self._clock.now_us(),
            ),
            range(self._partitions),
        )
        deadline_s = time.monotonic() + FLUSH_S
        if not self._publisher.stop(timeout_s=FLUSH_S):
            _log.error("the spool takes nothing: the last checks are LOST", reason=self._publisher.failing)
        flushed = self._sender.stop(flush_s=max(deadline_s - time.monotonic(), 0))
        if not flushed:
            _log.warning("not all was sent; it is in the spool for the next start", messages=self._outbox.records)

    def health(self) -> Mapping[str, object]:
        """Return what /healthz says."""
        dropped = self._outbox.dropped + self._publisher.lost
        missing = dropped + self._outbox.refused
        now_s = time.monotonic()
        if missing > self._drops_seen[0]:
            self._drops_seen = (missing, now_s)
        silent_s = now_s - self._sender.quiet_s
        drops = self._drops_seen[0] > 0 and now_s - self._drops_seen[1] < UNHEALTHY_AFTER_S
        return {
            "ok": silent_s < UNHEALTHY_AFTER_S and not drops and self._publisher.failing is None,
            "location": self._settings.location,
            "nothing_acknowledged_s": round(silent_s, 1),
            "trouble": self._sender.trouble or self._publisher.failing,
            "spool_bytes": self._outbox.size_bytes,
            "spool_records": self._outbox.records,
            "spool_dropped": dropped,
            "spool_refused": self._outbox.refused,
            "checks": self._scheduler.done,
            "missed": self._scheduler.missed,
        }
