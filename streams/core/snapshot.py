"""The form of a snapshot: a JSON header (meta and the arrays' shapes), then the arrays' raw bytes, compressed.

No pickle: a snapshot comes from a store, and loading it must never run anything. Arrays are little-endian, so a
snapshot moves between machines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard

MAGIC: Final = b"FWSNAP1\n"
"""First bytes of a payload; another form has another number."""

MAX_BYTES: Final = 4 * 1024**3
"""A payload that claims to unpack to more is refused."""

DTYPES: Final = frozenset({"|b1", "|u1", "|i1", "<i2", "<i4", "<i8", "<u2", "<u4", "<u8", "<f4", "<f8"})
LEVEL: Final = 1  # as small as 3, zstandard's default, and quicker: states are full of long equal runs


class _Array(msgspec.Struct, frozen=True):
    name: str
    dtype: str
    shape: list[int]


class _Header(msgspec.Struct, frozen=True):
    meta: dict[str, Any]
    arrays: list[_Array]


@dataclass(frozen=True, slots=True)
class Frozen:
    """A state as of one moment, not compressed yet. Nothing that changes is shared: any thread may pack it.

    Attributes:
        header: Its JSON.
        arrays: Copies, little-endian and contiguous.
    """

    header: bytes
    arrays: Sequence[npt.NDArray[Any]]

    @property
    def size(self) -> int:
        """Bytes before packing."""
        return len(self.header) + sum(array.nbytes for array in self.arrays)

    def pack(self) -> bytes:
        """Return the payload. The interpreter is free meanwhile, but for moments."""
        length = len(self.header).to_bytes(8, "little")
        packing = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj(size=len(length) + self.size)
        pieces = [MAGIC, packing.compress(length + self.header)]
        pieces += [packing.compress(_bytes_of(array)) for array in self.arrays]
        return b"".join([*pieces, packing.flush()])


def freeze(meta: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Frozen:
    """Return what a payload of exactly `meta` and `arrays` is packed from: as quick as copying them.

    Args:
        meta: What msgspec can write as JSON. Finite floats come back bit for bit.
        arrays: Booleans, integers and floats of any shape; NaN and infinities come back bit for bit.

    Raises:
        ValueError: If an array has another type (objects, texts, times).
    """
    shapes: list[_Array] = []
    copies: list[npt.NDArray[Any]] = []
    for name, array in arrays.items():
        little = np.array(array, dtype=array.dtype.newbyteorder("<"), order="C")
        if little.dtype.str not in DTYPES:
            raise ValueError(f"array {name!r} has type {array.dtype}, which a snapshot does not hold")
        shapes.append(_Array(name, little.dtype.str, list(array.shape)))
        copies.append(little)
    return Frozen(msgspec.json.encode(_Header(dict(meta), shapes)), copies)


def _bytes_of(array: npt.NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def pack(meta: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Return a payload that holds exactly `meta` and `arrays`. Arguments and errors: see `freeze`."""
    return freeze(meta, arrays).pack()


def unpack(payload: bytes) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Return (meta, arrays) of a payload that `pack` wrote. The arrays are the caller's own, writable.

    Raises:
        ValueError: If the payload is damaged or of another form.
    """
    content = _decompress(payload)
    end = 8 + int.from_bytes(content[:8], "little")
    try:
        header = msgspec.json.decode(content[8:end], type=_Header)
    except msgspec.DecodeError as error:
        raise ValueError(f"snapshot: its header is not readable: {error}") from error
    arrays: dict[str, npt.NDArray[Any]] = {}
    for shape in header.arrays:
        if shape.dtype not in DTYPES or any(side < 0 for side in shape.shape):
            raise ValueError(f"snapshot: array {shape.name!r} has type {shape.dtype!r}, shape {shape.shape}")
        dtype = np.dtype(shape.dtype)
        start, end = end, end + dtype.itemsize * int(np.prod(shape.shape, dtype=np.int64))
        if end > len(content):
            raise ValueError(f"snapshot: it ends inside array {shape.name!r}")
        arrays[shape.name] = np.frombuffer(content[start:end], dtype=dtype).reshape(shape.shape).copy()
    if end != len(content):
        raise ValueError(f"snapshot: {len(content) - end} bytes too many")
    return header.meta, arrays


def _decompress(payload: bytes) -> bytes:
    if not payload.startswith(MAGIC):
        raise ValueError("snapshot: not of this form")
    try:
        size = zstandard.frame_content_size(payload[len(MAGIC) :])
        if not 8 <= size <= MAX_BYTES:
            raise ValueError(f"snapshot: it claims to hold {size} bytes")
        return zstandard.ZstdDecompressor().decompress(payload[len(MAGIC) :], max_output_size=MAX_BYTES)
    except zstandard.ZstdError as error:
        raise ValueError(f"snapshot: damaged: {error}") from error
