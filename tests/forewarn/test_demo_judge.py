"""What the demo promises, each promise broken once: a fault that nobody would see is no check."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from analytics.client import connect
from analytics.insert import Inserter
from analytics.migrate import migrate
from analytics.rows import one_table, rows_of
from analytics.session import Session
from analytics.settings import StoreSettings
from forewarn.demo.config import CONTROL, SHOP
from forewarn.demo.judge import Findings, find
from producers.contract import CheckBatch, Outcome
from streams.contract import DeadLetter, Deviation
from tests.analytics.messages import NOW_US, events, incident, place, reason, verdict

SECOND_US = 1_000_000
SLOW, FAIL, RECOVERED = 30, 60, 70
"""Seconds after the first tick at which the shop slows down, fails, and is well again."""

SECONDS = 80
START_US = NOW_US - 100 * SECOND_US
CHECKS = 4 * SECONDS + 2 * (SECONDS // 5)

GOOD = Findings(
    slow_at_us=1,
    warned_at_us=2,
    warning="slow",
    failed_at_us=3,
    early_failures=0,
    outage_at_us=4,
    resolved_at_us=5,
    certificate="soon",
    control_raised=0,
    series=6,
    stored=10,
    missing=0,
    unseen=0,
    rows={"dead letters": 0},
)


def test_a_demo_that_showed_everything_has_no_fault() -> None:
    """So every fault below is that of its one change."""
    assert GOOD.faults() == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"warned_at_us": None}, "no early warning on the shop's latency came after the slow-down began"),
        ({"warned_at_us": 3}, "the early warning came after the first failing check"),
        ({"early_failures": 2}, "2 checks of the shop failed before the shop was told to fail"),
        ({"failed_at_us": None}, "no failing check of the shop was stored"),
        ({"outage_at_us": None}, "the outage was not declared"),
        ({"resolved_at_us": None}, "the incident was not resolved"),
        ({"certificate": None}, "the certificate that expires in 9 days was not warned of"),
        ({"control_raised": 1}, "the healthy control target raised 1 events"),
        ({"series": 5}, "5 series of checks are stored, expected 6"),
        ({"series": 7}, "7 series of checks are stored, expected 6"),
        ({"missing": 3}, "3 ticks are missing among the stored checks"),
        ({"unseen": 4}, "4 checks that the log has are not stored"),
        ({"rows": {"dead letters": 1}}, "1 messages became dead letters"),
        ({"unstored": {"verdicts": 2}}, "2 verdicts that the log has are not stored"),
        ({"report_made": False}, "the SLA report was not made"),
    ],
)
def test_each_promise_that_is_not_kept_is_a_fault(changes: dict[str, Any], fault: str) -> None:
    """That one and no other."""
    assert replace(GOOD, **changes).faults() == [fault]


@pytest.fixture(scope="module")
def migrated(store: StoreSettings) -> Iterator[StoreSettings]:
    """A database of this module's own."""
    settings = replace(store, database="test_judge")
    migrate(settings)
    yield settings
    with contextlib.closing(connect(settings)) as client:
        client.command(f"DROP DATABASE {settings.database}")


@pytest.fixture
def client(migrated: StoreSettings) -> Iterator[Client]:
    """A client of it, with what a good demo leaves."""
    with contextlib.closing(connect(migrated)) as client:
        for table in ("checks_log", "deviations_log", "verdicts_log", "incidents_log", "dead_letters_log"):
            client.command(f"TRUNCATE TABLE IF EXISTS {table}")
        put(migrated, *demo())
        yield client


def put(settings: StoreSettings, *messages: Any) -> None:
    """Store them as the sink does, one insert a table."""
    session = Session(settings)
    made = [rows for number, event in enumerate(messages) for rows in rows_of(event, place(number))]
    for table in {rows.table.name: rows.table for rows in made}.values():
        batches = [rows.batch for rows in made if rows.table.name == table.name]
        Inserter(session).insert(table, one_table(batches, table.schema))
    session.close()


def series(
    target: str, location: str, probe: str = "front", *, every: int = 1, failing: tuple[int, int] = (0, 0)
) -> CheckBatch:
    """Return the checks of one series; those of the seconds from `failing[0]` up to `failing[1]` have failed."""
    seconds = range(0, SECONDS, every)
    count = len(seconds)
    outcomes = [Outcome.FAILURE if failing[0] <= second < failing[1] else Outcome.SUCCESS for second in seconds]
    ticks = [START_US + second * SECOND_US for second in seconds]
    return CheckBatch(
        v=1,
        producer=location,
        location=location,
        target=[target] * count,
        probe=[probe] * count,
        kind=["http" if probe == "front" else "tls"] * count,
        scheduled_at_us=ticks,
        started_at_us=ticks,
        duration_us=[40_000] * count,
        outcome=outcomes,
        reason=[None if outcome == Outcome.SUCCESS else "http_status" for outcome in outcomes],
        address=[None] * count,
        http_status=[None] * count,
    )


def at(second: int) -> int:
    """Return a time of the demo, microseconds UTC."""
    return START_US + second * SECOND_US


def warning(**changes: Any) -> Any:
    """Return the step that opens the early warning on the shop's latency."""
    known: dict[str, Any] = {
        "target": SHOP,
        "effect": "opened",
        "cause": "latency 2.5 times its norm",
        "began_at_us": at(SLOW + 5),
        "opened_at_us": at(SLOW + 9),
        "updated_at_us": at(SLOW + 9),
        "warned_at_us": at(SLOW + 9),
        "reasons": [reason("latency_level", metric="latency")],
    }
    return incident(1, **(known | changes))


def demo() -> list[Any]:
    """Return the messages of a demo that showed everything."""
    ended = {"kind": "outage", "outage_at_us": at(FAIL + 3), "resolved_at_us": at(RECOVERED + 2), "effect": "resolved"}
    certificate = {"incident_id": "cert", "subject": "tls_days_left", "cause": "expires in 9 days", "target": SHOP}
    return [
        *(series(SHOP, location, failing=(FAIL, RECOVERED)) for location in ("ams", "fra")),
        *(series(CONTROL, location) for location in ("ams", "fra")),
        *(series(SHOP, location, "certificate", every=5) for location in ("ams", "fra")),
        verdict("healthy", at(2), target=CONTROL),
        warning(),
        warning(**ended).__class__(**(_fields(warning(**ended)) | {"revision": 2, "id": "abc.2"})),
        incident(1, effect="opened", warned_at_us=at(3), reasons=[reason(metric="tls_days_left")], **certificate),
    ]


def _fields(event: Any) -> dict[str, Any]:
    return {name: getattr(event, name) for name in event.__struct_fields__}


def found(client: Client, *, log_checks: int = CHECKS, steps: tuple[str, ...] = ("abc.2",)) -> Findings:
    """Ask the store as the demo does, of which the log has these incident steps."""
    nothing: frozenset[str] = frozenset()
    log_ids = {"deviations": nothing, "verdicts": nothing, "incident steps": frozenset(steps)}
    return find(client, slow_at_us=at(SLOW), fail_at_us=at(FAIL), log_checks=log_checks, log_ids=log_ids)


def test_a_good_demos_store_says_when_everything_was(client: Client) -> None:
    """Warning, first failure, outage, resolution, certificate, and every row."""
    seen = found(client)
    assert seen.faults() == []
    assert (seen.warned_at_us, seen.warning) == (at(SLOW + 9), "latency 2.5 times its norm")
    assert (seen.failed_at_us, seen.outage_at_us, seen.resolved_at_us) == (at(FAIL), at(FAIL + 3), at(RECOVERED + 2))
    assert (seen.certificate, seen.series, seen.stored, seen.missing) == ("expires in 9 days", 6, CHECKS, 0)
    assert seen.rows == {"checks": CHECKS, "deviations": 0, "verdicts": 1, "incident steps": 3, "dead letters": 0}


@pytest.mark.parametrize(
    "changes",
    [
        {"warned_at_us": at(SLOW) - 1},
        {"target": CONTROL},
        {"subject": "tls_days_left"},
        {"reasons": [reason("failure_ratio", metric="failure_ratio")]},
        {"kind": "outage"},
        {"effect": "updated"},
    ],
)
def test_only_a_new_warning_on_the_shops_latency_counts(
    client: Client, migrated: StoreSettings, changes: dict[str, Any]
) -> None:
    """Not one of before the slow-down, of another target or subject, on something else, nor an outage's step."""
    client.command("TRUNCATE TABLE incidents_log")
    put(migrated, warning(**changes))
    assert found(client).warned_at_us is None


def test_an_empty_store_has_every_fault(client: Client) -> None:
    """Nothing found is never taken for nothing wrong."""
    for table in ("checks_log", "verdicts_log", "incidents_log"):
        client.command(f"TRUNCATE TABLE {table}")
    seen = found(client)
    assert (seen.warned_at_us, seen.failed_at_us, seen.outage_at_us, seen.resolved_at_us, seen.certificate) == (
        None,
    ) * 5
    assert (seen.series, seen.unseen) == (0, CHECKS)
    assert len(seen.faults()) == 8


def test_what_the_log_has_and_the_store_has_not_is_a_fault(client: Client) -> None:
    """Each step of an incident by its id."""
    assert found(client, steps=("abc.1", "abc.2")).faults() == found(client).faults() == []
    seen = found(client, steps=("abc.2", "lost.1", "lost.2"))
    assert seen.faults() == ["2 incident steps that the log has are not stored"]


@pytest.mark.parametrize(
    ("messages", "fault"),
    [
        ([series(SHOP, "ams", failing=(FAIL - 1, FAIL))], "1 checks of the shop failed before"),
        ([series(CONTROL, "nyc")], "8 series of checks"),
        ([verdict("failing", NOW_US, target=CONTROL)], "the healthy control target raised 1 events"),
        ([incident(1, incident_id="c", target=CONTROL)], "the healthy control target raised 1 events"),
    ],
)
def test_what_should_not_be_in_the_store_is_found(
    client: Client, migrated: StoreSettings, messages: list[Any], fault: str
) -> None:
    """An early failure, a series too many, anything that the control target raised."""
    if fault.startswith("8"):
        messages = [*messages, series(SHOP, "nyc")]
    if fault.startswith("1 checks"):
        client.command(
            "ALTER TABLE checks_log DELETE WHERE location = 'ams' AND target = 'demo/shop'",
            settings={"mutations_sync": 1},
        )
        messages = [*messages, series(SHOP, "ams", "certificate", every=5)]
    put(migrated, *messages)
    assert any(text.startswith(fault) for text in found(client).faults()), found(client).faults()


def test_a_deviation_of_the_control_target_counts_and_so_does_a_dead_letter(
    client: Client, migrated: StoreSettings
) -> None:
    """Each is counted."""
    [deviation] = [event for event in events() if isinstance(event, Deviation)]
    [letter] = [event for event in events() if isinstance(event, DeadLetter)]
    put(migrated, type(deviation)(**(_fields(deviation) | {"target": CONTROL})), letter)
    assert found(client).faults() == [
        "the healthy control target raised 1 events",
        "1 messages became dead letters",
    ]


def test_a_tick_that_is_missing_is_seen(client: Client) -> None:
    """One in the middle by its gap, the last one by the count of the log."""
    for second, fault in (
        (40, ["1 ticks are missing among the stored checks", "1 checks that the log has are not stored"]),
        (SECONDS - 1, ["1 ticks are missing among the stored checks", "2 checks that the log has are not stored"]),
    ):
        client.command(
            "ALTER TABLE checks_log DELETE WHERE target = %(target)s AND location = 'ams' AND probe = 'front'"
            " AND scheduled_at = fromUnixTimestamp64Micro(%(at)s, 'UTC')",
            parameters={"target": CONTROL, "at": at(second)},
            settings={"mutations_sync": 1},
        )
        assert found(client).faults() == fault
