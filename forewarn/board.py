"""What the screen shows: a table of targets and their probes, numbers against their norm, and a line for each event."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from forewarn.telling import Telling, latency_text, over_locations, telling
from producers.contract import ANCHOR_CUSTOMER, CheckBatch, Outcome
from streams.contract import Alert, Deviation, Incident, Verdict
from streams.core.alerting.text import quantity, subject

STYLES: Final = {"healthy": "green", "degraded": "yellow", "failing": "bold red", "unknown": "magenta"}
_EVENT_STYLES: Final = {"opened": "yellow", "escalated": "bold red", "updated": "", "resolved": "green"}


@dataclass(slots=True)
class _Probe:
    """What the board knows of one probe of a target, by location.

    Attributes:
        tellings: Of the last check that had one.
        last: Why the last check failed or was missed; empty if it did not.
    """

    tellings: dict[str, Telling] = field(default_factory=dict)
    last: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Row:
    """What the board knows of one target."""

    verdict: str = "unknown"
    probes: dict[str, _Probe] = field(default_factory=dict)
    reasons: dict[str, list[str]] = field(default_factory=dict)
    """What the verdict says of each probe."""


class Board:
    """Folds what the topics say into a screen. Pure but for the rendering: give it events, take the picture.

    Attributes:
        checks: Checks seen.
    """

    def __init__(self) -> None:
        self.checks = 0
        self._rows: dict[str, _Row] = {}
        self._baselines: Mapping[tuple[str, str], float] = {}

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
            row.reasons = {}
            for reason in event.reasons:
                row.reasons.setdefault(reason.probe, []).append(reason.text)
        elif isinstance(event, Incident):
            line = incident_line(event)
        elif isinstance(event, Alert):
            given_up = "" if event.delivered else " was not delivered"
            text = f"{event.kind} to {event.channel}{given_up}: {event.title}"
            line = _line(event.at_us, "alert", text, "cyan" if event.delivered else "bold red")
        elif isinstance(event, Deviation):
            line = deviation_line(event)
        return line

    def set_baselines(self, latency_us: Mapping[tuple[str, str], float]) -> None:
        """Give the latency that is normal by (target, probe), as the workers have learned it."""
        self._baselines = latency_us

    def counts(self) -> dict[tuple[str, str, str], int]:
        """Return the checks seen by (target, location, probe)."""
        return {
            (target, location, name): count
            for target, row in self._rows.items()
            for name, probe in row.probes.items()
            for location, count in probe.counts.items()
        }

    def _row(self, target: str) -> _Row:
        return self._rows.setdefault(target, _Row())

    def _apply_checks(self, batch: CheckBatch) -> None:
        metrics: dict[int, dict[str, float]] = {}
        for name, column in batch.metrics.items():
            for i, value in zip(column.rows, column.values, strict=True):
                metrics.setdefault(i, {})[name] = value
        for i, target in enumerate(batch.target):
            probe, location = self._row(target).probes.setdefault(batch.probe[i], _Probe()), batch.location
            probe.counts[location] += 1
            self.checks += 1
            # A failure that names no reason is one all the same: never show its latency as if all were well.
            reason = "" if batch.outcome[i] == Outcome.SUCCESS else batch.reason[i] or str(batch.outcome[i])
            probe.last[location] = reason
            told = telling(batch.kind[i], batch.duration_us[i], metrics.get(i, {}))
            if told is not None:
                probe.tellings[location] = told

    def render(self) -> RenderableType:
        """Return the table."""
        table = Table(expand=True, title_justify="left", header_style="bold")
        table.add_column("target", no_wrap=True)
        table.add_column("state", no_wrap=True, min_width=8)
        table.add_column("probe", no_wrap=True)
        for title in ("now", "normal", "×", "checks"):
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("why", ratio=1, overflow="ellipsis", no_wrap=True)
        for target, row in sorted(self._rows.items()):
            if target.startswith(f"{ANCHOR_CUSTOMER}/"):
                continue
            # As texts: a bare string would be read as markup, and `[/srv]` in it would be an error.
            head = [Text(target), Text(row.verdict, STYLES[row.verdict])]
            # What nobody has checked yet has a row too, if something is said of it: that it is silent.
            for name in sorted(row.probes.keys() | row.reasons.keys()) or ["–"]:
                numbers = self._numbers(target, name, row.probes.get(name, _Probe()))
                why = "; ".join(row.reasons.get(name, []))
                table.add_row(*head, Text(name), *map(Text, numbers), Text(why))
                head = [Text(""), Text("")]
        return table

    def _numbers(self, target: str, name: str, probe: _Probe) -> tuple[str, str, str, str]:
        told = over_locations(probe.tellings.values())
        failed = sorted({reason for reason in probe.last.values() if reason})
        now, normal, ratio = failed[0] if failed else "–" if told is None else str(told), "–", ""
        if told is not None and told.is_latency:
            baseline_us = self._baselines.get((target, name))
            normal = "warm-up" if baseline_us is None else latency_text(baseline_us)
            ratio = "" if not baseline_us or failed else f"{told.value / baseline_us:.1f}"
        return now, normal, ratio, str(probe.counts.total())


def _line(at_us: int, what: str, text: str, style: str) -> Text:
    clock = datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%H:%M:%S")
    return Text.assemble((clock, "dim"), " ", (f"{what:<9}", style), " ", text, overflow="fold")


def own_line(text: str) -> Text:
    """Return a line that we say ourselves, as of now."""
    return _line(int(datetime.now(UTC).timestamp() * 1e6), "forewarn", text, "bold")


def incident_line(event: Incident) -> Text:
    """Return one line for a step of an incident."""
    kind = event.kind.replace("_", " ")
    pages = ", pages" if event.page and event.effect != "resolved" else ""
    style = _EVENT_STYLES[event.effect]
    return _line(
        event.updated_at_us, "incident", f"{event.effect}: {kind} at {subject(event)}{pages}: {event.cause}", style
    )


def deviation_line(event: Deviation) -> Text:
    """Return one line for a series that leaves its norm or is back in it."""
    where = f" at {event.location}" if event.location is not None else ""
    what = "leaves its norm" if event.active else "is back in its norm"
    numbers = quantity(event.metric, event.value)
    if event.baseline is not None:
        numbers += f", normally {quantity(event.metric, event.baseline)}"
    text = f"{event.target} {event.probe} {event.metric}{where} {what}: {numbers} (score {event.score:.1f})"
    return _line(event.tick_us, "deviation", text, "yellow" if event.active else "green")
