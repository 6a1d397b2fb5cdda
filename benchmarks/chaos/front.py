"""Stands in front of a server and forwards every byte, until somebody is cut off.

Then nothing passes, as in a network that swallows packets. Healed, what was held back passes, as a retransmission
brings it.
"""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Self

import psutil

CHUNK_BYTES: Final = 65536
WITHIN_S: Final = 10.0

EVERYBODY: Final = frozenset({-1})


@dataclass(eq=False)
class _Connection:
    """One client's connection.

    Attributes:
        port: The client's.
        open: Bytes may pass.
    """

    port: int
    open: asyncio.Event = field(default_factory=asyncio.Event)


class Front:
    """Forwards from `port` to `server_port` on loopback. Use it as a context.

    Attributes:
        port: Where it listens, once entered.
        server_port: May be set later; until then connections are closed at once.
    """

    def __init__(self) -> None:
        self.port = 0
        self.server_port = 0
        self._cut: frozenset[int] = frozenset()
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="front", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self, pids: Iterable[int]) -> None:
        """Let nothing pass between the server and these processes (EVERYBODY: all), old connections and new ones."""
        self._do(self._set_cut(frozenset(pids)))

    def heal(self) -> None:
        """Let everything pass again."""
        self._do(self._set_cut(frozenset()))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=WITHIN_S)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _set_cut(self, pids: frozenset[int]) -> None:
        self._cut = pids
        ports = _ports_of(pids)
        for connection in self._connections:
            self._gate(connection, ports)

    def _gate(self, connection: _Connection, ports: frozenset[int]) -> None:
        if self._cut == EVERYBODY or connection.port in ports:
            connection.open.clear()
        else:
            connection.open.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = _Connection(writer.get_extra_info("peername")[1])
        self._connections.add(connection)
        self._gate(connection, _ports_of(self._cut))
        try:
            await connection.open.wait()
            with contextlib.suppress(OSError):
                await self._forward(connection, reader, writer)
        finally:
            self._connections.discard(connection)
            self._tasks.discard(task)
            writer.close()

    async def _forward(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.server_port)
        ways = [
            asyncio.create_task(_pass(connection, reader, server_writer)),
            asyncio.create_task(_pass(connection, server_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            server_writer.close()


async def _pass(connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(CHUNK_BYTES):
        await connection.open.wait()
        writer.write(chunk)
        await writer.drain()
    await connection.open.wait()  # the end of a connection does not pass either


def _ports_of(pids: frozenset[int]) -> frozenset[int]:
    """Return the local TCP ports that the processes have."""
    ports: set[int] = set()
    for pid in pids - EVERYBODY:
        with contextlib.suppress(psutil.Error):
            ports.update(one.laddr.port for one in psutil.Process(pid).net_connections(kind="tcp4") if one.laddr)
    return frozenset(ports)
