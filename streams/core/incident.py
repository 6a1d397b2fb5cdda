"""The incident of one target and one subject: old state and a finding in, new state and revisions out.

    healthy ──warning_ticks──▶ early warning ──failure_ticks──▶ outage ──success_ticks──▶ resolved
       └───────────────────────failure_ticks──────────────────────▲

A run counts ticks in a row. Unknown ticks neither continue a run nor end it: nothing was seen.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from streams.contract import SERVICE, VERSION, Incident, IncidentEffect, Reason, Severity, derived_id
from streams.core.cause import outage_cause, warning_cause
from streams.policy import IncidentPolicy

PARTIAL_FAILURE: Final = "partial_failure"
SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "critical")


class Sign(enum.Enum):
    """What one tick of a target says of one subject."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    PARTIAL = "partial"  # nothing but failures under the quorum
    FAILING = "failing"
    UNKNOWN = "unknown"  # nobody saw it, or only a location that is itself in trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A tick of a target, as seen for one subject.

    Attributes:
        since_us: The first abnormal tick, back-dated; the tick itself where nothing is abnormal.
        reasons: Of this subject alone, most telling first.
        locations: Where it is seen.
    """

    tick_us: int
    sign: Sign
    since_us: int
    reasons: tuple[Reason, ...] = ()
    locations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectState:
    """Runs of ticks, and the incident that is open. Runs stop counting at their threshold.

    Attributes:
        partial_run: Ticks in a row with any failure or deviation.
        degraded_run: Ticks in a row with more than failures under the quorum.
    """

    healthy_run: int = 0
    partial_run: int = 0
    degraded_run: int = 0
    failing_run: int = 0
    incident: Incident | None = None


Revisions = tuple[Incident, ...]


def step(
    target: str, subject: str, state: SubjectState, finding: Finding, policy: IncidentPolicy
) -> tuple[SubjectState, Revisions]:
    """Advance one subject of a target by one tick.

    The caller sees to it that ticks rise: a tick at or before the last one is a redelivery and never comes here.
    """
    if finding.sign is Sign.UNKNOWN:
        return state, ()
    state = _count(state, finding.sign, policy)
    if finding.sign is Sign.HEALTHY:
        return _resolve(state, finding, policy)
    if finding.sign is Sign.FAILING and state.failing_run >= policy.failure_ticks:
        return _outage(target, subject, state, finding)
    if _warns(state, finding.sign, policy):
        return _warn(target, subject, state, finding, policy)
    return state, ()


def pages_early(reasons: Sequence[Reason], policy: IncidentPolicy) -> bool:
    """Say whether an early warning with these reasons wakes a person.

    It does when the time left is short and the severity high, or when two independent signals agree. Detectors
    that look at one metric are one signal, and so are all that count failures; a check that failed just now is none.
    """
    for reason in reasons:
        time_left_us = reason.time_left_us
        if reason.severity == "critical" and time_left_us is not None and time_left_us < policy.page_time_left_us:
            return True
    detected = [one for one in reasons if one.subject == SERVICE and one.kind not in (PARTIAL_FAILURE, "failing")]
    return len({_signal(reason) for reason in detected}) >= 2


def counts_failures(reason: Reason) -> bool:
    """Say whether a reason rests on failed checks: such a reason may be a location's and not the target's."""
    return reason.kind in (PARTIAL_FAILURE, "failing") or reason.metric == "failure_ratio" or reason.failure is not None


def _signal(reason: Reason) -> str:
    if counts_failures(reason):
        return "failures"
    if reason.kind == "metric_level":
        return reason.kind  # load, memory, queues rise together: one signal
    return reason.metric if reason.metric is not None else reason.kind


def _count(state: SubjectState, sign: Sign, policy: IncidentPolicy) -> SubjectState:
    def run(value: int, threshold: int, *signs: Sign) -> int:
        return min(value + 1, threshold) if sign in signs else 0

    return replace(
        state,
        healthy_run=run(state.healthy_run, policy.success_ticks, Sign.HEALTHY),
        partial_run=run(state.partial_run, policy.partial_failure_ticks, Sign.PARTIAL, Sign.DEGRADED, Sign.FAILING),
        degraded_run=run(state.degraded_run, policy.warning_ticks, Sign.DEGRADED, Sign.FAILING),
        failing_run=run(state.failing_run, policy.failure_ticks, Sign.FAILING),
    )


def _warns(state: SubjectState, sign: Sign, policy: IncidentPolicy) -> bool:
    # A failing tick alone warns of nothing: it has a threshold of its own.
    if sign is Sign.DEGRADED and state.degraded_run >= policy.warning_ticks:
        return True
    return sign in (Sign.DEGRADED, Sign.PARTIAL) and state.partial_run >= policy.partial_failure_ticks


def _resolve(state: SubjectState, finding: Finding, policy: IncidentPolicy) -> tuple[SubjectState, Revisions]:
    if state.incident is None or state.healthy_run < policy.success_ticks:
        return state, ()
    resolved = revise(state.incident, "resolved", updated_at_us=finding.tick_us, resolved_at_us=finding.tick_us)
    return replace(state, incident=None), (resolved,)


def _outage(target: str, subject: str, state: SubjectState, finding: Finding) -> tuple[SubjectState, Revisions]:
    incident = state.incident
    if incident is not None and incident.kind == "outage":
        return _updated(
            state, finding, page=True, cause=outage_cause(finding.reasons, finding.locations, finding.since_us)
        )
    stage = {
        "kind": "outage",
        "severity": "critical",
        "page": True,
        "cause": outage_cause(finding.reasons, finding.locations, finding.since_us),
        "began_at_us": finding.since_us,
        "outage_at_us": finding.tick_us,
        "locations": list(finding.locations),
    }
    if incident is None:
        incident = _open(target, subject, finding)
        incident = msgspec.structs.replace(incident, **stage, reasons=list(finding.reasons))
    else:
        reasons = _merged(incident.reasons, finding.reasons)
        incident = revise(incident, "escalated", updated_at_us=finding.tick_us, **stage, reasons=reasons)
    return replace(state, incident=incident), (incident,)


def _warn(
    target: str, subject: str, state: SubjectState, finding: Finding, policy: IncidentPolicy
) -> tuple[SubjectState, Revisions]:
    incident = state.incident
    if incident is not None and incident.kind == "outage":
        return state, ()  # on its way back, or flapping: the outage is open until it is healthy
    page = pages_early(finding.reasons, policy)
    cause = warning_cause(finding.reasons, finding.since_us)
    if incident is not None:
        return _updated(state, finding, page=page, cause=cause)
    incident = msgspec.structs.replace(
        _open(target, subject, finding),
        page=page,
        cause=cause,
        severity=_severity(finding.reasons),
        warned_at_us=finding.tick_us,
        locations=list(finding.locations),
        reasons=list(finding.reasons),
    )
    return replace(state, incident=incident), (incident,)


def _updated(state: SubjectState, finding: Finding, *, page: bool, cause: str) -> tuple[SubjectState, Revisions]:
    """Publish a revision only where it says more than the last one, so that a flapping target is no flood."""
    incident = state.incident
    assert incident is not None
    reasons = _merged(incident.reasons, finding.reasons)
    locations = sorted({*incident.locations, *finding.locations})
    severity = max(incident.severity, _severity(finding.reasons), key=SEVERITIES.index)
    more = (
        len(reasons) > len(incident.reasons)
        or len(locations) > len(incident.locations)
        or severity != incident.severity
        or (page and not incident.page)
    )
    if not more:
        return state, ()
    incident = revise(
        incident,
        "updated",
        updated_at_us=finding.tick_us,
        page=page or incident.page,
        severity=severity,
        cause=cause,
        locations=locations,
        reasons=reasons,
    )
    return replace(state, incident=incident), (incident,)


def _merged(known: Sequence[Reason], new: Sequence[Reason]) -> list[Reason]:
    """The newest reason of each kind that this incident has had."""
    by_kind = {(reason.probe, reason.kind, reason.metric): reason for reason in (*known, *new)}
    return list(by_kind.values())


def _severity(reasons: Sequence[Reason]) -> Severity:
    severities: list[Severity] = ["warning", *(reason.severity for reason in reasons)]
    return max(severities, key=SEVERITIES.index)


def _open(target: str, subject: str, finding: Finding) -> Incident:
    return new_incident(
        target=target,
        location=None,
        subject=subject,
        opened_at_us=finding.tick_us,
        began_at_us=finding.since_us,
    )


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
