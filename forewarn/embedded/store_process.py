"""Starts and ends the embedded store: chDB behind ClickHouse's HTTP interface, in a process of its own."""

import json
import os
import secrets
import selectors
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Final

from analytics.errors import StoreRefusedError, StoreUnavailableError
from analytics.settings import StoreSettings
from forewarn.embedded.logs import cut_log
from forewarn.embedded.process import end
from forewarn.leash import PARENT

START_TIMEOUT_S: Final = 30.0


class StoreProcess:
    """The embedded store on one directory.

    Attributes:
        settings: How to reach it, once started. The token is this object's: after a
            crash the store comes back with the same one.
    """

    def __init__(self, directory: Path, *, port: int = 0) -> None:
        self._directory = directory
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._token = secrets.token_urlsafe(32)
        self._log = directory.parent / "store.log"
        self._said_from = 0
        self.settings = StoreSettings(url="")

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Its process id while it lives."""
        return None if self._process is None else self._process.pid

    def start(self) -> StoreSettings:
        """Start it and return how to reach it, when it answers.

        Raises:
            StoreRefusedError: It ended at once; the text is its own line (directory locked, port taken, ...).
            StoreUnavailableError: It did not become ready in time.
        """
        self.launch()
        self.wait_until_ready()
        return self.settings

    def launch(self) -> None:
        """Start it without waiting; `wait_until_ready` must follow.

        Raises:
            StoreRefusedError: Its directory cannot be made.
        """
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreRefusedError(f"the store cannot write to {self._directory}: {error.strerror}") from error
        cut_log(self._log)
        with self._log.open("ab") as log:
            self._said_from = log.tell()
            self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                [
                    *(sys.executable, "-m", "forewarn.embedded.store"),
                    *("--path", str(self._directory), "--port", str(self._port)),
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "FOREWARN_STORE_TOKEN": self._token, PARENT: str(os.getpid())},
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Return when it answers. Errors: see `start`."""
        process = self._process
        assert process is not None and process.stdout is not None  # noqa: PT018 - one fact: it was launched
        line = _first_line(process.stdout, timeout_s=START_TIMEOUT_S)
        if line is None:
            code = _exit_code(process)
            self.stop()
            if code is None:
                raise StoreUnavailableError(
                    f"the embedded store did not start in {START_TIMEOUT_S:g} s; see {self._log}"
                )
            raise StoreRefusedError(self._last_words() or f"the embedded store ended with {code}; see {self._log}")
        # The same port after a restart: those who know the address need not be told again.
        self._port = int(json.loads(line)["port"])
        self.settings = StoreSettings(url=f"http://127.0.0.1:{self._port}", token=self._token)

    def _last_words(self) -> str:
        with self._log.open("rb") as log:
            log.seek(self._said_from)
            said = log.read().decode(errors="replace").strip().splitlines()
        return said[-1] if said else ""

    def care(self) -> None:
        """Keep its log under its bound."""
        cut_log(self._log)

    def stop(self, *, timeout_s: float = 5.0) -> bool:
        """End it in order.

        Returns:
            Whether it ended by itself in time (else it was killed; what it had answered is durable).
        """
        process, self._process = self._process, None
        if process is None:
            return True
        try:
            return end(process, hard=False, patience_s=timeout_s)
        finally:
            if process.stdout is not None:
                process.stdout.close()


def _exit_code(process: subprocess.Popen[bytes]) -> int | None:
    """Return how it ended. Its output ends a moment before it does: give it that moment."""
    try:
        return process.wait(timeout=1.0)
    except subprocess.TimeoutExpired:
        return None


def _first_line(stream: IO[bytes], *, timeout_s: float) -> bytes | None:
    """Return the first line, or None if the stream ended or nothing came in time."""
    deadline = time.monotonic() + timeout_s
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return None
            chunk = os.read(stream.fileno(), 4096)
            if not chunk:
                return None
            line += chunk
    return line
