"""A response's body: counted, unpacked within a bound, and looked at. Never kept longer than the check."""

import zlib
from typing import Final

from producers.contract import FailureReason
from producers.probes.reading import Failed

ACCEPT_ENCODING: Final = "gzip, deflate"
"""What `Body` can unpack with a bound on its output. (In httpx's decoders 64 KiB may become 64 MiB.)"""

_GZIP_OR_ZLIB: Final = zlib.MAX_WBITS | 32
_RAW_DEFLATE: Final = -zlib.MAX_WBITS


class Body:
    """Takes a body piece by piece.

    Args:
        encoding: The response's Content-Encoding.
        max_bytes: Of the body, as sent and as unpacked.
        keep: Keep the unpacked body for `text`.
    """

    def __init__(self, *, encoding: str, max_bytes: int, keep: bool) -> None:
        self.size = 0
        self._received = 0
        self._max_bytes = max_bytes
        self._kept = bytearray() if keep else None
        self._encoding = encoding.strip().lower()
        self._packed = self._encoding in {"gzip", "x-gzip", "deflate"}
        self._inflate = zlib.decompressobj(_GZIP_OR_ZLIB)

    @property
    def readable(self) -> bool:
        """Whether the body's text can be known."""
        return self._packed or self._encoding in {"", "identity"}

    def add(self, piece: bytes) -> None:
        """Take the next piece.

        Raises:
            Failed: response_too_large, or protocol_error if the body is not packed as it says.
        """
        self._received += len(piece)
        if self._received > self._max_bytes:
            raise self._too_large()
        if self._packed:
            self._unpack(piece)
        else:
            self._take(piece)

    def finish(self) -> None:
        """Say that this was all.

        Raises:
            Failed: protocol_error: a packed body ends in its middle.
        """
        if self._packed and self._received > 0 and not self._inflate.eof:
            raise Failed(FailureReason.PROTOCOL_ERROR, f"the body ends before its {self._encoding} stream does")

    def text(self, charset: str | None) -> str:
        """Return what was kept, decoded by its declared charset, or as UTF-8 where that is none."""
        content = bytes(self._kept or b"")
        try:
            return content.decode(charset or "utf-8", errors="replace")
        except LookupError:
            return content.decode("utf-8", errors="replace")

    def _unpack(self, piece: bytes) -> None:
        try:
            while piece:
                if self._inflate.eof:  # gzip: several members one after another
                    self._inflate = zlib.decompressobj(_GZIP_OR_ZLIB)
                # One byte more than is allowed, so that too large is seen and never unpacked much further.
                self._take(self._decompress(piece, self._max_bytes - self.size + 1))
                piece = self._inflate.unconsumed_tail or self._inflate.unused_data
        except zlib.error as error:
            raise Failed(FailureReason.PROTOCOL_ERROR, f"the body is not valid {self._encoding}") from error

    def _decompress(self, piece: bytes, limit: int) -> bytes:
        if self._encoding != "deflate" or self._received > len(piece):
            return self._inflate.decompress(piece, limit)
        try:
            return self._inflate.decompress(piece, limit)
        except zlib.error:
            # Some servers send raw deflate where the standard says zlib; every browser accepts it.
            self._inflate = zlib.decompressobj(_RAW_DEFLATE)
            return self._inflate.decompress(piece, limit)

    def _take(self, piece: bytes) -> None:
        self.size += len(piece)
        if self.size > self._max_bytes:
            raise self._too_large()
        if self._kept is not None:
            self._kept += piece

    def _too_large(self) -> Failed:
        return Failed(FailureReason.RESPONSE_TOO_LARGE, f"the response is larger than {self._max_bytes} bytes")
