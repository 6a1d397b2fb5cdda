"""Verdicts as timelines: one line a location, one letter a tick, the verdict below."""

import numpy as np
import pytest

from producers.contract import OUTCOME_FAILURE, OUTCOME_MISSED, OUTCOME_SUCCESS
from streams.core.quorum import majority
from streams.policy import Expectations, ProbeExpectation
from tests.streams.timelines import (
    INTERVAL,
    SECOND,
    START,
    TARGET,
    Published,
    Row,
    columns,
    detector,
    expectations,
    run,
)


def test_one_location_decides_alone() -> None:
    """With one location each failing check is a failing tick."""
    #                       0123456789
    assert run({"ams": "HHFFHHFHHH"}).letters(10) == "hhffhhfhhh"


def test_two_locations_must_both_fail() -> None:
    """One of two is a partial failure: degraded, not failing."""
    found = run({
        "ams": "HHFFHHFHHH",
        "fra": "HHFHHHHHFH",
    })  # fmt: skip
    assert found.letters(10) == "hhfdhhdhdh"


def test_three_locations_decide_by_majority() -> None:
    """Two of three fail: failing; one: degraded."""
    found = run({
        "ams": "HFFFHH",
        "fra": "HHFFHH",
        "nyc": "HHHFFH",
    })  # fmt: skip
    assert found.letters(6) == "hdffdh"


def test_a_missed_check_reports_nothing() -> None:
    """Where one of three is missed the other two are all that reported, so both must fail."""
    found = run({
        "ams": "HFFMM",
        "fra": "HMFMM",
        "nyc": "HHMHM",
    })  # fmt: skip
    #                          one of two, two of two, one that is well, nobody
    assert found.letters(5) == "hdfhu"


def test_a_lost_check_does_not_change_the_majority_of_those_that_reported() -> None:
    """A check that never arrives counts for nobody; the tick closes by the watermark."""
    found = run({
        "ams": "HFFHHHHHHH",
        "fra": "HFFHHHHHHH",
        "nyc": "HH.HHHHHHH",
    }, clock_after_s=120)  # fmt: skip
    assert found.letters(10) == "hffhhhhhhh"
    at_two = next(verdict for verdict in found.verdicts if verdict.tick_us == START + 2 * INTERVAL)
    assert at_two.reported == ["ams", "fra"]


@pytest.mark.parametrize(("reported", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_a_quorum_is_a_strict_majority(reported: int, needed: int) -> None:
    """More than half; with two both, with one that one."""
    assert majority(np.array([reported])).tolist() == [needed]


def test_failing_is_dated_back_to_the_first_failing_check() -> None:
    """The target fails at tick 3 by quorum; ams failed from tick 1 on."""
    found = run({
        "ams": "HFFFHH",
        "fra": "HHHFHH",
    })  # fmt: skip
    failing = next(verdict for verdict in found.verdicts if verdict.verdict == "failing")
    assert (failing.tick_us, failing.since_us) == (START + 3 * INTERVAL, START + INTERVAL)
    assert failing.failed == ["ams", "fra"]
    assert failing.reasons[0].kind == "failing"
    assert failing.reasons[0].failure == "timeout"
    assert "timeout at ams and fra (2 of 2 locations)" in failing.reasons[0].text


def test_the_reason_says_what_the_failed_checks_say_of_themselves() -> None:
    """The detail of a check with the most frequent cause, of the tick that is told; after a restart too."""
    core, config = detector(expectations("ams", "fra", "nyc")), expectations("ams", "fra", "nyc")
    for tick in range(3):
        core.apply(columns([Row(tick_us=START + tick * INTERVAL, location=place) for place in ("ams", "fra", "nyc")]))
    failed = [
        Row(tick_us=START + 3 * INTERVAL, location=place, outcome=OUTCOME_FAILURE, reason=reason, detail=detail)
        for place, reason, detail in (
            ("ams", "dns_error", "the name shop.example does not exist"),
            ("fra", "connection_error", "no connection to 192.0.2.1:443: refused"),
            ("nyc", "connection_error", "no connection to 192.0.2.7:443: refused"),
        )
    ]
    core.apply(columns(failed[:2]))
    restored = detector(config)
    restored.restore(core.snapshot())
    [verdict] = Published().add(restored.apply(columns(failed[2:]))).verdicts
    [reason] = verdict.reasons
    assert reason.failure == "connection_error"
    assert reason.text.endswith(": no connection to 192.0.2.1:443: refused")
    assert "connection_error at ams, fra and nyc (3 of 3 locations)" in reason.text


def test_partial_failure_names_the_location() -> None:
    """The reason says who fails, and is no outage."""
    found = run({"ams": "HHFHH", "fra": "HHHHH"})
    degraded = next(verdict for verdict in found.verdicts if verdict.verdict == "degraded")
    assert [(reason.kind, reason.locations) for reason in degraded.reasons] == [("partial_failure", ["ams"])]


def test_verdicts_are_published_at_changes_and_settle_afterwards() -> None:
    """The change and the next settle_ticks (5) ticks, then nothing until the next change."""
    found = run({"ams": "HHHHHHHHHHHHFFFFFFFFFFFFHHHHHHHHHHHH"})
    ticks = [(verdict.tick_us - START) // INTERVAL for verdict in found.verdicts]
    assert ticks == [*range(6), *range(12, 18), *range(24, 30)]
    assert [verdict.changed for verdict in found.verdicts] == [True, *[False] * 5] * 3
    assert [v.previous for v in found.verdicts if v.changed] == ["unknown", "healthy", "failing"]


def test_a_steady_failure_of_another_location_is_a_change() -> None:
    """The verdict stays degraded, the failing location changes: that is told."""
    found = run({
        "ams": "HHFFFFFFFFFFHHH",
        "fra": "HHHHHHHHHHHHFFF",
    })  # fmt: skip
    changes = [((verdict.tick_us - START) // INTERVAL, verdict.failed) for verdict in found.verdicts if verdict.changed]
    assert changes == [(0, []), (2, ["ams"]), (12, ["fra"])]


def test_the_worst_probe_is_the_targets_verdict_and_ticks_rise() -> None:
    """Front is well, but api fails: the target fails, and says which probe."""
    config = Expectations(
        probes={
            (TARGET, "api"): ProbeExpectation(interval_us=2 * INTERVAL, locations=("ams",)),
            (TARGET, "front"): ProbeExpectation(interval_us=INTERVAL, locations=("ams",)),
        }
    )
    core, found = detector(config), Published()
    for tick in range(12):
        at_us = START + tick * INTERVAL
        found.add(core.apply(columns([Row(tick_us=at_us)])))
        if tick % 2 == 0:
            found.add(core.apply(columns([Row(tick_us=at_us, probe="api", outcome=int(4 <= tick < 8))])))
        found.add(core.clock(at_us + INTERVAL // 2))
    assert found.letters(12) == "hhhhffffhhhh"
    failing = next(verdict for verdict in found.verdicts if verdict.verdict == "failing")
    assert {reason.probe for reason in failing.reasons} == {"api"}
    ticks = [verdict.tick_us for verdict in found.verdicts]
    assert ticks == sorted(set(ticks))


def test_a_silent_sibling_does_not_hold_back_an_outage() -> None:
    """A host probe with a long interval dies with its machine; the http probe's failures are still told in time."""
    config = Expectations(
        probes={
            (TARGET, "front"): ProbeExpectation(interval_us=INTERVAL, locations=("ams", "fra")),
            (TARGET, "machine"): ProbeExpectation(interval_us=6 * INTERVAL, locations=("shop-1",)),
        }
    )
    core, found = detector(config), Published()
    seen_at = None
    for tick in range(30):
        at_us = START + tick * INTERVAL
        rows = [Row(tick_us=at_us, location=location, outcome=int(tick >= 14)) for location in ("ams", "fra")]
        if tick % 6 == 0 and tick < 14:
            rows.append(Row(tick_us=at_us, probe="machine", kind="host", location="shop-1"))
        found.add(core.apply(columns(rows)))
        found.add(core.clock(at_us))
        if seen_at is None and any(verdict.verdict == "failing" for verdict in found.verdicts):
            seen_at = tick
    assert seen_at == 14
    third = [v for v in found.verdicts if v.verdict == "failing"][2]
    assert third.tick_us == START + 16 * INTERVAL
    for tick in range(30, 60):
        found.add(core.clock(START + tick * INTERVAL))
    assert found.summaries[-1].closed_through_us >= START + 50 * INTERVAL  # the dead sibling holds it no longer


def test_the_address_that_was_talked_to_last_is_named() -> None:
    """Verdicts carry it, so that siblings on one address can be seen."""
    core, found = detector(expectations("ams")), Published()
    for tick, address in enumerate(["192.0.2.1", "192.0.2.2", None]):
        found.add(core.apply(columns([Row(tick_us=START + tick * INTERVAL, address=address)])))
    assert [verdict.address for verdict in found.verdicts] == ["192.0.2.1", "192.0.2.2", "192.0.2.2"]


def test_summaries_count_each_slot_by_location_even_when_it_is_empty() -> None:
    """Missed checks are not reported; an empty slot is told as well, and each slot once."""
    found = run({"ams": "HHF..........", "fra": "HMF.........."}, clock_after_s=10)
    told = {
        (summary.slot_us - START) // (10 * SECOND): [(c.location, c.reported, c.failed) for c in summary.locations]
        for summary in found.summaries
    }
    assert told[0] == [("ams", 1, 0), ("fra", 1, 0)]
    assert told[1] == [("ams", 1, 0), ("fra", 0, 0)]
    assert told[2] == [("ams", 1, 1), ("fra", 1, 1)]
    assert told[3] == []
    slots = [summary.slot_us for summary in found.summaries]
    assert slots == list(range(START, START + len(slots) * 10 * SECOND, 10 * SECOND))


def test_an_empty_partition_is_closed_ahead_of_the_clock() -> None:
    """Nothing is expected there, so it holds nobody up: closed through the clock and two slots."""
    found = Published().add(detector().clock(START))
    assert [summary.closed_through_us + 1 for summary in found.summaries] == [START + 10 * SECOND, START + 20 * SECOND]


def test_no_verdict_is_published_for_a_tick_that_was_said_to_be_closed() -> None:
    """closed_through of a summary is a promise."""
    found = detector(expectations("ams", "fra"))
    promised = 0
    for tick in range(60):
        at_us = START + tick * INTERVAL
        rows = [Row(tick_us=at_us, location="ams", outcome=int(tick % 7 == 0))]
        rows += [Row(tick_us=at_us, location="fra", outcome=int(tick % 5 == 0))] if tick % 4 else []
        for outputs in (found.apply(columns(rows)), found.clock(at_us + INTERVAL // 2)):
            told = Published().add(outputs)
            assert all(verdict.tick_us > promised for verdict in told.verdicts)
            promised = max([promised, *(summary.closed_through_us for summary in told.summaries)])
    assert promised > START


@pytest.mark.parametrize("missed", [True, False])
def test_one_location_that_is_slow_is_no_slow_target_when_another_one_misses_a_check(missed: bool) -> None:
    """Ams is slow for an hour and fra is not: that fra misses a tick, or its check is lost, makes no majority."""
    core, found = detector(expectations("ams", "fra")), Published()
    rng = np.random.default_rng(1)
    for tick in range(420):
        slow, away = tick >= 60, tick in (200, 300)
        ams = 20_000.0 * float(np.exp(rng.normal(0.0, 0.05))) * (20.0 if slow else 1.0)
        fra = 20_000.0 * float(np.exp(rng.normal(0.0, 0.05)))
        rows = [Row(tick_us=START + tick * INTERVAL, duration_us=ams)]
        if missed or not away:
            outcome = OUTCOME_MISSED if away else OUTCOME_SUCCESS
            rows.append(Row(tick_us=START + tick * INTERVAL, location="fra", duration_us=fra, outcome=outcome))
        found.add(core.apply(columns(rows)))
    assert any(one.active for one in found.deviations)
    assert {one.verdict for one in found.verdicts} == {"healthy"}
