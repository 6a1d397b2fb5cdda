"""ClickHouse's HTTP interface over aiohttp. The event loop only moves bytes; the engine runs in worker threads."""

import asyncio
import contextlib
import functools
import json
import logging
import secrets
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from aiohttp import web

from forewarn.embedded.store.access import Limits
from forewarn.embedded.store.compression import Encoder, accepted, decoded
from forewarn.embedded.store.engine import DATABASE, STREAMED, Engine, Query, Result
from forewarn.embedded.store.errors import QueryError, StoreStartError, refused
from forewarn.embedded.store.request import (
    Request,
    Work,
    is_authorised,
    is_local_host,
    read_form,
    read_request,
    read_work,
)
from forewarn.embedded.store.sessions import Sessions

_T = TypeVar("_T")
_END: Final = b""
_SMALL: Final = 16_384
_CONTENT_TYPES: Final = {
    "json": "application/json; charset=UTF-8",
    "jsoncompact": "application/json; charset=UTF-8",
    "jsoneachrow": "application/x-ndjson; charset=UTF-8",
    "csv": "text/csv; charset=UTF-8; header=absent",
    "csvwithnames": "text/csv; charset=UTF-8; header=present",
    "tabseparated": "text/tab-separated-values; charset=UTF-8",
    "tsv": "text/tab-separated-values; charset=UTF-8",
    "xml": "application/xml; charset=UTF-8",
}
_log = logging.getLogger(__name__)


class Server:
    """The front end of one engine."""

    def __init__(self, engine: Engine, *, token: str, limits: Limits) -> None:
        self._engine = engine
        self._token = token
        self._limits = limits
        self._sessions = Sessions()
        self._running = asyncio.Semaphore(limits.running)
        self._waiting = 0
        self._bodies = 0
        self._ending = False
        # Two more than queries run: one reads a body's head, one cancels.
        self._threads = ThreadPoolExecutor(max_workers=limits.running + 2, thread_name_prefix="engine")
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, port: int) -> None:
        """Listen on loopback.

        Raises:
            StoreStartError: If the port is taken.
        """
        app = web.Application(client_max_size=0)
        app.router.add_route("GET", "/ping", self._ping)
        app.router.add_route("HEAD", "/ping", self._ping)
        app.router.add_route("*", "/{tail:.*}", self._answer)
        self._runner = web.AppRunner(
            app, access_log=None, auto_decompress=False, handler_cancellation=True, shutdown_timeout=0.7
        )
        await self._runner.setup()
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            listener.close()
            await self._runner.cleanup()
            reason = error.strerror or "unknown error"
            raise StoreStartError(f"the store cannot listen on 127.0.0.1:{port}: {reason}") from None
        self.port = listener.getsockname()[1]
        await web.SockSite(self._runner, listener).start()

    async def stop(self) -> None:
        """Refuse what comes, cancel what runs, answer it, and stop listening."""
        self._ending = True
        cancelling = asyncio.get_running_loop().run_in_executor(self._threads, self._engine.cancel_all)
        await asyncio.wait([cancelling], timeout=0.4)
        if self._runner is not None:
            await self._runner.cleanup()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _ping(self, request: web.Request) -> web.Response:
        if not is_local_host(request.headers.get("Host", "")):
            return web.Response(status=403, text="Forbidden host\n")
        return web.Response(text="Ok.\n")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._checked(request)
        except QueryError as error:
            return self._failure(error)
        except ConnectionError:
            raise
        except Exception:  # noqa: BLE001 - answered 500, so nothing that failed is acknowledged
            # The client must hear of it in ClickHouse's form, and the log must have the traceback.
            _log.exception("a request failed inside the store")
            return self._failure(refused(1001, "Internal error of the embedded store; see its log", status=500))

    async def _checked(self, request: web.Request) -> web.StreamResponse:
        if not is_local_host(request.headers.get("Host", "")):
            raise refused(516, "The Host header must be 127.0.0.1 or localhost", status=403)
        if not is_authorised(request.headers, self._token):
            raise refused(516, "Authentication failed: the token is missing or wrong")
        if request.path not in ("/", "/query"):
            return web.Response(status=404, text="There is no handler for this path; queries go to /\n")
        if request.method not in ("GET", "HEAD", "POST"):
            raise refused(48, f"Method {request.method} is not supported", status=501)
        if self._ending:
            raise refused(236, "The store is ending", status=503)
        async with self._body(request) as body:
            return await self._query(request, body)

    @contextlib.asynccontextmanager
    async def _body(self, request: web.Request) -> AsyncIterator[bytes]:
        """Read the body as it was sent, within the bounds of one and of all bodies."""
        held = bytearray()
        try:
            async for chunk in request.content.iter_any():
                held += chunk
                self._bodies += len(chunk)
                if len(held) > self._limits.body_bytes:
                    text = f"The request body is larger than {self._limits.body_bytes} bytes"
                    raise refused(1001, text, status=413)
                if self._bodies > self._limits.bodies_bytes:
                    raise refused(202, "Too many large requests at once; try again")
            yield bytes(held)
        finally:
            self._bodies -= len(held)

    async def _query(self, request: web.Request, body: bytes) -> web.StreamResponse:
        params = dict(request.query)
        if request.content_type == "multipart/form-data":
            params |= read_form(request.headers["Content-Type"], body)
            body = b""
        asked = read_request(params, request.headers, database=DATABASE)
        encoding = request.headers.get("Content-Encoding", "")
        pieces = decoded(body, encoding, bound=self._limits.body_bytes)
        async with self._slot():
            prelude = () if asked.session_id is None else self._enter(asked)
            done: list[str] = []
            try:
                read = functools.partial(read_work, asked.query, pieces)
                # A small text is read at once: going to a thread and back costs more.
                work = read() if len(body) <= _SMALL and not encoding else await self._in_thread(read)
                if work.statement.kind == "empty":
                    raise refused(62, "Syntax error: the query is empty")
                query = _query(asked, work, prelude, readonly=request.method != "POST")
                if work.statement.streams and not asked.whole and query.format.lower() in STREAMED:
                    return await self._streamed(request, asked, query)
                result = await self._whole(asked, query, work)
                if work.statement.kind == "session":
                    done.append(work.statement.head.decode("utf-8", "surrogateescape"))
            finally:
                if asked.session_id is not None:
                    statement = done[0] if done else None
                    self._sessions.leave(asked.session_id, timeout_s=asked.session_timeout_s, statement=statement)
        return self._reply(request, asked, query, work, result)

    def _enter(self, asked: Request) -> tuple[str, ...]:
        assert asked.session_id is not None
        return self._sessions.enter(asked.session_id, check=asked.session_check)

    @contextlib.asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        if self._running.locked() and self._waiting >= self._limits.waiting:
            raise refused(202, f"More than {self._limits.running + self._limits.waiting} queries at once; try again")
        self._waiting += 1
        try:
            await self._running.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._running.release()

    async def _in_thread(self, call: Callable[[], _T], *, cancelled_by: str | None = None) -> _T:
        """Run a call in a thread, and leave only when the thread has: a generator or a connection is in its hands.

        Args:
            call: What to run.
            cancelled_by: The mark of a query that may be cancelled when the client has gone.
        """
        running = asyncio.get_running_loop().run_in_executor(self._threads, call)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            if cancelled_by is not None:
                cancel = functools.partial(self._engine.cancel, cancelled_by)
                await asyncio.get_running_loop().run_in_executor(self._threads, cancel)
            await asyncio.wait([running])
            with contextlib.suppress(Exception):
                running.result()  # nobody is left to hear of it
            raise

    async def _whole(self, asked: Request, query: Query, work: Work) -> Result:
        if work.statement.kind == "insert":
            # When the client has gone, its rows are stored all the same.
            return await self._in_thread(functools.partial(self._engine.insert, query, work.rows))
        ends = work.statement.kind == "rows" and asked.cancel_on_close
        mark = query.mark if ends else None
        return await self._in_thread(functools.partial(self._engine.run, query), cancelled_by=mark)

    def _headers(self, query_id: str) -> dict[str, str]:
        return {
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Server-Display-Name": self._engine.host,
            "X-ClickHouse-Timezone": self._engine.timezone,
        }

    def _failure(self, error: QueryError) -> web.Response:
        headers = {"X-ClickHouse-Exception-Code": str(error.code)}
        if error.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="forewarn store"'
        if error.status == 503:
            headers["Retry-After"] = "1"
        body = error.body(self._engine.version)
        return web.Response(status=error.status, text=body, headers=headers)

    def _encoder(self, request: web.Request, asked: Request) -> Encoder:
        wanted = self._engine.compresses if asked.compress is None else asked.compress
        return Encoder(accepted(request.headers.get("Accept-Encoding", "")) if wanted else "")

    def _result_headers(self, asked: Request, query: Query, encoder: Encoder) -> dict[str, str]:
        headers = self._headers(asked.query_id)
        headers["X-ClickHouse-Format"] = query.format
        headers["Content-Type"] = _CONTENT_TYPES.get(query.format.lower(), "application/octet-stream")
        if encoder.encoding:
            headers["Content-Encoding"] = encoder.encoding
        return headers

    def _reply(
        self, request: web.Request, asked: Request, query: Query, work: Work, result: Result
    ) -> web.StreamResponse:
        summary = {"X-ClickHouse-Summary": json.dumps(result.summary())}
        if work.statement.kind != "rows":
            return web.Response(headers=self._headers(asked.query_id) | summary)
        encoder = self._encoder(request, asked)
        body = encoder.add(result.body) + encoder.end()
        return web.Response(body=body, headers=self._result_headers(asked, query, encoder) | summary)

    async def _streamed(self, request: web.Request, asked: Request, query: Query) -> web.StreamResponse:
        """Answer block by block. An error before the first block has its own status; a later one is a marked tail."""
        blocks = self._engine.stream(query)
        fetch = functools.partial(_next, blocks)
        reply: web.StreamResponse | None = None
        try:
            block = await self._in_thread(fetch, cancelled_by=query.mark)
            encoder, tag = self._encoder(request, asked), secrets.token_hex(8)
            headers = self._result_headers(asked, query, encoder) | {"X-ClickHouse-Exception-Tag": tag}
            reply = web.StreamResponse(headers=headers)
            reply.enable_chunked_encoding()
            await reply.prepare(request)
            try:
                while block != _END:
                    if piece := encoder.add(block):
                        await reply.write(piece)
                    block = await self._in_thread(fetch, cancelled_by=query.mark)
            except QueryError as error:
                await reply.write(encoder.add(_tail(error.body(self._engine.version), tag)))
        finally:
            await self._in_thread(blocks.close)  # before the last byte: a client may ask again as soon as it has it
        if last := encoder.end():
            await reply.write(last)
        await reply.write_eof()
        return reply


def _next(blocks: Iterator[bytes]) -> bytes:
    """Return the next block that holds something, or nothing at the end."""
    return next((block for block in blocks if block), _END)


def _tail(text: str, tag: str) -> bytes:
    """Return an error in the form in which ClickHouse ends a reply that had begun."""
    message = text.encode()
    return b"__exception__\r\n%b\r\n%b%d %b\r\n__exception__\r\n" % (tag.encode(), message, len(message), tag.encode())


def _query(asked: Request, work: Work, prelude: tuple[str, ...], *, readonly: bool) -> Query:
    usual = "Values" if work.statement.kind == "insert" else "TabSeparated"
    return Query(
        text=work.statement.head,
        mark=str(uuid.uuid4()),  # not the client's id: two clients may have chosen the same
        database=asked.database,
        prelude=prelude,
        settings=asked.settings,
        parameters=asked.parameters,
        format=(work.statement.format or asked.format or usual),
        readonly=readonly,
    )
