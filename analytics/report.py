"""The monthly SLA report: figures from stored verdicts, incidents and checks, as one HTML page that prints well."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_DOWN, Decimal
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import jinja2

from analytics.report_incidents import IncidentLine, incident_lines
from analytics.settings import ReportSettings
from analytics.sla import Account, Interval, Period, account, known_part

_INTERVALS: Final = """
    SELECT target, verdict, toUnixTimestamp64Micro(from_at), toUnixTimestamp64Micro(until_at)
    FROM verdict_intervals
    WHERE from_at < fromUnixTimestamp64Micro({until_us:Int64})
      AND (until_at IS NULL OR until_at > fromUnixTimestamp64Micro({from_us:Int64}))
      AND NOT startsWith(target, '_')
      AND ({customer:String} = '' OR startsWith(target, concat({customer:String}, '/')))
    ORDER BY target, from_at
"""
_INTERVAL_US: Final = "SELECT target, max(interval_us) FROM verdicts_log GROUP BY target"
_LAST_CHECK: Final = """
    SELECT target, toUnixTimestamp64Micro(max(scheduled_at)) FROM checks_log
    WHERE outcome != 'missed' AND scheduled_at >= fromUnixTimestamp64Micro({from_us:Int64})
    GROUP BY target
"""
_LATENCY: Final = """
    SELECT target, probe, count(), countIf(outcome = 'failure'), countIf(outcome = 'missed'),
           quantilesExactIf(0.5, 0.95, 0.99)(ifNull(duration_us, 0), outcome = 'success'), countIf(outcome = 'success')
    FROM checks
    WHERE scheduled_at >= fromUnixTimestamp64Micro({from_us:Int64})
      AND scheduled_at < fromUnixTimestamp64Micro({until_us:Int64})
      AND NOT startsWith(target, '_')
      AND ({customer:String} = '' OR startsWith(target, concat({customer:String}, '/')))
    GROUP BY target, probe ORDER BY target, probe
"""

UNKNOWN_TEXTS: Final = {
    "excluded": "left out of the account: neither up nor down",
    "up": "counted as up",
    "down": "counted as down",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyLine:
    """What one probe of a target measured; percentiles over successful checks, exact, milliseconds."""

    probe: str
    checks: int
    failed: int
    missed: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPage:
    """One target in the report."""

    target: str
    account: Account
    outages: int
    early_warnings: int
    latency: tuple[LatencyLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A month as it is shown.

    Attributes:
        period: The calendar month.
        accounted: The part of it that is over.
    """

    month: str
    customer: str
    period: Period
    accounted: Period
    made_at_us: int
    settings: ReportSettings
    targets: tuple[TargetPage, ...]
    incidents: tuple[IncidentLine, ...]


def make_report(
    store: Any, *, month: str, period: Period, now_us: int, settings: ReportSettings, customer: str = ""
) -> Report:
    """Ask the store for a month.

    Args:
        store: A client of `analytics.client.connect`.
        customer: Only this customer's targets and what touched them; empty for all.

    Raises:
        ValueError: The month has not begun.
    """
    if now_us <= period.from_us:
        raise ValueError(f"{month} has not begun yet")
    accounted = Period(from_us=period.from_us, until_us=min(period.until_us, now_us))
    parameters = {"from_us": accounted.from_us, "until_us": accounted.until_us, "customer": customer}

    def rows(query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in store.query(query, parameters=parameters).result_rows]

    intervals: dict[str, list[Interval]] = defaultdict(list)
    steps_us, last_check_us = dict(rows(_INTERVAL_US)), dict(rows(_LAST_CHECK))
    for target, verdict, from_us, until_us in rows(_INTERVALS):
        interval = Interval(verdict=verdict, from_us=from_us, until_us=until_us)
        intervals[target].append(known_part(interval, last_check_us.get(target), steps_us[target]))
    incidents = incident_lines(rows, intervals, accounted, unknown=settings.unknown, customer=customer)
    latency: dict[str, list[LatencyLine]] = defaultdict(list)
    for target, *line in rows(_LATENCY):
        latency[target].append(_latency(*line))
    pages = tuple(
        TargetPage(
            target=target,
            # A target that has checks and no verdict yet is shown, as unknown.
            account=account(intervals[target], accounted, unknown=settings.unknown),
            outages=sum(line.who == target and _had_outage(line, accounted) for line in incidents),
            early_warnings=sum(line.who == target and _was_warned(line, accounted) for line in incidents),
            latency=tuple(latency[target]),
        )
        for target in sorted(set(intervals) | set(latency))
    )
    return Report(
        month=month,
        customer=customer,
        period=period,
        accounted=accounted,
        made_at_us=now_us,
        settings=settings,
        targets=pages,
        incidents=incidents,
    )


def _had_outage(line: IncidentLine, period: Period) -> bool:
    """Whether it was an outage before the period's end; that it lasted into the period is known."""
    return line.outage_at_us is not None and line.outage_at_us < period.until_us


def _was_warned(line: IncidentLine, period: Period) -> bool:
    """Whether its early warning was raised in the period."""
    return line.warned_at_us is not None and period.from_us <= line.warned_at_us < period.until_us


def _latency(probe: str, checks: int, failed: int, missed: int, quantiles_us: list[int], succeeded: int) -> LatencyLine:
    p50, p95, p99 = (value / 1000 for value in quantiles_us) if succeeded else (None, None, None)
    return LatencyLine(probe=probe, checks=checks, failed=failed, missed=missed, p50_ms=p50, p95_ms=p95, p99_ms=p99)


def render_html(report: Report) -> str:
    """Return the report as one HTML page without anything to load from elsewhere."""
    zone = ZoneInfo(report.settings.time_zone)

    def moment(at_us: int | None) -> str:
        if at_us is None:
            return "–"
        return datetime.fromtimestamp(at_us / 1e6, UTC).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S %Z")

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"moment": moment, "span": span_text, "percent": percent_text}
    return environment.get_template("report.html.j2").render(report=report, unknown=UNKNOWN_TEXTS)


def span_text(length_us: int | None) -> str:
    """Return a length of time for a person: the two largest units that it has."""
    if length_us is None:
        return "–"
    seconds = round(length_us / 1e6)
    if seconds == 0:
        return "0 s"
    parts = []
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def percent_text(ratio: float | None) -> str:
    """Return a ratio as percent, cut, never rounded up: 99.9996 % is not 100 %."""
    if ratio is None:
        return "unknown"
    # By its decimal digits: as a float 0.29 times 100,000 is 28,999.99...
    return f"{(Decimal(repr(ratio)) * 100).quantize(Decimal('0.001'), ROUND_DOWN)} %"
