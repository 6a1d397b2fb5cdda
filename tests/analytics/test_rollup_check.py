"""`analytics.rollup_check`: what differs is found, named, and computed again; what is right or on its way is not."""

from typing import Any

import pytest

from analytics import rollup_check
from analytics.rollup_check import Difference, check_rollups
from analytics.session import Session
from analytics.settings import StoreSettings
from tests.analytics.messages import batch
from tests.analytics.test_rollups import HOUR_AT_US, OVER_US, compute_all, hours, owning, store

TARGETS = ["main/a", "main/b", "main/c"]


def found(session: Session, **options: Any) -> list[Difference]:
    """Return what a check says right after the hour was computed."""
    return check_rollups(session, **{"now_us": OVER_US, "settle_s": 0, "repair": False, **options}).differences


@pytest.fixture
def computed(session: Session, database: StoreSettings) -> Session:
    """Three targets with two checks each, and their rollups."""
    rollups = owning(database)
    store(session, rollups, [batch(TARGETS, tick_us=HOUR_AT_US + tick) for tick in range(2)])
    compute_all(rollups)
    return session


def change(session: Session, sql: str) -> None:
    """Do to the store what no part of ours does."""
    with session.client() as client:
        client.command(sql, settings={"mutations_sync": 1})


def test_right_rollups_are_found_right(computed: Session) -> None:
    """All that is there is compared, and nothing is said of it."""
    result = check_rollups(computed, repair=False, now_us=OVER_US)
    assert (result.compared, result.waiting, result.differences) == (3, 0, [])
    assert result.until_us == HOUR_AT_US + 3600 * 10**6


def test_an_empty_store_is_right(session: Session) -> None:
    """Nothing is nothing wrong."""
    assert found(session) == []


def test_a_rollup_that_is_missing_wrong_or_alone_is_named(computed: Session) -> None:
    """Each with the columns that differ; a wrong one is no matter of `checks` alone."""
    change(computed, "ALTER TABLE check_hours_log DELETE WHERE target = 'main/a'")
    change(computed, "ALTER TABLE check_hours_log UPDATE failed = 7, latency_p99_us = NULL WHERE target = 'main/b'")
    change(computed, "ALTER TABLE checks_log DELETE WHERE target = 'main/c'")
    missing, wrong, alone = found(computed)
    assert (missing.key, missing.rollup) == (("main/a", "web", "north", HOUR_AT_US), None)
    assert missing.raw is not None
    assert missing.raw["checks"] == "2"
    assert (wrong.target, wrong.raw) == ("main/b", {"failed": "0", "latency_p99_us": "80000"})
    assert wrong.rollup == {"failed": "7", "latency_p99_us": "NULL"}
    assert (alone.target, alone.raw) == ("main/c", None)
    assert not any(one.repaired for one in (missing, wrong, alone))


def test_repair_computes_again_what_checks_are_there_for(computed: Session) -> None:
    """Afterwards nothing differs but the rollup whose checks are gone: it is the last that knows of them."""
    before = hours(computed)
    change(computed, "ALTER TABLE check_hours_log DELETE WHERE target = 'main/a'")
    change(computed, "ALTER TABLE check_hours_log UPDATE reasons = map('x', 1) WHERE target = 'main/b'")
    change(computed, "ALTER TABLE checks_log DELETE WHERE target = 'main/c'")
    repaired = found(computed, repair=True)
    assert [(one.target, one.repaired) for one in repaired] == [("main/a", True), ("main/b", True), ("main/c", False)]
    assert [one.target for one in found(computed)] == ["main/c"]
    for row, old in zip(hours(computed), before, strict=True):
        assert row | {"computed_at": 0} == old | {"computed_at": 0}


def test_checks_that_no_sink_noted_are_found(computed: Session, database: StoreSettings) -> None:
    """A row that came in without its mark: exactly its target and hour differ."""
    store(computed, owning(database, 99), [batch(["main/b"], tick_us=HOUR_AT_US + 5)])
    change(computed, "TRUNCATE TABLE check_hours_touched_log")
    [one] = found(computed)
    assert one.target == "main/b"
    assert one.raw is not None
    assert one.raw["checks"] == "3"


def test_what_waits_for_its_sink_or_is_not_over_is_no_difference(computed: Session, database: StoreSettings) -> None:
    """It is counted instead."""
    store(computed, owning(database), [batch(["main/b"], tick_us=HOUR_AT_US + 5)])
    store(computed, owning(database), [batch(["main/b"], tick_us=OVER_US)])
    result = check_rollups(computed, repair=False, now_us=OVER_US, settle_s=0)
    assert (result.compared, result.waiting, result.differences) == (2, 1, [])


def test_what_is_noted_a_moment_later_is_no_difference(
    computed: Session, database: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sink has stored late checks and writes their mark while we look: a second look tells it from a fault."""
    late = batch(["main/b"], tick_us=HOUR_AT_US + 5)
    store(computed, owning(database, 99), [late])
    change(computed, "TRUNCATE TABLE check_hours_touched_log")
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        store(Session(database), owning(database), [late])

    monkeypatch.setattr("analytics.rollup_check.time.sleep", sleep)
    assert found(computed) == []
    assert len(slept) == 1


def test_days_bound_what_is_compared(computed: Session) -> None:
    """Only hours that begin within the last N days."""
    change(computed, "TRUNCATE TABLE check_hours_log")
    day_us = 86_400 * 10**6
    assert len(found(computed, days=1)) == 3
    assert found(computed, days=1, now_us=OVER_US + day_us) == []
    assert len(found(computed, days=2, now_us=OVER_US + day_us)) == 3


def test_many_targets_are_compared_in_batches(computed: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """By number of targets and by number of rows; each target once."""
    change(computed, "TRUNCATE TABLE check_hours_log")
    for bound, most in (("TARGETS_A_BATCH", 2), ("ROWS_A_BATCH", 3)):
        with monkeypatch.context() as patched:
            patched.setattr(rollup_check, bound, most)
            result = check_rollups(computed, repair=False, now_us=OVER_US, settle_s=0)
        assert (result.compared, [one.target for one in result.differences]) == (3, TARGETS)
