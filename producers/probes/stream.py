"""A connection as a stream of bytes.

Not asyncio's StreamReader: when the other side breaks the connection right after its answer, that one throws
away what has arrived and only raises. Here what has arrived is read first. (A server that closes without having
read all of the request breaks it so.)
"""

import asyncio
import ssl
from typing import Final

from producers.contract import FailureReason
from producers.probes.reading import Failed

HIGH_WATER_BYTES: Final = 256 * 1024
"""From here on the kernel, and so the other side, waits until something is read."""


class Stream(asyncio.Protocol):
    """A connection, plain or TLS, for one reader and one writer. `close` does not wait for the peer."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._ended = False
        self._error: Exception | None = None
        self._lost = asyncio.Event()
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS session, if the connection has one."""
        if self._transport is None:
            return None
        session: ssl.SSLObject | None = self._transport.get_extra_info("ssl_object")
        return session

    async def read(self, max_bytes: int) -> bytes:
        """Return the next bytes, none at the end.

        Raises:
            Failed: connection_error or tls_error, after all that arrived has been read.
        """
        await self._readable.wait()
        piece = bytes(self._received[:max_bytes])
        del self._received[:max_bytes]
        if not piece and self._error is not None:
            raise _broken(self._error) from self._error
        if not self._received and not self._ended:
            self._readable.clear()
            if self._transport is not None:
                self._transport.resume_reading()
        return piece

    async def write(self, content: bytes) -> None:
        """Send; returns when all but a last bit is with the kernel.

        Raises:
            Failed: connection_error or tls_error.
        """
        if self._transport is not None and not self._lost.is_set():
            self._transport.write(content)
            await self._writable.wait()
        if self._lost.is_set():
            error = self._error or ConnectionResetError()
            raise _broken(error) from error

    async def close(self) -> None:
        """Say goodbye if that needs no waiting, and let go."""
        if self._transport is None:
            return
        self._transport.close()  # TLS: puts close_notify on the wire at once, where there is room
        self._transport.abort()  # and does not wait for the peer's
        await self._lost.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._received += data
        self._readable.set()
        if len(self._received) >= HIGH_WATER_BYTES and self._transport is not None:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Called by the event loop. Returns whether the connection stays half open."""
        self._ended = True
        self._readable.set()
        # TLS cannot be half open, and a plain connection is closed by us soon.
        return self.tls is None

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._error = exc
        self._ended = True
        self._lost.set()
        self._readable.set()
        self._writable.set()

    def pause_writing(self) -> None:
        """Called by the event loop."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self._writable.set()


def _broken(error: Exception) -> Failed:
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "unknown error").replace("_", " ").lower()
        return Failed(FailureReason.TLS_ERROR, f"the TLS connection broke: {reason}")
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return Failed(FailureReason.CONNECTION_ERROR, "the connection was reset by the server")
    words = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return Failed(FailureReason.CONNECTION_ERROR, f"the connection was lost: {words}")
