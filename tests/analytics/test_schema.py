"""The schema in the store: described, like `analytics.tables` says, and final in its views."""
# ruff: noqa: S608 - names of our own tables and columns only

import random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics import tables
from analytics.insert import Inserter
from analytics.rows import one_table, rows_of
from analytics.session import Session
from analytics.tables import DEAD_LETTER_REPLAYS, HOURS_TOUCHED, LOG_TABLES, STORED_AT, Table
from producers.topics import VERDICTS
from streams.contract import Verdict
from tests.analytics.messages import MINUTE_US, NOW_US, batch, incident, place, read, rich_batch, verdict

OWN_TABLES = (HOURS_TOUCHED, DEAD_LETTER_REPLAYS)
VIEWS = {table.view for table in LOG_TABLES} | {
    "readings",
    "verdict_intervals",
    "incidents",
    "outbox_marks",
    "snapshots",
    "dead_letter_replays",
    "check_hours",
    "check_days",
    "check_hours_waiting",
}
OWN = "database = currentDatabase() AND"


def store_all(session: Session, messages: list[Any]) -> None:
    """Store each message by an insert of its own, so that nothing is merged before it is asked for."""
    for offset, message in enumerate(messages):
        for table, rows in rows_of(message, place(offset)):
            Inserter(session).insert(table, one_table([rows], table.schema))


def test_every_table_view_and_column_says_what_it_is(session: Session) -> None:
    """An analyst finds a comment on everything that is ours."""
    sql = f"SELECT name, comment FROM system.tables WHERE {OWN} name != 'migrations'"
    comments = {row["name"]: row["comment"] for row in read(session, sql)}
    bases = {table.name for table in (*LOG_TABLES, *OWN_TABLES)} | {
        "snapshots_log",
        "outbox_marks_log",
        "check_hours_log",
    }
    assert set(comments) == bases | VIEWS
    assert [name for name, comment in comments.items() if not comment] == []
    silent = f"SELECT table, name FROM system.columns WHERE {OWN} comment = '' AND table != 'migrations'"
    assert read(session, silent) == []


@pytest.mark.parametrize("table", [*LOG_TABLES, *OWN_TABLES], ids=lambda table: table.name)
def test_base_tables_are_as_the_writers_believe(session: Session, table: Table) -> None:
    """Names, order, types and the sorting key of each base table agree with `analytics.tables`."""
    with session.client() as client:
        empty = client.query_arrow(f"SELECT * FROM {table.name}", use_strings=True)
        key = client.query(f"SELECT sorting_key FROM system.tables WHERE {OWN} name = '{table.name}'").result_rows
    expected = table.schema.append(pa.field(STORED_AT, tables.INSTANT))
    assert {field.name: bare(field.type) for field in empty.schema} == {
        field.name: bare(field.type) for field in expected
    }
    assert empty.schema.names == expected.names
    assert key[0][0].strip("()") == ", ".join(table.identity)


def bare(kind: pa.DataType) -> str:
    """Return an Arrow type without what it says of nulls, which the store and pyarrow say differently."""
    return str(kind).replace(" not null", "")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(delays=st.lists(st.integers(-5, 5).map(lambda n: n * 1_000), min_size=1, max_size=6), merge=st.booleans())
def test_of_one_check_the_earliest_wins_in_any_order(session: Session, delays: list[int], *, merge: bool) -> None:
    """Whatever the order of arrival, and merged or not, the view has the run that began first, once."""
    with session.client() as client:
        client.command("TRUNCATE TABLE checks_log")
    store_all(session, [batch(["main/shop"], delay_us=delay) for delay in delays])
    if merge:
        with session.client() as client:
            client.command("OPTIMIZE TABLE checks_log FINAL")
    assert read(session, "SELECT target, started_at FROM checks") == [
        {"target": "main/shop", "started_at": NOW_US + min(delays)}
    ]


def test_a_view_has_as_many_rows_as_there_are_identities(session: Session) -> None:
    """Thousands of checks with random repeats over several inserts and locations: each identity once."""
    random_checks = random.Random(5)
    inserter, identities = Inserter(session), set()
    for _ in range(8):
        rows = []
        for _ in range(12):
            targets = [f"main/{random_checks.randrange(40)}" for _ in range(50)]
            location, tick_us = (
                random_checks.choice(["north", "south"]),
                NOW_US + random_checks.randrange(30) * MINUTE_US,
            )
            identities |= {(target, location, tick_us) for target in targets}
            message = batch(targets, tick_us=tick_us, location=location, delay_us=random_checks.randrange(9))
            rows.append(rows_of(message, place())[0].batch)
        inserter.insert(tables.CHECKS, one_table(rows, tables.CHECKS.schema))
    [counted] = read(session, "SELECT count() AS rows FROM checks")
    [stored] = read(session, "SELECT count() AS rows FROM checks_log")
    assert counted["rows"] == len(identities) < stored["rows"]


def test_a_resent_verdict_is_one_row_and_the_last_one_stored(session: Session) -> None:
    """Outputs have derived ids: published again after a crash they replace themselves."""
    store_all(session, [verdict("failing", NOW_US), verdict("degraded", NOW_US)])
    assert read(session, "SELECT verdict FROM verdicts") == [{"verdict": "degraded"}]


def test_incidents_shows_the_latest_revision_and_incident_revisions_all(session: Session) -> None:
    """The final state wins over an older revision that arrives later; a filter on state sees final states only."""
    steps = [incident(1, effect="opened"), incident(3, effect="resolved", resolved_at_us=NOW_US + 9), incident(2)]
    store_all(session, [*steps, incident(1, id="xyz.1", incident_id="xyz")])
    latest = read(session, "SELECT incident_id, revision, effect FROM incidents ORDER BY incident_id")
    assert latest == [
        {"incident_id": "abc", "revision": 3, "effect": "resolved"},
        {"incident_id": "xyz", "revision": 1, "effect": "updated"},
    ]
    assert [row["incident_id"] for row in read(session, "SELECT * FROM incidents WHERE resolved_at IS NULL")] == ["xyz"]
    revisions = read(session, "SELECT revision FROM incident_revisions WHERE incident_id = 'abc' ORDER BY revision")
    assert [row["revision"] for row in revisions] == [1, 2, 3]


def intervals(session: Session, verdicts: list[Verdict]) -> str:
    """Store verdicts and return the intervals as text: verdict, first minute, minute after the last."""
    store_all(session, list(verdicts))
    rows = read(session, "SELECT * FROM verdict_intervals ORDER BY target, from_at")
    parts = []
    for row in rows:
        until = "" if row["until_at"] is None else f"{(row['until_at'] - NOW_US) // MINUTE_US}"
        parts.append(f"{row['verdict'][0].upper()}{(row['from_at'] - NOW_US) // MINUTE_US}-{until}")
    return " ".join(parts)


def at(minute: int) -> int:
    """Return a minute of the timeline."""
    return NOW_US + minute * MINUTE_US


def test_verdict_intervals_are_back_dated_and_leave_no_gap(session: Session) -> None:
    """Failing since minute 3, found at minute 5: healthy ends at 3. Ticks that only settle make no interval."""
    timeline = [
        verdict("healthy", at(0)),
        verdict("healthy", at(1), changed=False),
        verdict("failing", at(5), since_us=at(3)),
        verdict("failing", at(6), since_us=at(3)),
        verdict("healthy", at(9)),
    ]
    assert intervals(session, timeline) == "H0-3 F3-9 H9-"


def test_a_later_verdict_wins_over_an_earlier_one_that_it_is_dated_before(session: Session) -> None:
    """Unknown from minute 2, then failing dated back to minute 1: unknown never was."""
    timeline = [
        verdict("healthy", at(0)),
        verdict("unknown", at(2)),
        verdict("failing", at(4), since_us=at(1)),
        verdict("healthy", at(0), target="main/other"),
    ]
    assert intervals(session, timeline) == "H0- H0-1 F1-"


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["healthy", "degraded", "failing", "unknown"]), st.integers(0, 3)),
        min_size=1,
        max_size=12,
    )
)
def test_verdict_intervals_cover_time_once(session: Session, steps: list[tuple[str, int]]) -> None:
    """For any verdicts, dated back or not: each interval ends where the next begins, neighbours differ, one is open."""
    with session.client() as client:
        client.command("TRUNCATE TABLE verdicts_log")
    messages = [verdict(name, at(tick), since_us=at(max(0, tick - back))) for tick, (name, back) in enumerate(steps)]
    rows = [rows_of(message, place(topic=VERDICTS))[0].batch for message in messages]
    Inserter(session).insert(tables.VERDICTS, one_table(rows, tables.VERDICTS.schema))
    found = read(session, "SELECT * FROM verdict_intervals ORDER BY from_at")
    assert found[0]["from_at"] == NOW_US
    assert [row["until_at"] for row in found] == [*[row["from_at"] for row in found[1:]], None]
    assert found[-1]["verdict"] == steps[-1][0]


def test_readings_has_a_row_for_each_reading(session: Session) -> None:
    """The map of a check's metrics unfolds; a check without metrics has no row."""
    store_all(session, [rich_batch()])
    found = read(session, "SELECT target, metric, value FROM readings ORDER BY target, metric")
    assert [tuple(row.values()) for row in found] == [
        ("eu/host 1", "disk_free_ratio:/", 0.125),
        ("main/shop", "disk_free_ratio:/", -0.5),
        ("main/shop", "tls_days_left", 9.25),
    ]


def test_old_checks_leave_the_store_and_verdicts_stay(session: Session) -> None:
    """TTL: raw checks after 100 days by default, what people need for years never."""
    sql = f"SELECT name FROM system.tables WHERE {OWN} create_table_query ILIKE '%TTL toDateTime%' ORDER BY name"
    assert [row["name"] for row in read(session, sql)] == [
        *(
            "check_hours_touched_log",
            "checks_log",
            "dead_letter_replays_log",
            "dead_letters_log",
            "outbox_marks_log",
            "producer_health_log",
            "producer_stops_log",
        ),
        "verdict_summaries_log",
    ]
