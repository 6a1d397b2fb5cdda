"""Bodies of requests and replies: every frame of every form that clients send, and a bound on what comes out.

clickhouse-connect sends one lz4 or zstd frame a block. A decoder that stops after the first frame stores a third of the
rows and answers 200, so each decoder here goes on until the input ends, and input that ends inside a frame is an error.
"""

import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import lz4.frame
import zstandard

from forewarn.embedded.store.errors import refused

# None of the libraries bounds one call's output in the same way, so the input is cut instead: what 4 KiB can become
# is bounded (4 MiB for deflate, 1 MiB for lz4, 128 MiB for the worst zstd).
_SLICE: Final = 4096
_PIECE: Final = 1 << 20
REPLY_ENCODINGS: Final = ("zstd", "lz4", "gzip", "deflate")

_FRAMES: Final[dict[str, Callable[[], Any]]] = {
    "gzip": lambda: zlib.decompressobj(wbits=31),
    "x-gzip": lambda: zlib.decompressobj(wbits=31),
    "deflate": lambda: zlib.decompressobj(wbits=15),
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "zstd": lambda: zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj(),
}
_DAMAGED: Final = (zlib.error, RuntimeError, EOFError, zstandard.ZstdError)


def decoded(body: bytes, encoding: str, *, bound: int) -> Iterator[bytes]:
    """Yield the body's content in pieces of about a mebibyte.

    Args:
        body: As it came.
        encoding: The Content-Encoding header; empty or `identity` for none.
        bound: The most bytes that may come out.

    Raises:
        QueryError: Unknown encoding, damaged or cut input, or more than `bound`.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        yield from _bounded((body[at : at + _PIECE] for at in range(0, len(body), _PIECE)), bound)
        return
    if name not in _FRAMES:
        known = "identity, gzip, deflate, lz4, zstd"
        raise refused(48, f"Unknown Content-Encoding '{name[:40]}'; known are {known}", status=415)
    yield from _gathered(_bounded(_frames(body, name), bound))


def _frames(body: bytes, name: str) -> Iterator[bytes]:
    frame: Any = None
    view = memoryview(body)
    try:
        for at in range(0, len(body), _SLICE):
            rest = bytes(view[at : at + _SLICE])
            while rest:
                frame = _FRAMES[name]() if frame is None else frame
                yield frame.decompress(rest)
                rest = b""
                if frame.eof:
                    rest, frame = frame.unused_data or b"", None
    except _DAMAGED as error:
        raise refused(36, f"The request body is not valid {name}: {error}") from None
    if frame is not None:
        raise refused(36, f"The request body ends inside a {name} frame")


def _bounded(pieces: Iterator[bytes], bound: int) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > bound:
            raise refused(1001, f"The request body holds more than {bound} bytes", status=413)
        yield piece


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    held, size = [], 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _PIECE:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def accepted(header: str) -> str:
    """Return the encoding to answer with, by the Accept-Encoding header; empty for none."""
    weights: dict[str, float] = {}
    for part in header.split(","):
        name, _, weight = part.partition(";")
        try:
            weights[name.strip().lower()] = float(weight.partition("=")[2] or 1)
        except ValueError:
            continue
    liked = [name for name in REPLY_ENCODINGS if weights.get(name, weights.get("*", 0)) > 0]
    return max(liked, key=lambda name: weights.get(name, weights.get("*", 0)), default="")


class Encoder:
    """One reply's body as a single frame: clickhouse-connect's zstd decoder reads only one."""

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self._codec: Any = None
        if encoding == "zstd":
            self._codec = zstandard.ZstdCompressor(level=1).compressobj()
        elif encoding in ("gzip", "deflate"):
            self._codec = zlib.compressobj(3, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
        elif encoding == "lz4":
            self._codec = lz4.frame.LZ4FrameCompressor()
        self._begun = encoding != "lz4"

    def add(self, piece: bytes) -> bytes:
        """Return what can go out after this piece."""
        if self._codec is None:
            return piece
        start = b""
        if not self._begun:
            start, self._begun = self._codec.begin(), True
        return start + bytes(self._codec.compress(piece))

    def end(self) -> bytes:
        """Return the rest."""
        if self._codec is None:
            return b""
        start = b"" if self._begun else self._codec.begin()
        return start + bytes(self._codec.flush())
