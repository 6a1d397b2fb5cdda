"""The tcp probe: a port that accepts, and what it says."""

import asyncio

import pytest

from producers.contract import Outcome
from producers.settings import TcpOptions
from tests.producers.probing import check
from tests.servers import TcpServer, hang_up, reset, saying, silent


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a line with the line."""
    writer.write(b"you said " + await reader.readline())


async def test_a_port_that_accepts_is_a_success() -> None:
    """Whatever it would say."""
    async with TcpServer(silent) as server:
        seen = await check(TcpOptions(host="localhost", port=server.port))
    assert (seen.outcome, seen.address, seen.detail) == (Outcome.SUCCESS, "127.0.0.1", None)
    assert list(seen.phases) == ["dns", "connect"]


async def test_a_closed_port_is_a_connection_error() -> None:
    """With address and port."""
    async with TcpServer(silent) as server:
        closed = server.port
    seen = await check(TcpOptions(host="127.0.0.1", port=closed))
    assert (seen.outcome, seen.reason) == (Outcome.FAILURE, "connection_error")
    assert seen.detail == f"no connection to 127.0.0.1 port {closed}: refused"


async def test_what_is_sent_is_answered_as_expected() -> None:
    """Both as UTF-8."""
    async with TcpServer(echo) as server:
        seen = await check(TcpOptions(host="127.0.0.1", port=server.port, send="ёж\r\n", expect="said ёж"))
    assert (seen.outcome, seen.detail) == (Outcome.SUCCESS, None)
    assert list(seen.phases) == ["connect", "wait", "transfer"]


async def test_a_greeting_in_pieces_is_expected_without_sending() -> None:
    """The match may lie over pieces."""
    greeting = saying(b"220 mail.example ESMTP\r\n", piece_bytes=1, pause_s=0.001)
    async with TcpServer(greeting) as server:
        seen = await check(TcpOptions(host="127.0.0.1", port=server.port, expect="ESMTP"))
    assert seen.outcome is Outcome.SUCCESS


async def test_an_answer_counts_even_when_the_server_breaks_the_connection_after_it() -> None:
    """Closing without having read what was sent makes the server's kernel send an RST after the answer."""
    async with TcpServer(saying(b"220 mail.example")) as server:
        for _ in range(20):
            seen = await check(TcpOptions(host="127.0.0.1", port=server.port, send="x" * 9999, expect="220"))
            assert (seen.outcome, seen.detail) == (Outcome.SUCCESS, None)


@pytest.mark.parametrize(
    ("talk", "send", "reason", "detail"),
    [
        (saying(b"SSH-2.0-x\r\n"), "hello", "body_mismatch", "the expected text is not in the first 11 bytes"),
        (saying(b"x" * 4096 + b"220"), None, "body_mismatch", "the expected text is not in the first 4096 bytes"),
        (hang_up, None, "connection_error", "the connection was closed without an answer"),
        (reset, "hello", "connection_error", "the connection was reset by the server"),
    ],
    ids=["another text", "too late", "no text", "reset"],
)
async def test_another_answer_is_a_failure(talk: object, send: str | None, reason: str, detail: str) -> None:
    """The answer itself is not told: it may hold what is not ours."""
    async with TcpServer(talk) as server:  # type: ignore[arg-type] # parametrize knows no callables
        seen = await check(TcpOptions(host="127.0.0.1", port=server.port, send=send, expect="220"))
    assert (seen.outcome, seen.reason, seen.detail) == (Outcome.FAILURE, reason, detail)


async def test_ipv6_is_connected_to() -> None:
    """By its address."""
    try:
        async with TcpServer(silent, host="::1") as server:
            seen = await check(TcpOptions(host="::1", port=server.port))
    except OSError as error:
        pytest.skip(f"no IPv6 on the loopback interface: {error}")
    assert (seen.outcome, seen.address) == (Outcome.SUCCESS, "::1")
