"""What the store says of the demo: did the warning come, in time, is every row there, did the control stay quiet."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from forewarn.demo.config import CONTROL, SHOP
from streams.contract import SERVICE

_WARNING: Final = """
    SELECT min(toUnixTimestamp64Micro(warned_at)), any(cause) FROM incident_revisions
    WHERE target = {shop:String} AND subject = {service:String} AND kind = 'early_warning'
      AND effect = 'opened' AND has(reasons.metric, 'latency')
      AND warned_at >= fromUnixTimestamp64Micro({slow:Int64})
"""
_FIRST_FAILURE: Final = """
    SELECT min(toUnixTimestamp64Micro(scheduled_at)) FROM checks
    WHERE target = {shop:String} AND outcome = 'failure' AND scheduled_at >= fromUnixTimestamp64Micro({slow:Int64})
    HAVING count() > 0
"""
_EARLY_FAILURES: Final = """
    SELECT count() FROM checks
    WHERE target = {shop:String} AND outcome = 'failure' AND scheduled_at < fromUnixTimestamp64Micro({fail:Int64})
"""
_OUTAGE: Final = """
    SELECT toUnixTimestamp64Micro(outage_at), toUnixTimestamp64Micro(resolved_at) FROM incidents
    WHERE target = {shop:String} AND subject = {service:String} AND outage_at IS NOT NULL
    ORDER BY outage_at LIMIT 1
"""
_CERTIFICATE: Final = """
    SELECT cause FROM incidents WHERE target = {shop:String} AND subject = 'tls_days_left' LIMIT 1
"""
_CONTROL: Final = """
    SELECT (SELECT count() FROM incidents WHERE target = {control:String})
         + (SELECT count() FROM deviations WHERE target = {control:String} AND active)
         + (SELECT count() FROM verdicts WHERE target = {control:String} AND verdict IN ('degraded', 'failing'))
"""
# A tick every interval from a series' first to its last: what is between and not there, is missing.
_MISSING: Final = """
    SELECT sum(expected - stored), sum(stored), count() FROM (
        SELECT count() AS stored,
               intDiv(toUnixTimestamp64Micro(max(scheduled_at)) - toUnixTimestamp64Micro(min(scheduled_at)),
                      if(probe = 'certificate', 5000000, 1000000)) + 1 AS expected
        FROM checks GROUP BY target, probe, location)
"""
# Constants: what is asked of each table is a statement of its own.
_IDS: Final = {
    "deviations": "SELECT id FROM deviations",
    "verdicts": "SELECT id FROM verdicts",
    "incident steps": "SELECT id FROM incident_revisions",
}
_ROWS: Final = """
    SELECT (SELECT count() FROM checks), (SELECT count() FROM deviations), (SELECT count() FROM verdicts),
           (SELECT count() FROM incident_revisions), (SELECT count() FROM dead_letters)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was found in the store; times in microseconds UTC, None where nothing was found.

    Attributes:
        unseen: Checks that the log has and the store has not.
        unstored: The same of deviations, verdicts and incident steps, by their ids; those of which some are missing.
        report_made: Whether the SLA report was made.
    """

    slow_at_us: int
    warned_at_us: int | None
    warning: str | None
    failed_at_us: int | None
    early_failures: int
    outage_at_us: int | None
    resolved_at_us: int | None
    certificate: str | None
    control_raised: int
    series: int
    stored: int
    missing: int
    unseen: int
    rows: dict[str, int]
    unstored: dict[str, int] = field(default_factory=dict)
    report_made: bool = True

    def faults(self) -> list[str]:
        """Return why the demo has not shown what it promises; empty if it has."""
        found = []
        if self.warned_at_us is None:
            found.append("no early warning on the shop's latency came after the slow-down began")
        elif self.failed_at_us is not None and self.warned_at_us >= self.failed_at_us:
            found.append("the early warning came after the first failing check")
        if self.early_failures:
            found.append(f"{self.early_failures} checks of the shop failed before the shop was told to fail")
        if self.failed_at_us is None:
            found.append("no failing check of the shop was stored")
        if self.outage_at_us is None:
            found.append("the outage was not declared")
        if self.resolved_at_us is None:
            found.append("the incident was not resolved")
        if self.certificate is None:
            found.append("the certificate that expires in 9 days was not warned of")
        if self.control_raised:
            found.append(f"the healthy control target raised {self.control_raised} events")
        if self.series != 6:
            found.append(f"{self.series} series of checks are stored, expected 6")
        if self.missing:
            found.append(f"{self.missing} ticks are missing among the stored checks")
        if self.unseen:
            found.append(f"{self.unseen} checks that the log has are not stored")
        for name, count in self.unstored.items():
            found.append(f"{count} {name} that the log has are not stored")
        if not self.report_made:
            found.append("the SLA report was not made")
        if self.rows["dead letters"]:
            found.append(f"{self.rows['dead letters']} messages became dead letters")
        return found


def find(
    store: Any, *, slow_at_us: int, fail_at_us: int, log_checks: int, log_ids: Mapping[str, frozenset[str]]
) -> Findings:
    """Ask the store.

    Args:
        store: A client of `analytics.client.connect`.
        slow_at_us: When the shop was told to slow down.
        fail_at_us: When it was told to fail.
        log_checks: Checks that were read from the topic.
        log_ids: Ids that were read from the other topics, by the names of `_IDS`.
    """

    def first(query: str, **parameters: object) -> tuple[Any, ...]:
        rows = store.query(query, parameters=parameters).result_rows
        return tuple(rows[0]) if rows else ()

    shop = {"shop": SHOP, "service": SERVICE}
    warning = first(_WARNING, **shop, slow=slow_at_us)
    failure = first(_FIRST_FAILURE, **shop, slow=slow_at_us)
    outage = first(_OUTAGE, **shop)
    certificate = first(_CERTIFICATE, **shop)
    missing, stored, series = first(_MISSING)
    warned_at_us = warning[0] if warning and warning[0] else None
    names = ("checks", "deviations", "verdicts", "incident steps", "dead letters")
    return Findings(
        slow_at_us=slow_at_us,
        warned_at_us=warned_at_us,
        warning=None if warned_at_us is None else warning[1],
        failed_at_us=failure[0] if failure else None,
        early_failures=first(_EARLY_FAILURES, **shop, fail=fail_at_us)[0],
        outage_at_us=outage[0] if outage else None,
        resolved_at_us=outage[1] if outage else None,
        certificate=certificate[0] if certificate else None,
        control_raised=first(_CONTROL, control=CONTROL)[0],
        series=series,
        stored=stored,
        missing=missing,
        unseen=max(0, log_checks - stored),
        rows=dict(zip(names, first(_ROWS), strict=True)),
        unstored=_unstored(store, log_ids),
    )


def _unstored(store: Any, log_ids: Mapping[str, frozenset[str]]) -> dict[str, int]:
    missing = {
        name: len(log_ids[name] - {str(row[0]) for row in store.query(statement).result_rows})
        for name, statement in _IDS.items()
    }
    return {name: count for name, count in missing.items() if count}


def clock(at_us: int | None) -> str:
    """Return a time of day for a person."""
    return "never" if at_us is None else f"{datetime.fromtimestamp(at_us / 1e6, UTC):%H:%M:%S} UTC"
