"""What tests of reports need: a month that is over, timelines and incidents in the store, the report on them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from clickhouse_connect.driver.client import Client

from analytics.insert import Inserter
from analytics.report import Report, make_report
from analytics.rows import one_table, rows_of
from analytics.session import Session
from analytics.settings import ReportSettings
from analytics.sla import month_period
from streams.contract import VerdictName
from tests.analytics.messages import batch, incident, place, verdict

SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US
DAY_US = 24 * HOUR_US
MONTH = f"{datetime.now(UTC).replace(day=1) - timedelta(days=1):%Y-%m}"
"""Last month: it is over, and the store still keeps its checks."""

PERIOD = month_period(MONTH, "UTC")
START_US, END_US = PERIOD.from_us, PERIOD.until_us
NAMES: dict[str, VerdictName] = {"H": "healthy", "D": "degraded", "F": "failing", "U": "unknown"}


def put(session: Session, *events: Any) -> None:
    """Store them as the sink does, one insert a table."""
    made = [rows for number, event in enumerate(events) for rows in rows_of(event, place(number))]
    for table in {rows.table.name: rows.table for rows in made}.values():
        batches = [rows.batch for rows in made if rows.table.name == table.name]
        Inserter(session).insert(table, one_table(batches, table.schema))


def put_timeline(
    session: Session, target: str, timeline: str, *, from_us: int = START_US, step_us: int = DAY_US
) -> None:
    """Store the verdicts of a timeline, one letter a step; a verdict is published where the letter changes.

    A check two days after the month shows that the target was measured all the time.
    """
    before, found = "U", []
    for number, letter in enumerate(timeline):
        if letter not in (before, " "):
            at_us = from_us + number * step_us
            found.append(verdict(NAMES[letter], at_us, target=target, previous=NAMES[before]))
            before = letter
    put(session, *found, batch([target], tick_us=END_US + 2 * DAY_US))


def report(
    client: Client, *, now_us: int = END_US + DAY_US, month: str = MONTH, customer: str = "", **settings: Any
) -> Report:
    """Make the report of last month, as of a day after its end."""
    policy = ReportSettings(**settings)
    period = month_period(month, policy.time_zone)
    return make_report(client, month=month, period=period, now_us=now_us, settings=policy, customer=customer)


def days(made: Report, number: int = 0) -> tuple[float, float, float, float]:
    """Return the days that a target was healthy, degraded, failing and unknown."""
    spent = made.targets[number].account
    parts = (spent.healthy_us, spent.degraded_us, spent.failing_us, spent.unknown_us)
    assert sum(parts) == made.accounted.until_us - made.accounted.from_us
    return parts[0] / DAY_US, parts[1] / DAY_US, parts[2] / DAY_US, parts[3] / DAY_US


def put_incident(session: Session, name: str, began_us: int, resolved_us: int | None, **changes: Any) -> None:
    """Store an incident: opened, and resolved if it was."""
    known: dict[str, Any] = {"incident_id": name, "began_at_us": began_us, "opened_at_us": began_us, **changes}
    steps = [incident(1, id=f"{name}.1", effect="opened", updated_at_us=began_us, **known)]
    if resolved_us is not None:
        last = {"id": f"{name}.2", "effect": "resolved", "updated_at_us": resolved_us, "resolved_at_us": resolved_us}
        steps.append(incident(2, **last, **known))
    put(session, *steps)
