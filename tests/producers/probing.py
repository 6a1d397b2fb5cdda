"""Runs one probe as the scheduler does, for tests."""

import time

from producers.contract import Check
from producers.probes.run import run_probe
from producers.settings import HostOptions, HttpOptions, Probe, ProbeKind, ProbeOptions, Target, TlsOptions

PATIENT_S = 30.0
"""A deadline that only a test that has failed can meet."""


async def check(options: ProbeOptions, *, deadline_s: float = PATIENT_S) -> Check:
    """Return one check of a target `main/shop` from location `here`."""
    kind: ProbeKind = "tcp"
    if isinstance(options, HttpOptions):
        kind = "http"
    elif isinstance(options, TlsOptions):
        kind = "tls"
    elif isinstance(options, HostOptions):
        kind = "host"
    probe = Probe(
        name="front",
        kind=kind,
        interval_us=60_000_000,
        timeout_us=round(deadline_s * 1e6),
        locations=("here",),
        options=options,
    )
    target = Target(id="main/shop", probes=(probe,))
    now_us = time.time_ns() // 1000
    return await run_probe(target, probe, location="here", scheduled_at_us=now_us, deadline_s=deadline_s)
