"""Metrics that leave their norm: CPU load, memory, what a probe reads."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.metrics.level import MetricLevels, judged
from streams.core.policies import Policies
from streams.core.said.reasons_metric import metric_text
from streams.core.table import Floats
from streams.policy import DAY_US, DetectPolicy
from tests.streams.timelines import SECOND, START, Published, Row, columns, detector, expectations

MINUTE = 60 * SECOND
POLICY = DetectPolicy(warm_up_checks=20, slot_us=DAY_US)


class Series:
    """Levels of n metrics with one reading each a minute."""

    def __init__(self, count: int, metric: str = "cpu_used_ratio", policy: DetectPolicy = POLICY) -> None:
        self.count = count
        self.levels = MetricLevels(Policies(policy, {}))
        for number in range(count):
            self.levels.add(number, metric)
        self.rows = np.arange(count, dtype=np.intp)
        self.tick = 0
        self.flags: list[tuple[int, int]] = []
        self.backs: list[tuple[int, int]] = []
        self.rebased: list[tuple[int, int]] = []

    def step(self, value: Floats) -> None:
        """One reading of each series."""
        tick_us = np.full(self.count, START + self.tick * MINUTE, dtype=np.int64)
        changes = self.levels.update(self.rows, np.zeros(self.count, dtype=np.intp), tick_us, value)
        if changes is not None:
            self.flags += [(self.tick, int(row)) for row in changes.left]
            self.backs += [(self.tick, int(row)) for row in changes.back]
            self.rebased += [(self.tick, int(row)) for row in changes.rebased]
        self.tick += 1

    def play(self, value: Callable[[int], Floats], ticks: int) -> None:
        """So many ticks of what `value` says of each."""
        for _ in range(ticks):
            self.step(value(self.tick))


def normal(count: int, spread: float, centre: float = 0.4, seed: int = 0) -> Callable[[int], Floats]:
    """Return stationary noise."""
    rng = np.random.default_rng(seed)
    return lambda _: rng.normal(centre, spread, count)


@pytest.mark.parametrize("spread", [0.0, 0.01, 0.05])
def test_stationary_noise_flags_next_to_nothing(spread: float) -> None:
    """200 metrics, 2,000 minutes each: no more than one flag in 100,000 readings."""
    series = Series(200)
    series.play(normal(200, spread), 2000)
    assert len(series.flags) <= 4


def test_neighbours_that_resemble_each_other_flag_little() -> None:
    """A load that wanders (AR(1), 0.98) for five days: fewer flags than one series in ten raises."""
    rng, count = np.random.default_rng(2), 60
    state = np.zeros(count)

    def value(_: int) -> Floats:
        state[:] = 0.98 * state + rng.normal(0.0, 0.02, count)
        return 0.4 + state

    series = Series(count)
    series.play(value, 5 * 1440)
    assert len(series.flags) <= 6


def test_a_nightly_backup_is_normal_after_a_few_nights() -> None:
    """CPU at 90 % for half an hour each night: flagged in the first two nights at most."""
    rng = np.random.default_rng(3)
    series = Series(20)
    series.play(lambda tick: rng.normal(0.9 if tick % 1440 >= 1410 else 0.2, 0.03, 20), 6 * 1440)
    assert {row for tick, row in series.flags if tick < 1440} == set(range(20))
    assert [tick for tick, _ in series.flags if tick > 2 * 1440] == []


def test_a_busy_machine_is_flagged_at_once_and_back_again() -> None:
    """From 40 % to 85 %: every series within ten minutes, dated to the step; back within ten minutes of its end."""
    series = Series(100)
    series.play(normal(100, 0.03), 600)
    series.play(normal(100, 0.03, 0.85, 1), 60)
    series.play(normal(100, 0.03, 0.4, 2), 20)
    assert {row for tick, row in series.flags if 600 <= tick <= 610} == set(range(100))
    assert {row for tick, row in series.backs if 660 <= tick <= 670} == set(range(100))
    since = (series.levels.table.since_us[:100] - START) // MINUTE
    assert np.all(np.abs(since - 600) <= 3)


def test_what_falls_is_flagged_too() -> None:
    """Requests a second from 500 to 5: under its norm, with side -1."""
    series = Series(20, "requests_per_second")
    series.play(normal(20, 20.0, 500.0), 600)
    series.play(normal(20, 1.0, 5.0, 1), 10)
    assert len(series.flags) == 20
    assert np.all(series.levels.table.side[:20] == -1)


@pytest.mark.parametrize("metric", ["cpu_used_ratio", "cpu_load_ratio", "memory_used_ratio:swap"])
def test_less_of_what_is_used_is_no_trouble(metric: str) -> None:
    """From 60 % to 5 %: nothing; back to 60 % and on to 95 %: told, once each."""
    series = Series(20, metric)
    series.play(normal(20, 0.03, 0.6), 600)
    series.play(normal(20, 0.01, 0.05, 1), 120)
    assert series.flags == []
    series.play(normal(20, 0.03, 0.6, 2), 60)
    series.play(normal(20, 0.01, 0.95, 3), 30)
    assert {row for _, row in series.flags} == set(range(20))
    assert np.all(series.levels.table.side[:20] == 1)


def test_a_level_that_stays_is_the_norm_in_the_end() -> None:
    """Flagged once, the new norm after `rebaseline_checks`, then quiet."""
    series = Series(20, policy=DetectPolicy(warm_up_checks=20, rebaseline_checks=200))
    series.play(normal(20, 0.02), 600)
    series.play(normal(20, 0.02, 0.7, 1), 1000)
    assert len(series.flags) == 20
    assert {row for tick, row in series.rebased if 790 <= tick <= 830} == set(range(20))


def test_one_wild_reading_flags_nothing() -> None:
    """A single reading of a million times the norm."""
    series = Series(20, "queue_length")
    series.play(lambda tick: np.full(20, 4e7 if tick == 300 else 40.0 + tick % 3), 600)
    assert series.flags == []


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=30, max_size=80))
def test_any_finite_values_keep_finite_numbers(values: list[float]) -> None:
    """Huge, tiny, constant: limits and centre stay finite once warm, and nothing raises."""
    series = Series(1, "queue_length")
    with np.errstate(all="raise", under="ignore"):
        for value in values:
            series.step(np.array([value]))
    table = series.levels.table
    assert np.isfinite([table.centre[0], table.upper[0], table.lower[0], table.level[0]]).all()
    assert table.lower[0] <= table.centre[0] <= table.upper[0]


def test_series_do_not_touch_each_other() -> None:
    """Two series in one call give what each gives alone."""
    rng = np.random.default_rng(5)
    value = np.where(np.arange(400)[:, None] > 300, 0.9, 0.3) + rng.normal(0.0, 0.05, (400, 2))
    both, alone = Series(2), [Series(1), Series(1)]
    for row in value:
        both.step(row)
        for each, one in enumerate(alone):
            one.step(row[each : each + 1])
    for each, one in enumerate(alone):
        assert one.flags == [(tick, 0) for tick, row in both.flags if row == each]
        assert one.levels.table.upper[0] == both.levels.table.upper[each]


def test_a_metric_off_its_norm_degrades_its_target_with_both_numbers() -> None:
    """One deviation, one verdict with a reason of both numbers; then all is back. The forecast says nothing."""
    rng = np.random.default_rng(0)
    core, found = detector(expectations("shop-1", interval_us=MINUTE), POLICY), Published()
    for tick in range(300):
        busy = 0.95 if 200 <= tick < 240 else 0.3
        metrics = {"cpu_used_ratio": busy + float(rng.normal(0.0, 0.02)), "tls_days_left": 60.0}
        row = Row(tick_us=START + tick * MINUTE, location="shop-1", kind="host", metrics=metrics)
        found.add(core.apply(columns([row])))
    assert [(d.detector, d.metric, d.active) for d in found.deviations] == [
        ("metric_level", "cpu_used_ratio", True),
        ("metric_level", "cpu_used_ratio", False),
    ]
    first = found.deviations[0]
    assert first.baseline == pytest.approx(0.3, abs=0.02)
    assert first.limit is not None
    assert first.baseline is not None
    assert first.baseline < first.limit < first.value
    reason = next(v for v in found.verdicts if v.verdict == "degraded").reasons[0]
    assert (reason.kind, reason.metric, reason.severity) == ("metric_level", "cpu_used_ratio", "warning")
    assert "normally 30%" in reason.text
    assert found.verdicts[-1].verdict == "healthy"


def test_a_load_of_the_day_in_the_night_degrades_its_target() -> None:
    """60 % is normal by day and stays in the range; at night it is told, with what is normal at this hour."""
    rng, every, per_day = np.random.default_rng(4), 10 * MINUTE, 144
    core, found = detector(expectations("shop-1", interval_us=every), POLICY), Published()
    night = 8 * per_day
    first = (DAY_US - START % DAY_US) + START  # midnight
    for tick in range(night + 20):
        day = 48 <= tick % per_day < 120
        busy = 0.6 if day or night <= tick < night + 12 else 0.15
        row = Row(
            tick_us=first + tick * every,
            location="shop-1",
            kind="host",
            metrics={"cpu_used_ratio": busy + float(rng.normal(0.0, 0.02))},
        )
        found.add(core.apply(columns([row])))
    flagged = [(d.tick_us - first) // every for d in found.deviations if d.active and d.tick_us > first + 2 * DAY_US]
    assert len(flagged) == 1
    assert night <= flagged[0] <= night + 8
    reason = next(v for v in reversed(found.verdicts) if v.reasons).reasons[0]
    assert "at this hour" in reason.text
    assert reason.baseline == pytest.approx(0.15, abs=0.02)
    assert reason.limit is None
    assert found.verdicts[-1].verdict == "healthy"


def test_a_restored_detector_continues_bit_for_bit() -> None:
    """Snapshot in the middle of a deviation: what follows is the same."""
    rng = np.random.default_rng(1)
    values = np.where(np.arange(120) > 80, 0.9, 0.3) + rng.normal(0.0, 0.02, 120)
    rows = [
        Row(tick_us=START + tick * MINUTE, location="a", kind="host", metrics={"memory_used_ratio": float(value)})
        for tick, value in enumerate(values)
    ]
    whole, cut = detector(expectations("a", interval_us=MINUTE), POLICY), detector(None, POLICY)
    for row in rows[:85]:
        whole.apply(columns([row]))
    cut = detector(expectations("a", interval_us=MINUTE), POLICY)
    cut.restore(whole.snapshot())
    for row in rows[85:]:
        assert whole.apply(columns([row])) == cut.apply(columns([row]))
    assert whole.snapshot() == cut.snapshot()


def test_what_only_runs_out_has_no_level() -> None:
    """Certificates and disks are for forecasts."""
    assert not judged("tls_days_left")
    assert not judged("disk_free_ratio:/")
    assert judged("memory_used_ratio")


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("cpu_used_ratio", 0.934, "93%"),
        ("cpu_used_ratio", 0.0123, "1.2%"),
        ("queue_length", 12345.6, "12,346"),
        ("queue_length", 4.256, "4.26"),
        ("queue_length", 0.0, "0"),
        ("queue_length", 1e-9, "1.00e-09"),
        ("queue_length", -3e30, "-3.00e+30"),
    ],
)
def test_values_are_said_as_people_say_them(metric: str, value: float, text: str) -> None:
    """Ratios in percent, others with three digits."""
    assert metric_text(metric, value) == text
