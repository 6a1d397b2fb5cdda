"""The incident of one target and one subject: old state and a finding in, new state and revisions out.

    healthy ──warning_ticks──▶ early warning ──failure_ticks──▶ outage ──success_ticks──▶ resolved
       └───────────────────────failure_ticks──────────────────────▲

A run counts ticks in a row. Unknown ticks neither continue a run nor end it: nothing was seen.

An outage is told at once and pages when it has lasted for `page_after_us`: no rule that speaks at the third failing
check can know a restart of 30 s from a crash when checks come every 10 s. Of a target that loses some checks all the
time it must have failed in a row for longer than chance makes of that (the reason's `limit`). What opens again soon
after it was resolved, is flapping: it pages at once (a second restart is a crash loop), and stays open until the target
has been well for `flap_ticks` intervals.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from streams.contract import SERVICE, VERSION, Incident, IncidentEffect, Reason, Severity, derived_id
from streams.core.incidents.cause import company_cause, outage_cause, warning_cause
from streams.core.incidents.company import ALONE, Company
from streams.core.incidents.signs import LATENCY, PARTIAL_FAILURE, PRESENT, Finding, Sign, counts_failures
from streams.policy import IncidentPolicy

PAGE_INTERVALS: Final = 5
"""An outage pages after so many intervals at the latest: who probes every second wants to know within seconds."""

SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "critical")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectState:
    """Runs of ticks, and the incident that is open. Runs stop counting at their threshold.

    Attributes:
        partial_run: Ticks in a row with any failure or deviation.
        degraded_run: Ticks in a row with more than failures under the quorum.
        failing_since_us, healthy_since_us: The first tick of the failing, of the healthy run.
        ended_us: When the last incident was resolved.
        flapping: The incident that is open began soon after that.
    """

    healthy_run: int = 0
    partial_run: int = 0
    degraded_run: int = 0
    failing_run: int = 0
    failing_since_us: int | None = None
    healthy_since_us: int | None = None
    ended_us: int | None = None
    flapping: bool = False
    incident: Incident | None = None


Revisions = tuple[Incident, ...]


def step(
    target: str,
    subject: str,
    state: SubjectState,
    finding: Finding,
    policy: IncidentPolicy,
    company: Company = ALONE,
) -> tuple[SubjectState, Revisions]:
    """Advance one subject of a target by one tick.

    The caller sees to it that ticks rise: a tick at or before the last one is a redelivery and never comes here.

    Args:
        target: Whose tick it is.
        subject: SERVICE, or a forecast's metric.
        state: Before the tick.
        finding: What the tick says.
        policy: Of the target.
        company: Who is ill together with it.
    """
    if finding.sign is Sign.UNKNOWN:
        return state, ()
    state = _count(state, finding, policy)
    if finding.sign is Sign.HEALTHY:
        return _resolve(state, finding, policy)
    if finding.sign is Sign.FAILING and state.failing_run >= policy.failure_ticks:
        return _outage(target, subject, state, finding, policy, company)
    if _warns(state, finding, policy):
        return _warn(target, subject, state, finding, policy, company)
    return state, ()


def waits(state: SubjectState, finding: Finding) -> bool:
    """Say whether time alone may change this incident, so that even ticks like the last one must be judged."""
    incident, sign = state.incident, finding.sign
    if incident is None:
        return _is_chance(state, finding)
    if sign is Sign.HEALTHY or incident.caused_by is not None:
        return True
    return sign is Sign.FAILING and incident.kind == "outage" and not incident.page


def accompany(state: SubjectState, company: Company, at_us: int) -> tuple[SubjectState, Revisions]:
    """Say of an open incident who is ill together with its target, if that is more than was said."""
    incident = state.incident
    if incident is None or set(company.related) <= set(incident.related):
        return state, ()
    line = _line(incident.kind, incident.reasons, incident.locations, incident.began_at_us)
    incident = revise(
        incident,
        "updated",
        updated_at_us=max(at_us, incident.updated_at_us),
        related=sorted({*incident.related, *company.related}),
        cause=company_cause(line, incident.target or "", company, outage=incident.kind == "outage"),
    )
    return replace(state, incident=incident), (incident,)


def pages_early(reasons: Sequence[Reason], policy: IncidentPolicy) -> bool:
    """Say whether an early warning with these reasons wakes a person.

    It does when the time left is short and the severity high, or when two independent signals agree. Detectors
    that look at one metric are one signal, and so are all that count failures; a check that failed just now is none.
    """
    for reason in reasons:
        time_left_us = reason.time_left_us
        if reason.severity == "critical" and time_left_us is not None and time_left_us < policy.page_time_left_us:
            return True
    detected = [one for one in reasons if one.subject == SERVICE and one.kind not in PRESENT]
    return 0 < policy.page_signals <= len({_signal(reason) for reason in detected})


def _signal(reason: Reason) -> str:
    if counts_failures(reason):
        return LATENCY if reason.failure == "timeout" else "failures"  # what times out is slow
    if reason.kind == "metric_level":
        return reason.kind  # load, memory, queues rise together: one signal
    return reason.metric if reason.metric is not None else reason.kind


def _count(state: SubjectState, finding: Finding, policy: IncidentPolicy) -> SubjectState:
    sign = finding.sign

    def run(value: int, threshold: int, *signs: Sign) -> int:
        return min(value + 1, threshold) if sign in signs else 0

    since_us = state.healthy_since_us if state.healthy_run > 0 else finding.tick_us
    # Ticks of which nothing is known hold a run, but a success among them was seen: who fails since then fails anew.
    failing_us = min([finding.since_us, *(reason.since_us for reason in finding.reasons if reason.kind == "failing")])
    failing = min(run(state.failing_run, policy.failure_ticks, Sign.FAILING), _ticks_since(failing_us, finding))
    begun_us = state.failing_since_us if state.failing_since_us is not None else finding.tick_us
    return replace(
        state,
        failing_since_us=max(begun_us, failing_us) if sign is Sign.FAILING else None,
        healthy_since_us=since_us if sign is Sign.HEALTHY else None,
        healthy_run=run(state.healthy_run, policy.success_ticks, Sign.HEALTHY),
        partial_run=run(state.partial_run, policy.partial_failure_ticks, Sign.PARTIAL, Sign.DEGRADED, Sign.FAILING),
        degraded_run=run(state.degraded_run, policy.warning_ticks, Sign.DEGRADED, Sign.FAILING),
        failing_run=failing,
    )


def _ticks_since(since_us: int, finding: Finding) -> int:
    return (finding.tick_us - since_us) // finding.interval_us + 1


def _is_chance(state: SubjectState, finding: Finding) -> bool:
    """Say whether chance explains that so many checks failed in a row: some targets lose checks all the time.

    A target fails since most of its locations saw that: one of them may have failed for hours before.
    """
    begun_us = state.failing_since_us
    found = [
        _ticks_since(begun_us if whole and begun_us is not None else reason.since_us, finding) < reason.limit
        for reason in finding.reasons
        if (whole := reason.kind == "failing") or reason.kind == PARTIAL_FAILURE
        if reason.limit is not None
    ]
    return bool(found) and all(found)


def _warns(state: SubjectState, finding: Finding, policy: IncidentPolicy) -> bool:
    # A failing tick alone warns of nothing: it has a threshold of its own.
    sign = finding.sign
    if sign is Sign.DEGRADED and state.degraded_run >= policy.warning_ticks:
        return True
    enough = sign in (Sign.DEGRADED, Sign.PARTIAL) and state.partial_run >= policy.partial_failure_ticks
    return enough and not _is_chance(state, finding)


def _resolve(state: SubjectState, finding: Finding, policy: IncidentPolicy) -> tuple[SubjectState, Revisions]:
    if state.incident is None or state.healthy_run < policy.success_ticks:
        return state, ()
    since_us = state.healthy_since_us if state.healthy_since_us is not None else finding.tick_us
    if state.flapping and finding.tick_us - since_us < policy.flap_ticks * finding.interval_us:
        return state, ()
    resolved = revise(state.incident, "resolved", updated_at_us=finding.tick_us, resolved_at_us=finding.tick_us)
    return replace(state, incident=None, flapping=False, ended_us=finding.tick_us), (resolved,)


def _outage(
    target: str, subject: str, state: SubjectState, finding: Finding, policy: IncidentPolicy, company: Company
) -> tuple[SubjectState, Revisions]:
    incident = state.incident
    if incident is None:
        state, incident = _open(target, subject, state, finding, policy)
    lasted_us = finding.tick_us - (state.failing_since_us if state.failing_since_us is not None else finding.since_us)
    lasted = state.flapping or lasted_us >= min(policy.page_after_us, PAGE_INTERVALS * finding.interval_us)
    page = lasted and not _is_chance(state, finding)
    if incident.kind == "outage":
        return _updated(state, finding, company, page=page)
    line = outage_cause(finding.reasons, finding.locations, finding.since_us)
    stage: dict[str, object] = {
        "kind": "outage",
        "severity": "critical",
        "cause": company_cause(line, target, company, outage=True),
        "began_at_us": finding.since_us,
        "outage_at_us": finding.tick_us,
        "locations": list(finding.locations),
        "caused_by": company.caused_by,
    }
    stage |= {
        "page": incident.page or (page and company.caused_by is None),
        "reasons": _merged(incident.reasons, finding.reasons),
        "related": sorted({*incident.related, *company.related}),
    }
    if state.incident is None:
        incident = msgspec.structs.replace(incident, **stage)
    else:
        incident = revise(incident, "escalated", updated_at_us=finding.tick_us, **stage)
    return replace(state, incident=incident), (incident,)


def _warn(
    target: str, subject: str, state: SubjectState, finding: Finding, policy: IncidentPolicy, company: Company
) -> tuple[SubjectState, Revisions]:
    incident = state.incident
    if incident is not None and incident.kind == "outage":
        return state, ()  # on its way back, or flapping: the outage is open until it is healthy
    page = pages_early(finding.reasons, policy)
    if incident is not None:
        return _updated(state, finding, company, page=page)
    line = warning_cause(finding.reasons, finding.since_us)
    state, incident = _open(target, subject, state, finding, policy)
    incident = msgspec.structs.replace(
        incident,
        page=page and company.caused_by is None and not company.is_location,
        cause=company_cause(line, target, company, outage=False),
        severity=_severity(finding.reasons),
        warned_at_us=finding.tick_us,
        locations=list(finding.locations),
        reasons=list(finding.reasons),
        caused_by=company.caused_by,
        related=company.related,
    )
    return replace(state, incident=incident), (incident,)


def _updated(state: SubjectState, finding: Finding, company: Company, *, page: bool) -> tuple[SubjectState, Revisions]:
    """Publish a revision only where it says more than the last one, so that a flapping target is no flood."""
    incident = state.incident
    assert incident is not None
    # An early warning that is a location's and not the target's wakes nobody.
    held = company.caused_by is not None or (company.is_location and incident.kind != "outage")
    page = incident.page or (page and not held)
    reasons = _merged(incident.reasons, finding.reasons)
    locations = sorted({*incident.locations, *finding.locations})
    related = sorted({*incident.related, *company.related})
    severity = max(incident.severity, _severity(finding.reasons), key=SEVERITIES.index)
    more = (
        len(reasons) > len(incident.reasons)
        or len(locations) > len(incident.locations)
        or len(related) > len(incident.related)
        or severity != incident.severity
        or page != incident.page
        or company.caused_by != incident.caused_by
    )
    if not more:
        return state, ()
    line = _line(incident.kind, finding.reasons, finding.locations, finding.since_us)
    incident = revise(
        incident,
        "updated",
        updated_at_us=finding.tick_us,
        page=page,
        severity=severity,
        cause=company_cause(line, incident.target or "", company, outage=incident.kind == "outage"),
        locations=locations,
        reasons=reasons,
        caused_by=company.caused_by,
        related=related,
    )
    return replace(state, incident=incident), (incident,)


def _line(kind: str, reasons: Sequence[Reason], locations: Sequence[str], since_us: int) -> str:
    if kind == "outage":
        return outage_cause(reasons, locations, since_us)
    return warning_cause(reasons, since_us)


def _merged(known: Sequence[Reason], new: Sequence[Reason]) -> list[Reason]:
    """The newest reason of each kind that this incident has had."""
    by_kind = {(reason.probe, reason.kind, reason.metric): reason for reason in (*known, *new)}
    return list(by_kind.values())


def _severity(reasons: Sequence[Reason]) -> Severity:
    severities: list[Severity] = ["warning", *(reason.severity for reason in reasons)]
    return max(severities, key=SEVERITIES.index)


def _open(
    target: str, subject: str, state: SubjectState, finding: Finding, policy: IncidentPolicy
) -> tuple[SubjectState, Incident]:
    incident = new_incident(
        target=target,
        location=None,
        subject=subject,
        opened_at_us=finding.tick_us,
        began_at_us=finding.since_us,
    )
    ended_us, window_us = state.ended_us, policy.flap_ticks * finding.interval_us
    return replace(state, flapping=ended_us is not None and finding.tick_us - ended_us <= window_us), incident


def new_incident(
    *, target: str | None, location: str | None, subject: str, opened_at_us: int, began_at_us: int
) -> Incident:
    """Return the first revision of an incident, an early warning without a cause yet.

    Its id stands for what it is about, so that a replay publishes the same one.
    """
    incident_id = derived_id(target if target is not None else location, subject, opened_at_us)
    return Incident(
        v=VERSION,
        id=f"{incident_id}.0",
        incident_id=incident_id,
        revision=0,
        effect="opened",
        target=target,
        location=location,
        subject=subject,
        kind="early_warning",
        severity="warning",
        page=False,
        cause="",
        began_at_us=began_at_us,
        opened_at_us=opened_at_us,
        updated_at_us=opened_at_us,
    )


def revise(incident: Incident, effect: IncidentEffect, **changes: object) -> Incident:
    """Return the next revision of an incident with some of its fields changed."""
    revision = incident.revision + 1
    return msgspec.structs.replace(
        incident, id=f"{incident.incident_id}.{revision}", revision=revision, effect=effect, **changes
    )
