"""A growing tail of latency: what is flagged while the middle stays, what is chance, and that it is all exact."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.latency.spread import Spreads
from streams.core.policies import Policies
from streams.core.table import Floats
from streams.policy import DetectPolicy
from tests.streams.timelines import SECOND

INTERVAL_US = 30 * SECOND
DAY = 2880
POLICY = DetectPolicy()


class Series:
    """Tails of n series with one check each a tick; residuals are given, as if the middle were known.

    Each is of one of many locations of a target, or of its only one.
    """

    def __init__(self, count: int, *, slices: int = 1, alone: bool = False) -> None:
        self.count, self.tick = count, 0
        self.groups = np.arange(count, dtype=np.intp) * alone
        self.spreads = Spreads(Policies(POLICY, {}))
        self.spreads.grow(count)
        self.parts = np.array_split(np.arange(count, dtype=np.intp), slices)
        self.flags: list[tuple[int, int]] = []
        self.backs: list[tuple[int, int]] = []

    def step(self, residual: Floats, *, held: bool = False) -> None:
        """One check of each series, in as many calls as there are parts."""
        for lanes in self.parts:
            size = lanes.size
            changes = self.spreads.update(
                lanes,
                self.groups[lanes],
                np.full(size, self.tick * INTERVAL_US, dtype=np.int64),
                np.full(size, INTERVAL_US, dtype=np.int64),
                residual[lanes],
                np.full(size, held),
            )
            if changes is not None:
                self.flags += [(self.tick, int(lane)) for lane in lanes[changes.left]]
                self.backs += [(self.tick, int(lane)) for lane in lanes[changes.back]]
        self.tick += 1

    def play(self, noise: Callable[[int], Floats], ticks: int) -> None:
        """So many ticks of noise, which knows the tick of this play."""
        for tick in range(ticks):
            self.step(noise(tick))

    def flagged(self) -> set[int]:
        """The series that ever were."""
        return {lane for _, lane in self.flags}


def normal(count: int, sigma: float, seed: int = 0) -> Callable[[int], Floats]:
    """Return stationary noise."""
    rng = np.random.default_rng(seed)
    return lambda _: rng.normal(0.0, sigma, count)


def heavy(count: int, sigma: float, seed: int = 0) -> Callable[[int], Floats]:
    """Return noise with wild checks: Student's t with three degrees."""
    rng = np.random.default_rng(seed)
    return lambda _: sigma * rng.standard_t(3, count)


@pytest.mark.parametrize("noise", [normal(200, 0.05), normal(200, 0.5), heavy(200, 0.2)], ids=["tight", "wide", "wild"])
def test_stationary_noise_flags_nothing(noise: Callable[[int], Floats]) -> None:
    """200 series for a day: 28 series-weeks, and the budget is one in 200."""
    series = Series(200)
    series.play(noise, DAY)
    assert len(series.flags) <= 1


@pytest.mark.parametrize("size", [0.5, 1.0, 5.0])
def test_a_lone_wild_check_flags_nothing_however_wild(size: float) -> None:
    """One in 200 checks takes much longer than ever before."""
    series = Series(50)
    series.play(normal(50, 0.1), 600)
    for _ in range(10):
        series.step(np.full(50, size))
        series.play(normal(50, 0.1, 1), 199)
    assert series.flags == []


@pytest.mark.parametrize("make", [normal, heavy])
def test_a_spread_that_grows_is_flagged_while_the_middle_stays(make: Callable[..., Callable[[int], Floats]]) -> None:
    """To six times within six hours: most are flagged before it has tripled, and dated back to within the fault."""
    series = Series(100)
    series.play(make(100, 0.15), DAY)
    before = len(series.flags)
    noise = make(100, 0.15, 1)
    series.play(lambda tick: noise(tick) * 6.0 ** (tick / 720), 720)
    assert before <= 1
    first = {lane: tick - DAY for tick, lane in reversed(series.flags)}
    assert len(first) >= 90
    assert np.median(list(first.values())) < 720 * np.log(3) / np.log(6)
    since = series.spreads.table.since_us[list(first)] / INTERVAL_US
    assert (since >= DAY - 60).mean() > 0.9


def test_a_sawtooth_with_growing_peaks_is_flagged_before_its_last_quarter() -> None:
    """Pauses of a garbage collector: every half hour latency climbs and falls back, each time further."""
    series, noise = Series(50), normal(50, 0.1, 3)
    series.play(normal(50, 0.1), DAY)
    series.play(lambda tick: noise(tick) + np.log1p(4.0 * tick / 960 * (tick % 60 / 60)), 960)
    assert len({lane for tick, lane in series.flags if tick < DAY + 720}) >= 45


def test_more_slow_checks_that_are_no_slower_are_no_tail() -> None:
    """Checks of two kinds, quick and slow: the slow ones become twice as many."""
    rng, series = np.random.default_rng(4), Series(50)

    def kinds(share: float) -> Callable[[int], Floats]:
        return lambda _: np.where(rng.random(50) < share, 0.7, 0.0) + rng.normal(0.0, 0.03, 50)

    series.play(kinds(0.10), DAY)
    series.play(kinds(0.20), 720)
    assert series.flags == []


def test_what_comes_in_clumps_always_is_normal_so() -> None:
    """Slow checks come in runs of some minutes, three a day: in the third day nearly nobody is flagged."""
    rng, series = np.random.default_rng(5), Series(60)
    slow = np.zeros(60)

    def clumps(_: int) -> Floats:
        nonlocal slow
        slow = np.where(rng.random(60) < 1 / 960, 1.0, np.where(rng.random(60) < 0.2, 0.0, slow))
        return rng.normal(0.0, 0.1, 60) + 0.6 * slow

    series.play(clumps, 3 * DAY)
    assert sum(tick >= 2 * DAY for tick, _ in series.flags) <= 3


def test_a_lone_location_must_have_more_of_a_tail() -> None:
    """Nobody confirms what it sees: it is flagged later than the same checks are among several, but it is."""

    def growing(noise: Callable[[int], Floats]) -> Callable[[int], Floats]:
        return lambda tick: noise(tick) * 6.0 ** (tick / 720)

    first = {}
    for alone in (False, True):
        series = Series(40, alone=alone)
        series.play(normal(40, 0.15), 2 * DAY)
        series.play(growing(normal(40, 0.15, 1)), 720)
        assert len(series.flagged()) >= 36
        first[alone] = np.median([tick for tick, _ in series.flags])
    assert first[False] < first[True] < first[False] + 120


def test_a_wider_spread_that_stays_becomes_the_norm() -> None:
    """Flagged, learned after `rebaseline_checks` without failures, back, and flagged if it grows again."""
    series = Series(20)
    series.play(normal(20, 0.1), DAY)
    series.play(normal(20, 0.4, 1), 2 * DAY)
    assert series.flagged() == set(range(20))
    assert not series.spreads.table.flagged[:20].any()


def test_with_failures_it_never_becomes_the_norm() -> None:
    """Checks that fail in a row now and then: it stays flagged for as long as it is wide."""
    series, noise = Series(20), normal(20, 0.5, 1)
    series.play(normal(20, 0.08), DAY)
    for tick in range(DAY):
        series.step(noise(tick))
        if tick % 120 == 0:
            series.spreads.failed(np.arange(20, dtype=np.intp))
    assert series.spreads.table.flagged[:20].all()


def test_while_the_level_is_off_nothing_is_summed() -> None:
    """That is told already."""
    series = Series(20)
    series.play(normal(20, 0.1), 600)
    for _ in range(100):
        series.step(np.full(20, 1.5), held=True)
    assert series.flags == []
    assert series.spreads.table.total[:20].max() < 20.0


@given(seed=st.integers(0, 999), slices=st.integers(2, 7), cut=st.integers(0, 499))
@settings(max_examples=12, deadline=None)
def test_a_batch_is_its_parts_and_a_restored_one_continues(seed: int, slices: int, cut: int) -> None:
    """Bit for bit, in any cut of the lanes and at any tick."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_t(4, (500, 7)) * 0.2 * np.exp(np.linspace(0.0, 1.5, 500))[:, None]
    whole, parts = Series(7, alone=True), Series(7, slices=slices, alone=True)
    for tick in range(500):
        if tick == cut:
            restored = Series(7, slices=slices, alone=True)
            restored.tick = parts.tick
            for name in ("table", "tails"):
                old, new = getattr(parts.spreads, name), getattr(restored.spreads, name)
                (new if name == "table" else new.table).load(
                    "x", (old if name == "table" else old.table).arrays("x"), 7
                )
            restored.flags, restored.backs, parts = parts.flags, parts.backs, restored
        whole.step(noise[tick])
        parts.step(noise[tick])
    assert whole.flags == parts.flags
    for name, array in whole.spreads.table.arrays("x").items():
        np.testing.assert_array_equal(array, parts.spreads.table.arrays("x")[name])
