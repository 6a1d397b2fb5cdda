"""The http probe: asks a URL as a browser would for the first time, and measures each phase.

httpx over httpcore, with a network of our own beneath: it resolves the name before it connects (httpx's trace
hooks do not show name resolution), connects to that address with SNI and Host kept, and gives every request
one fresh connection. Environment variables (proxies, .netrc) play no part.

Metrics: `response_bytes` (the body, unpacked), `tls_days_left` (https; of several hops the fewest).
"""

import importlib.metadata
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import anyio
import httpcore
import httpx

from producers.contract import FailureReason
from producers.masking import mask_url
from producers.probes import certificates, network
from producers.probes.body import ACCEPT_ENCODING, Body
from producers.probes.reading import Failed, Measurement, Reading, measure
from producers.probes.stream import Stream
from producers.settings import HttpOptions

MAX_REDIRECTS: Final = 5

USER_AGENT: Final = f"forewarn/{importlib.metadata.version('forewarn')}"


def prepare(options: HttpOptions) -> None:
    """Do, before the clock starts, what only the first check would pay for, about 30 ms each.

    Raises:
        TransientError: `ca_file` cannot be read.
    """
    certificates.context_for(verify=options.verify_tls, ca_file=options.ca_file)
    anyio.CancelScope()  # httpcore's locks load anyio's whole backend when they are first used


async def probe(options: HttpOptions, deadline_s: float) -> Reading:
    """Ask a URL once. Never raises for what the target does.

    Raises:
        TransientError: This location itself has no network, no sockets left, or cannot read `ca_file`.
    """
    context = certificates.context_for(verify=options.verify_tls, ca_file=options.ca_file)
    return await measure(lambda measurement: _ask(options, context, measurement), deadline_s)


async def _ask(options: HttpOptions, context: ssl.SSLContext, measurement: Measurement) -> None:
    transport = _FreshConnections(context, measurement)
    # No client timeouts: the caller's deadline covers them all.
    async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=None) as client:  # noqa: S113
        try:
            request = _request(client, options)
            if not _can_be_asked(request.url):
                raise httpx.InvalidURL("not a web page")  # noqa: TRY301 - as if httpx had seen it
            await _follow(client, request, options, measurement)
        except httpcore.RemoteProtocolError as error:
            raise Failed(FailureReason.PROTOCOL_ERROR, f"the answer is not valid HTTP: {error}") from error
        except (httpcore.LocalProtocolError, httpx.InvalidURL) as error:
            # Without the error's own words: they quote headers, which may be secrets.
            raise Failed(FailureReason.PROTOCOL_ERROR, "the request's URL or headers are not valid") from error
        except (httpx.RemoteProtocolError, UnicodeEncodeError) as error:  # httpx cannot build the next request
            raise Failed(FailureReason.REDIRECT, "the redirect has a URL or a cookie that is not valid") from error


def _request(client: httpx.AsyncClient, options: HttpOptions) -> httpx.Request:
    headers = httpx.Headers({"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": ACCEPT_ENCODING})
    headers.update(_own(options))
    headers["Connection"] = "close"  # one connection a check: the server need not keep it
    content = None if options.body is None else options.body.encode()
    return client.build_request(options.method, options.url, headers=headers, content=content)


def _own(options: HttpOptions) -> httpx.Headers:
    return httpx.Headers([(name.encode(), value.encode()) for name, value in options.headers])


async def _follow(
    client: httpx.AsyncClient, request: httpx.Request, options: HttpOptions, measurement: Measurement
) -> None:
    """Send the request and, where that is wanted, go where redirects lead."""
    for _ in range(MAX_REDIRECTS + 1):
        response = await client.send(request, stream=True)
        try:
            following = options.follow_redirects and response.status_code not in options.expect_status
            if not following or response.next_request is None:
                await _judge(response, options, measurement)
                return
        finally:
            await response.aclose()
        request = _next(request, response.next_request, options)
    raise Failed(FailureReason.REDIRECT, f"more than {MAX_REDIRECTS} redirects, the last to {_shown(request.url)}")


def _next(asked: httpx.Request, following: httpx.Request, options: HttpOptions) -> httpx.Request:
    if not _can_be_asked(following.url):
        detail = f"a redirect leads to {_shown(following.url)}, which is no web page"
        raise Failed(FailureReason.REDIRECT, detail)
    if _origin(following.url) != _origin(asked.url):
        for name in _own(options):  # they may be keys, and are meant for the origin that was configured
            following.headers.pop(name, None)
        for name, value in (("User-Agent", USER_AGENT), ("Accept-Encoding", ACCEPT_ENCODING)):
            following.headers.setdefault(name, value)
    following.headers["Connection"] = "close"
    return following


def _can_be_asked(url: httpx.URL) -> bool:
    port = 80 if url.port is None else url.port
    return url.scheme in {"http", "https"} and url.host != "" and 0 < port < 65_536


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _shown(url: httpx.URL) -> str:
    return mask_url(str(url))


async def _judge(response: httpx.Response, options: HttpOptions, measurement: Measurement) -> None:
    """Compare a response with what is expected, reading its body."""
    if response.status_code not in options.expect_status:
        raise Failed(FailureReason.HTTP_STATUS, _unexpected(response, options))
    body = Body(
        encoding=response.headers.get("Content-Encoding", ""),
        max_bytes=options.max_response_bytes,
        keep=options.body_contains is not None,
    )
    async for piece in response.aiter_raw():
        body.add(piece)
    body.finish()
    measurement.enter(None)
    measurement.read("response_bytes", body.size)
    if options.body_contains is None:
        return
    if not body.readable:
        raise Failed(FailureReason.BODY_MISMATCH, "the body is packed in a way that was not asked for")
    if options.body_contains not in body.text(response.charset_encoding):
        raise Failed(FailureReason.BODY_MISMATCH, f"the expected text is not in the body of {body.size} bytes")


def _unexpected(response: httpx.Response, options: HttpOptions) -> str:
    text = f"status {response.status_code}, expected {_ranges(options.expect_status)}"
    if response.next_request is not None and not options.follow_redirects:
        text += f"; it redirects to {_shown(response.next_request.url)}"
    return text


def _ranges(codes: frozenset[int]) -> str:
    """Return `200-299, 404` for the codes 200 to 299 and 404."""
    runs: list[list[int]] = []
    for code in sorted(codes):
        if runs and code == runs[-1][-1] + 1:
            runs[-1][1:] = [code]
        else:
            runs.append([code])
    return ", ".join("-".join(map(str, run)) for run in runs)


class _FreshConnections(httpx.AsyncBaseTransport):
    """Gives each request a connection of its own, which ends with its response."""

    def __init__(self, context: ssl.SSLContext, measurement: Measurement) -> None:
        self._context = context
        self._measurement = measurement

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return its response as soon as its head is there."""
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        connection = httpcore.AsyncHTTPConnection(
            origin=url.origin, ssl_context=self._context, network_backend=_Backend(self._measurement)
        )
        response = await connection.handle_async_request(
            httpcore.Request(
                method=request.method.encode("ascii"),
                url=url,
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        self._measurement.http_status = response.status
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_ResponseStream(response, connection),
            extensions=response.extensions,
        )


class _ResponseStream(httpx.AsyncByteStream):
    """A response's body; closing it closes its connection."""

    def __init__(self, response: httpcore.Response, connection: httpcore.AsyncHTTPConnection) -> None:
        self._response = response
        self._connection = connection

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._response.aiter_stream():
            yield piece

    async def aclose(self) -> None:
        await self._connection.aclose()


class _Backend(httpcore.AsyncNetworkBackend):
    """Connects in the way of `producers.probes.network`, for httpcore."""

    def __init__(self, measurement: Measurement) -> None:
        self._measurement = measurement

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109 - httpcore's signature; the deadline is the caller's
        local_address: str | None = None,  # noqa: ARG002 - httpcore's signature
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002 - httpcore's signature
    ) -> httpcore.AsyncNetworkStream:
        connected = await network.connect(host, port, self._measurement)
        return _Connected(connected, self._measurement)


class _Connected(httpcore.AsyncNetworkStream):
    """A connection as httpcore wants it, that tells the measurement where it stands."""

    def __init__(self, connected: socket.socket, measurement: Measurement) -> None:
        self._socket = connected
        self._stream: Stream | None = None
        self._measurement = measurement
        self._answered = False

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109 - httpcore's signature; the deadline is the caller's
    ) -> httpcore.AsyncNetworkStream:
        name = (server_hostname or "").rstrip(".")  # a fully qualified name's dot is not part of a certificate
        self._stream = await network.open_tls(self._socket, ssl_context, name, self._measurement)
        session = self._stream.tls
        days = certificates.days_left(session.getpeercert(binary_form=True)) if session is not None else None
        if days is not None:
            self._measurement.read("tls_days_left", min(days, self._measurement.metrics.get("tls_days_left", days)))
        return self

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109 - as above
        stream = await self._open()
        self._measurement.enter(None)
        try:
            await stream.write(buffer)
        except Failed as failure:
            # httpcore then looks whether an answer is there: a server may refuse a request before its end.
            raise httpcore.WriteError(failure.detail) from failure
        self._measurement.enter("wait")

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002, ASYNC109 - as above
        stream = await self._open()
        content = await stream.read(max_bytes)
        if not self._answered:
            if not content:
                raise Failed(FailureReason.CONNECTION_ERROR, "the connection was closed without an answer")
            self._answered = True
            self._measurement.enter("transfer")
        return content

    async def aclose(self) -> None:
        if self._stream is None:
            self._socket.close()
        else:
            await self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.tls if info == "ssl_object" and self._stream is not None else None

    async def _open(self) -> Stream:
        if self._stream is None:
            self._stream = await network.open_plain(self._socket)
        return self._stream
