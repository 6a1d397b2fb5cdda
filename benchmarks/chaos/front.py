"""Stands in front of a server and forwards every byte, until somebody is cut off.

Then nothing passes, as in a network that swallows packets. Healed, what was held back passes, as a retransmission
brings it.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Self

import psutil

CHUNK_BYTES: Final = 65536

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
    """Forwards from `port` to `server_port` on loopback, in a process of its own. Use it as a context.

    Attributes:
        port: Where it listens, once entered.
    """

    def __init__(self) -> None:
        self.port = 0
        self._server_port = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.port = self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()  # that is how it learns that it is over
        self._process.wait()

    @property
    def server_port(self) -> int:
        """Where the server listens; until it is set connections are closed at once."""
        return self._server_port

    @server_port.setter
    def server_port(self, port: int) -> None:
        self._server_port = port
        self._ask({"server_port": port})

    def cut(self, pids: Iterable[int]) -> None:
        """Let nothing pass between the server and these processes (EVERYBODY: all), old connections and new ones."""
        self._ask({"cut": sorted(pids)})

    def heal(self) -> None:
        """Let everything pass again."""
        self._ask({"cut": []})

    def _ask(self, what: dict[str, object]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        self._answer()

    def _answer(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


class _Forwarder:
    """What the process does: a line of JSON for each request, answered by a number."""

    def __init__(self) -> None:
        self._server_port = 0
        self._cut: frozenset[int] = frozenset()
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Forward until standard input ends."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        _say(server.sockets[0].getsockname()[1])
        while line := await asyncio.to_thread(sys.stdin.readline):
            asked = json.loads(line)
            self._server_port = asked.get("server_port", self._server_port)
            if "cut" in asked:
                self._set_cut(frozenset(asked["cut"]))
            _say(0)
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _set_cut(self, pids: frozenset[int]) -> None:
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
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
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


def _say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


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


if __name__ == "__main__":
    asyncio.run(_Forwarder().run())
