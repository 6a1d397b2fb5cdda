"""A response's body is counted and unpacked within a bound, however it is packed and cut."""

import contextlib
import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.probes.body import Body
from producers.probes.reading import Failed

PACKINGS = {
    "": lambda content: content,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
}


def in_pieces(content: bytes, cuts: list[int]) -> list[bytes]:
    """Cut a content at places; pieces may be empty."""
    places = sorted(cut % (len(content) + 1) for cut in cuts)
    return [content[start:end] for start, end in zip([0, *places], [*places, len(content)], strict=True)]


@given(
    content=st.binary(max_size=5000),
    encoding=st.sampled_from(sorted(PACKINGS)),
    cuts=st.lists(st.integers(0, 10_000), max_size=8),
    max_bytes=st.integers(0, 5000),
)
def test_how_a_body_is_packed_and_cut_changes_nothing(
    content: bytes, encoding: str, cuts: list[int], max_bytes: int
) -> None:
    """It is taken whole, or refused because it is larger than the bound, unpacked or as it was sent."""
    packed = PACKINGS[encoding](content)
    body = Body(encoding=encoding, max_bytes=max_bytes, keep=True)
    fits = max(len(content), len(packed)) <= max_bytes
    with contextlib.nullcontext() if fits else pytest.raises(Failed) as failure:
        for piece in in_pieces(packed, cuts):
            body.add(piece)
        body.finish()
    if failure is None:
        assert body.size == len(content)
        assert body.text("latin-1").encode("latin-1") == content
    else:
        assert failure.value.reason == "response_too_large"


@given(content=st.binary(max_size=300), encoding=st.sampled_from(["gzip", "deflate"]))
def test_any_bytes_are_either_unpacked_or_a_protocol_error(content: bytes, encoding: str) -> None:
    """Nothing else comes out of it."""
    body = Body(encoding=encoding, max_bytes=100_000, keep=False)
    reason = None
    try:
        body.add(content)
        body.finish()
    except Failed as failure:
        reason = failure.reason
    assert reason in {None, "protocol_error"}


def test_a_bomb_is_not_unpacked_much_further_than_allowed() -> None:
    """64 MiB in 64 KiB: memory stays near the bound."""
    bomb = gzip.compress(bytes(64 * 1024 * 1024), 9)
    body = Body(encoding="gzip", max_bytes=1_000_000, keep=True)
    tracemalloc.start()
    try:
        with pytest.raises(Failed, match="larger than 1000000 bytes"):
            body.add(bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000
