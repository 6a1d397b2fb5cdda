"""What an alert says, in words: title and text. Numbers with their units, times in UTC."""

from collections.abc import Iterator, Mapping, Sequence

from streams.contract import JUDGING, AlertKind, Incident, Reason
from streams.core.words import instant, names, span

MAX_TITLE_CHARS = 140

_STAGES = {
    "early_warning": "Early warning",
    "outage": "Outage",
    "location_trouble": "Location in trouble",
    "silence": "Silence",
}


def subject(incident: Incident) -> str:
    """Return what the incident is about: the target, or the location where it is a location's."""
    if incident.target is not None:
        return incident.target
    if incident.subject == JUDGING:
        return "forewarn itself"
    return f"location {incident.location or incident.subject}"


def title(incident: Incident, kind: AlertKind, *, now_us: int) -> str:
    """Return one line: how bad, about what, and the short of it."""
    stage, about, cause = _STAGES[incident.kind], subject(incident), _cause(incident)
    if kind == "resolved":
        line = f"Resolved after {span(_lasted_us(incident, now_us))}: {stage.lower()}: {about}"
    elif kind == "reminder":
        line = f"Still open for {span(_lasted_us(incident, now_us))}: {stage.lower()}: {about}: {cause}"
    elif kind == "escalation":
        line = f"Now an outage: {about}: {cause}"
    else:
        line = f"{stage}: {about}: {cause}"
    line = " ".join(line.split())
    return line if len(line) <= MAX_TITLE_CHARS else line[: MAX_TITLE_CHARS - 1] + "…"


def text(incident: Incident, kind: AlertKind, *, now_us: int, watched: Mapping[tuple[str, str], str]) -> str:
    """Return what a person needs: what, since when, how far from normal, where, in which phase, how long is left.

    Args:
        incident: Its newest revision.
        kind: Of the alert.
        now_us: Wall clock, microseconds UTC.
        watched: What a person would look at, by (target, probe): a masked URL, an address.
    """
    what = "Target" if incident.target is not None else "Location"
    own = incident.subject == JUDGING
    lines = [
        "About: forewarn itself" if own else f"{what}: {incident.target or incident.location or incident.subject}",
        f"What: {_STAGES[incident.kind].lower()}: {_cause(incident)}",
        *_probes(incident, watched),
        f"Since: {instant(incident.began_at_us)} ({span(_lasted_us(incident, now_us))})",
    ]
    if incident.outage_at_us is not None and incident.warned_at_us is not None:
        before = span(incident.outage_at_us - incident.warned_at_us)
        lines.append(f"Warned: {instant(incident.warned_at_us)}, {before} before the outage was declared")
    if incident.resolved_at_us is not None:
        lines.append(f"Resolved: {instant(incident.resolved_at_us)}")
    if kind != "resolved":
        # While it fails, a number of the early warning is what was, not what is.
        head = "" if incident.outage_at_us is None else "Warned of: "
        lines += [f"{head}{line}" for reason in incident.reasons if (line := _numbers(reason)) is not None]
        lines += [reason.text for reason in incident.reasons if own]
    if incident.locations:
        lines.append(f"Locations: {names(incident.locations)}")
    left = [reason.time_left_us for reason in incident.reasons if reason.time_left_us is not None]
    if left and incident.resolved_at_us is None:
        lines.append(f"Time left: at least {span(min(left))}")
    lines.append(f"Incident: {incident.incident_id}")
    return "\n".join(lines)


def digest_title(incidents: Sequence[Incident]) -> str:
    """Return one line for several incidents that came out of a backlog."""
    outages = sum(one.kind == "outage" for one in incidents)
    return f"{len(incidents)} incidents are open after a backlog, {outages} of them outages"


def digest(incidents: Sequence[Incident], *, now_us: int) -> str:
    """Return a line for each of them, outages first."""
    ordered = sorted(incidents, key=lambda one: (one.kind != "outage", one.began_at_us, one.incident_id))
    lines = (f"- {title(one, 'initial', now_us=now_us)} (incident {one.incident_id})" for one in ordered)
    return "\n".join(("What happened while nothing was told and is over by now is recorded.", *lines))


def quantity(metric: str, value: float) -> str:
    """Return a reading with its unit: latency in ms, ratios in percent, days as days."""
    name = metric.split(":", 1)[0]
    if name in {"latency", "duration_us"} or name.endswith("_us"):
        milliseconds = value / 1000
        return f"{milliseconds / 1000:.2f} s" if milliseconds >= 10_000 else f"{_short(milliseconds)} ms"
    if name.endswith("ratio"):
        return f"{_short(value * 100)} %"
    if name.endswith("days_left"):
        return f"{_short(value)} days"
    return _short(value)


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _lasted_us(incident: Incident, now_us: int) -> int:
    end_us = now_us if incident.resolved_at_us is None else incident.resolved_at_us
    return max(0, end_us - incident.began_at_us)


def _cause(incident: Incident) -> str:
    """Return the cause without what stands beside it anyway: since when, and that an outage is failing."""
    began = f" since {instant(incident.began_at_us)}"
    cause = incident.cause.replace(f",{began}", "").replace(began, "")
    return cause.removeprefix("failing: ") if incident.kind == "outage" else cause


def _probes(incident: Incident, watched: Mapping[tuple[str, str], str]) -> Iterator[str]:
    """Yield a line for each probe that a reason comes from, with what it looks at, if the config says so."""
    for probe in dict.fromkeys(reason.probe for reason in incident.reasons if incident.target is not None):
        place = watched.get((incident.target or "", probe))
        yield f"Probe: {probe}" if place is None else f"Probe: {probe}, {place}"


def _numbers(reason: Reason) -> str | None:
    """Return what was seen beside what is normal; None for a reason without numbers."""
    if reason.metric is None or reason.value is None:
        return None
    parts = [f"{reason.metric} ({reason.probe}): {quantity(reason.metric, reason.value)}"]
    if reason.baseline is not None:
        times = f" ({reason.value / reason.baseline:.1f} times)" if reason.baseline > 0 else ""
        parts.append(f"normally {quantity(reason.metric, reason.baseline)}{times}")
    if reason.limit is not None:
        parts.append(f"limit {quantity(reason.metric, reason.limit)}")
    if reason.phase is not None:
        parts.append(f"mostly in phase {reason.phase}")
    return ", ".join(parts)
