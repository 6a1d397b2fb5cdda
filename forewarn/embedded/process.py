"""A process of ours, however it was started, and the plain way to start one."""

import contextlib
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, TypeAlias

LEAN: Final[Mapping[str, str]] = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
"""Environment of every process of one machine: nothing multiplies matrices, and each arena holds freed memory."""


class Process(Protocol):
    """What `subprocess.Popen` is for us.

    Attributes:
        pid: Its process id.
        returncode: Its exit code once its end was seen; negative for a signal.
    """

    pid: int
    returncode: int | None

    def poll(self) -> int | None:
        """Return its exit code, or None while it lives."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit code.

        Raises:
            subprocess.TimeoutExpired: It lives on after `timeout` seconds.
        """

    def send_signal(self, sig: int) -> None:
        """Send a signal; harmless when it has ended."""

    def kill(self) -> None:
        """Send SIGKILL."""


Launch: TypeAlias = Callable[[Sequence[str], Path, Mapping[str, str]], Process]
"""Starts a command with this log file (appended to) and this environment."""


def popen(command: Sequence[str], log_file: Path, environment: Mapping[str, str]) -> Process:
    """Start a command as a process of its own, in a session of its own.

    Raises:
        OSError: It cannot be started, or its log cannot be written.
    """
    with log_file.open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - our own commands, no shell
            command,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C at the terminal is ours to pass on, in order
        )


def end(process: Process, *, hard: bool, patience_s: float) -> bool:
    """End a process in order, or as a crash does; harmless when it has ended already.

    Args:
        process: Ours.
        hard: With SIGKILL at once.
        patience_s: How long an orderly end may take.

    Returns:
        Whether it ended in that time; else it was killed.
    """
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL if hard else signal.SIGTERM)
    try:
        process.wait(timeout=patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    return True
