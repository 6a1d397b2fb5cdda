"""Novelty: what is told, what is not, and the suite that every detector of series passes."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.metrics.evidence import HALF, LEAST
from streams.core.metrics.novelty import REFRACTORY_US, Novelty, together
from streams.core.table import Floats
from streams.policy import DAY_US
from tests.streams.timelines import SECOND, START

STEP = 300 * SECOND
DAY_STEPS = DAY_US // STEP


def scores(value: Floats, novelty: Novelty | None = None, *, first: int = 0) -> Floats:
    """Score readings of n series side by side, shape (ticks, n), from tick `first` on."""
    novelty = novelty if novelty is not None else Novelty()
    rows = np.arange(value.shape[1], dtype=np.intp)
    novelty.grow(rows.size)
    at_us = START + STEP * (first + np.arange(value.shape[0]))
    return np.array([novelty.update(rows, np.full(rows.size, at), row) for at, row in zip(at_us, value, strict=True)])


def daily(ticks: int, count: int, seed: int = 0) -> Floats:
    """Return a load that follows the hours of the day, with noise."""
    rng = np.random.default_rng(seed)
    hour = np.arange(ticks)[:, None] / DAY_STEPS * 2 * np.pi
    return 50.0 + 30.0 * np.sin(hour) + rng.normal(0.0, 2.0, (ticks, count))


def arrays(novelty: Novelty) -> Mapping[str, npt.NDArray[np.generic]]:
    """Return all that it remembers."""
    return {name: array for key, table in novelty.tables.items() for name, array in table.arrays(key).items()}


def test_a_spike_beyond_the_range_stands_out() -> None:
    """In every series the spike has the highest score of a week."""
    value = daily(7 * DAY_STEPS, 10)
    value[1700] = 200.0
    assert np.all(scores(value).argmax(axis=0) == 1700)


def test_a_load_of_the_day_in_the_night_stands_out() -> None:
    """80 is normal at noon; in the night it has the highest score after the first days, though it is in the range."""
    value = daily(10 * DAY_STEPS, 10)
    night = 8 * DAY_STEPS + 216
    value[night : night + 12] += 60.0
    late = scores(value)[4 * DAY_STEPS :]
    found = late.argmax(axis=0) + 4 * DAY_STEPS
    assert np.all((found >= night) & (found < night + 12))


def test_one_threshold_means_about_as_many_alarms_whatever_the_noise_is() -> None:
    """Normal, heavy-tailed, skewed, counted: at 0.998 none has more than four times the alarms of another."""
    rng, shape = np.random.default_rng(0), (6000, 40)
    kinds = [
        rng.normal(0.0, 1.0, shape),
        rng.standard_t(3, shape),
        rng.lognormal(0.0, 1.0, shape),
        1e6 + rng.exponential(5.0, shape),
    ]
    alarms = [(scores(kind)[1000:] >= 0.998).sum() / 40 for kind in kinds]
    assert max(alarms) <= 4.0 * min(alarms) + 1.0


def test_an_anomaly_is_told_once_and_again_if_a_stronger_one_follows() -> None:
    """A step has one score within a day; one that is many times higher another."""
    value = np.full((900, 1), 10.0) + np.random.default_rng(0).normal(0.0, 0.1, (900, 1))
    value[600:620] = 11.0
    value[620:640] = 60.0
    told = np.flatnonzero(scores(value)[600:, 0] > 0.99) + 600
    assert told[0] == 600
    assert 620 in told
    assert told.size <= 6
    assert STEP * 40 < REFRACTORY_US


def test_nothing_is_new_before_anything_is_known() -> None:
    """No score in the first LEAST readings."""
    rng = np.random.default_rng(0)
    assert np.all(scores(rng.standard_cauchy((LEAST, 5))) == 0.0)


@pytest.mark.parametrize("constant", [0.0, 1.0, -3e9, 1e-30])
def test_a_constant_has_no_score_and_its_first_change_has(constant: float) -> None:
    """Zero variance is no error; what differs from it at last is new."""
    value = np.full((300, 1), constant)
    value[200] = constant + max(abs(constant), 1.0)
    score = scores(value)[:, 0]
    assert np.all(score[:200] < 0.998)
    assert score[200] > 0.999


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(width=64), min_size=60, max_size=120))
def test_any_values_give_scores(values: list[float]) -> None:
    """NaN, infinities, the largest and the smallest numbers: a score from 0 to 1, and finite state."""
    novelty = Novelty()
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        score = scores(np.array(values)[:, None], novelty)[:, 0]
    assert np.all((score >= 0.0) & (score <= 1.0))
    assert np.all(score[~np.isfinite(values)] == 0.0)
    assert np.isfinite([novelty.weights.centre[0], novelty.weights.spread[0]]).all()


def test_what_is_no_number_leaves_no_trace() -> None:
    """A series with gaps of NaN is scored like the same without these readings."""
    value = daily(800, 1)
    rows, novelty, with_gaps = np.zeros(1, dtype=np.intp), Novelty(), Novelty()
    for each in (novelty, with_gaps):
        each.grow(1)
    for tick, row in enumerate(value):
        at_us = np.array([START + STEP * tick])
        if tick % 7 == 3:
            assert with_gaps.update(rows, at_us, np.array([np.nan]))[0] == 0.0
        assert novelty.update(rows, at_us, row) == with_gaps.update(rows, at_us, row)
    assert all(
        np.array_equal(a, b, equal_nan=True)
        for a, b in zip(arrays(novelty).values(), arrays(with_gaps).values(), strict=True)
    )


@pytest.mark.parametrize("cut", [1, 49, 333, 599])
def test_scores_of_a_prefix_are_the_prefix_of_the_scores(cut: int) -> None:
    """Nothing looks ahead."""
    value = daily(600, 3)
    assert np.array_equal(scores(value[:cut]), scores(value)[:cut])


def test_a_restored_detector_continues_bit_for_bit() -> None:
    """Tables saved in the middle, after halves were forgotten, and loaded into another one."""
    value = daily(2 * HALF + 500, 2)
    whole, cut = Novelty(), Novelty()
    scores(value[: HALF + 100], whole)
    cut.grow(2)
    for name, table in whole.tables.items():
        cut.tables[name].load(name, {key: array.copy() for key, array in table.arrays(name).items()}, 2)
    rest = value[HALF + 100 :]
    assert np.array_equal(scores(rest, whole, first=HALF + 100), scores(rest, cut, first=HALF + 100))


def test_series_do_not_touch_each_other() -> None:
    """Any way of cutting the series into calls gives the same scores."""
    value = daily(400, 4)
    together_ = scores(value)
    alone = np.hstack([scores(value[:, [column]]) for column in range(4)])
    assert np.array_equal(together_, alone)


def transformed(scale: float, shift: float) -> Callable[[Floats], Floats]:
    """Return other units."""
    return lambda value: scale * value + shift


@pytest.mark.parametrize("change", [transformed(1024.0, 0.0), transformed(1.0 / 4096.0, 0.0)])
def test_units_do_not_matter(change: Callable[[Floats], Floats]) -> None:
    """Milliseconds or seconds: the same scores."""
    value = daily(700, 2)
    assert np.allclose(scores(value), scores(change(value)))


def test_many_series_together_are_their_strongest_quarter() -> None:
    """Of eight series the two strongest count."""
    assert together(np.array([[0.0, 1.0, 9.0, 2.0, 3.0, 0.0, 7.0, 1.0]])) == pytest.approx([8.0])
