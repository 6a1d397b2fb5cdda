"""TLS contexts, and what a certificate says."""

import contextlib
import functools
import os
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx
from cryptography import x509

from producers.errors import TransientError

DAY_S: Final = 86_400.0

_HOSTNAME_MISMATCH: Final = 62
_ADDRESS_MISMATCH: Final = 64
_PLAIN_WORDS: Final[Mapping[int, str]] = {
    9: "the certificate is not valid yet",
    10: "the certificate has expired",
    18: "the certificate is self-signed",
    19: "the certificate's chain ends in a self-signed certificate that is not trusted here",
    20: "the certificate's chain does not lead to an authority that is trusted here",
    21: "the certificate's chain does not lead to an authority that is trusted here",
    23: "the certificate has been revoked",
}
"""By OpenSSL's X509_V_ERR code."""


def context_for(*, verify: bool, ca_file: Path | None) -> ssl.SSLContext:
    """Return the context to connect with; cached, because reading the authorities takes about 30 ms.

    Args:
        verify: False accepts any certificate.
        ca_file: PEM with the only authorities to trust; by default the operating system's, or where it has
            none, those of the package certifi.

    Raises:
        TransientError: The file cannot be read. That is not the target's failure.
    """
    if not verify:
        return _trust_everybody()
    if ca_file is None:
        return _trust_the_system()
    try:
        stamp = ca_file.stat().st_mtime_ns  # a renewed file is read again
        return _trust_file(ca_file, stamp)
    except (OSError, ssl.SSLError) as error:
        raise TransientError(f"the CA file {ca_file} cannot be read: {error}") from error


@functools.cache
def _trust_everybody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@functools.cache
def _trust_the_system() -> ssl.SSLContext:
    context = ssl.create_default_context()
    if context.cert_store_stats()["x509_ca"] == 0 and not _has_folder_of_authorities():
        # A slim container without ca-certificates: every target would look broken.
        context = httpx.create_ssl_context(trust_env=False)
    return _as_everywhere(context)


def _has_folder_of_authorities() -> bool:
    """Return whether authorities lie where OpenSSL looks them up one by one, when it needs them."""
    folder = Path(os.environ.get("SSL_CERT_DIR") or ssl.get_default_verify_paths().openssl_capath)
    return folder.is_dir() and any(folder.glob("*.0"))


@functools.lru_cache(maxsize=64)
def _trust_file(ca_file: Path, stamp: int) -> ssl.SSLContext:  # noqa: ARG001 - the stamp is part of the cache's key
    return _as_everywhere(ssl.create_default_context(cafile=str(ca_file)))


def _as_everywhere(context: ssl.SSLContext) -> ssl.SSLContext:
    """Judge as curl and browsers do, on every Python: 3.13 made its default stricter than they are."""
    context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
    return context


def days_left(certificate: bytes | None) -> float | None:
    """Return the days until a certificate (DER) expires, negative if it has; None if it cannot be read."""
    if certificate is None:
        return None
    with contextlib.suppress(ValueError):  # cryptography is stricter than OpenSSL about malformed fields
        expires = x509.load_der_x509_certificate(certificate).not_valid_after_utc
        return (expires.timestamp() - time.time()) / DAY_S
    return None


def explain(error: ssl.SSLError, name: str) -> str:
    """Return in one sentence why a handshake with `name` failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in {_HOSTNAME_MISMATCH, _ADDRESS_MISMATCH}:
            return f"the certificate is not for {name}"
        return _PLAIN_WORDS.get(error.verify_code, f"the certificate is refused: {error.verify_message}")
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "the connection was closed during the TLS handshake"
    reason = (error.reason or "unknown error").replace("_", " ").lower()
    return f"the TLS handshake failed: {reason}"
