"""TCP connections and TLS over them, each for one check and closed at its end, with their phases measured."""

import asyncio
import errno
import socket
import ssl
from typing import Final

from producers.contract import FailureReason
from producers.errors import TransientError
from producers.probes import certificates, names, routes
from producers.probes.reading import Failed, Measurement
from producers.probes.stream import Stream

MAX_ADDRESSES: Final = 4
"""A name with more addresses is tried on the first ones: each gets a fair share of the time."""

HANDSHAKE_GRACE_S: Final = 1.0
"""asyncio's own limit of a handshake, after the deadline: it only sweeps up what a cancellation missed."""

_OURS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_NO_ROUTE: Final = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
)


async def connect(host: str, port: int, measurement: Measurement) -> socket.socket:
    """Resolve a name and connect to the first of its addresses that answers (phases dns and connect).

    Raises:
        Failed: dns_error, connection_error or timeout.
        TransientError: This location has no network, or no sockets left.
    """
    if names.is_address(host):
        addresses = [host]
    else:
        measurement.enter("dns")
        found = await names.SYSTEM.addresses(host)
        addresses = routes.in_order(found)[:MAX_ADDRESSES]
    measurement.enter("connect")
    connected = await _first_that_answers(addresses, port, measurement)
    measurement.enter(None)
    return connected


async def open_plain(connected: socket.socket) -> Stream:
    """Return a stream over a connected socket, which it then owns."""
    _, stream = await asyncio.get_running_loop().create_connection(Stream, sock=connected)
    return stream


async def open_tls(connected: socket.socket, context: ssl.SSLContext, name: str, measurement: Measurement) -> Stream:
    """Return a TLS stream over a connected socket, which it then owns (phase tls).

    `name` goes into SNI, and the certificate must match it if the context verifies.

    Raises:
        Failed: tls_error.
    """
    measurement.enter("tls")
    limit_s = measurement.remaining_s + HANDSHAKE_GRACE_S
    try:
        _, stream = await asyncio.get_running_loop().create_connection(
            Stream, sock=connected, ssl=context, server_hostname=name, ssl_handshake_timeout=limit_s
        )
    except ssl.SSLError as error:
        raise Failed(FailureReason.TLS_ERROR, certificates.explain(error, name)) from error
    except OSError as error:
        raise Failed(FailureReason.TLS_ERROR, "the connection was lost during the TLS handshake") from error
    measurement.enter(None)
    return stream


async def _first_that_answers(addresses: list[str], port: int, measurement: Measurement) -> socket.socket:
    """Try the addresses in turn; each but the last has only its share of the time that is left."""
    failures: list[OSError] = []
    for tried, address in enumerate(addresses):
        measurement.address = address
        left = len(addresses) - tried
        share_s = measurement.remaining_s / left if left > 1 else None
        try:
            async with asyncio.timeout(share_s):
                return await _connect_to(address, port)
        except OSError as error:  # TimeoutError is one: the share is used up, or the kernel gave up
            if _is_ours(error, address):
                raise TransientError(f"this process cannot open a connection: {error.strerror}") from error
            failures.append(error)
    if any(error.errno in _NO_ROUTE for error in failures) and routes.cut_off(addresses):
        raise TransientError(f"this location has no network: no route to {addresses[0]} or anywhere else")
    raise _unconnected(failures[-1], addresses, port)


def _is_ours(error: OSError, address: str) -> bool:
    """Return whether this process has run out of something, so that nothing is known of the target."""
    if error.errno == errno.EADDRNOTAVAIL:
        # No local port is left; or there is no own address of this family, which is a missing route.
        return routes.source_for(address) is not None
    return error.errno in _OURS


async def _connect_to(address: str, port: int) -> socket.socket:
    # Numeric flags: this only fills in the form of a socket address, scope of a link-local one included.
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    family, kind, protocol, _, sockaddr = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=flags)[0]
    unconnected = socket.socket(family, kind, protocol)
    try:
        unconnected.settimeout(0)
        unconnected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(unconnected, sockaddr)
    except BaseException:
        unconnected.close()
        raise
    return unconnected


def _unconnected(error: OSError, addresses: list[str], port: int) -> Failed:
    place = f"{addresses[-1]} port {port}"
    if len(addresses) > 1:
        place += f" (nor to {', '.join(addresses[:-1])})"
    if isinstance(error, TimeoutError):
        return Failed(FailureReason.TIMEOUT, f"no connection to {place}: no answer")
    why = "refused" if isinstance(error, ConnectionRefusedError) else error.strerror or type(error).__name__
    return Failed(FailureReason.CONNECTION_ERROR, f"no connection to {place}: {why}")
