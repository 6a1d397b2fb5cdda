"""Runs one probe of a target and makes a check of what it saw."""

import time

from producers.contract import MAX_DETAIL_CHARS, Check, Outcome
from producers.masking import mask_text
from producers.probes import host, http, tcp, tls
from producers.probes.reading import Reading
from producers.settings import HostOptions, HttpOptions, Probe, ProbeOptions, Target, TcpOptions, TlsOptions


async def run_probe(target: Target, probe: Probe, *, location: str, scheduled_at_us: int, deadline_s: float) -> Check:
    """Run one check. Never raises for what the target does.

    Args:
        target: Whose check it is.
        probe: What is run; its `timeout_us` is not looked at.
        location: Where this is.
        scheduled_at_us: The tick.
        deadline_s: Seconds; the check ends by then, whatever the target does.

    Raises:
        TransientError: This location itself cannot check: it has no network at all, no sockets left, or
            cannot read a CA file. Nothing is known of the target then.
    """
    _prepare(probe.options)
    started_at_us = time.time_ns() // 1000
    began_ns = time.perf_counter_ns()
    reading = await _read(probe.options, deadline_s)
    duration_us = (time.perf_counter_ns() - began_ns) // 1000
    return Check(
        target=target.id,
        probe=probe.name,
        kind=probe.kind,
        location=location,
        scheduled_at_us=scheduled_at_us,
        started_at_us=started_at_us,
        duration_us=duration_us,
        outcome=Outcome.SUCCESS if reading.reason is None else Outcome.FAILURE,
        reason=None if reading.reason is None else str(reading.reason),
        detail=None if reading.detail is None else shorten(mask_text(reading.detail)),
        address=reading.address,
        http_status=reading.http_status,
        phases=reading.phases,
        metrics=reading.metrics,
    )


def shorten(detail: str) -> str:
    """Return a detail in at most MAX_DETAIL_CHARS characters, on one line."""
    line = " ".join(detail.split())
    return line if len(line) <= MAX_DETAIL_CHARS else f"{line[: MAX_DETAIL_CHARS - 1]}…"


def _prepare(options: ProbeOptions) -> None:
    """Load before the clock starts what is loaded once: the first check of a target is not its slowest."""
    match options:
        case HttpOptions():
            http.prepare(options)
        case TlsOptions():
            tls.prepare(options)
        case TcpOptions() | HostOptions():
            pass


async def _read(options: ProbeOptions, deadline_s: float) -> Reading:
    match options:
        case HttpOptions():
            return await http.probe(options, deadline_s)
        case TlsOptions():
            return await tls.probe(options, deadline_s)
        case TcpOptions():
            return await tcp.probe(options, deadline_s)
        case HostOptions():
            return await host.probe(options, deadline_s)
