"""Real servers for tests: HTTP, TCP, TLS and DNS on loopback, each as slow, wrong or broken as a test wants.

All run in the test's own event loop, on free ports:

    async with HttpServer(Answer(body=b"hello", delay_s=0.2)) as server:
        ...  # server.url, server.port, server.requests
        server.answer = Answer(status=502)
"""

import asyncio
import datetime as dt
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class TcpServer:
    """Accepts connections and has a talk on each; a connection ends with its talk.

    Attributes:
        port: The port that it listens on, once entered: a free one, unless it was set before.
        connections: How many it has accepted.
    """

    def __init__(self, talk: Talk, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.host = host
        self.port = 0
        self.connections = 0
        self._talk = talk
        self._tls = tls
        self._talks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self.host, self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._talks:
            task.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        self.connections += 1
        try:
            await self._talk(reader, writer)
            await writer.drain()
        except (OSError, asyncio.CancelledError):
            pass  # the other side went away, as many tests want it to, or the test has ended
        finally:
            self._talks.discard(task)
            writer.close()


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Accept, read everything, say nothing, until the other side goes."""
    while await reader.read(65536):
        pass


async def hang_up(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Close without a word."""


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Wait for the first bytes, then break the connection with an RST."""
    await reader.read(1)
    connected = writer.get_extra_info("socket")
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def shaking_hands_late(context: ssl.SSLContext, delay_s: float) -> Talk:
    """Return a talk that accepts TCP at once and begins the TLS handshake only after a delay."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()  # what comes first belongs to the handshake
        await asyncio.sleep(delay_s)
        await writer.start_tls(context)
        await reader.read(1)

    return talk


def saying(content: bytes, *, pause_s: float = 0.0, piece_bytes: int = 65536) -> Talk:
    """Return a talk that says `content` at once, without listening, in pieces with pauses between them."""

    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _say(writer, content, pause_s, piece_bytes)

    return talk


async def _say(writer: asyncio.StreamWriter, content: bytes, pause_s: float, piece_bytes: int) -> None:
    for start in range(0, len(content), piece_bytes):
        if start > 0 and pause_s > 0:
            await asyncio.sleep(pause_s)
        writer.write(content[start : start + piece_bytes])
        await writer.drain()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How an HttpServer answers.

    Attributes:
        headers: Beside Content-Length (which is there unless `length` is None) and Connection.
        delay_s: Between the end of the request and the first byte of the answer.
        pause_s: Between two pieces of the body, `piece_bytes` long each.
        length: The Content-Length that is claimed; -1: the real one, None: the body ends with the connection.
    """

    status: int = 200
    body: bytes = b"all is well"
    headers: tuple[tuple[str, str], ...] = ()
    delay_s: float = 0.0
    pause_s: float = 0.0
    piece_bytes: int = 65536
    length: int | None = -1


@dataclass(frozen=True, kw_only=True)
class Request:
    """What an HttpServer was asked, and when (microseconds UTC); header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    at_us: int = field(default_factory=lambda: time.time_ns() // 1000)


class HttpServer(TcpServer):
    """Answers every request with `answer`, or with that of its path in `paths`. Both may change any time."""

    def __init__(
        self,
        answer: Answer | None = None,
        *,
        paths: Mapping[str, Answer] | None = None,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        name: str | None = None,
    ) -> None:
        super().__init__(self._serve, tls=tls, host=host)
        self.answer = answer or Answer()
        self.paths = dict(paths or {})
        self.requests: list[Request] = []
        self._name = name or (f"[{host}]" if ":" in host else host)

    @property
    def url(self) -> str:
        """Without a path; with the name that was given, or the address."""
        return f"{'http' if self._tls is None else 'https'}://{self._name}:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                request = await _read_request(reader)
            except asyncio.IncompleteReadError:
                return
            self.requests.append(request)
            answer = self.paths.get(request.path.partition("?")[0], self.answer)
            await _give(answer, request, writer)
            if answer.length is None or request.headers.get("connection") == "close":
                return


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    method, path, _ = first.split(" ")
    pairs = (line.split(":", 1) for line in lines)
    headers = {name.lower(): value.strip() for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method=method, path=path, headers=headers, body=body)


async def _give(answer: Answer, request: Request, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(answer.delay_s)
    headers = list(answer.headers)
    if answer.length is not None:
        headers.append(("Content-Length", str(len(answer.body) if answer.length < 0 else answer.length)))
    if answer.length is None or request.headers.get("connection") == "close":
        headers.append(("Connection", "close"))
    lines = [f"HTTP/1.1 {answer.status} Told", *(f"{name}: {value}" for name, value in headers), "", ""]
    writer.write("\r\n".join(lines).encode("latin-1"))
    if request.method != "HEAD":
        await _say(writer, answer.body, answer.pause_s, answer.piece_bytes)


class Authority:
    """A certificate authority of the tests' own."""

    def __init__(self) -> None:
        self._authority = trustme.CA(key_type=trustme.KeyType.ECDSA)

    def write(self, folder: Path) -> Path:
        """Write its certificate into a folder, and return the file."""
        path = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(path)
        return path

    def server(self, *names: str, days_left: float = 90.0) -> ssl.SSLContext:
        """Return a server's context with a certificate for `names`: hosts, addresses; may have expired."""
        now = dt.datetime.now(dt.UTC)
        certificate = self._authority.issue_cert(
            *(names or ("localhost", "127.0.0.1")),
            not_before=now - dt.timedelta(days=400),
            not_after=now + dt.timedelta(days=days_left),
            key_type=trustme.KeyType.ECDSA,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        return context


def self_signed(folder: Path, *, name: str = "localhost", days_left: float = 90.0) -> ssl.SSLContext:
    """Return a server's context whose certificate nobody has signed but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=400))
        .not_valid_after(now + dt.timedelta(days=days_left))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "self-signed.pem"
    path.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


class FullServer:
    """Listens, but its queue is full: the kernel leaves whoever connects without an answer."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.port = 0
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listening = socket.socket(family)
        self._sockets.append(listening)
        listening.bind((self.host, 0))
        listening.listen(0)
        self.port = listening.getsockname()[1]
        for _ in range(4):
            waiting = socket.socket(family)
            self._sockets.append(waiting)
            waiting.setblocking(False)
            waiting.connect_ex((self.host, self.port))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self._sockets:
            each.close()


class DnsServer(asyncio.DatagramProtocol):
    """A name server (UDP) that knows `names`, and answers no other with an address.

    Attributes:
        names: Addresses by name, without the final dot.
        delay_s: Before each answer, by record type (`A`, `AAAA`); infinite: no answer.
        broken: Answers SERVFAIL to everything.
        asked: The names that it was asked for, with their type, in order.
    """

    NEVER: Final = float("inf")

    def __init__(
        self,
        names: Mapping[str, Sequence[str]],
        *,
        delay_s: Mapping[str, float] | None = None,
        broken: bool = False,
    ) -> None:
        self.names = names
        self.delay_s = delay_s or {}
        self.broken = broken
        self.asked: list[tuple[str, str]] = []
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.port = self._transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, content: bytes, addr: tuple[str, int]) -> None:
        """Answer a question, now or later."""
        query = dns.message.from_wire(content)
        kind = dns.rdatatype.to_text(query.question[0].rdtype)
        self.asked.append((query.question[0].name.to_text(omit_final_dot=True), kind))
        delay_s = self.delay_s.get(kind, 0.0)
        if delay_s != self.NEVER:
            asyncio.get_running_loop().call_later(delay_s, self._answer, query, kind, addr)

    def _answer(self, query: dns.message.Message, kind: str, addr: tuple[str, int]) -> None:
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        addresses = self.names.get(query.question[0].name.to_text(omit_final_dot=True))
        if self.broken:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif addresses is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        else:
            fitting = [address for address in addresses if (":" in address) == (kind == "AAAA")]
            if fitting:
                answer.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", kind, *fitting))
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(answer.to_wire(), addr)
