"""The process of the nursery: imports what every command of forewarn needs, then forks for whoever asks.

What runs in a fork is the command itself: `forewarn.cli.run` with its words. This process has one thread and no event
loop, so forking it is safe. Nobody imports this module: it would bring the whole command line with it.
"""

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from analytics.lean_arrow import leave_pandas_out
from forewarn.cli import run
from forewarn.leash import PARENT

MODULES: Final = (
    *("forewarn.commands.worker", "forewarn.commands.migrate", "forewarn.commands.producer"),
    *("streams.detect", "streams.incidents", "streams.alerts", "analytics.sink"),
    # What would be imported at the first message otherwise, by each of them.
    *("aiohttp.web", "concurrent.futures.thread", "encodings.idna", "encodings.utf_8_sig", "pyarrow.compute"),
    *("faust.assignor.leader_assignor", "faust.fixups.django", "faust.tables.manager", "faust.tables.recovery"),
    *("faust.transport.conductor", "faust.transport.drivers.aiokafka", "faust.windows", "faust.worker"),
    *("faust.app.router", "faust.events", "faust.topics", "faust.transport.utils", "numpy.ma", "typer._adapters"),
    *("anyio._backends._asyncio", "pydantic.type_adapter", "zoneinfo"),
)


def _serve(line: socket.socket) -> list[str] | None:
    """Fork for each line. Returns in every forked process with its words, and in the nursery when `up` has gone."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    received = b""
    while True:
        ready, _, _ = select.select([line.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _tell_ends(line)
        if line.fileno() not in ready:
            continue
        chunk = line.recv(65536)
        if not chunk:
            return None
        *asked, received = (received + chunk).split(b"\n")
        for text in asked:
            one = json.loads(text)
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for descriptor in (woken, wake):
                    os.close(descriptor)
                line.close()
                _become(one)
                return list(one["words"])
            line.sendall(json.dumps({"started": pid}).encode() + b"\n")


def _tell_ends(line: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        line.sendall(json.dumps({"ended": pid, "code": os.waitstatus_to_exitcode(status)}).encode() + b"\n")


def _become(asked: Mapping[str, Any]) -> None:
    """Take a session, an environment, a log and a name of its own, as a process that was started alone has them."""
    parent = os.getppid()
    os.setsid()
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.environ[PARENT] = str(parent)
    log = os.open(asked["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for descriptor in (log, nothing):
        os.close(descriptor)
    # For `ps` and `top`; the command line is the nursery's.
    Path("/proc/self/comm").write_text(f"fw {' '.join(word for word in asked['words'][:3] if word[0] != '-')}"[:15])


def main() -> int:
    """Import everything, then fork for whoever asks on standard input."""
    line = socket.socket(fileno=os.dup(0))
    for module in MODULES:
        importlib.import_module(module)
    leave_pandas_out()
    gc.collect()
    gc.freeze()  # what all have in common is not looked through by each, which would copy it
    words = _serve(line)
    return 0 if words is None else run(words)


if __name__ == "__main__":
    sys.exit(main())
