"""What a probe returns, and the clock that it measures its phases with."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from producers.contract import PHASES, FailureReason

_DOING: Final[Mapping[str | None, str]] = {
    "dns": "while its name was resolved",
    "connect": "while connecting",
    "tls": "during the TLS handshake",
    "wait": "while waiting for the first byte of the answer",
    "transfer": "while its answer was received",
    None: "while sending",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one run of a probe saw. A success if and only if `reason` is None.

    Attributes:
        reason: Why the target failed.
        detail: The same for a person, without secrets.
        address: The IP address that was talked to last.
        http_status: Of the last response.
        phases: Microseconds by phase, of the phases that were reached, in their order.
        metrics: Named readings, finite.
    """

    reason: FailureReason | None = None
    detail: str | None = None
    address: str | None = None
    http_status: int | None = None
    phases: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


class Failed(Exception):  # noqa: N818 - not an error of ours: inside a probe it ends the run, outside it is a value
    """The target fails. Never leaves the probes: `measure` makes a Reading of it."""

    def __init__(self, reason: FailureReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Measurement:
    """What a run has seen so far, so that a run that ends early still tells it.

    At any moment at most one phase runs. A phase that is entered again (a redirect's next hop) goes on from
    where it stood.
    """

    def __init__(self, deadline_s: float) -> None:
        self.address: str | None = None
        self.http_status: int | None = None
        self.metrics: dict[str, float] = {}
        self._ends_ns = time.perf_counter_ns() + round(deadline_s * 1e9)
        self._phases_ns: dict[str, int] = {}
        self._phase: str | None = None
        self._entered_ns = 0

    @property
    def phase(self) -> str | None:
        """The phase that runs."""
        return self._phase

    @property
    def remaining_s(self) -> float:
        """Seconds until the deadline, never negative."""
        return max(0.0, (self._ends_ns - time.perf_counter_ns()) / 1e9)

    def enter(self, phase: str | None) -> None:
        """End the phase that runs and begin another; None begins none."""
        now_ns = time.perf_counter_ns()
        if self._phase is not None:
            self._phases_ns[self._phase] = self._phases_ns.get(self._phase, 0) + now_ns - self._entered_ns
        self._phase = phase
        self._entered_ns = now_ns

    def read(self, metric: str, value: float) -> None:
        """Note a metric. What is not finite is not a reading and is left out."""
        if math.isfinite(value):
            self.metrics[metric] = value

    def reading(self, reason: FailureReason | None = None, detail: str | None = None) -> Reading:
        """End the phase that runs and return all that was seen."""
        self.enter(None)
        return Reading(
            reason=reason,
            detail=detail,
            address=self.address,
            http_status=self.http_status,
            phases={name: self._phases_ns[name] // 1000 for name in PHASES if name in self._phases_ns},
            metrics=dict(self.metrics),
        )


async def measure(work: Callable[[Measurement], Awaitable[None]], deadline_s: float) -> Reading:
    """Run a probe's work under its deadline, and return what it saw however it ended.

    Args:
        work: Raises Failed when the target fails, and may be cancelled at any await.
        deadline_s: Seconds; a run that is not done by then is cut off and reads as a timeout.

    Raises:
        TransientError: This location itself cannot check.
    """
    measurement = Measurement(deadline_s)
    limit = asyncio.timeout(deadline_s)
    try:
        async with limit:
            await work(measurement)
    except Failed as failure:
        return measurement.reading(failure.reason, failure.detail)
    except TimeoutError:
        # The operating system's own timeouts are mapped to Failed where they occur; this is ours.
        if not limit.expired():
            raise
        doing = _DOING[measurement.phase]
        return measurement.reading(FailureReason.TIMEOUT, f"not done within {deadline_s:g} s: stopped {doing}")
    return measurement.reading()
