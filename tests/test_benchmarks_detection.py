"""The benchmark of injected faults: what it makes is what it says, and its scorer counts as it should."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.detection.faults_page import BEGIN, END, write
from benchmarks.detection.faults_run import Task, run
from benchmarks.detection.kinds import KINDS, FaultKind
from benchmarks.detection.noise import DAY_US, HOUR_US, LEAST_PROBES, QUANTILES, WEEK_HOURS, Material
from benchmarks.detection.render import ABSENT, Series, shifted
from benchmarks.detection.scenario import Fault, Plan, Scenario, Trap, make
from benchmarks.detection.scoring import Score, clean_us, wilson
from benchmarks.detection.systems import Alarm, columns_of, forewarn, three_failures
from benchmarks.detection.traps import SHARED_TRAPS, TRAPS
from benchmarks.detection.warnable import Visible

MINUTELY = ((0.0, 0.0, 1.0),)
START_US = 20_000 * DAY_US


@pytest.fixture(scope="module")
def material() -> Material:
    """Residuals, weeks and days that were made up: the recorded ones are no part of the repository."""
    rng = np.random.default_rng(1)
    sites = np.quantile(rng.normal(0.0, 0.2, (3, 5000)), QUANTILES, axis=1).T
    return Material(
        sites=sites,
        typical_us=np.array([5e4, 2e5, 6e5]),
        weeks=np.sin(np.arange(WEEK_HOURS) / 12 * np.pi)[None, :] / 2,
        days=rng.normal(0.0, 1.0, (5, 24)),
    )


def small(*kinds: str, targets: int = 4, traps: bool = False, days: float = 6.0) -> Plan:
    """Return a plan of a few targets, looked at once a minute."""
    return Plan(
        targets=targets,
        days=(days, days + 0.1),
        intervals=MINUTELY,
        shared_times=1,
        kinds=tuple(kind for kind in KINDS if kind.name in kinds),
        traps=TRAPS if traps else (),
        shared=SHARED_TRAPS if traps else (),
    )


def same(one: Scenario, other: Scenario) -> bool:
    """Say whether two installations have the same checks and the same truth."""
    return (
        one.faults == other.faults
        and one.traps == other.traps
        and all(
            mine.target == theirs.target
            and np.array_equal(mine.tick_us, theirs.tick_us)
            and np.array_equal(mine.duration_us, theirs.duration_us, equal_nan=True)
            and np.array_equal(mine.outcome, theirs.outcome)
            for mine, theirs in zip(one.series, other.series, strict=True)
        )
    )


def test_the_same_seed_makes_the_same_checks_and_another_one_others(material: Material) -> None:
    """A figure can be had again from its seed."""
    plan = small("ramp", "disk", targets=6, traps=True)
    first = make(material, plan, seed=3, number=0)
    assert same(first, make(material, plan, seed=3, number=0))
    assert first.start_us != make(material, plan, seed=4, number=0).start_us


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.abrupt], ids=lambda kind: kind.name)
def test_a_fault_changes_nothing_before_its_onset(material: Material, kind: FaultKind) -> None:
    """Faulty checks and those of the twin come from the same draws: they differ from the onset on, and only there."""
    plan = small(kind.name, targets=4)
    faulty = make(material, plan, seed=5, number=0)
    clean = make(material, small(targets=4), seed=5, number=0)
    fault = faulty.faults[0]
    mine, theirs = (
        next(series for series in scenario.series if series.target == fault.target and series.probe == "http")
        for scenario in (faulty, clean)
    )
    assert mine.tick_us.size == theirs.tick_us.size
    before = mine.tick_us < fault.onset_us
    assert fault.outage_us is not None
    outage = int(np.searchsorted(mine.tick_us, fault.outage_us))
    assert mine.failing()[outage : outage + 3].all()
    assert not theirs.failing()[outage : outage + 3].any()
    assert np.array_equal(mine.duration_us[before], theirs.duration_us[before], equal_nan=True)


def test_a_certificate_that_fails_was_renewed_before(material: Material) -> None:
    """Days left fall to zero at the outage, and each renewal before the onset was at the same number of days."""
    scenario = make(material, small("certificate", targets=20), seed=2, number=0)
    seen = 0
    for fault in scenario.faults:
        series = next(series for series in scenario.series if series.target == fault.target)
        days = series.metrics["tls_days_left"]
        assert fault.outage_us is not None
        at_outage = int(np.searchsorted(series.tick_us, fault.outage_us))
        assert days[at_outage] == pytest.approx(0.0, abs=0.01)
        if fault.onset_us > series.tick_us[0]:
            seen += 1
            onset = int(np.searchsorted(series.tick_us, fault.onset_us))
            assert (np.diff(days[:onset]) > 0.5).any()
            assert days[:onset].min() >= days[onset] - 0.01
    assert seen > 0


@pytest.mark.parametrize(
    ("by", "expected"),
    [(2, [0, 1, -1, -1, 2, 3, 4, 5, 8, 9]), (-2, [0, 1, 4, 5, -1, -1, 6, 7, 8, 9])],
)
def test_a_wrong_clock_leaves_a_hole_on_one_side_and_repeats_on_the_other(by: int, expected: list[int]) -> None:
    """Of ticks 2 to 5 each check bears a time two ticks off; of what comes twice the earlier check counts."""
    assert shifted(10, 2, 6, by).tolist() == expected


def test_columns_are_in_the_order_of_time_and_hold_what_is_there(material: Material) -> None:
    """What nobody sent is no row; pieces of time put together are the whole."""
    scenario = make(material, small("crash", targets=5, traps=True), seed=6, number=0)
    whole = columns_of(scenario, scenario.start_us, scenario.end_us)
    middle_us = scenario.start_us + 3 * DAY_US
    halves = [
        columns_of(scenario, scenario.start_us, middle_us),
        columns_of(scenario, middle_us, scenario.end_us),
    ]
    assert whole is not None
    assert (np.diff(whole.scheduled_at_us) >= 0).all()
    assert len(whole) == sum(int((series.outcome != ABSENT).sum()) for series in scenario.series)
    assert len(whole) == sum(len(half) for half in halves if half is not None)


def test_both_systems_tell_a_crash_and_nothing_else(material: Material) -> None:
    """An installation that is well but for crashes: every outage of five minutes is told, nothing is told before."""
    scenario = make(material, small("crash", targets=4, days=2.0), seed=8, number=0)
    for system in (forewarn, three_failures):
        score = Score()
        score.add(scenario, system(scenario), without=())
        assert score.faults["crash"].unseen == 0
        assert score.false_pages == 0


def target_of(*faults: Fault, traps: tuple[Trap, ...] = ()) -> Scenario:
    """Return an installation of one target over ten days of which only the truth matters."""
    ticks = np.arange(START_US, START_US + 10 * DAY_US, HOUR_US)
    empty = np.zeros((ticks.size, 1))
    series = Series(
        target="main/a",
        probe="http",
        locations=("fra",),
        address="192.0.2.1",
        tick_us=ticks,
        duration_us=empty.astype(np.float32),
        phases={},
        outcome=empty.astype(np.uint8),
        reason=empty.astype(np.int8),
        metrics={},
    )
    return Scenario(
        name="x", start_us=START_US, end_us=START_US + 10 * DAY_US, series=(series,), faults=faults, traps=traps
    )


def fault_at(onset_h: float, outage_h: float, end_h: float) -> Fault:
    """Return a ramp of main/a that could be seen, hours after the start."""
    onset_us, outage_us, end_us = (START_US + int(hours * HOUR_US) for hours in (onset_h, outage_h, end_h))
    return Fault(
        target="main/a",
        kind=KINDS[0],
        onset_us=onset_us,
        outage_us=outage_us,
        end_us=end_us,
        visible=Visible(statistic="median", at_us=onset_us + HOUR_US),
    )


def alarm(at_h: float, *, page_h: float | None = None, outage_h: float | None = None) -> Alarm:
    """Return what a system said of main/a: a warning, with a page and an outage if given."""

    def at_us(hours: float | None) -> int | None:
        return None if hours is None else START_US + int(hours * HOUR_US)

    return Alarm(
        target="main/a",
        location=None,
        opened_at_us=START_US + int(at_h * HOUR_US),
        warned_at_us=None if outage_h == at_h else at_us(at_h),
        page_at_us=at_us(page_h),
        outage_at_us=at_us(outage_h),
        resolved_at_us=None,
        kind="early_warning" if outage_h is None else "outage",
        why="latency_level",
    )


def scored(scenario: Scenario, *alarms: Alarm, without: Sequence[Alarm] = ()) -> Score:
    """Return the score of these alarms; `without` the traps of the whole installation those are said."""
    score = Score()
    score.add(scenario, alarms, without=without)
    return score


def test_a_warning_between_onset_and_outage_counts_with_its_lead() -> None:
    """Onset at hour 50, outage at 60, warned at 54: six hours, 60 % of the time; the page afterwards is explained."""
    #      50......54..........60....62
    score = scored(target_of(fault_at(50, 60, 62)), alarm(54, page_h=60.1, outage_h=60.1))
    ramp = score.faults["ramp"]
    assert (ramp.warnable, ramp.warned) == (1, 1)
    assert ramp.lead_us == [6 * HOUR_US]
    assert ramp.lead_share == [pytest.approx(0.6)]
    assert ramp.visible_share == [pytest.approx(0.9)]
    assert ramp.delay_us == [HOUR_US // 10]
    assert (score.false_warnings, score.false_pages) == (0, 0)


@pytest.mark.parametrize("at_h", [49.0, 60.0, 61.0])
def test_a_warning_before_the_onset_or_not_before_the_outage_warns_of_nothing(at_h: float) -> None:
    """Too early it is false, too late it is explained; neither is a warning of this outage."""
    score = scored(target_of(fault_at(50, 60, 62)), alarm(at_h))
    assert score.faults["ramp"].warned == 0
    assert score.false_warnings == (1 if at_h < 50 else 0)


def test_an_outage_that_is_told_without_a_warning_is_no_warning() -> None:
    """What pages when it is down is no early warning, and no false page."""
    score = scored(target_of(fault_at(50, 60, 62)), alarm(60.05, page_h=60.05, outage_h=60.05))
    assert score.faults["ramp"].warned == 0
    assert score.faults["ramp"].unseen == 0
    assert (score.false_warnings, score.false_pages) == (0, 0)


def test_an_outage_that_is_told_after_its_end_was_not_seen() -> None:
    """Delay is counted only while it lasts."""
    score = scored(target_of(fault_at(50, 60, 62)), alarm(62.5, page_h=62.5, outage_h=62.5))
    assert score.faults["ramp"].unseen == 1
    assert score.faults["ramp"].delay_us == []


def test_warnings_in_a_trap_count_for_the_trap_and_others_are_false() -> None:
    """Two in the trap are one too many; the one at hour 100 falls into nothing and pages falsely."""
    trap = trap_at("nightly", 24, 26, target="main/a")
    score = scored(target_of(traps=(trap,)), alarm(24.5), alarm(25.5, page_h=25.6), alarm(100, page_h=100))
    assert (score.traps["nightly"].events, score.traps["nightly"].warnings) == (1, 2)
    assert (score.traps["nightly"].over, score.traps["nightly"].pages) == (1, 1)
    assert (score.false_warnings, score.false_pages) == (1, 1)


def trap_at(kind: str, start_h: float, end_h: float, *, target: str | None = None) -> Trap:
    """Return a trap of this target, or of the installation at one location."""
    start_us, end_us = START_US + int(start_h * HOUR_US), START_US + int(end_h * HOUR_US)
    return Trap(target=target, location=None if target else "fra", kind=kind, start_us=start_us, end_us=end_us)


def test_what_is_said_without_the_trap_of_the_installation_too_is_not_said_of_it() -> None:
    """Of three in it the twin has one: that one is false. A page that the twin has not is the trap's."""
    trap = trap_at("skew", 50, 80)
    alarms = (alarm(51), alarm(60, page_h=61), alarm(70))
    score = scored(target_of(traps=(trap,)), *alarms, without=(alarm(75), alarm(90, page_h=90)))
    assert (score.traps["skew"].warnings, score.traps["skew"].over, score.traps["skew"].pages) == (2, 1, 1)
    assert (score.false_warnings, score.false_pages) == (1, 0)
    beside = scored(target_of(traps=(trap,)), *alarms[1:], without=(alarm(55), alarm(80.2, page_h=80.5)))
    assert (beside.traps["skew"].warnings, beside.traps["skew"].over, beside.traps["skew"].pages) == (0, 0, 0)
    assert (beside.false_warnings, beside.false_pages) == (2, 1)


def test_what_the_twin_says_of_a_fault_explains_nothing_else() -> None:
    """The fault is told with the trap as well; what comes before its onset is the trap's."""
    truth = target_of(fault_at(60, 70, 72), traps=(trap_at("network", 50, 55),))
    score = scored(truth, alarm(52), alarm(62), without=(alarm(62),))
    assert (score.traps["network"].warnings, score.false_warnings) == (1, 0)
    assert score.faults["ramp"].warned == 1


def test_without_the_trap_of_the_installation_a_target_still_has_its_own() -> None:
    """What both have is said of the target's own trap."""
    truth = target_of(traps=(trap_at("network", 50, 55), trap_at("heavy", 0, 240, target="main/a")))
    score = scored(truth, alarm(52), without=(alarm(53),))
    assert (score.traps["network"].warnings, score.traps["heavy"].warnings, score.false_warnings) == (0, 1, 0)


def test_the_twin_has_all_but_the_traps_of_the_installation(material: Material) -> None:
    """The same draws: faults and own traps at the same times, and the same checks where nothing befalls all."""
    plan = small("crash", targets=6, traps=True)
    whole, twin = (make(material, plan, seed=9, number=0, shared=shared) for shared in (True, False))
    assert [trap for trap in whole.traps if trap.target is not None] == list(twin.traps)
    assert [fault.onset_us for fault in whole.faults] == [fault.onset_us for fault in twin.faults]
    for one, other in zip(whole.series, twin.series, strict=True):
        told = [(trap.start_us, trap.end_us) for trap in whole.traps if trap.target is None]
        calm = np.all([(one.tick_us < start_us) | (one.tick_us >= end_us) for start_us, end_us in told], axis=0)
        assert calm.any()
        assert (one.outcome[calm] == other.outcome[calm]).all()
    assert any((one.outcome != other.outcome).any() for one, other in zip(whole.series, twin.series, strict=True))


def test_clean_time_is_what_lies_outside_faults_and_own_traps_and_an_hour_after_them() -> None:
    """Ten days less hours 50 to 63 and 62 to 71: together 21. Traps of the installation are judged beside a twin."""
    traps = trap_at("nightly", 62, 70, target="main/a"), trap_at("network", 100, 110)
    assert clean_us(target_of(fault_at(50, 60, 62), traps=traps)) == 10 * DAY_US - 21 * HOUR_US


def test_chance_is_what_as_many_random_alerts_would_warn_of() -> None:
    """Five alerts in ten days: one falls into a fault of ten hours with probability 1 - exp(-5 * 10 / 240)."""
    score = scored(target_of(fault_at(50, 60, 62)), *(alarm(100 + number) for number in range(5)))
    assert score.faults["ramp"].chance == pytest.approx(1 - np.exp(-50 / 240))


@pytest.mark.parametrize(("hits", "tries"), [(0, 10), (5, 10), (10, 10), (95, 100)])
def test_an_interval_holds_its_share(hits: int, tries: int) -> None:
    """It lies inside 0 to 1, around the share, and is no point."""
    low, high = wilson(hits, tries)
    assert 0.0 <= low <= hits / tries <= high <= 1.0
    assert high - low > 0.01


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of series as the recorded ones are, made up."""
    folder, rng = tmp_path_factory.mktemp("recorded"), np.random.default_rng(2)
    probes = [
        pd.DataFrame(
            {"series": f"site-{site}", "status": "up", "latency_ms": np.exp(rng.normal(5.0 + site, 0.2, LEAST_PROBES))}
        )
        for site in range(2)
    ]
    pd.concat(probes).to_parquet(folder / "upptime_probes.parquet")
    hours = np.arange(4 * WEEK_HOURS)
    cloud = pd.DataFrame(
        {
            "series": "middle-tier-api",
            "label": 0,
            "ts": hours * 3600,
            "value": np.exp(np.sin(hours / 12 * np.pi) + rng.normal(0.0, 0.1, hours.size)),
        }
    )
    cloud.to_parquet(folder / "mscloud.parquet")
    return folder


def test_figures_do_not_depend_on_the_number_of_processes(recorded: Path) -> None:
    """Three installations by one process or by two: the same scores, in the same order."""
    plan = small("crash", "errors", targets=3, traps=True)
    task = Task(folder=recorded, plan=plan, seed=4, systems=("three failures", "rolling z"))
    alone, shared = (run(task, months=1.5, jobs=jobs) for jobs in (1, 2))
    assert alone.scores == shared.scores
    assert alone.scores["rolling z"].months == pytest.approx(1.8, abs=0.05)
    assert list(alone.scores["three failures"].crashes) == [("4-1", "main/t00")]


def test_the_page_holds_what_was_scored_and_keeps_the_rest(tmp_path: Path) -> None:
    """Figures stand between the marks; a second time they replace the first ones."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\n{END}\n\nafter\n")
    warned = scored(target_of(fault_at(50, 60, 62)), alarm(54))
    silent = scored(target_of(fault_at(50, 60, 62)))
    for _time in range(2):
        write({"ours": warned, "three failures": silent}, page, "the command")
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert text.count("`the command`") == 1
    assert "| ramp | 1 | 1 | 100% (21% to 100%) |" in text
    page.write_text("no marks")
    with pytest.raises(ValueError, match="it has no lines"):
        write({"ours": warned}, page, "the command")


@pytest.mark.parametrize(("kind", "pages"), [("skew", 0), ("network", 1)])
def test_a_fault_that_a_wrong_clock_tells_too_soon_is_the_faults(kind: str, pages: int) -> None:
    """Paged six minutes before it began, by a location whose clock is wrong; in other traps that is a page too many."""
    score = scored(
        target_of(fault_at(50, 50.5, 52), traps=(trap_at(kind, 40, 60),)), alarm(49.9, page_h=49.9, outage_h=49.9)
    )
    assert score.traps[kind].pages == pages
    assert score.faults["ramp"].warned == 0
