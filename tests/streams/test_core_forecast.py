"""Time left: disks that fill, logs that rotate, certificates that expire or renew themselves."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.forecasts.depletion import NO_BOUND, Depletions, TimeLeft, time_left
from streams.core.incidents.incidents import Incidents
from streams.core.policies import Policies
from streams.policy import DAY_US, DetectPolicy, Expectations, IncidentPolicy
from tests.streams.timelines import SECOND, START, Published, Row, columns, detector, expectations

MINUTE, HOUR = 60 * SECOND, 3600 * SECOND
EVERY = 300 * SECOND


def play(metric: str, values: list[float], *, every_us: int = EVERY, noise: float = 0.0) -> Published:
    """Play a metric's readings, one a tick."""
    rng = np.random.default_rng(0)
    core, found = detector(expectations("shop-1", interval_us=every_us), DetectPolicy(slot_us=DAY_US)), Published()
    for tick, value in enumerate(values):
        row = Row(
            tick_us=START + tick * every_us,
            location="shop-1",
            kind="host",
            metrics={metric: value + float(rng.normal(0.0, noise))},
        )
        found.add(core.apply(columns([row])))
    return found


def test_the_bounds_hold_the_truth_for_a_noisy_fall() -> None:
    """A line with noise reaches 0 between the bounds."""
    rng = np.random.default_rng(3)
    at_us = np.arange(32, dtype=np.int64) * HOUR
    value = 0.5 - 0.005 * np.arange(32) + rng.normal(0.0, 0.002, 32)
    left = time_left(at_us, value)
    assert left.lower_us is not None
    assert left.upper_us is not None
    assert left.lower_us < (0.5 / 0.005 - 31) * HOUR < left.upper_us
    assert left.upper_us - left.lower_us < 12 * HOUR


@pytest.mark.parametrize("values", [[0.5] * 32, list(np.linspace(0.2, 0.5, 32)), [0.5] * 3])
def test_what_does_not_fall_for_sure_has_no_bound(values: list[float]) -> None:
    """Constant, rising, too short."""
    assert time_left(np.arange(len(values), dtype=np.int64) * HOUR, np.array(values)).lower_us is None


def test_a_disk_that_fills_is_warned_of_days_before() -> None:
    """1 % an hour from 90 %: full after 90 h; warned between 3.5 and 1 days before, not earlier."""
    values = [max(0.9 - 0.01 * tick / 12, 0.0) for tick in range(89 * 12)]
    found = play("disk_free_ratio:/", values, noise=0.0005)
    first = found.deviations[0]
    assert (first.metric, first.detector, first.active) == ("disk_free_ratio:/", "forecast", True)
    left_us = START + 90 * HOUR - first.tick_us
    assert DAY_US < left_us < 3.5 * DAY_US
    assert first.time_left_us is not None
    assert first.time_left_us == pytest.approx(left_us, rel=0.15)
    reason = next(v for v in found.verdicts if v.reasons).reasons[0]
    assert (reason.kind, reason.subject) == ("forecast", "disk_free_ratio:/")
    assert "left" in reason.text


def test_what_fills_up_is_told_again_as_its_end_comes_nearer_and_pages_in_its_last_hour() -> None:
    """Some times, not at each reading; one incident, opened days before, which wakes somebody once."""
    values = [max(0.9 - 0.01 * tick / 12, 0.0) for tick in range(90 * 12)]
    found = play("disk_free_ratio:/", values, noise=0.0005)
    left_us = [v.reasons[0].time_left_us for v in found.verdicts if v.changed and v.reasons]
    known_us = [left for left in left_us if left is not None]
    assert 5 <= len(known_us) == len(left_us) <= 15
    assert all(later < before for before, later in pairwise(known_us))
    under_us = [left for left in known_us if left < HOUR]
    assert under_us[0] > 0.75 * HOUR, "it is told when it passes the hour, not long after"
    incidents = Incidents(IncidentPolicy(), Expectations(), partitions=1, settle_ticks=DetectPolicy().settle_ticks)
    told = [revision for verdict in found.verdicts for revision in incidents.apply(verdict)]
    paging = [revision for revision in told if revision.page]
    assert len({revision.incident_id for revision in told}) == 1
    assert sum(later.page and not before.page for before, later in pairwise(told)) == 1
    assert told[0].effect == "opened"
    assert not told[0].page
    assert 0.75 * HOUR < START + 90 * HOUR - paging[0].updated_at_us <= 1.2 * HOUR


def test_a_short_burst_of_writing_is_no_forecast() -> None:
    """Ten minutes of writing 1 % are not extrapolated to three days."""
    values = [0.6] * 200 + [0.6 - 0.0001 * tick for tick in range(100)] + [0.59] * 300
    assert play("disk_free_ratio:/", values, every_us=6 * SECOND, noise=0.0002).deviations == []


def test_log_rotation_is_no_forecast_once_it_was_seen() -> None:
    """A daily sawtooth between 40 % and 20 %, 14 days: it never warns."""
    values = [0.4 - 0.2 * (tick % 48) / 48 for tick in range(14 * 48)]
    found = play("disk_free_ratio:/", values, every_us=HOUR // 2, noise=0.0005)
    # The first day may look like a disk that fills; after the first rotation nothing does.
    assert [d for d in found.deviations if d.active and d.tick_us > START + DAY_US] == []


def test_a_rotation_that_does_not_come_is_warned_of() -> None:
    """Five days of sawtooth, then it falls on below its usual low."""
    values = [0.4 - 0.2 * (tick % 48) / 48 for tick in range(5 * 48)]
    values += [0.4 - 0.2 * tick / 48 for tick in range(84)]
    found = play("disk_free_ratio:/", values, every_us=HOUR // 2, noise=0.0005)
    warned = [d.tick_us for d in found.deviations if d.active and d.tick_us > START + DAY_US]
    assert warned
    assert START + 6 * DAY_US < warned[0] < START + 6.4 * DAY_US


def days_left(*lives: float, every_h: int = 6) -> list[float]:
    """Return days left of certificates of so many days that are each renewed with 3 days left; the last is not."""
    values: list[float] = []
    for number, life in enumerate(lives):
        floor = 3.0 if number < len(lives) - 1 else 0.0
        values += list(np.arange(life, floor, -every_h / 24))
    return values


def test_a_certificate_is_warned_of_under_its_horizon() -> None:
    """90 days, never renewed: one warning at 14 days, its time left exact."""
    found = play("tls_days_left", list(np.arange(90.0, 0.0, -0.25)), every_us=6 * HOUR)
    assert [deviation.active for deviation in found.deviations] == [True]
    first = found.deviations[0]
    assert first.value == pytest.approx(13.75)
    assert first.time_left_us == first.time_left_upper_us == int(13.75 * DAY_US)


def test_a_renewed_certificate_ends_its_warning() -> None:
    """It jumps up: the deviation is over at that reading."""
    found = play("tls_days_left", [*np.arange(16.0, 5.0, -0.25), *np.arange(90.0, 80.0, -0.25)], every_us=6 * HOUR)
    assert [deviation.active for deviation in found.deviations] == [True, False]


def test_short_certificates_that_renew_themselves_are_judged_by_their_own_cycle() -> None:
    """Six days of life, renewed at three: quiet after the first renewal was seen."""
    found = play("tls_days_left", days_left(6, 6, 6, 6, 6, 6)[:-12], every_us=6 * HOUR)
    assert [deviation.active for deviation in found.deviations] == [True, False]
    assert found.deviations[1].tick_us - START <= 3 * DAY_US + 6 * HOUR


def test_a_short_certificate_that_is_not_renewed_is_warned_of() -> None:
    """Four renewals at three days and a quarter, then none: warned at the second reading that is below."""
    found = play("tls_days_left", days_left(6, 6, 6, 6, 6), every_us=6 * HOUR)
    last = found.deviations[-1]
    assert last.active
    assert 2.7 < last.value < 2.8


def test_other_metrics_have_no_forecast() -> None:
    """A falling CPU load is nobody's limit."""
    assert play("cpu_load_1m", list(np.arange(90.0, 0.0, -0.25))).deviations == []


def test_a_forecast_does_not_change_the_verdict_itself() -> None:
    """The target is well today; the reason says what will be."""
    found = play("tls_days_left", [9.0] * 10)
    assert {verdict.verdict for verdict in found.verdicts} == {"healthy"}
    assert found.verdicts[-1].reasons[0].subject == "tls_days_left"


def minutes(days: float) -> np.ndarray:
    """Return the days that have passed at each minute."""
    return np.arange(int(days * 1440)) / 1440


@pytest.mark.parametrize("hours", [1.5, 6, 24])
def test_a_disk_that_fills_fast_is_warned_of_long_before(hours: float) -> None:
    """Three well days, then from 60 % to nothing: warned with more than half of the time left."""
    last = np.clip(1.0 - (minutes(3 + hours / 24) - 3) * 24 / hours, 0.0, 1.0)
    found = play("disk_free_ratio:/", list(0.6 * last), every_us=MINUTE, noise=0.0005)
    warned_h = (found.deviations[0].tick_us - START) / HOUR - 72
    assert 0.0 < warned_h < 0.5 * hours


@pytest.mark.parametrize(("cycle_h", "amplitude"), [(6, 0.06), (6, 0.005), (24, 0.06), (24, 0.2)])
def test_a_sawtooth_of_any_period_warns_nobody_after_its_first_day(cycle_h: int, amplitude: float) -> None:
    """Written and rotated away, for a week, at one third free."""
    values = 0.35 - amplitude * (minutes(7) * 24 / cycle_h % 1.0)
    found = play("disk_free_ratio:/", list(values[::5]), every_us=5 * MINUTE, noise=0.0005)
    assert [d for d in found.deviations if d.active and d.tick_us > START + DAY_US] == []


def test_a_disk_that_fills_under_its_rotation_warns_once_until_it_is_repaired() -> None:
    """Daily rotation of 5 %, and 12 % a day more; emptied at the end: one warning, one end of it."""
    days = minutes(7)[::5]
    values = 0.6 - 0.05 * (days % 1.0) - 0.12 * np.clip(days - 2.0, 0.0, None)
    found = play("disk_free_ratio:/", [*np.clip(values, 0.001, 1.0), *([0.6] * 400)], every_us=5 * MINUTE, noise=0.0005)
    assert [d.active for d in found.deviations] == [True, False]
    assert found.deviations[0].tick_us < START + 5 * DAY_US
    assert found.deviations[1].tick_us <= START + 7 * DAY_US + 10 * MINUTE


def test_what_was_said_of_the_end_is_taken_back_when_the_fall_stops() -> None:
    """It warns on for a day, in case it was a pause, but a time left that has passed would page."""
    policies = Policies(DetectPolicy(), {})
    policies.add("main/x")
    disk = Depletions(policies)
    disk.table.grow(1)
    one, active = np.zeros(1, dtype=np.intp), np.zeros(1, dtype=np.bool_)
    left: list[TimeLeft] = []
    fall = 0.6 - 0.3 * np.clip((minutes(4) - 3) * 12, 0.0, 1.0)
    for minute, value in enumerate(fall):
        at_us = np.array([START + minute * MINUTE], dtype=np.int64)
        active, found = disk.update(one, one, at_us, np.array([value]), active)
        left += list(found.values())
    assert active[0]
    assert left[0].lower_us is not None
    assert left[-1] == NO_BOUND


def test_memory_that_leaks_is_warned_of_while_hours_are_left() -> None:
    """From 40 % used, 15 % a day for four days: warned in the last two and a half days, and told that it rises."""
    values = 0.4 + 0.15 * minutes(4)[::5]
    found = play("memory_used_ratio", list(np.clip(values, 0.0, 1.0)), every_us=5 * MINUTE, noise=0.002)
    forecasts = [d for d in found.deviations if d.detector == "forecast"]
    assert [d.active for d in forecasts] == [True]
    assert START + 1.5 * DAY_US < forecasts[0].tick_us < START + 3.2 * DAY_US
    reason = next(r for v in found.verdicts for r in v.reasons if r.kind == "forecast")
    assert (reason.limit, "rises" in reason.text) == (1.0, True)


@pytest.mark.parametrize("shape", ["cache", "daily", "restarts", "weekly"])
def test_memory_that_fills_swings_or_is_restarted_warns_nobody(shape: str) -> None:
    """A cache that fills to 90 %, a daily swing of 30 %, a leak that is restarted each night, weekdays."""
    days = minutes(14)[::10]
    used = {
        "cache": 0.3 + 0.6 * (1.0 - np.exp(-days / 1.5)),
        "daily": 0.55 + 0.15 * np.sin(2 * np.pi * days),
        "restarts": 0.4 + 0.45 * (days % 1.0),
        "weekly": 0.5 + np.where(days % 7 < 5, 0.12, 0.0) + 0.1 * np.sin(2 * np.pi * days),
    }[shape]
    found = play("memory_used_ratio", list(used), every_us=10 * MINUTE, noise=0.005)
    assert [d for d in found.deviations if d.detector == "forecast"] == []


def test_an_overdue_renewal_of_a_long_certificate_is_told_before_the_horizon() -> None:
    """Renewed twice at 30 days left, as machines do: the third time it is not, and that is told at 27."""
    values = [*np.arange(90, 30, -1.0), *np.arange(90, 30, -1.0), *np.arange(90, 20, -1.0)]
    found = play("tls_days_left", values, every_us=DAY_US)
    assert [d.active for d in found.deviations] == [True]
    assert 26.0 <= found.deviations[0].value < 28.0


def test_a_certificate_renewed_by_hand_at_the_last_moment_is_warned_of_again() -> None:
    """Renewed once with two days left: that is no rule, and the next one warns at the horizon."""
    values = [*np.arange(90, 2, -1.0), *np.arange(90, 5, -1.0)]
    found = play("tls_days_left", values, every_us=DAY_US)
    assert [(d.active, d.value) for d in found.deviations] == [(True, 13.0), (False, 90.0), (True, 13.0)]


@given(cut=st.integers(1, 299), seed=st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_forecasts_restored_from_a_snapshot_continue(cut: int, seed: int) -> None:
    """At any reading, bit for bit."""
    rng = np.random.default_rng(seed)
    metrics = {
        "disk_free_ratio:/": np.clip(0.5 - np.linspace(0.0, rng.uniform(0.0, 0.6), 300), 0.0, 1.0),
        "memory_used_ratio": np.clip(0.4 + np.linspace(0.0, rng.uniform(0.0, 0.7), 300), 0.0, 1.0),
        "tls_days_left": 4.0 - np.arange(300) / 24 % 3.0,
    }
    config, policy = expectations("shop-1", interval_us=HOUR), DetectPolicy(slot_us=DAY_US)
    found = []
    for restart in (False, True):
        core, published = detector(config, policy), Published()
        for tick in range(300):
            if restart and tick == cut:
                payload, core = core.snapshot(), detector(config, policy)
                core.restore(payload)
            values = {name: float(series[tick]) for name, series in metrics.items()}
            row = Row(tick_us=START + tick * HOUR, location="shop-1", kind="host", metrics=values)
            published.add(core.apply(columns([row])))
        found.append((published.deviations, published.verdicts))
    assert found[0] == found[1]
