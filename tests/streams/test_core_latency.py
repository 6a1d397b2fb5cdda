"""Latency over hours and days: calibrated limits, hours that explain it, drifts, phases, time left, one state."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.calibration import Tails
from streams.core.latency import climb
from streams.core.latency.latency import Latency
from streams.core.latency.levels import median_of_five
from streams.core.latency.season import CLIP, Seasons
from streams.core.policies import Policies
from streams.core.table import Floats
from streams.policy import DAY_US, HOUR_US, SECOND_US, DetectPolicy, Expectations, ProbeExpectation
from tests.streams.timelines import PROBE, TARGET, Published, Row, columns, detector

START = 20_727 * DAY_US  # midnight UTC
NORMAL_US = 60_000.0
CHECKS_A_DAY = 288


class Days:
    """Latency of n series, one check each in five minutes; what is flagged by day.

    They are of one target, or each of its own.
    """

    def __init__(self, count: int = 1, *, sigma: float = 0.05, seed: int = 0, targets: int = 1) -> None:
        policies = Policies(DetectPolicy(warm_up_checks=20), {})
        for number in range(targets):
            policies.add(f"main/x{number}")
        self.latency = Latency(policies)
        self.latency.grow(count, targets)
        self.groups = np.arange(count, dtype=np.intp) % targets
        self.count, self.sigma, self.tick = count, sigma, 0
        self.rng = np.random.default_rng(seed)
        self.lanes = np.arange(count, dtype=np.intp)

    def at(self) -> int:
        """The next tick."""
        return START + self.tick * (DAY_US // CHECKS_A_DAY)

    def step(self, above: float, share: Floats | None = None) -> None:
        """One check of each series, `above` its normal log latency; `share` of it by phase."""
        duration_us = NORMAL_US * np.exp(above + self.rng.normal(0.0, self.sigma, self.count))
        shares = np.array([0.1, 0.1, 0.1, 0.6, 0.1]) if share is None else share
        ticks = np.full(self.count, self.at(), dtype=np.int64)
        interval_us = np.full(self.count, DAY_US // CHECKS_A_DAY, dtype=np.int64)
        phases = duration_us[:, None] * shares
        self.latency.update(self.lanes, self.groups, ticks, interval_us, phases.sum(axis=1), phases)
        self.tick += 1

    def play(self, days: float, above: Callable[[float], float] = lambda _: 0.0) -> str:
        """So many days; `above` knows the days since their beginning. Return a letter an hour: `.`, or `w` warned."""
        line, first = "", self.tick
        for _ in range(round(days * 24)):
            warned = False
            for _ in range(CHECKS_A_DAY // 24):
                self.step(above((self.tick - first) / CHECKS_A_DAY))
                warned |= bool(self.latency.episodes.off[: self.count].any())
            line += "w" if warned else "."
        return line


def nightly(days: float) -> float:
    """A backup from 02:00 to 02:50 makes everything 2.5 times as slow."""
    return float(np.log(2.5)) if 2 / 24 <= days % 1.0 < 2.8 / 24 else 0.0


def test_a_nightly_backup_warns_once() -> None:
    """The first night is news; from the second on the hour explains it."""
    line = Days().play(8, nightly)
    nights = [line[day * 24 : day * 24 + 24] for day in range(8)]
    assert "w" in nights[0]
    assert nights[1:] == ["." * 24] * 7


def test_an_hour_is_excused_only_up_to_what_it_reached() -> None:
    """At the hour of the backup five times its latency is news."""
    days = Days()
    days.play(4, nightly)
    assert "w" in days.play(0.2, lambda share: 2.0 * nightly(share))


def test_an_outage_excuses_nothing() -> None:
    """What came with failures warns again the next night."""
    days = Days()
    days.play(2 + 3 / 24, lambda share: nightly(share) if share > 2 else 0.0)
    assert days.latency.episodes.off[0]
    for _ in range(3):
        days.latency.failed(days.lanes, np.zeros_like(days.lanes))
    days.play(21 / 24)
    assert not days.latency.episodes.off[0]
    assert "w" in days.play(0.2, nightly)


def test_a_deployment_warns_once_and_is_the_norm() -> None:
    """Twice the latency from one check to the next, for ever: one stretch of warning, then rest."""
    days = Days()
    days.play(2)
    line = days.play(6, lambda _: float(np.log(2.0)))
    assert line.startswith("w")
    assert line[-24 * 3 :] == "." * 24 * 3
    assert len([run for run in line.split(".") if run]) == 1
    assert np.exp(days.latency.levels.table.centre[0]) == pytest.approx(2 * NORMAL_US, rel=0.1)


@pytest.mark.parametrize("length", [2.0, 4.0])
def test_a_slow_leak_is_flagged_before_it_has_tripled(length: float) -> None:
    """To eight times the latency over days, after three quiet ones: the reference does not follow."""
    days = Days()
    assert days.play(3) == "." * 72
    line = days.play(length, lambda share: float(np.log(8.0)) * share / length)
    assert line.index("w") < len(line) * np.log(3.0) / np.log(8.0)
    assert line.endswith("w" * 24)


def test_growth_that_stays_small_warns_nobody() -> None:
    """A fifth more in eight days is neither a level nor a drift."""
    days, flagged = Days(20), 0
    for check in range(8 * CHECKS_A_DAY):
        days.step(0.18 * check / CHECKS_A_DAY / 8)
        flagged += int(days.latency.levels.table.flagged[:20].sum() + days.latency.drifts.table.flagged[:20].sum())
    assert flagged == 0


def test_a_day_that_swings_is_learned() -> None:
    """Half as slow again by day as by night: after three days the hours explain it, and nothing warns."""
    days = Days(5)
    line = days.play(6, lambda share: 0.2 * float(np.sin(2 * np.pi * share)))
    assert "w" not in line[48:]
    assert days.latency.seasons.table.uses_day[:5].all()
    offset = days.latency.seasons.offset(days.lanes, np.full(5, START + 6 * HOUR_US))
    assert np.all((offset > 0.1) & (offset < 0.3))


def test_noise_has_no_hours() -> None:
    """Where the hour explains nothing it is not used."""
    days = Days(20, sigma=0.3)
    days.play(6)
    assert not days.latency.seasons.table.uses_day[:20].any()


def test_a_small_phase_that_slows_is_named() -> None:
    """A tenth of the check becomes three tenths: the whole grows by a fifth, the phase threefold."""
    days, above = Days(), float(np.log(4.0))
    days.play(3, lambda _: above)
    for _ in range(30):
        days.step(above, np.array([0.3, 0.1, 0.1, 0.6, 0.1]))
    assert not days.latency.levels.table.flagged[0]
    phase, now_us, normal_us, _ = days.latency.phases.said(0)
    assert days.latency.phases.table.flagged[0]
    assert phase == "dns"
    assert now_us == pytest.approx(0.3 * 4 * NORMAL_US, rel=0.15)
    assert normal_us == pytest.approx(0.1 * 4 * NORMAL_US, rel=0.15)


def climbs(level: Callable[[float], float], minutes: int) -> tuple[int, int] | None:
    """Follow a log latency minute by minute to a limit of 10 s; return the bounds of the time left in minutes."""
    table, lane = climb.ClimbTable(), np.array([0])
    table.grow(1)
    for minute in range(minutes):
        at_us = np.array([START + minute * 60 * SECOND_US])
        climb.follow(table, lane, at_us, np.array([level(minute)]), np.array([10e6]))
    bounds = climb.left(table, 0, START + minutes * 60 * SECOND_US)
    return None if bounds is None else (bounds[0] // (60 * SECOND_US), bounds[1] // (60 * SECOND_US))


def test_the_time_left_of_a_climb_brackets_the_truth() -> None:
    """Latency that grows by a tenth of a second a minute, or by 2 % a minute, reaches 10 s within the bounds."""
    found = climbs(lambda minute: float(np.log(1e6 + 1e5 * minute)), 60)
    assert found is not None
    assert 0 < found[0] <= 30 <= found[1]
    found = climbs(lambda minute: float(np.log(1e6)) + 0.02 * minute, 80)
    assert found is not None
    assert 0 < found[0] <= 35 <= found[1]


def test_a_step_has_no_end() -> None:
    """Nor has what climbed and stopped."""
    assert climbs(lambda _: float(np.log(3e6)), 60) is None
    assert climbs(lambda minute: float(np.log(1e6)) + 0.05 * min(minute, 20), 90) is None


@pytest.mark.parametrize("kind", ["normal", "ar", "heavy"])
def test_one_budget_means_the_same_on_any_noise(kind: str) -> None:
    """After a week of learning fewer than four of 100 series exceed their limits in another two."""
    rng, tails, rows = np.random.default_rng(3), Tails(mean=1.5, scale=0.2, budget=0.01), np.arange(100)
    tails.table.grow(100)
    state, exceeded = np.zeros(100), np.zeros(100, dtype=bool)
    for check in range(3 * 7 * 144):
        white = rng.normal(size=100)
        state = 0.95 * state + np.sqrt(1 - 0.95**2) * white
        value = {"normal": white, "ar": state, "heavy": np.sign(white) * np.abs(white) ** 1.5}[kind]
        if check >= 7 * 144:
            exceeded |= value > tails.limit(rows)
        tails.observe(rows, np.full(100, START + check * 600 * SECOND_US), value, np.zeros(100, dtype=bool), 0.01)
    assert exceeded.sum() < 4


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-1e300, 1e300), min_size=5, max_size=5))
def test_the_median_of_five_is_one(values: list[float]) -> None:
    """The network of comparisons equals a sort."""
    assert median_of_five(np.array([values]))[0] == sorted(values)[2]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.floats(-1e6, 1e6), st.booleans()), max_size=80))
def test_profiles_stay_finite_and_bounded(blocks: list[tuple[int, float, bool]]) -> None:
    """Whatever the blocks say, no hour adds or excuses more than a block can."""
    seasons, lane = Seasons(), np.array([0])
    seasons.table.grow(1)
    seasons.add_week(0)
    for hour, above, flagged in sorted(blocks, key=lambda block: block[0]):
        at_us = np.array([START + hour * HOUR_US])
        seasons.learn(lane, at_us, np.array([above]), np.array([0.5]), np.array([flagged]))
        if not flagged:
            seasons.release(lane, np.array([above > 0.0]))
        assert abs(seasons.offset(lane, at_us)[0]) <= 2 * CLIP
        assert 0.0 <= seasons.excuse(lane, at_us)[0] <= CLIP


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32), cut=st.integers(1, 899))
def test_a_restored_state_continues_bit_for_bit(seed: int, cut: int) -> None:
    """Also alone, and under another number."""
    factor = np.exp(np.random.default_rng(seed).normal(0.0, 0.3, 900) + np.where(np.arange(900) > 600, 1.0, 0.0))
    whole, before = Days(3, sigma=0.0, targets=3), Days(1, sigma=0.0)
    for check in range(900):
        if check == cut:
            after = Days(1, sigma=0.0)
            after.latency.load({name: array.copy() for name, array in before.latency.arrays().items()}, 1, 1)
            after.tick, before = before.tick, after
        whole.step(float(np.log(factor[check])))
        before.step(float(np.log(factor[check])))
    mine, other = before.latency.arrays(), whole.latency.arrays()
    assert mine.keys() == other.keys()
    for name, array in mine.items():
        if name != "season.week":  # a row's number
            assert np.array_equal(array, other[name][-len(array) :], equal_nan=array.dtype.kind == "f"), name


def test_a_climb_is_critical_only_once_it_was_seen_for_as_long_as_it_looks_ahead() -> None:
    """From 1 s by 30 ms a minute to a timeout of 10 s: told early, critical past the middle of the way, not before."""
    minute = 60 * SECOND_US
    config = Expectations(
        probes={(TARGET, PROBE): ProbeExpectation(interval_us=minute, locations=("ams",), timeout_us=10 * SECOND_US)}
    )
    core, noise, found = detector(config), np.random.default_rng(1), Published()
    for tick in range(900):
        duration_us = (1e6 + 3e4 * max(tick - 600, 0)) * float(np.exp(noise.normal(0.0, 0.03)))
        found.add(core.apply(columns([Row(tick_us=START + tick * minute, duration_us=duration_us)])))
    slow = [(v.tick_us, r) for v in found.verdicts for r in v.reasons if r.metric == "latency" and r.time_left_us]
    critical = [(tick_us, r) for tick_us, r in slow if r.severity == "critical"]
    assert slow[0][1].severity == "warning"
    assert critical[0][0] - slow[0][0] > 60 * minute
    assert critical[0][1].value is not None
    assert critical[0][1].value > 5.5e6
    assert critical[0][0] < START + 850 * minute
    # Told again as the end comes nearer, although nothing else changes.
    lefts = [r.time_left_us // minute for _, r in slow if r.time_left_us is not None]
    assert any(left < 15 for left in lefts)
    assert any(25 < left < 45 for left in lefts)
