"""Starts forewarn's own commands by forking one process that has imported them all.

    up ── one line a command ──▶ nursery ── fork ──▶ forewarn worker detect
       ◀── its pid, its end ───          └─ fork ──▶ forewarn producer --location here

Each of six commands would import for 1.3 s and hold 70 MB of what the others hold too. Forked, they have the modules at
once, and share the memory until they write to it.

This is the nursery as its owner sees it; the process itself is `nursery_process`. Where forking after imports is not
safe (macOS: system libraries refuse), `popen` starts the same commands.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from forewarn.embedded.process import LEAN
from producers.errors import ForewarnError

COMMAND: Final = (sys.executable, "-m", "forewarn")
"""How every command begins that can be started here."""

FORKING_IS_SAFE: Final = sys.platform == "linux"
ANSWER_TIMEOUT_S: Final = 60.0
_UNKNOWN_END: Final = -int(signal.SIGKILL)


class Nursery:
    """The nursery as `forewarn up` sees it. Its methods may be called from any thread."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._log_file = data_dir / "logs" / "nursery.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._received = b""
        self._ended: dict[int, int] = {}
        self._generation = 0
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """Its process id while it lives."""
        alive = self._process is not None and self._process.poll() is None
        return self._process.pid if alive and self._process is not None else None

    def start(self) -> None:
        """Start it; it imports while others start."""
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        self._line, theirs = socket.socketpair()
        with theirs, self._log_file.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                # The directory is for people and `ps` alone: which installation this is.
                [sys.executable, "-m", "forewarn.embedded.nursery_process", str(self._data_dir)],
                stdin=theirs.fileno(),
                stdout=log,
                stderr=log,
                env={**LEAN, **os.environ},
                start_new_session=True,
            )
        self._received = b""
        self._ended = {}
        self._generation += 1

    def spawn(self, command: Sequence[str], log_file: Path, environment: Mapping[str, str]) -> "Offspring":
        """Start a command of forewarn; see `forewarn.embedded.process.Launch`.

        Raises:
            ForewarnError: The nursery ended, or does not answer; the next call starts another one.
        """
        if tuple(command[: len(COMMAND)]) != COMMAND:
            raise ValueError(f"not a command of forewarn: {command}")
        asked = {"words": command[len(COMMAND) :], "log": str(log_file), "environment": dict(environment)}
        with self._lock:
            if self.pid is None:
                self._forget()
                self.start()
            assert self._line is not None
            try:
                self._line.sendall(json.dumps(asked).encode() + b"\n")
                started = self._answer()
            except OSError as error:
                raise ForewarnError(f"the nursery does not answer ({error}); see {self._log_file}") from error
            return Offspring(self, started, self._generation)

    def _answer(self) -> int:
        deadline_s = time.monotonic() + ANSWER_TIMEOUT_S
        while True:
            for message in self._messages(max(0.0, deadline_s - time.monotonic())):
                if "started" in message:
                    return int(message["started"])
            if time.monotonic() >= deadline_s:
                raise TimeoutError("no answer in time")

    def _messages(self, timeout_s: float) -> list[dict[str, int]]:
        """Read what has come, and note the ends in it.

        Raises:
            ConnectionError: The nursery ended.
        """
        assert self._line is not None
        if not select.select([self._line], [], [], timeout_s)[0]:
            return []
        chunk = self._line.recv(65536)
        if not chunk:
            raise ConnectionError("it ended")
        *lines, self._received = (self._received + chunk).split(b"\n")
        messages: list[dict[str, int]] = [json.loads(line) for line in lines]
        for message in messages:
            if "started" in message:
                self._ended.pop(message["started"], None)  # of an earlier process with this number
            else:
                self._ended[message["ended"]] = message["code"]
        return messages

    def end_of(self, pid: int, generation: int) -> int | None:
        """Return the exit code of an offspring that has ended, None if its end is not known yet."""
        with self._lock:
            if generation == self._generation:
                try:
                    while pid not in self._ended and self._line is not None and self._messages(0.0):
                        pass
                except OSError:
                    self._forget()
                if pid in self._ended or self._line is not None:
                    return self._ended.get(pid)
            return _UNKNOWN_END  # it ended without anybody to ask how

    def _forget(self) -> None:
        if self._line is not None:
            self._line.close()
        self._line = None

    def stop(self) -> None:
        """End it; offspring that still live end by themselves, as those do whose parent has gone."""
        self._forget()
        process, self._process = self._process, None
        if process is not None:
            process.kill()  # it has nothing to save
            process.wait()


class Offspring:
    """A command that the nursery started. See `forewarn.embedded.process.Process`."""

    def __init__(self, nursery: Nursery, pid: int, generation: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery
        self._generation = generation
        try:
            # A descriptor of the process itself: a signal never reaches somebody who got its number later.
            self._handle: int | None = os.pidfd_open(pid)
        except ProcessLookupError:
            self._handle = None

    def _lives(self) -> bool:
        if self._handle is None:
            return False
        if select.select([self._handle], [], [], 0)[0]:
            os.close(self._handle)
            self._handle = None
        return self._handle is not None

    def poll(self) -> int | None:
        """See Process."""
        if self.returncode is None and not self._lives():
            self.returncode = self._nursery.end_of(self.pid, self._generation)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """See Process."""
        deadline_s = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            left_s = 1.0 if deadline_s is None else deadline_s - time.monotonic()
            if left_s <= 0:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
            if self._handle is not None:
                select.select([self._handle], [], [], min(left_s, 1.0))
            else:
                time.sleep(0.005)  # it has ended: the nursery tells in a moment how
        return code

    def send_signal(self, sig: int) -> None:
        """See Process."""
        if self._lives():
            assert self._handle is not None
            signal.pidfd_send_signal(self._handle, sig)

    def kill(self) -> None:
        """See Process."""
        self.send_signal(signal.SIGKILL)
