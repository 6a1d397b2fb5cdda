"""What most locations of a target see together: a quorum counts, one alone never does, and neither does chance."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.contract import Verdict
from streams.core.detect import Detector
from streams.core.latency.latency import Latency
from streams.core.latency.together import Quorums
from streams.core.outputs import Outputs
from streams.core.policies import Policies
from streams.core.table import Floats
from streams.core.watermark import NEVER
from streams.policy import DetectPolicy
from tests.streams.timelines import SECOND, START, Row, columns, expectations

INTERVAL_US = 60 * SECOND
HOUR = 60
DAY = 24 * HOUR
NORMAL_US = 200_000.0


class Targets:
    """Latency of n targets that some locations look at, one check each a tick; which lanes take part, by tick."""

    def __init__(self, targets: int, locations: int, *, parts: int = 1) -> None:
        policies = Policies(DetectPolicy(), {})
        for number in range(targets):
            policies.add(f"main/t{number}")
        self.latency = Latency(policies)
        self.latency.grow(targets * locations, targets)
        self.groups = np.repeat(np.arange(targets, dtype=np.intp), locations)
        self.parts = [np.flatnonzero(self.groups % parts == part) for part in range(parts)]
        self.tick = 0
        self.joined: list[tuple[int, int]] = []

    def play(
        self, noise: Callable[[], Floats], ticks: int, above: Callable[[float], Floats | float] = lambda _: 0.0
    ) -> None:
        """So many ticks of noise in log latency, and what is above it as a function of the hours since their begin."""
        for tick in range(ticks):
            duration_us = NORMAL_US * np.exp(noise() + above(tick / HOUR))
            for lanes in self.parts:
                self._round(lanes, duration_us[lanes])
            self.tick += 1

    def flagged(self) -> set[int]:
        """The targets that ever were."""
        return {int(self.groups[lane]) for _, lane in self.joined}

    def _round(self, lanes: np.ndarray, duration_us: Floats) -> None:
        at_us = np.full(lanes.size, START + self.tick * INTERVAL_US, dtype=np.int64)
        interval_us = np.full(lanes.size, INTERVAL_US, dtype=np.int64)
        phases = np.zeros((lanes.size, 5))
        found = self.latency.update(lanes, self.groups[lanes], at_us, interval_us, duration_us, phases)
        if found is not None and found.together is not None:
            self.joined += [(self.tick, int(lane)) for lane in found.lanes[found.together.left]]


def shared_noise(targets: int, locations: int, sigma: float, seed: int) -> Callable[[], Floats]:
    """Return noise of which half the variance is the target's own: all its locations see it."""
    rng = np.random.default_rng(seed)

    def noise() -> Floats:
        own, common = rng.normal(0.0, sigma, targets * locations), rng.normal(0.0, sigma, targets)
        found: Floats = np.sqrt(0.5) * (own + np.repeat(common, locations))
        return found

    return noise


@pytest.mark.parametrize("locations", [1, 3])
def test_noise_is_nothing_that_locations_see_together(locations: int) -> None:
    """60 targets for two days: 17 target-weeks."""
    targets = Targets(60, locations)
    targets.play(shared_noise(60, locations, 0.3, 1), 2 * DAY)
    assert targets.flagged() == set()


def test_what_all_see_a_little_is_told_before_any_location_is_sure() -> None:
    """Five locations of 20 targets, σ = 0.25; in three hours everything becomes 2.2 times as slow."""
    targets, noise = Targets(20, 5), shared_noise(20, 5, 0.25, 2)
    targets.play(noise, 2 * DAY)
    targets.play(noise, 3 * HOUR, lambda hours: np.log(2.2) * hours / 3)
    assert len(targets.flagged()) >= 19
    first = {int(targets.groups[lane]): tick for tick, lane in reversed(targets.joined)}
    levels = targets.latency.levels.table
    sure = np.where(levels.flagged[:100], levels.since_us[:100], np.iinfo(np.int64).max).reshape(20, 5)
    # Of those that a quorum of levels has found at all by now, hardly any were found before.
    earlier = sum(bool((np.sort(sure[t])[2] - START) // INTERVAL_US < tick) for t, tick in first.items())
    assert earlier <= 2


def test_one_location_alone_is_not_the_target() -> None:
    """It is four times as slow for a day; the other two are as ever."""
    targets, noise = Targets(10, 3), shared_noise(10, 3, 0.2, 3)
    targets.play(noise, DAY)
    targets.play(noise, DAY, lambda _: np.tile([np.log(4.0), 0.0, 0.0], 10))
    assert targets.flagged() == set()


def test_what_is_over_is_over_and_may_begin_again() -> None:
    """An hour's slowness: all lanes take part, none half an hour after it; a day later it is excused at its hour."""
    targets, noise = Targets(5, 3), shared_noise(5, 3, 0.2, 4)
    targets.play(noise, 2 * DAY)
    targets.play(noise, HOUR, lambda _: np.log(1.7))
    assert targets.flagged() == set(range(5))
    assert targets.latency.together.lanes.member[:15].sum() >= 10
    targets.play(noise, DAY - HOUR)
    assert not targets.latency.together.lanes.member[:15].any()
    told = len(targets.joined)
    targets.play(noise, HOUR, lambda _: np.log(1.6))
    assert len(targets.joined) == told


def test_a_release_that_is_slower_for_good_is_told_once() -> None:
    """Too little for any location alone: held until it is the norm, and by then no drift discovers it anew."""
    targets, noise = Targets(10, 3), shared_noise(10, 3, 0.3, 8)
    targets.play(noise, 3 * DAY)
    targets.play(noise, 3 * DAY, lambda _: np.log(1.8))
    latency = targets.latency
    assert targets.flagged() == set(range(10))
    ticks: dict[int, list[int]] = {target: [] for target in range(10)}
    for tick, lane in targets.joined:
        ticks[int(targets.groups[lane])].append(tick)
    assert all(max(joined) - min(joined) < DAY for joined in ticks.values())
    assert not latency.together.lanes.member[:30].any()
    assert np.exp(np.median(latency.levels.table.centre[:30])) == pytest.approx(1.8 * NORMAL_US, rel=0.1)
    assert (latency.drifts.table.since_us[:30] == NEVER).all()


def test_after_an_outage_nothing_is_left_of_what_was_before_it() -> None:
    """Slow, then down at all locations, then as ever: the first checks that succeed end it, and teach nothing."""
    targets, noise = Targets(5, 3), shared_noise(5, 3, 0.2, 6)
    targets.play(noise, 2 * DAY)
    targets.play(noise, HOUR // 2, lambda _: np.log(1.9))
    assert targets.flagged() == set(range(5))
    limit = targets.latency.together.tails.limit(np.arange(5, dtype=np.intp))
    for _ in range(5):
        targets.latency.failed(np.arange(15, dtype=np.intp), targets.groups)
    targets.play(noise, 1)
    assert not targets.latency.together.groups.flagged[:5].any()
    assert not targets.latency.together.lanes.member[:15].any()
    np.testing.assert_array_equal(targets.latency.together.tails.limit(np.arange(5, dtype=np.intp)), limit)


def test_targets_do_not_touch_one_another() -> None:
    """A round in one call or in two: the same arrays, bit for bit."""
    whole, halves = Targets(8, 3), Targets(8, 3, parts=2)
    for targets in (whole, halves):
        noise = shared_noise(8, 3, 0.2, 5)
        targets.play(noise, 2 * DAY)
        targets.play(noise, 2 * HOUR, lambda hours: np.log(3.0) * min(hours, 1.0))
    assert whole.joined
    for name, array in whole.latency.arrays().items():
        if name in ("week.week", "week.week_seen", "season.week"):
            continue  # rows in the order in which lanes came to need one
        np.testing.assert_array_equal(array, halves.latency.arrays()[name], err_msg=name)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.floats(-3.0, 3.0), st.booleans()), min_size=1, max_size=20))
def test_a_quorum_is_more_than_half_of_those_that_are_there(lanes: list[tuple[int, float, bool]]) -> None:
    """What the quorum has is what sorting says, whatever the order of lanes."""
    groups, score, says = (np.array(column) for column in zip(*lanes, strict=True))
    quorums = Quorums.of(groups, score)
    assert quorums.groups.tolist() == sorted(set(groups.tolist()))
    for place, group in enumerate(quorums.groups.tolist()):
        mine = groups == group
        least = quorums.least(score)[place]
        assert (score[mine] >= least).sum() * 2 > mine.sum()
        assert (score[mine] > least).sum() * 2 <= mine.sum()
        assert quorums.most(says)[place] == (says[mine].sum() * 2 > mine.sum())
        assert quorums.any(says)[place] == says[mine].any()
    assert (quorums.groups[quorums.local] == groups).all()


def test_what_locations_see_together_is_a_reason_and_a_deviation_of_each() -> None:
    """An hour in which all three locations see four fifths more, after two quiet days, and an hour after it."""
    minute, rng = 60 * SECOND, np.random.default_rng(6)
    config = expectations("ams", "fra", "iad", interval_us=minute)
    core, found = Detector(DetectPolicy(), config, partition=0), Outputs()
    for hour in range(48 + 2):
        above = np.log(1.8) if hour == 48 else 0.0
        rows = [
            Row(tick_us=START + tick * minute, location=location, duration_us=NORMAL_US * np.exp(above + noise))
            for tick in range(hour * HOUR, (hour + 1) * HOUR)
            for location, noise in zip(("ams", "fra", "iad"), rng.normal(0.0, 0.25, 3), strict=True)
        ]
        outputs = core.apply(columns(rows))
        found.deviations.extend(outputs.deviations)
        found.verdicts.extend(outputs.verdicts)
    told = [deviation for deviation in found.deviations if deviation.detector == "latency_together"]
    began, ended = [one for one in told if one.active], [one for one in told if not one.active]
    assert len({one.location for one in began}) >= 2
    assert {one.location for one in began} == {one.location for one in ended}
    assert all(START + 48 * HOUR * minute <= one.tick_us < START + 49 * HOUR * minute for one in began)
    reasons = [reason for verdict in found.verdicts if isinstance(verdict, Verdict) for reason in verdict.reasons]
    mine = [reason for reason in reasons if reason.kind == "latency_together"]
    assert mine
    assert all(reason.metric == "latency" and len(reason.locations) >= 2 for reason in mine)
    assert all(reason.limit is not None and reason.baseline is not None for reason in mine)
