"""Rollups: what an insert touches, and computing it when its hour is over."""

import math
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics import rollups as rollups_module
from analytics.buffer import Hour
from analytics.errors import StoreUnavailableError
from analytics.insert import DAY_US, Inserter
from analytics.rollup_sql import HOUR_US
from analytics.rollups import CLOSED_AFTER_US, Mark, OpenMarks, Rollups, note_touched
from analytics.rows import one_table, rows_of
from analytics.session import Session
from analytics.settings import StoreSettings
from analytics.tables import CHECKS
from producers.contract import CheckBatch, Outcome
from tests.analytics.messages import NOW_US, batch, place, read

HOUR_AT_US = NOW_US // HOUR_US * HOUR_US - 5 * HOUR_US
OVER_US = HOUR_AT_US + HOUR_US + CLOSED_AFTER_US
PARTITION = 3


@dataclass(frozen=True, slots=True)
class One:
    """One check as the tests invent it; `duration_us` is None if and only if it was missed."""

    target: str
    location: str
    tick_us: int
    duration_us: int | None
    failed: bool = False


def checks_of(ones: Iterable[One]) -> list[CheckBatch]:
    """Return the checks as batches, one a check: they may come in any order and from anywhere."""
    return [_batch(one) for one in ones]


def _batch(one: One) -> CheckBatch:
    outcome = Outcome.MISSED if one.duration_us is None else Outcome.FAILURE if one.failed else Outcome.SUCCESS
    reason = {Outcome.MISSED: "overload", Outcome.FAILURE: "timeout", Outcome.SUCCESS: None}[outcome]
    plain = batch([one.target], tick_us=one.tick_us, location=one.location)
    values = {name: getattr(plain, name) for name in plain.__struct_fields__}
    return CheckBatch(**values | {"duration_us": [one.duration_us], "outcome": [outcome], "reason": [reason]})


def store(session: Session, rollups: Rollups, batches: Iterable[CheckBatch], *, partition: int = PARTITION) -> None:
    """Do what the sink does: rows, then marks."""
    touched: dict[Hour, set[str]] = {}
    rows = []
    for offset, one in enumerate(batches):
        note_touched(touched, partition, one)
        rows.append(rows_of(one, place(offset, partition=partition))[0].batch)
    inserter = Inserter(session)
    inserter.insert(CHECKS, one_table(rows, CHECKS.schema))
    rollups.mark(touched, inserter)


def compute_all(rollups: Rollups, *, now_us: int = OVER_US) -> int:
    """Compute until nothing is due; return in how many batches."""
    batches = 0
    while rollups.step(now_us=now_us) is not None:
        batches += 1
    return batches


def owning(database: StoreSettings, *partitions: int) -> Rollups:
    """Return the rollups of a sink that has just got these partitions."""
    rollups = Rollups(database)
    rollups.own(partitions or (PARTITION,))
    return rollups


def hours(session: Session) -> list[dict[str, Any]]:
    """Return the rollups, in the order of their key."""
    return read(session, "SELECT * FROM check_hours ORDER BY target, probe, location, hour_at")


def waiting(session: Session) -> list[tuple[str, int]]:
    """Return what waits to be computed."""
    rows = read(session, "SELECT target, hour_at FROM check_hours_waiting ORDER BY target, hour_at")
    return [(row["target"], row["hour_at"]) for row in rows]


def expected(ones: Iterable[One]) -> list[dict[str, Any]]:
    """Return what the rollups of checks must say, computed by hand."""
    groups: dict[tuple[str, str, int], list[One]] = {}
    for one in ones:
        groups.setdefault((one.target, one.location, one.tick_us // HOUR_US * HOUR_US), []).append(one)
    return [_expected(key, members) for key, members in sorted(groups.items())]


def _expected(key: tuple[str, str, int], members: list[One]) -> dict[str, Any]:
    target, location, hour_us = key
    good = sorted(one.duration_us for one in members if one.duration_us is not None and not one.failed)
    failed = sum(one.failed for one in members if one.duration_us is not None)
    missed = sum(one.duration_us is None for one in members)
    reasons = {"overload": missed, "timeout": failed}
    # The engine's exact quantile: the value at the level's share of the number of values, counted from 0.
    quantile = {name: good[min(int(level * len(good)), len(good) - 1)] if good else None for name, level in LEVELS}
    return {
        "target": target,
        "probe": "web",
        "location": location,
        "hour_at": hour_us,
        "kind": "http",
        "checks": len(members),
        "succeeded": len(good),
        "failed": failed,
        "missed": missed,
        "disturbed": 0,
        "reasons": {reason: count for reason, count in reasons.items() if count},
        "latency_sum_us": sum(good),
        "latency_min_us": good[0] if good else None,
        **{f"latency_{name}_us": value for name, value in quantile.items()},
        "latency_max_us": good[-1] if good else None,
        "latency_counts": dict(Counter(leading(value) for value in good)),
    }


LEVELS = (("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99))


def leading(value: int) -> int:
    """Return a number with its six leading bits only."""
    cut = max(0, value.bit_length() - 6)
    return value >> cut << cut


def shown(session: Session) -> list[dict[str, Any]]:
    """Return the rollups without what a clock decides."""
    rows = hours(session)
    assert all(row.pop("computed_at") >= NOW_US and row.pop("late") == row["checks"] for row in rows)
    return rows


ONES = st.builds(
    One,
    target=st.sampled_from(["main/a", "main/б", "eu/it's 100%"]),
    location=st.sampled_from(["north", "south"]),
    tick_us=st.integers(0, 3 * HOUR_US - 1).map(lambda offset: HOUR_AT_US - HOUR_US + offset),
    duration_us=st.none() | st.integers(0, 2**40),
    failed=st.booleans(),
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ones=st.lists(ONES, min_size=1, max_size=30, unique_by=lambda one: (one.target, one.location, one.tick_us)))
def test_rollups_are_what_one_counts_by_hand(session: Session, database: StoreSettings, ones: list[One]) -> None:
    """For any checks, in any order, stored twice: counts, exact quantiles, and counts by duration that add up."""
    with session.client() as client:
        for table in ("checks_log", "check_hours_log", "check_hours_touched_log"):
            client.command(f"TRUNCATE TABLE {table}")
    rollups = owning(database)
    store(session, rollups, checks_of([*ones, *ones[::-1]]))
    compute_all(rollups, now_us=OVER_US + 2 * HOUR_US)
    assert shown(session) == expected(ones)
    assert waiting(session) == []


def test_an_hour_is_computed_once_it_is_over(session: Session, database: StoreSettings) -> None:
    """Before that it waits; afterwards one batch does, and nothing is left to do."""
    rollups = owning(database)
    store(session, rollups, [batch(["main/a", "main/b"], tick_us=HOUR_AT_US)])
    assert compute_all(rollups, now_us=OVER_US - 1) == 0
    assert waiting(session) == [("main/a", HOUR_AT_US), ("main/b", HOUR_AT_US)]
    assert compute_all(rollups, now_us=OVER_US) == 1
    assert [row["target"] for row in hours(session)] == ["main/a", "main/b"]
    assert (waiting(session), compute_all(rollups)) == ([], 0)


def test_inserts_into_an_hour_that_is_marked_mark_nothing_more(session: Session, database: StoreSettings) -> None:
    """The flow of an hour is one mark a target, not one an insert."""
    rollups = owning(database)
    for minute in range(5):
        store(session, rollups, [batch(["main/a"], tick_us=HOUR_AT_US + minute * 60_000_000)])
    [counted] = read(session, "SELECT count() AS n FROM check_hours_touched_log")
    assert counted["n"] == 1
    compute_all(rollups)
    assert [row["checks"] for row in hours(session)] == [5]


def test_late_checks_are_computed_again(session: Session, database: StoreSettings) -> None:
    """A check that comes after its hour was computed: the hour of that target is computed again, whole."""
    rollups = owning(database)
    store(session, rollups, [batch(["main/a", "main/b"], tick_us=HOUR_AT_US)])
    compute_all(rollups)
    before = hours(session)
    store(session, rollups, [batch(["main/a"], tick_us=HOUR_AT_US + 1)])
    assert waiting(session) == [("main/a", HOUR_AT_US)]
    compute_all(rollups)
    after = hours(session)
    assert [row["checks"] for row in after] == [2, 1]
    assert after[1] == before[1], "who got no check keeps the row"


def test_an_earlier_run_of_a_check_takes_the_place_of_the_other(session: Session, database: StoreSettings) -> None:
    """Of two runs of one check the earlier one counts, here as in the raw rows, although it came later."""
    rollups = owning(database)
    for delay_us, duration_us in ((900, 5_000), (100, 7_000)):
        one = batch(["main/a"], tick_us=HOUR_AT_US, delay_us=delay_us)
        values = {name: getattr(one, name) for name in one.__struct_fields__}
        store(session, rollups, [CheckBatch(**values | {"duration_us": [duration_us]})])
        compute_all(rollups)
    assert [(row["checks"], row["latency_max_us"]) for row in hours(session)] == [(1, 7_000)]


def test_what_a_killed_sink_left_is_computed_by_its_successor(session: Session, database: StoreSettings) -> None:
    """Marks are in the store: the next owner of the partition loads them, the owner of another one does not."""
    store(session, owning(database), [batch(["main/a"], tick_us=HOUR_AT_US)])
    assert compute_all(owning(database, PARTITION + 1)) == 0
    assert compute_all(owning(database, PARTITION, PARTITION + 1)) == 1
    assert [row["target"] for row in hours(session)] == ["main/a"]
    assert compute_all(owning(database)) == 0, "what is done stays done"


def test_a_mark_that_comes_while_its_hour_is_computed_stays(
    session: Session, database: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checks stored between the reading and the end of a computation are in the next one."""
    rollups = owning(database)
    store(session, rollups, [batch(["main/a"], tick_us=HOUR_AT_US)])
    compute = rollups_module.compute

    def slow(*arguments: Any) -> None:
        compute(*arguments)
        monkeypatch.setattr(rollups_module, "compute", compute)
        store(session, rollups, [batch(["main/a"], tick_us=HOUR_AT_US + 1)])

    monkeypatch.setattr(rollups_module, "compute", slow)
    rollups.step(now_us=OVER_US)
    assert [row["checks"] for row in hours(session)] == [1]
    assert waiting(session) == [("main/a", HOUR_AT_US)]
    rollups.step(now_us=OVER_US)
    assert [row["checks"] for row in hours(session)] == [2]
    assert waiting(session) == []


def test_a_store_that_is_away_in_the_middle_loses_no_mark(
    session: Session, database: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step fails; the next one does what that one took."""
    rollups = owning(database)
    store(session, rollups, [batch(["main/a"], tick_us=HOUR_AT_US)])

    def away(*_: Any) -> None:
        raise StoreUnavailableError("away")

    with monkeypatch.context() as patched:
        patched.setattr(rollups_module, "compute", away)
        with pytest.raises(StoreUnavailableError):
            rollups.step(now_us=OVER_US)
    assert hours(session) == []
    assert compute_all(rollups) == 1
    assert (len(hours(session)), waiting(session)) == (1, [])


def test_many_targets_are_computed_in_batches(
    session: Session, database: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of bounded size, the oldest hour first, over the partitions of the sink."""
    monkeypatch.setattr(rollups_module, "TARGETS_A_BATCH", 4)
    rollups = owning(database, 1, 2)
    targets = [f"main/{number}" for number in range(10)]
    store(session, rollups, [batch(targets[:7], tick_us=HOUR_AT_US)], partition=1)
    store(session, rollups, [batch(targets[7:], tick_us=HOUR_AT_US)], partition=2)
    store(session, rollups, [batch(targets[:1], tick_us=HOUR_AT_US - HOUR_US)], partition=1)
    rollups.step(now_us=OVER_US)
    assert [(row["target"], row["hour_at"]) for row in hours(session)] == [("main/0", HOUR_AT_US - HOUR_US)]
    assert compute_all(rollups) == 3
    assert [row["target"] for row in hours(session)] == ["main/0", *targets]


def test_what_the_ttl_has_begun_to_take_is_not_computed_again(session: Session, database: StoreSettings) -> None:
    """A check of an hour that is not kept whole any more: its rollup stays as it was when all was there."""
    store(session, owning(database), [batch(["main/a"], tick_us=HOUR_AT_US + number) for number in range(3)])
    rollups = owning(database)
    compute_all(rollups)
    with session.client() as client:
        client.command(
            "DELETE FROM checks_log WHERE scheduled_at = fromUnixTimestamp64Micro(%(at)s, 'UTC')",
            parameters={"at": HOUR_AT_US},
        )
    store(session, rollups, [batch(["main/a"], tick_us=HOUR_AT_US + 2)])
    compute_all(rollups, now_us=HOUR_AT_US + 100 * DAY_US + 1)
    assert [row["checks"] for row in hours(session)] == [3]
    assert waiting(session) == []


def test_a_batch_over_the_hour_touches_both(session: Session, database: StoreSettings) -> None:
    """Only the targets that have a check in each."""
    rollups = owning(database)
    both = batch(["main/a", "main/b"], tick_us=HOUR_AT_US)
    values = {name: getattr(both, name) for name in both.__struct_fields__}
    moved = CheckBatch(**values | {"scheduled_at_us": [HOUR_AT_US - 1, HOUR_AT_US]})
    store(session, rollups, [moved])
    assert waiting(session) == [("main/a", HOUR_AT_US - HOUR_US), ("main/b", HOUR_AT_US)]


def test_days_add_up_and_their_quantiles_are_near(session: Session, database: StoreSettings) -> None:
    """A day of one target from its hours: counts exact, quantiles at most 3.2 % below the exact ones."""
    dice = random.Random(11)
    day_us = NOW_US // DAY_US * DAY_US - DAY_US
    ones = [
        One("main/a", "north", day_us + number * 60_000_000, round(dice.lognormvariate(11, 0.8)))
        for number in range(24 * 60)
    ]
    ones[7] = replace(ones[7], failed=True)
    rollups = owning(database)
    store(session, rollups, checks_of(ones))
    compute_all(rollups, now_us=day_us + 2 * DAY_US)
    [day] = read(session, "SELECT * FROM check_days")
    assert (day["hours"], day["checks"], day["succeeded"], day["failed"]) == (24, 1440, 1439, 1)
    assert day["reasons"] == {"timeout": 1}
    good = sorted(one.duration_us or 0 for one in ones if not one.failed)
    assert math.isclose(day["latency_mean_us"], sum(good) / len(good))
    for name, level in LEVELS:
        exact = good[int(level * len(good))]
        assert exact * (1 - 0.032) <= day[f"latency_{name}_us"] <= exact


def test_marks_are_taken_in_the_order_of_the_stores_key_each_once() -> None:
    """Over partitions, hour by hour; what is added meanwhile, or put back, is taken in its turn."""
    marks, early, late = OpenMarks(), Hour(0, HOUR_AT_US), Hour(0, HOUR_AT_US + HOUR_US)
    other = Hour(5, HOUR_AT_US)
    marks.add(
        [
            Mark(hour, f"shop/{name}", 7)
            for hour, names in ((early, "dbf"), (other, "ca"), (late, "a"))
            for name in names
        ]
    )
    first = marks.take(HOUR_AT_US, 2)
    assert first == [Mark(other, "shop/a", 7), Mark(early, "shop/b", 7)]
    marks.add([Mark(early, "shop/aa", 8), Mark(early, "shop/f", 9), *first])
    assert marks.hours(HOUR_AT_US + 1) == {HOUR_AT_US: 6}
    assert marks.take(HOUR_AT_US + HOUR_US, 9) == [Mark(late, "shop/a", 7)]
    rest = []
    while taken := marks.take(HOUR_AT_US, 2):
        rest += [(mark.target, mark.touched_us) for mark in taken]
    names = ["a", "aa", "b", "c", "d", "f", "f"]
    assert rest == [(f"shop/{name}", at_us) for name, at_us in zip(names, (7, 8, 7, 7, 7, 7, 9), strict=True)]
    assert marks.hours(HOUR_AT_US + 9 * HOUR_US) == {}
