"""Sends what is due to one channel: each message until it is taken, refused for good, or given up."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from producers import telemetry
from streams.channels.message import Message, Sending
from streams.contract import VERSION, Alert
from streams.core.alerting.alerting import Due
from streams.errors import DeliveryError
from streams.policy import AlertPolicy, Channel

POLL_S: Final = 0.5
FIRST_BACKOFF_US: Final = 1_000_000
LONGEST_BACKOFF_US: Final = 60_000_000

log_line = telemetry.logger(__name__)

DueNow = Callable[[Channel, int], Sequence[Due]]
Record = Callable[[Alert], None]


def now_us() -> int:
    """Return the wall clock, microseconds UTC."""
    return time.time_ns() // 1000


@dataclass(slots=True)
class _Attempts:
    """How a message fares.

    Attributes:
        first_us: When it was first tried.
        next_us: Not before.
    """

    first_us: int
    next_us: int
    count: int = 0


class Delivery:
    """One channel's loop, apart from all others: one that hangs delays no other.

    `due_now` says what is due; a message that was recorded is not due any more for this process, even if the record
    has not come back through the log yet.
    """

    def __init__(
        self, channel: Channel, sending: Sending, policy: AlertPolicy, *, due_now: DueNow, record: Record
    ) -> None:
        self._channel = channel
        self._sending = sending
        self._policy = policy
        self._due_now = due_now
        self._record = record
        self._attempts: dict[str, _Attempts] = {}
        self._recorded: set[str] = set()

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            while True:
                due = self._due_now(self._channel, now_us())
                keys = {one.key for one in due}
                # What is not due any more has come back through the log.
                self._recorded &= keys | {part.key for one in due for part in one.parts}
                self._attempts = {key: one for key, one in self._attempts.items() if key in keys}
                for one in due:
                    if not self._is_recorded(one):
                        await self._try(one)
                await asyncio.sleep(POLL_S)
        finally:
            await self._sending.close()

    def _is_recorded(self, due: Due) -> bool:
        """Say whether it was sent: of a digest, whether any part of it was, whose record is still on its way."""
        return any(part.key in self._recorded for part in (due, *due.parts))

    async def _try(self, due: Due) -> None:
        at_us = now_us()
        attempts = self._attempts.setdefault(due.key, _Attempts(first_us=at_us, next_us=at_us))
        if at_us < attempts.next_us:
            return
        attempts.count += 1
        message = Message(
            key=due.key,
            kind=due.kind,
            title=due.title,
            text=due.text,
            page=due.page,
            incident=due.incident,
            incidents=tuple(part.incident for part in due.parts),
        )
        timeout_s = self._policy.timeout_us / 1_000_000
        try:
            async with asyncio.timeout(timeout_s):
                await self._sending.deliver(message, timeout_s=timeout_s)
        except TimeoutError:
            self._failed(due, attempts, DeliveryError(f"no answer in {timeout_s:g} s", permanent=False))
        except DeliveryError as error:
            self._failed(due, attempts, error)
        else:
            self._done(due, attempts, error=None)

    def _failed(self, due: Due, attempts: _Attempts, error: DeliveryError) -> None:
        at_us = now_us()
        log_line.warning(
            "an alert was not taken",
            channel=due.channel, kind=due.kind, incident=due.incident.incident_id, attempt=attempts.count,
            permanent=error.permanent, error=str(error),
        )  # fmt: skip
        if error.permanent or at_us - attempts.first_us >= self._policy.give_up_us:
            self._done(due, attempts, error=str(error))
            return
        telemetry.ALERTS.labels(due.channel, "retried").inc()
        backoff_us = min(FIRST_BACKOFF_US * 2 ** min(attempts.count - 1, 10), LONGEST_BACKOFF_US)
        attempts.next_us = at_us + backoff_us

    def _done(self, due: Due, attempts: _Attempts, *, error: str | None) -> None:
        delivered = error is None
        telemetry.ALERTS.labels(due.channel, "delivered" if delivered else "given_up").inc()
        if not delivered:
            log_line.error("an alert is given up", channel=due.channel, kind=due.kind, title=due.title, error=error)
        for part in due.parts or (due,):
            self._recorded.add(part.key)
            self._write_down(part, due, attempts, error)

    def _write_down(self, part: Due, due: Due, attempts: _Attempts, error: str | None) -> None:
        """Publish the record of one incident's alert: what was sent may have been a digest of several."""
        self._record(
            Alert(
                v=VERSION,
                id=part.key,
                incident_id=part.incident.incident_id,
                kind=part.kind,
                number=part.number,
                channel=part.channel,
                page=part.page,
                at_us=now_us(),
                delivered=error is None,
                attempts=attempts.count,
                title=due.title,
                text=due.text,
                error=error,
                stage=part.incident.kind,
            )
        )
