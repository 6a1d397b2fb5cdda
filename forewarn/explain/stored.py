"""What the store says of a target around a time: what was really published then."""

from dataclasses import dataclass
from typing import Any, Final

from analytics.session import Session

_VERDICT: Final = """
    SELECT verdict, toUnixTimestamp64Micro(tick_at), toUnixTimestamp64Micro(since_at), reasons.text
    FROM verdicts WHERE target = {target:String} AND tick_at <= fromUnixTimestamp64Micro({at_us:Int64})
    ORDER BY tick_at DESC LIMIT 1
"""
_DEVIATIONS: Final = """
    SELECT toUnixTimestamp64Micro(tick_at), probe, ifNull(location, ''), metric, detector, active, score, value,
           baseline, limit, phase
    FROM deviations
    WHERE target = {target:String} AND tick_at >= fromUnixTimestamp64Micro({from_us:Int64})
      AND tick_at <= fromUnixTimestamp64Micro({until_us:Int64})
    ORDER BY tick_at, probe, location, metric, detector
"""
_INCIDENTS: Final = """
    SELECT incident_id, kind, page, cause, toUnixTimestamp64Micro(opened_at), toUnixTimestamp64Micro(resolved_at),
           caused_by
    FROM incidents
    WHERE target = {target:String} AND opened_at <= fromUnixTimestamp64Micro({until_us:Int64})
      AND (resolved_at IS NULL OR resolved_at >= fromUnixTimestamp64Micro({from_us:Int64}))
    ORDER BY opened_at
"""
_TARGETS: Final = "SELECT DISTINCT target FROM checks_log ORDER BY target LIMIT 1000"
_SPAN: Final = """
    SELECT count(), toUnixTimestamp64Micro(min(scheduled_at)), toUnixTimestamp64Micro(max(scheduled_at))
    FROM checks_log WHERE target = {target:String}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVerdict:
    """The last verdict at or before a time."""

    verdict: str
    tick_us: int
    since_us: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDeviation:
    """A series left its norm, or came back."""

    tick_us: int
    probe: str
    location: str
    metric: str
    detector: str
    active: bool
    score: float
    value: float
    baseline: float | None
    limit: float | None
    phase: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredIncident:
    """An incident that was open in the window, in its last state."""

    incident_id: str
    kind: str
    page: bool
    cause: str
    opened_at_us: int
    resolved_at_us: int | None
    caused_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What was published."""

    verdict: StoredVerdict | None
    deviations: tuple[StoredDeviation, ...]
    incidents: tuple[StoredIncident, ...]


def stored_around(session: Session, target: str, *, at_us: int, from_us: int, until_us: int) -> Stored:
    """Ask the store.

    Raises:
        StoreUnavailableError, StoreRefusedError: As from the session.
    """
    parameters = {"target": target, "at_us": at_us, "from_us": from_us, "until_us": until_us}

    def rows(query: str) -> list[tuple[Any, ...]]:
        with session.client() as client:
            return [tuple(row) for row in client.query(query, parameters=parameters).result_rows]

    verdicts = rows(_VERDICT)
    names = StoredDeviation.__dataclass_fields__
    incident_names = StoredIncident.__dataclass_fields__
    return Stored(
        verdict=StoredVerdict(
            verdict=verdicts[0][0], tick_us=verdicts[0][1], since_us=verdicts[0][2], reasons=tuple(verdicts[0][3])
        )
        if verdicts
        else None,
        deviations=tuple(StoredDeviation(**dict(zip(names, row, strict=True))) for row in rows(_DEVIATIONS)),
        incidents=tuple(StoredIncident(**dict(zip(incident_names, row, strict=True))) for row in rows(_INCIDENTS)),
    )


def known_targets(session: Session) -> list[str]:
    """Return the targets of which checks are stored."""
    with session.client() as client:
        return [str(row[0]) for row in client.query(_TARGETS).result_rows]


def stored_span(session: Session, target: str) -> tuple[int, int] | None:
    """Return the ticks of the first and the last stored check of a target, None if there is none."""
    with session.client() as client:
        count, first_us, last_us = client.query(_SPAN, parameters={"target": target}).result_rows[0]
    return (int(first_us), int(last_us)) if count else None
