"""The tcp probe: does a port accept a connection and, if that is wanted, say what it should."""

from typing import Final

from producers.contract import FailureReason
from producers.probes import network
from producers.probes.reading import Failed, Measurement, Reading, measure
from producers.probes.stream import Stream
from producers.settings import TcpOptions

MAX_ANSWER_BYTES: Final = 4096


async def probe(options: TcpOptions, deadline_s: float) -> Reading:
    """Connect once, send and expect what is configured. Never raises for what the target does.

    Raises:
        TransientError: This location itself has no network, or no sockets left.
    """
    return await measure(lambda measurement: _talk(options, measurement), deadline_s)


async def _talk(options: TcpOptions, measurement: Measurement) -> None:
    stream = await network.open_plain(await network.connect(options.host, options.port, measurement))
    try:
        if options.send is not None:
            await stream.write(options.send.encode())
        if options.expect is not None:
            await _expect(options.expect.encode(), stream, measurement)
    finally:
        await stream.close()


async def _expect(wanted: bytes, stream: Stream, measurement: Measurement) -> None:
    measurement.enter("wait")
    answer = bytearray()
    while len(answer) < MAX_ANSWER_BYTES:
        piece = await _next(stream, MAX_ANSWER_BYTES - len(answer), begun=len(answer) > 0)
        if not piece:
            break
        if not answer:
            measurement.enter("transfer")
        answer += piece
        if wanted in answer:
            measurement.enter(None)
            return
    if not answer:
        raise Failed(FailureReason.CONNECTION_ERROR, "the connection was closed without an answer")
    raise Failed(FailureReason.BODY_MISMATCH, f"the expected text is not in the first {len(answer)} bytes")


async def _next(stream: Stream, max_bytes: int, *, begun: bool) -> bytes:
    try:
        return await stream.read(max_bytes)
    except Failed:
        if begun:
            return b""  # broken after an answer: what counts is the answer
        raise
