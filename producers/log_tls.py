"""The TLS handshake with a broker, with a deadline: kafka-python's own waits for ever for a peer that is silent."""

import ssl
import time
from typing import Any, Final

from kafka import errors as kafka_errors
from kafka.net.transport import KafkaSSLTransport

HANDSHAKE_S: Final = 4.0
ASK: Final = "does the broker speak TLS there?"


class TlsTransport(KafkaSSLTransport):  # type: ignore[misc] # untyped base
    """kafka-python's, but for its handshake."""

    async def handshake(self, timeout_at: float | None = None) -> None:
        """Shake hands, for HANDSHAKE_S seconds and until `timeout_at` (monotonic) at most.

        Raises:
            kafka.errors.KafkaConnectionError: No answer, no TLS, or a certificate that is not trusted.
        """
        bound_s = time.monotonic() + HANDSHAKE_S
        bound_s = bound_s if timeout_at is None else min(bound_s, timeout_at)
        try:
            await self._shake(bound_s)
        except ssl.SSLCertVerificationError as error:
            raise kafka_errors.KafkaConnectionError(f"Handshake failed: {error}") from error
        except kafka_errors.KafkaTimeoutError as error:
            raise kafka_errors.KafkaConnectionError(f"no answer to the TLS handshake: {ASK}") from error
        except OSError as error:
            raise kafka_errors.KafkaConnectionError(f"Handshake failed: {error}: {ASK}") from error

    async def _shake(self, bound_s: float) -> None:
        while True:
            try:
                self._sock.do_handshake()
            except ssl.SSLWantReadError:
                await self._net.wait_read(self._sock, timeout_at=bound_s)
            except ssl.SSLWantWriteError:
                await self._net.wait_write(self._sock, timeout_at=bound_s)
            else:
                return


async def tls_connection(net: Any, sock: Any, host: str, options: dict[str, Any], timeout_at: float | None) -> Any:
    """Return a transport whose handshake is done. When it fails, the socket is closed.

    Raises:
        kafka.errors.KafkaConnectionError: See `TlsTransport.handshake`.
        OSError: The CA file cannot be used.
    """
    try:
        transport = TlsTransport(net, sock, host=host, **options)
    except BaseException:
        sock.close()
        raise
    try:
        await transport.handshake(timeout_at)
    except BaseException:
        transport.abort()
        raise
    return transport
