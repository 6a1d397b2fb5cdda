"""The dead-man's ping: goes out only while the whole chain works, from probe to stored row.

An external service (Healthchecks and its like) alarms when the pings stop, so silence of forewarn itself is noticed
whatever has ended: a machine, the broker, a worker, the store, the way out. Each look asks the *store*, not the
process that looks: what is there went through every part before.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from analytics.errors import StoreRefusedError, StoreUnavailableError
from analytics.session import Session
from analytics.settings import StoreSettings, WatchdogSettings
from producers.telemetry import WATCHDOG_PINGS, logger
from streams.blocking import in_thread

CLOSED_WITHIN_US: Final = 300 * 1_000_000
"""A partition closes its ticks after the lateness (120 s at most) and a clock event (each minute), then stores it."""

KEPT_WITHIN_US: Final = 180 * 1_000_000
"""incidents reads a summary of each slot, so it has a new state to keep several times a minute."""

TIMEOUT_S: Final = 10.0

_CHECKS: Final = """
SELECT location, toUnixTimestamp64Micro(max(scheduled_at)) FROM checks_log
WHERE outcome != 'missed' AND scheduled_at >= fromUnixTimestamp64Micro(%(from)s, 'UTC')
    AND scheduled_at <= fromUnixTimestamp64Micro(%(now)s, 'UTC')
GROUP BY location
"""
_CLOSED: Final = """
SELECT checks_partition, toUnixTimestamp64Micro(max(closed_through_at)) FROM verdict_summaries_log
WHERE slot_at > fromUnixTimestamp64Micro(%(from)s, 'UTC') GROUP BY checks_partition
"""
_KEPT: Final = """
SELECT toUnixTimestamp64Micro(max(taken_at)) FROM snapshots_log WHERE group_name = 'incidents' HAVING count() > 0
"""

_log = logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the store has.

    Attributes:
        checks: By location the newest tick that was really checked, of the time that was asked for.
        closed: By partition of `checks` the tick up to which everything is judged.
        kept_us: When `incidents` kept its state last; None: never.
    """

    checks: Mapping[str, int] = field(default_factory=dict)
    closed: Mapping[int, int] = field(default_factory=dict)
    kept_us: int | None = None


def troubles(seen: Seen, settings: WatchdogSettings, *, partitions: int, now_us: int) -> dict[str, str]:
    """Return what is broken, one line each by what it is about; nothing: the whole chain works."""
    found: dict[str, str] = {}
    for location, age_us in settings.locations.items():
        tick_us = seen.checks.get(location)
        if tick_us is None or tick_us < now_us - age_us:
            found[f"location {location}"] = (
                f"no check of location {location} that was scheduled within {age_us // 1_000_000} s is stored"
            )
    silent = [
        number
        for number in range(partitions)
        if seen.closed.get(number, now_us - CLOSED_WITHIN_US) <= now_us - CLOSED_WITHIN_US
    ]
    if silent:
        named = ", ".join(str(number) for number in silent)
        found["summaries"] = (
            f"no tick within {CLOSED_WITHIN_US // 1_000_000} s is judged and stored in partition {named}"
        )
    if seen.kept_us is None or seen.kept_us < now_us - KEPT_WITHIN_US:
        found["incidents"] = f"the incidents worker has kept no state within {KEPT_WITHIN_US // 1_000_000} s"
    return found


class Watchdog:
    """Looks and pings until cancelled.

    Args:
        store: Where to look.
        partitions: Of `checks`.
    """

    def __init__(self, store: StoreSettings, settings: WatchdogSettings, *, partitions: int) -> None:
        self._session = Session(store)
        self._settings = settings
        self._partitions = partitions
        self._said: frozenset[str] = frozenset()
        self._quiet_until_us = time.time_ns() // 1000 + CLOSED_WITHIN_US  # nothing can be closed right after a start

    async def run(self) -> None:
        """Look each interval, and ping if nothing is broken. Never raises for what it finds."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout, raise_for_status=False) as client:
            while True:
                await asyncio.sleep(self._settings.interval_us / 1_000_000)
                await self.look(client)

    async def look(self, client: aiohttp.ClientSession, *, now_us: int | None = None) -> dict[str, str]:
        """Look once, ping if nothing is broken, and say in the log what is: once for each thing.

        Returns:
            What is broken, the ping itself included.
        """
        now_us = time.time_ns() // 1000 if now_us is None else now_us
        try:
            seen = await in_thread(lambda: self._look(now_us))
            found = troubles(seen, self._settings, partitions=self._partitions, now_us=now_us)
        except (StoreUnavailableError, StoreRefusedError) as error:
            found = {"store": str(error)}
        if found:
            WATCHDOG_PINGS.labels("withheld").inc()
        else:
            found = await self._ping(client)
            WATCHDOG_PINGS.labels("failed" if found else "sent").inc()
        self._say(found, now_us)
        return found

    def _look(self, now_us: int) -> Seen:
        oldest_us = now_us - max(self._settings.locations.values(), default=0)
        with self._session.client() as client:
            checks = client.query(_CHECKS, parameters={"from": oldest_us, "now": now_us}).result_rows
            closed = client.query(_CLOSED, parameters={"from": now_us - 2 * CLOSED_WITHIN_US}).result_rows
            kept = client.query(_KEPT).result_rows
        return Seen(
            checks={location: int(tick_us) for location, tick_us in checks},
            closed={int(number): int(tick_us) for number, tick_us in closed},
            kept_us=int(kept[0][0]) if kept else None,
        )

    async def _ping(self, client: aiohttp.ClientSession) -> dict[str, str]:
        # Never the address nor the error's text: the address is the secret, and errors quote it.
        try:
            async with client.get(self._settings.ping_url, allow_redirects=False) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return {"ping": f"the ping was not taken: {type(error).__name__}"}
        return {} if 200 <= status < 300 else {"ping": f"the ping was not taken: status {status}"}

    def _say(self, found: Mapping[str, str], now_us: int) -> None:
        if found and not self._said and now_us < self._quiet_until_us and "ping" not in found:
            return
        new = found.keys() - self._said
        if new:
            _log.error("no dead-man's ping goes out", broken="; ".join(found[name] for name in sorted(new)))
        elif self._said and not found:
            _log.info("the dead-man's ping goes out again")
        self._said = frozenset(found)
        if not found:
            self._quiet_until_us = 0
