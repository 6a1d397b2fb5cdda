"""The tls probe: is the certificate of any TLS port valid, whose is it, and for how long.

Metrics: `tls_days_left` (read even when the certificate is refused), `tls_version` (1.2, 1.3).
"""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Final

from producers.contract import FailureReason
from producers.errors import TransientError
from producers.probes import certificates, network
from producers.probes.reading import Failed, Measurement, Reading, measure
from producers.settings import TlsOptions

_VERSIONS: Final[Mapping[str | None, float]] = {"TLSv1": 1.0, "TLSv1.1": 1.1, "TLSv1.2": 1.2, "TLSv1.3": 1.3}


def prepare(options: TlsOptions) -> None:
    """Read the authorities before the clock starts: that takes about 30 ms.

    Raises:
        TransientError: `ca_file` cannot be read.
    """
    certificates.context_for(verify=options.verify, ca_file=options.ca_file)


async def probe(options: TlsOptions, deadline_s: float) -> Reading:
    """Shake hands once. Never raises for what the target does.

    Raises:
        TransientError: This location itself has no network, no sockets left, or cannot read `ca_file`.
    """
    context = certificates.context_for(verify=options.verify, ca_file=options.ca_file)
    return await measure(lambda measurement: _look(options, context, measurement), deadline_s)


async def _look(options: TlsOptions, context: ssl.SSLContext, measurement: Measurement) -> None:
    try:
        days = await _shake_hands(options, context, measurement)
    except Failed as failure:
        if not isinstance(failure.__cause__, ssl.SSLCertVerificationError):
            raise
        # OpenSSL shows a certificate only after a handshake that it accepts, so its days left take a second
        # one. The phases are those of the first.
        measurement.enter(None)
        await _read_days_of_refused(options, measurement)
        raise
    if options.min_days_left is not None and (days is None or days < options.min_days_left):
        left = "an unreadable end" if days is None else f"{days:.1f} days left"
        raise Failed(
            FailureReason.TLS_ERROR,
            f"the certificate has {left}, at least {options.min_days_left:g} are wanted",
        )


async def _shake_hands(options: TlsOptions, context: ssl.SSLContext, measurement: Measurement) -> float | None:
    """Connect, and return the days left of the certificate."""
    name = (options.server_name or options.host).rstrip(".")
    connected = await network.connect(options.host, options.port, measurement)
    stream = await network.open_tls(connected, context, name, measurement)
    try:
        session = stream.tls
        if session is None:
            return None
        days = certificates.days_left(session.getpeercert(binary_form=True))
        if days is not None:
            measurement.read("tls_days_left", days)
        if session.version() in _VERSIONS:
            measurement.read("tls_version", _VERSIONS[session.version()])
        return days
    finally:
        await stream.close()


async def _read_days_of_refused(options: TlsOptions, measurement: Measurement) -> None:
    anything = certificates.context_for(verify=False, ca_file=None)
    patience_s = measurement.remaining_s / 2  # within the deadline: the first failure must still be told
    second = Measurement(patience_s)
    try:
        async with asyncio.timeout(patience_s):
            await _shake_hands(options, anything, second)
    except (Failed, TimeoutError, TransientError):
        return  # the first failure is what is told; this would only have added a number to it
    measurement.metrics.update(second.metrics)
