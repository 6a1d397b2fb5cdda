"""Which check runs when. One task a series: wait for the tick, take a slot, run the probe, pass the check on.

Every tick of a series ends as exactly one check: run, or missed with its reason. Ticks come from the wall clock
(k * interval + offset), so nothing drifts and all locations look at the same moments.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

from producers import telemetry
from producers.clock import Clock, LoopLag
from producers.contract import FAR_FUTURE_US, MAX_DETAIL_CHARS, Check, MissedReason, Outcome
from producers.errors import TransientError
from producers.settings import Probe, Target
from producers.ticks import MAX_BACKLOG_US, Ledger, Series

LOOK_AT_CLOCK_S: Final = 5.0
"""A step of the wall clock is noticed within this time."""

DEADLINE_GRACE_S: Final = 2.0
"""A probe that is so late after its own deadline is broken; it must not keep its slot for ever."""

TELL_AGAIN_S: Final = 60.0
YIELD_EVERY: Final = 200

_log = telemetry.logger(__name__)


class RunProbe(Protocol):
    """`producers.probes.run.run_probe`, injected."""

    def __call__(
        self, target: Target, probe: Probe, *, location: str, scheduled_at_us: int, deadline_s: float
    ) -> Awaitable[Check]:
        """Run one check. Raises TransientError if this location has no network."""


class Scheduler:
    """Runs all series of one location until it is cancelled.

    Attributes:
        done: Checks that were run.
        missed: Ticks that were not.
    """

    def __init__(
        self,
        series: Sequence[Series],
        *,
        location: str,
        concurrency: int,
        run_probe: RunProbe,
        emit: Callable[[Check], None],
        ledger: Ledger,
        clock: Clock,
        lag: LoopLag,
    ) -> None:
        """Prepare.

        Args:
            series: What to run.
            location: Where this is.
            concurrency: The most checks under way at once.
            run_probe: How.
            emit: Takes each check, in the order of ticks for each series; must not block.
            ledger: Ticks at or below its last ones are never run.
            clock: Time.
            lag: Is measured by somebody else's task.
        """
        self.done = 0
        self.missed = 0
        self._series = series
        self._location = location
        self._slots = asyncio.Semaphore(concurrency)
        self._run_probe = run_probe
        self._emit = emit
        self._ledger = ledger
        self._clock = clock
        self._lag = lag
        self._told_step_s = -math.inf
        self._told_defective: set[tuple[str, str]] = set()
        self._running = telemetry.CHECKS_RUNNING.labels(location)
        self._delay = telemetry.CHECK_DELAY.labels(location)

    async def run(self) -> None:
        """Run until cancelled. Checks that are under way then are not passed on: their ticks count as not run."""
        async with asyncio.TaskGroup() as tasks:
            for series in self._series:
                tasks.create_task(self._follow(series))

    async def _follow(self, series: Series) -> None:
        last_us = self._ledger.last(series.key)
        if last_us is None:
            # New. (What an old one missed while the producer was stopped is in the spool before this begins.)
            last_us = series.tick_at_or_before(self._clock.now_us())
        busy_since_s = self._clock.monotonic_s()
        while True:
            first_us = await self._wait_for_tick(series, last_us)
            last_us = series.tick_at_or_before(self._clock.now_us())
            if last_us > first_us:
                await self._miss_passed(series, first_us, last_us, busy_since_s)
            busy_since_s = self._clock.monotonic_s()
            self._pass_on(await self._run_or_miss(series, last_us))

    async def _wait_for_tick(self, series: Series, last_us: int) -> int:
        """Return the first tick after `last_us` once it is due, whatever the wall clock does meanwhile."""
        while True:
            now_us = self._clock.now_us()
            if last_us - now_us > FAR_FUTURE_US:
                # The clock stood in the future and was set right. No reader has accepted what was scheduled so
                # far ahead, so nothing is counted twice; and waiting for it could take for ever.
                self._tell_step(last_us - now_us)
                last_us = series.tick_at_or_before(now_us)
                self._ledger.forget(series.key, after_us=last_us)
            tick_us = series.tick_after(last_us)
            if tick_us <= now_us:
                return tick_us
            if tick_us - now_us > series.probe.interval_us:
                self._tell_step(last_us - now_us)
            await self._clock.sleep(min((tick_us - now_us) / 1e6, LOOK_AT_CLOCK_S))

    def _tell_step(self, back_us: int) -> None:
        """Say it once, not once a series and look at the clock."""
        now_s = self._clock.monotonic_s()
        if now_s - self._told_step_s > TELL_AGAIN_S:
            self._told_step_s = now_s
            waits = "waiting for it" if back_us <= FAR_FUTURE_US else "beginning anew"
            _log.warning("the wall clock went back behind ticks that were run", seconds=back_us / 1e6, now=waits)

    async def _miss_passed(self, series: Series, first_us: int, newest_us: int, busy_since_s: float) -> None:
        """Report the ticks from `first_us` up to, not including, `newest_us` as missed."""
        passed_us = newest_us - first_us
        busy_us = (self._clock.monotonic_s() - busy_since_s) * 1e6
        # Time that no clock of ours has seen pass: the clock stepped forward, or the machine slept.
        overload = passed_us <= busy_us + series.probe.interval_us
        reason = MissedReason.OVERLOAD if overload else MissedReason.STOPPED
        detail = "the check before it had not ended" if overload else "the clock went forward"
        first_us = max(first_us, series.tick_after(newest_us - MAX_BACKLOG_US))
        for number, tick_us in enumerate(range(first_us, newest_us, series.probe.interval_us)):
            self._pass_on(self._missed(series, tick_us, reason, detail))
            if number % YIELD_EVERY == YIELD_EVERY - 1:
                await asyncio.sleep(0)

    async def _run_or_miss(self, series: Series, tick_us: int) -> Check:
        """Run the check if a slot is free before the next tick is due."""
        left_s = (tick_us + series.probe.interval_us - self._clock.now_us()) / 1e6
        try:
            async with asyncio.timeout(max(left_s, 0)):
                await self._slots.acquire()
        except TimeoutError:
            return self._missed(series, tick_us, MissedReason.OVERLOAD, "no slot was free until the next tick")
        self._running.inc()
        try:
            with self._lag.watching():
                return await self._check(series, tick_us)
        finally:
            self._running.dec()
            self._slots.release()

    async def _check(self, series: Series, tick_us: int) -> Check:
        probe = series.probe
        deadline_s = probe.timeout_us / 1e6
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(deadline_s + DEADLINE_GRACE_S):
                check = await self._run_probe(
                    series.target,
                    probe,
                    location=self._location,
                    scheduled_at_us=tick_us,
                    deadline_s=deadline_s,
                )
        except TransientError as error:
            return self._missed(series, tick_us, MissedReason.NO_NETWORK, str(error))
        except TimeoutError:
            _log.error("a probe did not keep its deadline", target=series.target.id, probe=probe.name)
            return self._missed(series, tick_us, MissedReason.PROBE_ERROR, "the probe did not keep its deadline")
        except Exception as error:  # noqa: BLE001 - one defective probe must not end the others
            if series.key not in self._told_defective:
                self._told_defective.add(series.key)
                _log.exception("a probe is defective", target=series.target.id, probe=probe.name)
            return self._missed(series, tick_us, MissedReason.PROBE_ERROR, type(error).__name__)
        self._delay.observe(max(0, check.started_at_us - tick_us) / 1e6)
        return replace(check, disturbed=True) if self._lag.disturbs(began_s) else check

    def _missed(self, series: Series, tick_us: int, reason: MissedReason, detail: str) -> Check:
        return Check(
            target=series.target.id,
            probe=series.probe.name,
            kind=series.probe.kind,
            location=self._location,
            scheduled_at_us=tick_us,
            started_at_us=self._clock.now_us(),
            duration_us=None,
            outcome=Outcome.MISSED,
            reason=reason,
            detail=detail[:MAX_DETAIL_CHARS],
        )

    def _pass_on(self, check: Check) -> None:
        telemetry.CHECKS.labels(self._location, check.outcome).inc()
        if check.outcome is Outcome.MISSED:
            self.missed += 1
            telemetry.CHECKS_MISSED.labels(self._location, check.reason).inc()
        else:
            self.done += 1
        self._emit(check)
