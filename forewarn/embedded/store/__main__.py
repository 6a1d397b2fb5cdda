"""`python -m forewarn.embedded.store --path DIR --port N`: the store as a process.

Exit codes: 0 after SIGTERM or SIGINT; 1 if the directory or the port cannot be had; 2 for a wrong command line.
"""

import argparse
import asyncio
import contextlib
import fcntl
import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import IO

from forewarn.embedded.store.access import Limits
from forewarn.embedded.store.errors import StoreStartError
from forewarn.leash import follow_parent

TOKEN_VARIABLE = "FOREWARN_STORE_TOKEN"  # noqa: S105 - the variable's name
_GRACE_S = 1.2


def _own(directory: Path) -> IO[str]:
    """Make the directory and lock it for this process's life.

    Raises:
        StoreStartError: If it cannot be written, or another process has it.
    """
    if "?" in str(directory):
        raise StoreStartError(f"the store's directory must not have a question mark in its name: {directory}")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "lock").open("a+", encoding="ascii")
    except OSError as error:
        raise StoreStartError(f"the store cannot write to {directory}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        owner = lock.read(20).strip()
        lock.close()
        raise StoreStartError(f"another store process ({owner or 'unknown'}) has the directory {directory}") from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


async def _serve(directory: Path, port: int, token: str) -> None:
    # Imported late: the engine's library is half a gigabyte, and a refused start need not load it.
    from forewarn.embedded.store.engine import Engine  # noqa: PLC0415
    from forewarn.embedded.store.server import Server  # noqa: PLC0415

    limits = Limits()
    engine = Engine(directory, limits)
    server = Server(engine, token=token, limits=limits)
    await server.start(port)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    print(json.dumps({"port": server.port}), flush=True)  # noqa: T201 - the one line that says it is ready
    await ended.wait()
    # Whatever the engine still waits for: what was answered is on disk, as after a kill.
    leaving = threading.Timer(_GRACE_S, os._exit, (0,))
    leaving.daemon = True
    leaving.start()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(server.stop(), timeout=_GRACE_S)
        engine.close()


def _token() -> str:
    """Take the token out of the environment, so that nothing that this process starts inherits it.

    Raises:
        StoreStartError: If there is none.
    """
    token = os.environ.pop(TOKEN_VARIABLE, "").strip()
    if not token:
        raise StoreStartError(f"the store needs its token in the environment variable {TOKEN_VARIABLE}")
    return token


def main() -> int:
    """Run the store until a signal ends it."""
    parser = argparse.ArgumentParser(prog="python -m forewarn.embedded.store", description=__doc__)
    parser.add_argument("--path", type=Path, required=True, help="the store's own directory; made if it is not there")
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0 takes a free one")
    chosen = parser.parse_args()
    follow_parent()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        token = _token()
        lock = _own(chosen.path.absolute())
        asyncio.run(_serve(chosen.path.absolute(), chosen.port, token))
        lock.close()
    except StoreStartError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the one line
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: a query that does not stop must not keep the process, and what was answered is on disk already.
    os._exit(code)
