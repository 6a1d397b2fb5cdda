"""The live screen: a table of targets with state, latency against baseline, and a line for each event."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from producers.contract import ANCHOR_CUSTOMER, CheckBatch, Outcome
from streams.contract import Alert, Deviation, Incident, Verdict

STYLES: Final = {"healthy": "green", "degraded": "yellow", "failing": "bold red", "unknown": "magenta"}
_EVENT_STYLES: Final = {"opened": "yellow", "escalated": "bold red", "updated": "", "resolved": "green"}


@dataclass(slots=True)
class _Row:
    """What the board knows of one target."""

    verdict: str = "unknown"
    latency_us: dict[tuple[str, str], float] = field(default_factory=dict)  # by (location, probe), as the next two
    last: dict[tuple[str, str], str] = field(default_factory=dict)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    reason: str = ""


class Board:
    """Folds what the topics say into a screen. Pure but for the rendering: give it events, take the picture.

    Attributes:
        checks: Checks seen.
    """

    def __init__(self, *, events: int = 12) -> None:
        self.checks = 0
        self._rows: dict[str, _Row] = {}
        self._baselines: Mapping[str, float] = {}
        self._events: deque[Text] = deque(maxlen=events)

    def apply(self, event: object) -> Text | None:
        """Take in one message of a topic.

        Returns:
            The line for it, if it is one that a person wants to see.
        """
        line = None
        if isinstance(event, CheckBatch):
            self._apply_checks(event)
        elif isinstance(event, Verdict):
            row = self._row(event.target)
            row.verdict = event.verdict
            row.reason = "; ".join(reason.text for reason in event.reasons)
        elif isinstance(event, Incident):
            line = incident_line(event)
        elif isinstance(event, Alert):
            given_up = "" if event.delivered else " was not delivered"
            text = f"{event.kind} to {event.channel}{given_up}: {event.title}"
            line = _line(event.at_us, "alert", text, "cyan" if event.delivered else "bold red")
        elif isinstance(event, Deviation):
            line = deviation_line(event)
        if line is not None:
            self._events.append(line)
        return line

    def say(self, text: str, style: str = "bold") -> Text:
        """Add a line of our own."""
        line = _line(int(datetime.now(UTC).timestamp() * 1e6), "forewarn", text, style)
        self._events.append(line)
        return line

    def set_baselines(self, latency_us: Mapping[str, float]) -> None:
        """Give the latency that is normal by target, as the workers have learned it."""
        self._baselines = latency_us

    def counts(self) -> dict[tuple[str, str, str], int]:
        """Return the checks seen by (target, location, probe)."""
        return {(target, *key): count for target, row in self._rows.items() for key, count in row.counts.items()}

    def _row(self, target: str) -> _Row:
        return self._rows.setdefault(target, _Row())

    def _apply_checks(self, batch: CheckBatch) -> None:
        for i, target in enumerate(batch.target):
            row, key = self._row(target), (batch.location, batch.probe[i])
            row.counts[key] += 1
            self.checks += 1
            duration_us = batch.duration_us[i]
            # A failure that names no reason is one all the same: never show its latency as if all were well.
            row.last[key] = "" if batch.outcome[i] == Outcome.SUCCESS else batch.reason[i] or str(batch.outcome[i])
            if batch.kind[i] == "http" and duration_us is not None:
                row.latency_us[key] = float(duration_us)

    def render(self) -> RenderableType:
        """Return the screen."""
        table = Table(expand=True, title_justify="left", header_style="bold")
        table.add_column("target", no_wrap=True)
        table.add_column("state", no_wrap=True, min_width=8)
        for title in ("latency", "normal", "×", "checks"):
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("why", ratio=1, overflow="ellipsis", no_wrap=True)
        for target, row in sorted(self._rows.items()):
            if target.startswith(f"{ANCHOR_CUSTOMER}/"):
                continue
            # As texts: a bare string would be read as markup, and `[/srv]` in it would be an error.
            numbers = map(Text, self._numbers(target, row))
            table.add_row(Text(target), Text(row.verdict, STYLES[row.verdict]), *numbers, Text(row.reason))
        return Group(table, *self._events)

    def _numbers(self, target: str, row: _Row) -> tuple[str, str, str, str]:
        latency_us = median(row.latency_us.values()) if row.latency_us else None
        baseline_us = self._baselines.get(target)
        failed = sorted({reason for reason in row.last.values() if reason})
        shown = failed[0] if failed else "–" if latency_us is None else f"{latency_us / 1000:.0f} ms"
        normal = "–" if latency_us is None else "warm-up" if baseline_us is None else f"{baseline_us / 1000:.0f} ms"
        ratio = "" if latency_us is None or not baseline_us or failed else f"{latency_us / baseline_us:.1f}"
        return shown, normal, ratio, str(row.counts.total())


def _line(at_us: int, what: str, text: str, style: str) -> Text:
    clock = datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%H:%M:%S")
    return Text.assemble((clock, "dim"), " ", (f"{what:<9}", style), " ", text, no_wrap=True, overflow="ellipsis")


def incident_line(event: Incident) -> Text:
    """Return one line for a step of an incident."""
    who = event.target if event.target is not None else f"location {event.location}"
    kind = event.kind.replace("_", " ")
    pages = ", pages" if event.page and event.effect != "resolved" else ""
    style = _EVENT_STYLES[event.effect]
    return _line(event.updated_at_us, "incident", f"{event.effect}: {kind} at {who}{pages}: {event.cause}", style)


def deviation_line(event: Deviation) -> Text:
    """Return one line for a series that leaves its norm or is back in it."""
    where = f" at {event.location}" if event.location is not None else ""
    what = "leaves its norm" if event.active else "is back in its norm"
    text = f"{event.target} {event.probe} {event.metric}{where} {what} (score {event.score:.1f})"
    return _line(event.tick_us, "deviation", text, "yellow" if event.active else "green")
