"""The level of latency: what is flagged, what is not, and the suite that every detector of this kind passes."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.latency.latency import Latency
from streams.core.policies import Policies
from streams.core.table import Floats
from streams.policy import DetectPolicy

POLICY = DetectPolicy(warm_up_checks=20)
NORMAL_US = 60_000.0
INTERVAL_US = 30_000_000
START = 1_800_000_000_000_000


class Series:
    """Levels of n series with one check each a tick."""

    def __init__(self, count: int, policy: DetectPolicy = POLICY, interval_us: int = INTERVAL_US) -> None:
        self.count = count
        self.interval_us = interval_us
        policies = Policies(policy, {})
        policies.add("main/x")
        self.latency = Latency(policies)
        self.latency.grow(count, 1)
        self.levels = self.latency.levels
        self.lanes = np.arange(count, dtype=np.intp)
        self.tick = 0
        self.flags: list[tuple[int, int]] = []
        self.backs: list[tuple[int, int]] = []
        self.rebased: list[tuple[int, int]] = []

    def step(self, duration_us: Floats, phases: Floats | None = None) -> None:
        """One check of each series."""
        at_us = np.full(self.count, START + self.tick * self.interval_us, dtype=np.int64)
        interval_us = np.full(self.count, self.interval_us, dtype=np.int64)
        shape = np.zeros((self.count, 5)) if phases is None else phases
        groups = np.zeros(self.count, dtype=np.intp)
        found = self.latency.update(self.lanes, groups, at_us, interval_us, duration_us, shape)
        changes = None if found is None else found.level
        if found is not None and changes is not None:
            self.flags += [(self.tick, int(lane)) for lane in changes.left]
            self.backs += [(self.tick, int(lane)) for lane in changes.back]
            self.rebased += [(self.tick, int(lane)) for lane in changes.rebased]
        self.tick += 1

    def play(self, noise: Callable[[int], Floats], ticks: int, factor: Callable[[int], float] = lambda _: 1.0) -> None:
        """So many ticks of NORMAL_US times noise times a factor that knows the tick of this play."""
        for tick in range(ticks):
            self.step(NORMAL_US * np.exp(noise(tick)) * factor(tick))


def lognormal(count: int, sigma: float, seed: int = 0) -> Callable[[int], Floats]:
    """Return stationary noise of log latency."""
    rng = np.random.default_rng(seed)
    return lambda _: rng.normal(0.0, sigma, count)


@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.5])
def test_stationary_noise_flags_nothing(sigma: float) -> None:
    """400 series, 1,000 checks each: fewer than one flag in 100,000 checks."""
    series = Series(400)
    series.play(lognormal(400, sigma), 1000)
    assert len(series.flags) < 4


def test_single_wild_checks_flag_nothing() -> None:
    """One check in twenty takes ten times as long: a tail, not a level."""
    rng, series = np.random.default_rng(1), Series(400)
    series.play(lambda _: rng.normal(0.0, 0.1, 400) + np.where(rng.random(400) < 0.05, np.log(10), 0.0), 1000)
    assert len(series.flags) < 4


@pytest.mark.parametrize(
    ("interval_s", "checks", "flagged"), [(1, 8, False), (1, 20, True), (10, 6, False), (10, 20, True)]
)
def test_half_a_minute_of_slow_checks_is_no_trend(interval_s: int, checks: int, flagged: bool) -> None:
    """The median of five stays above the limit for checks - 2; it must for two minutes, or eight checks."""
    series = Series(1, interval_us=interval_s * 1_000_000)
    series.play(lognormal(1, 0.1), 2000)
    series.play(lognormal(1, 0.1, seed=1), checks, lambda _tick: 5.0)
    series.play(lognormal(1, 0.1, seed=2), 10)
    assert bool(series.flags) == flagged


def test_a_step_to_the_double_is_flagged_within_warn_ticks_and_some() -> None:
    """Every series is flagged within six checks, and dated back to the step."""
    series = Series(100)
    series.play(lognormal(100, 0.08), 200)
    series.play(lognormal(100, 0.08, 1), 10, lambda _: 2.0)
    assert len({lane for _, lane in series.flags}) == 100
    assert max(tick for tick, _ in series.flags) <= 206
    assert np.all(np.abs(series.levels.table.since_us[:100] - START - 200 * INTERVAL_US) <= 2 * INTERVAL_US)


@pytest.mark.parametrize("sigma", [0.05, 0.15, 0.3])
def test_a_ramp_right_after_the_warm_up_is_flagged_long_before_its_end(sigma: float) -> None:
    """From 20 checks of warm-up and 20 more, to 20 times the latency within 30: flagged before it is 20-fold."""
    series = Series(200)
    series.play(lognormal(200, sigma), 40)
    series.play(lognormal(200, sigma, 1), 30, lambda tick: float(20.0 ** (tick / 30)))
    assert series.levels.table.flagged[:200].all()
    assert max(tick for tick, _ in series.flags) <= 40 + 29


@pytest.mark.parametrize("checks", [60, 300, 600])
def test_a_slow_ramp_is_flagged_and_not_learned(checks: int) -> None:
    """To three times the latency over so many checks: the baseline does not follow."""
    series = Series(50)
    series.play(lognormal(50, 0.1), 300)
    series.play(lognormal(50, 0.1, 1), checks, lambda tick: float(3.0 ** (tick / checks)))
    assert {lane for _, lane in series.flags} == set(range(50))
    assert np.exp(series.levels.table.centre[:50]).max() < 1.8 * NORMAL_US


def test_a_flagged_series_is_back_after_the_fault() -> None:
    """And its baseline is what it was before."""
    series = Series(50)
    series.play(lognormal(50, 0.1), 200)
    before = series.levels.table.centre[:50].copy()
    series.play(lognormal(50, 0.1, 1), 100, lambda _: 5.0)
    series.play(lognormal(50, 0.1, 2), 20)
    assert len(series.flags) == len(series.backs) == 50
    assert np.all(np.abs(series.levels.table.centre[:50] - before) < 0.1)


def test_a_lasting_level_becomes_the_norm_and_says_so() -> None:
    """After rebaseline_checks flagged checks in a row; then it is flagged no more, and an increase of it is."""
    series = Series(20, DetectPolicy(warm_up_checks=20, rebaseline_checks=100))
    series.play(lognormal(20, 0.1), 200)
    series.play(lognormal(20, 0.1, 1), 150, lambda _: 3.0)
    assert {lane for _, lane in series.rebased} == set(range(20))
    assert not series.levels.table.flagged[:20].any()
    assert np.exp(series.levels.table.centre[:20]) == pytest.approx(np.full(20, 3 * NORMAL_US), rel=0.15)
    series.play(lognormal(20, 0.1, 2), 10, lambda _: 9.0)
    assert series.levels.table.flagged[:20].all()


def test_a_level_that_still_climbs_never_becomes_the_norm() -> None:
    """A leak is not a deployment, however long it lasts."""
    series = Series(20, DetectPolicy(warm_up_checks=20, rebaseline_checks=100))
    series.play(lognormal(20, 0.05), 200)
    series.play(lognormal(20, 0.05, 1), 400, lambda tick: float(np.exp(tick / 60)))
    assert series.rebased == []
    assert series.levels.table.flagged[:20].all()


def test_a_level_with_failures_never_becomes_the_norm() -> None:
    """A failure begins the count anew."""
    series = Series(1, DetectPolicy(warm_up_checks=20, rebaseline_checks=100))
    series.play(lognormal(1, 0.05), 100)
    for _ in range(4):
        series.play(lognormal(1, 0.05), 80, lambda _: 4.0)
        series.latency.failed(series.lanes, np.zeros_like(series.lanes))
    assert series.rebased == []


def test_a_lasting_drop_becomes_the_norm_too() -> None:
    """So that a return to the old latency is seen."""
    series = Series(10, DetectPolicy(warm_up_checks=20, rebaseline_checks=100))
    series.play(lognormal(10, 0.05), 200)
    series.play(lognormal(10, 0.05, 1), 120, lambda _: 0.3)
    assert {lane for _, lane in series.rebased} == set(range(10))
    assert series.flags == []


def test_a_tight_spread_alone_warns_nobody() -> None:
    """Constant latency and 20 % more of it: under min_latency_ratio."""
    series = Series(5)
    series.play(lambda _: np.zeros(5), 100)
    series.play(lambda _: np.zeros(5), 50, lambda _: 1.2)
    assert series.flags == []


def test_a_few_milliseconds_of_a_fast_target_warn_nobody() -> None:
    """1 ms that becomes 4 ms on a busy machine is no fault of the target."""
    series = Series(1)
    for _ in range(100):
        series.step(np.array([1_000.0]))
    for _ in range(50):
        series.step(np.array([4_000.0]))
    assert series.flags == []


def test_the_phase_that_grew_most_is_named() -> None:
    """Wait takes all of the increase; without one that explains half of it none is named."""
    series = Series(2)
    usual = np.array([[1e3, 2e3, 3e3, 20e3, 1e3]] * 2)
    for _ in range(60):
        series.step(np.full(2, 27e3), usual)
    slow = usual.copy()
    slow[0, 3] += 200e3
    slow[1] += 40e3
    for _ in range(10):
        series.step(slow.sum(axis=1), slow)
    assert series.levels.table.flagged[:2].all()
    assert [series.latency.phases.grown(lane, 200e3) for lane in (0, 1)] == ["wait", None]


@pytest.mark.parametrize("constant", [0.0, 1.0, 50.0, 1e6, 1e15])
def test_any_constant_is_normal(constant: float) -> None:
    """Zero variance, tiny and huge values: no flag, nothing that is not finite."""
    series = Series(3)
    for _ in range(200):
        series.step(np.full(3, constant))
    assert series.flags == []
    table = series.levels.table
    for column in (table.centre, table.spread, table.score, table.level):
        assert np.isfinite(column[:3]).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.0, 1e18), min_size=30, max_size=80))
def test_any_latency_leaves_finite_state(durations: list[float]) -> None:
    """Whatever is measured, the state stays finite and its spread above its floor."""
    series = Series(1)
    for duration in durations:
        series.step(np.array([duration]))
    table = series.levels.table
    assert np.isfinite([table.centre[0], table.spread[0], table.score[0], table.level[0]]).all()
    assert table.spread[0] >= 0.05


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), cut=st.integers(1, 99))
def test_series_do_not_touch_one_another(seed: int, cut: int) -> None:
    """Many series at once give bit for bit what each gives alone, also when the others are absent for a while."""
    rng = np.random.default_rng(seed)
    durations = NORMAL_US * np.exp(rng.normal(0.0, 0.3, (100, 4)))
    durations[cut:, 0] *= 6.0
    together, alone = Series(4), Series(1)
    for tick in range(100):
        together.step(durations[tick])
        alone.step(durations[tick, :1])
    for name in together.levels.table.columns():
        one, other = getattr(together.levels.table, name)[0], getattr(alone.levels.table, name)[0]
        assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f"), name
