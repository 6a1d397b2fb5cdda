"""The screen of a running installation: a line for each event, and below them on a terminal a live table."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from forewarn.board import Board, own_line
from forewarn.log_reader import LogReader
from forewarn.up import Installation
from producers.topics import ALERTS, CHECKS, DEVIATIONS, INCIDENTS, VERDICTS
from streams.contract import Incident

TOPICS: Final = (CHECKS, DEVIATIONS, VERDICTS, INCIDENTS, ALERTS)
BASELINES_EVERY_S: Final = 10.0
DRAW_EVERY_S: Final = 1.0
READ_S: Final = 0.2


class Screen:
    """Reads the topics, looks after the installation, and shows both. Use it as a context.

    Attributes:
        board: What is shown.
        incidents: The latest state of each incident, by its id.
    """

    def __init__(self, console: Console, installation: Installation, *, from_start: bool) -> None:
        self.board = Board()
        self.incidents: dict[str, Incident] = {}
        self._console = console
        self._installation = installation
        self._reader = LogReader(installation.log_settings(), TOPICS, from_start=from_start)
        self._live = (
            Live(console=console, auto_refresh=False, vertical_overflow="crop") if console.is_terminal else None
        )
        self._baselines_at_s = 0.0
        self._drawn_at_s = 0.0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Begin to show."""
        self._stack.callback(self._reader.close)
        if self._live is not None:
            self._stack.enter_context(self._live)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""
        self._stack.close()

    def say(self, text: str) -> None:
        """Add a line of our own."""
        self._print(own_line(text))

    def show(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Go on for so long, or until something is so.

        Returns:
            Whether it became so.
        """
        deadline_s = time.monotonic() + seconds
        while time.monotonic() < deadline_s:
            for said in self._installation.care():
                self.say(said)
            self._read()
            self._refresh_baselines()
            self._draw()
            if until():
                return True
        return False

    def _read(self) -> None:
        for event in self._reader.poll(timeout_s=READ_S):
            if isinstance(event, Incident):
                self.incidents[event.incident_id] = event
            line = self.board.apply(event)
            if line is not None:
                self._print(line)

    def _print(self, line: Text) -> None:
        # Whole: what is wrong stands at the end of a line. Above the table it stays to be scrolled back to, in several
        # lines if it is long; into a file it goes as one, whatever the width.
        self._console.print(line, soft_wrap=self._live is None)

    def _draw(self) -> None:
        if self._live is not None and time.monotonic() - self._drawn_at_s > DRAW_EVERY_S:
            self._drawn_at_s = time.monotonic()
            self._live.update(self.board.render(), refresh=True)

    def _refresh_baselines(self) -> None:
        if time.monotonic() - self._baselines_at_s < BASELINES_EVERY_S:
            return
        self._baselines_at_s = time.monotonic()
        self.board.set_baselines(self._installation.latency_baselines())
