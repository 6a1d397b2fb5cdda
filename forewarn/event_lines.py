"""What the log says, as lines for a person and as JSON objects."""

import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from rich.text import Text

from forewarn.output import OUTCOME_STYLES, clock, ms
from producers.contract import CheckBatch, CheckMessage, ProducerStopped
from producers.errors import InvalidEvent
from streams.codec import Event
from streams.contract import Action, Alert, DeadLetter, Deviation, Incident, Verdict
from streams.core.alerting.text import subject

Message = CheckMessage | Event | InvalidEvent

STYLES: Final = {
    **OUTCOME_STYLES,
    "healthy": "green",
    "degraded": "yellow",
    "failing": "bold red",
    "unknown": "magenta",
    "opened": "yellow",
    "escalated": "bold red",
    "updated": "",
    "resolved": "green",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One thing to show.

    Attributes:
        target: `customer/name`, None where it is about something else.
        fields: The JSON object.
        line: The same for a person.
        once: What is written to every partition has a key here, so that it is shown once.
    """

    target: str | None
    fields: dict[str, Any]
    line: Text
    once: tuple[str, int] | None = None


def shown(message: Message) -> Iterator[Shown]:
    """Yield what is worth showing of a message: a batch's single checks; nothing of clocks, health and summaries."""
    if isinstance(message, CheckBatch):
        yield from _checks(message)
    elif isinstance(message, InvalidEvent):
        fields = {"type": "unusable", "reason": message.reason, "detail": message.detail}
        yield Shown(target=None, fields=fields, line=Text(f"cannot be used: {message}", style="red"))
    elif isinstance(message, ProducerStopped):
        text = f"{clock(message.at_us)}  producer {message.producer} at {message.location} was stopped in order"
        once = (message.producer, message.at_us)
        yield Shown(target=None, fields=_fields("producer_stopped", message), line=Text(text), once=once)
    else:
        yield from _judgement(message)


def matches(target: str | None, pattern: str | None) -> bool:
    """Return whether a target is wanted; a pattern without a slash looks at the name of any customer."""
    if pattern is None:
        return True
    if target is None:
        return False
    return fnmatch.fnmatchcase(target, pattern if "/" in pattern else f"*/{pattern}")


def _fields(kind: str, message: msgspec.Struct) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(message)
    return {"type": kind} | {name: value for name, value in fields.items() if name != "type"}


def _checks(batch: CheckBatch) -> Iterator[Shown]:
    details = {} if batch.detail is None else dict(zip(batch.detail.rows, batch.detail.values, strict=True))
    metrics: dict[int, dict[str, float]] = {}
    for name, column in batch.metrics.items():
        for row, value in zip(column.rows, column.values, strict=True):
            metrics.setdefault(row, {})[name] = value
    disturbed = frozenset(batch.disturbed)
    for row, target in enumerate(batch.target):
        phases = {name: column[row] for name, column in batch.phases.items() if column[row] is not None}
        fields: dict[str, Any] = {
            "type": "check",
            "target": target,
            "probe": batch.probe[row],
            "kind": batch.kind[row],
            "location": batch.location,
            "scheduled_at_us": batch.scheduled_at_us[row],
            "started_at_us": batch.started_at_us[row],
            "duration_us": batch.duration_us[row],
            "outcome": batch.outcome[row].value,
            "reason": batch.reason[row],
            "detail": details.get(row),
            "address": batch.address[row],
            "http_status": batch.http_status[row],
            "phases": phases,
            "metrics": metrics.get(row, {}),
            "disturbed": row in disturbed,
        }
        yield Shown(target=target, fields=fields, line=_check_line(fields))


def _head(at_us: int, target: str) -> Text:
    return Text(f"{clock(at_us)}  {target:<24}  ")


def _check_line(fields: dict[str, Any]) -> Text:
    line = _head(fields["scheduled_at_us"], fields["target"])
    line.append(f"{fields['probe']:<12}  {fields['location']:<8}  ")
    line.append(f"{fields['outcome']:<7}", style=STYLES[fields["outcome"]])
    line.append(f"  {ms(fields['duration_us']):>9} ms")
    said = [str(fields["http_status"] or ""), fields["address"] or "", (fields["reason"] or "").replace("_", " ")]
    said += [fields["detail"] or "", "disturbed" if fields["disturbed"] else ""]
    rest = "  ".join(part for part in said if part)
    return line.append(f"  {rest}" if rest else "")


def _judgement(message: Any) -> Iterator[Shown]:
    if isinstance(message, Deviation):
        yield Shown(target=message.target, fields=_fields("deviation", message), line=_deviation_line(message))
    elif isinstance(message, Verdict):
        yield Shown(target=message.target, fields=_fields("verdict", message), line=_verdict_line(message))
    elif isinstance(message, Incident):
        yield Shown(target=message.target, fields=_fields("incident", message), line=_incident_line(message))
    elif isinstance(message, Alert):
        yield Shown(target=None, fields=_fields("alert", message), line=_alert_line(message))
    elif isinstance(message, DeadLetter):
        where = f"{message.topic}[{message.partition}]@{message.offset}"
        text = f"{clock(message.at_us)}  {where}  {message.reason}: {message.detail} ({message.payload_bytes:,} bytes)"
        yield Shown(target=None, fields=_fields("dead_letter", message), line=Text(text))
    elif isinstance(message, Action):
        text = f"{clock(message.at_us)}  {message.person}: {message.kind}"
        yield Shown(target=message.target, fields=_fields("action", message), line=Text(text))


def _deviation_line(deviation: Deviation) -> Text:
    line = _head(deviation.tick_us, deviation.target)
    line.append(f"{deviation.probe:<12}  {deviation.location or 'all':<8}  ")
    line.append("abnormal" if deviation.active else "normal  ", style="yellow" if deviation.active else "green")
    value, baseline = _in_unit(deviation.metric, deviation.value), _in_unit(deviation.metric, deviation.baseline)
    normal = "" if deviation.baseline is None else f", normally {baseline}"
    phase = "" if deviation.phase is None else f", mostly {deviation.phase}"
    return line.append(f"  {deviation.metric} {value}{normal}{phase} ({deviation.detector}, {deviation.score:.1f})")


def _in_unit(metric: str, value: float | None) -> str:
    return f"{ms(value)} ms" if metric == "latency" else f"{value:.4g}" if value is not None else "–"


def _verdict_line(verdict: Verdict) -> Text:
    line = _head(verdict.tick_us, verdict.target)
    if verdict.previous != verdict.verdict:
        line.append(f"{verdict.previous} → ")
    line.append(verdict.verdict, style=STYLES[verdict.verdict])
    reasons = "; ".join(reason.text for reason in verdict.reasons)
    line.append(f"  {reasons}" if reasons else "")
    counted = f"{len(verdict.failed)} of {len(verdict.reported)} locations failed" if verdict.failed else ""
    return line.append(f"  {counted}" if counted and not reasons else "")


def _incident_line(incident: Incident) -> Text:
    line = _head(incident.updated_at_us, subject(incident))
    line.append(f"{incident.effect:<9}", style=STYLES[incident.effect])
    pages = ", pages" if incident.page else ""
    return line.append(f"  {incident.kind.replace('_', ' ')} ({incident.severity}{pages})  {incident.cause}")


def _alert_line(alert: Alert) -> Text:
    line = Text(f"{clock(alert.at_us)}  {alert.channel:<12}  {alert.kind:<10}  ")
    line.append("delivered" if alert.delivered else "given up", style="green" if alert.delivered else "bold red")
    error = f" ({alert.error})" if alert.error else ""
    return line.append(f"  {alert.title}{error}")
