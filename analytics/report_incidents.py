"""The incidents of a report: those of targets, and those of locations with what they meant for each target."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from analytics.sla import Account, Interval, Period, Unknown, account

_INCIDENTS: Final = """
    SELECT incident_id, ifNull(target, ''), ifNull(location, ''), kind, severity, cause, ifNull(caused_by, ''), related,
           reasons.text, toUnixTimestamp64Micro(began_at), toUnixTimestamp64Micro(warned_at),
           toUnixTimestamp64Micro(outage_at), toUnixTimestamp64Micro(resolved_at)
    FROM incidents
    WHERE began_at < fromUnixTimestamp64Micro({until_us:Int64})
      AND (resolved_at IS NULL OR resolved_at > fromUnixTimestamp64Micro({from_us:Int64})
           OR began_at >= fromUnixTimestamp64Micro({from_us:Int64}))
      AND ({customer:String} = '' OR target IS NULL OR startsWith(ifNull(target, ''), concat({customer:String}, '/')))
    ORDER BY began_at, incident_id
"""
_TOUCHED: Final = """
    SELECT DISTINCT incident_id, seen
    FROM
    (
        SELECT incident_id, arrayJoin(arrayDistinct(arrayPushBack(locations, assumeNotNull(location)))) AS place,
               began_at, ifNull(resolved_at, fromUnixTimestamp64Micro({until_us:Int64})) AS ended_at
        FROM incidents
        WHERE location IS NOT NULL AND target IS NULL AND began_at < fromUnixTimestamp64Micro({until_us:Int64})
          AND (resolved_at IS NULL OR resolved_at >= fromUnixTimestamp64Micro({from_us:Int64}))
    ) AS troubles
    CROSS JOIN
    (
        SELECT target AS seen, tick_at, reasons.kind AS kinds, reasons.locations AS places
        FROM verdicts_log
        WHERE NOT startsWith(target, '_')
          AND ({customer:String} = '' OR startsWith(target, concat({customer:String}, '/')))
          AND tick_at < fromUnixTimestamp64Micro({until_us:Int64})
    ) AS judged
    WHERE tick_at >= began_at AND tick_at <= ended_at
      AND arrayExists((kind, there) -> has(there, place)
                      AND kind IN ('failing', 'partial_failure', 'failure_ratio', 'silence', 'missed'), kinds, places)
"""

Rows = Callable[[str], list[tuple[Any, ...]]]
"""Asks the store, with the period and the customer as parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """A target that an incident of a location touched, and how it spent that time."""

    target: str
    account: Account


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentLine:
    """An incident as the report shows it; times in microseconds UTC.

    Attributes:
        who: The target, or the location whose trouble it was, or forewarn itself where judging was late.
        down_at_us: The first failing check of its outage; None without one, or where no verdict tells.
        touched: Of a location's incident: the targets that it could not see well.
    """

    who: str
    kind: str
    severity: str
    cause: str
    began_at_us: int
    warned_at_us: int | None
    outage_at_us: int | None
    resolved_at_us: int | None
    down_at_us: int | None = None
    touched: tuple[Touched, ...] = ()

    @property
    def lead_us(self) -> int | None:
        """How long before the first failing check it was warned of; None if it was not, or only afterwards."""
        if self.warned_at_us is None or self.down_at_us is None or self.down_at_us <= self.warned_at_us:
            return None
        return self.down_at_us - self.warned_at_us


def incident_lines(
    rows: Rows, intervals: Mapping[str, Sequence[Interval]], period: Period, *, unknown: Unknown, customer: str
) -> tuple[IncidentLine, ...]:
    """Return the incidents of a period, oldest first.

    Args:
        rows: Asks the store.
        intervals: The verdicts of each target of the report.
        period: The part of the month that is over.
        unknown: What unknown time counts as.
        customer: Only its targets, and locations' incidents that touched one of them; empty for all.
    """
    touched: dict[str, list[str]] = defaultdict(list)
    for incident_id, target in sorted(rows(_TOUCHED)):
        touched[incident_id].append(target)
    lines: list[IncidentLine] = []
    for incident_id, target, location, kind, severity, *said, began_us, warned_us, outage_us, resolved_us in rows(
        _INCIDENTS
    ):
        if customer and not target and not touched[incident_id]:
            continue
        during = _within(began_us, resolved_us, period)
        lines.append(
            IncidentLine(
                who=target or (f"location {location}" if location else "forewarn itself"),
                kind=kind.replace("_", " "),
                severity=severity,
                cause=_cause(customer, target, kind, *said),
                began_at_us=began_us,
                warned_at_us=warned_us,
                outage_at_us=outage_us,
                resolved_at_us=resolved_us,
                down_at_us=_down_at(intervals.get(target, ()), outage_us),
                touched=tuple(
                    Touched(target=each, account=account(intervals.get(each, ()), during, unknown=unknown))
                    for each in touched[incident_id]
                ),
            )
        )
    return tuple(lines)


def _down_at(intervals: Sequence[Interval], outage_us: int | None) -> int | None:
    """Return since when the target was failing when its outage was declared, which is some checks later."""
    if outage_us is None:
        return None
    failing = (one for one in intervals if one.verdict == "failing" and one.from_us <= outage_us)
    return max((one.from_us for one in failing if one.until_us is None or outage_us <= one.until_us), default=None)


def _within(began_us: int, resolved_us: int | None, period: Period) -> Period:
    from_us = max(began_us, period.from_us)
    until_us = period.until_us if resolved_us is None else min(resolved_us, period.until_us)
    return Period(from_us=from_us, until_us=max(from_us, until_us))


def _cause(
    customer: str, target: str, kind: str, cause: str, caused_by: str, related: Iterable[str], texts: Iterable[str]
) -> str:
    """Return the cause; a customer is not told the names of others' targets that are in it."""
    if not customer:
        return cause
    if not target:
        return "no checks came from it" if kind == "silence" else "its own network was in trouble"
    others = [name for name in (caused_by, *related) if name and not name.startswith(f"{customer}/")]
    return "; ".join(dict.fromkeys(texts)) if others else cause
