"""Whatever a target says, a check comes out; what is ours to blame is no failure of the target."""

import asyncio
import contextlib
import gc
import os
import resource
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from producers.contract import MAX_DETAIL_CHARS, PHASES, Check, FailureReason, Outcome
from producers.errors import TransientError
from producers.probes.run import shorten
from producers.settings import HttpOptions, ProbeOptions, TcpOptions, TlsOptions
from tests.producers.probing import check
from tests.servers import TcpServer, saying, silent

BRIEF_S = 0.05

HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            ["Location", "Set-Cookie", "Content-Type", "Content-Encoding", "Content-Length", "Transfer-Encoding"]
        ),
        st.sampled_from(
            ["/", "http://[", "//", "?", "a=b; expires=x", "text/x; charset=\xff", "gzip", "-1", "3", "chunked"]
        )
        | st.text(max_size=20),
    ),
    max_size=4,
)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Draw bytes, or what looks like HTTP but need not be it."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=200))
    status = draw(st.sampled_from(["200", "204", "301", "302", "100", "101", "999", "x"]))
    headers = "".join(f"{name}: {value}\r\n" for name, value in draw(HEADERS))
    return f"HTTP/1.1 {status} Told\r\n{headers}\r\n".encode() + draw(st.binary(max_size=50))


@settings(max_examples=150, deadline=None)
@example(answer=b"HTTP/1.1 301 Told\r\nLocation: /\r\nSet-Cookie: \xc2\x80\r\n\r\n")
@given(answer=answers())
def test_whatever_a_server_says_a_check_comes_out(answer: bytes) -> None:
    """Success or failure with a known reason, phases and metrics as the contract says, never an exception."""

    async def ask() -> list[Check]:
        async with TcpServer(saying(answer)) as server:
            options: list[ProbeOptions] = [
                HttpOptions(
                    url=f"http://127.0.0.1:{server.port}/",
                    follow_redirects=True,
                    body_contains="x",
                    max_response_bytes=1000,
                ),
                TlsOptions(host="127.0.0.1", port=server.port),
                TcpOptions(host="127.0.0.1", port=server.port, send="x", expect="220"),
            ]
            return list(await asyncio.gather(*(check(each, deadline_s=5.0) for each in options)))

    for seen in asyncio.run(ask()):
        assert (seen.outcome is Outcome.SUCCESS) == (seen.reason is None) == (seen.detail is None)
        assert seen.reason is None or seen.reason in set(FailureReason)
        assert seen.duration_us is not None
        assert [phase for phase in PHASES if phase in seen.phases] == list(seen.phases)
        assert 0 <= sum(seen.phases.values()) <= seen.duration_us
        assert seen.detail is None or len(seen.detail) <= MAX_DETAIL_CHARS


async def test_times_are_those_of_the_run() -> None:
    """The tick is the caller's, the start is now, the duration is not more than what passed here."""
    before_us, before_ns = time.time_ns() // 1000, time.perf_counter_ns()
    async with TcpServer(silent) as server:
        seen = await check(TcpOptions(host="127.0.0.1", port=server.port))
    passed_us = (time.perf_counter_ns() - before_ns) // 1000
    assert seen.duration_us is not None
    assert 0 < seen.duration_us <= passed_us
    assert seen.started_at_us >= before_us
    assert not seen.disturbed


def _first_free_descriptor() -> int:
    return max(int(each.name) for each in Path("/dev/fd").iterdir()) + 1


async def test_a_process_without_file_descriptors_reports_no_failure_of_the_target() -> None:
    """Nothing is known of the target then, by address and by name."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with TcpServer(silent) as first:  # what a first check opens for good; this server's end is closed here
        await check(HttpOptions(url=f"http://127.0.0.1:{first.port}/"), deadline_s=BRIEF_S)
    async with TcpServer(silent) as server:
        gc.collect()  # what earlier tests left must not free descriptors in the middle of this one
        open_now = _first_free_descriptor()
        taken = []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (open_now, limits[1]))
            for options in (
                TcpOptions(host="127.0.0.1", port=server.port),
                HttpOptions(url=f"http://127.0.0.1:{server.port}/"),
                HttpOptions(url="http://shop.example/"),
            ):
                with contextlib.suppress(OSError):
                    while True:  # each time: what ends meanwhile in another thread gives some back
                        taken.append(os.dup(0))
                with pytest.raises(TransientError, match="Too many open files"):
                    await check(options)
        finally:
            for descriptor in taken:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize(
    ("detail", "short"),
    [
        ("fits", "fits"),
        ("two\n lines\t", "two lines"),
        ("x" * MAX_DETAIL_CHARS, "x" * MAX_DETAIL_CHARS),
        ("x" * 999, "x" * (MAX_DETAIL_CHARS - 1) + "…"),
    ],
)
def test_a_detail_is_one_line_of_bounded_length(detail: str, short: str) -> None:
    """What is cut off is marked."""
    assert shorten(detail) == short
