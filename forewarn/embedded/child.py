"""A child process of the one-machine mode: started, watched, restarted with a bounded backoff, ended in order."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from forewarn.embedded.logs import cut_log
from forewarn.embedded.process import Launch, Process, popen

EXIT_RESTART_WANTED: Final = 75
"""A worker found another epoch of the log, or a state that was missing: start it again at once."""

BACKOFF_S: Final = (0.2, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses before what ends again and again is started again; the last one from then on."""

_STEADY_S: Final = 60.0


class Child:
    """One command under our care. Its output goes to `<log_dir>/<name>.log`.

    Attributes:
        name: For people: `detect`, `producer home`.
        restarts: How often it had to be started again.
        last_exit: Its last exit code; negative for a signal; None before the first end.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log_dir: Path,
        environment: Mapping[str, str],
        launch: Launch = popen,
    ) -> None:
        self.name = name
        self.restarts = 0
        self.last_exit: int | None = None
        self._command = list(command)
        self._log = log_dir / f"{name.replace(' ', '-')}.log"
        self._environment = {**os.environ, **environment}
        self._launch = launch
        self._process: Process | None = None
        self._started_s = 0.0
        self._failures = 0
        self._start_again_s: float | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while it lives."""
        return None if self._process is None else self._process.pid

    @property
    def running(self) -> bool:
        """Whether it lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it. Its log is put aside first when it has grown past its bound."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        cut_log(self._log)
        self._process = self._launch(self._command, self._log, self._environment)
        self._started_s = time.monotonic()
        self._start_again_s = None

    def care(self) -> str | None:
        """Start it again if it has ended and its backoff is over. Its log is kept under its bound.

        Returns:
            One line for a person if it was found ended just now, else None.
        """
        now_s = time.monotonic()
        if self._start_again_s is not None:
            if now_s >= self._start_again_s:
                self.restarts += 1
                self.start()
            return None
        if self._process is None or self._process.poll() is None:
            cut_log(self._log)
            return None
        self.last_exit = self._process.returncode
        self._process = None
        if self.last_exit == EXIT_RESTART_WANTED:
            self._start_again_s = now_s
            return f"{self.name} starts again: the log is a new one, or a state was found"
        # It ran well for a while: what ended it now is a new trouble, not the last one's continuation.
        self._failures = 1 if now_s - self._started_s > _STEADY_S else self._failures + 1
        wait_s = BACKOFF_S[min(self._failures, len(BACKOFF_S)) - 1]
        self._start_again_s = now_s + wait_s
        return f"{self.name} ended with {self.last_exit}; it is started again in {wait_s:g} s; see {self._log}"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; harmless when it has ended."""
        if self._process is not None:
            self._process.send_signal(number)

    def end(self, *, deadline_s: float) -> bool:
        """Wait for its end until `deadline_s` on the monotonic clock, then kill it.

        Returns:
            Whether it ended by itself.
        """
        process, self._process, self._start_again_s = self._process, None, None
        if process is None:
            return True
        try:
            self.last_exit = process.wait(timeout=max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            self.last_exit = process.wait()
            return False
        return True
