"""The failure ratio: exact statistics of small samples, and what is no sign."""

from collections.abc import Callable
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.failures.chance import rare_run, tail
from streams.core.failures.failures import FailureGroups, Failures
from streams.core.pending import ROW
from streams.core.policies import Policies
from streams.core.quorum import majority
from streams.core.round import Round
from streams.core.table import Bools
from streams.core.ticks import REMEMBERED
from streams.core.watermark import NEVER
from streams.policy import DetectPolicy
from tests.streams.timelines import INTERVAL, SECOND, START, run

POLICY = DetectPolicy(warm_up_checks=20)


@given(failures=st.integers(0, 60), trials=st.integers(0, 60), thousandths=st.integers(1, 500))
def test_the_tail_is_exact(failures: int, trials: int, thousandths: int) -> None:
    """Against rational arithmetic."""
    ratio = Fraction(thousandths, 1000)
    exact = sum(comb(trials, k) * ratio**k * (1 - ratio) ** (trials - k) for k in range(failures, trials + 1))
    assert tail(failures, trials, float(ratio)) == pytest.approx(float(exact), rel=1e-9, abs=1e-300)


@pytest.mark.parametrize(
    ("share", "again", "run"),
    [
        (1e-7, 0.0, 1),
        (1e-6, 0.9, 1),
        (0.1, 0.0, 6),  # independent: 0.1 ** 6
        (0.1, 0.05, 6),  # never less than that
        (0.01, 0.1, 5),  # 0.01 * 0.1 ** 4
        (0.01, 0.5, 15),  # 0.01 * 0.5 ** 14 = 6e-7
        (1.0, 1.0, 1375),  # any run is enough in the end
    ],
)
def test_a_run_that_is_no_chance(share: float, again: float, run: int) -> None:
    """The first failure, and each of the others after one, together rarer than once in a million."""
    assert rare_run(share, again) == run


def test_where_failures_go_on_by_themselves_more_in_a_row_are_chance() -> None:
    """Two in a row each twenty ticks, of one location or of one of two; single ones each ten: alike many are lost."""
    for others in ({}, {"fra": "H" * 1600}):
        needed = []
        for line in (("H" * 18 + "FF") * 80, ("H" * 9 + "F") * 160):
            found = run({"ams": line + "FFFF", **others}, policy=POLICY)
            kinds = ("failing", "partial_failure")
            needed.append(next(r.limit for v in reversed(found.verdicts) for r in v.reasons if r.kind in kinds))
        twice, single = needed
        assert single is not None
        assert twice is not None
        assert twice > 3 * single


def test_outages_do_not_teach_that_failures_go_on() -> None:
    """Ten crashes of three minutes, seen from one location or two: the last is no chance as soon as the first."""
    crash = "H" * 380 + "F" * 20
    for locations in ("ams",), ("ams", "fra"):
        found = run(dict.fromkeys(locations, crash * 10), policy=POLICY)
        limits = [r.limit or 0.0 for v in found.verdicts for r in v.reasons if r.kind == "failing"]
        assert max(limits) == limits[0]


def test_what_warned_and_passed_is_not_told_again_so_easily() -> None:
    """Five failures in twenty ticks, well for a day, and the same again: nothing. Twice as many are told."""
    burst, well = "FHHHFHHFHHHFHHHF", "H" * 2880
    lines = ["H" * 40 + burst + well, "H" * 40 + burst + well + burst + "H" * 60]
    lines.append(lines[0] + "FHFHFHHFHFHFHHFHFHFHHFHF" + "H" * 60)
    flags = []
    for line in lines:
        found = run({"ams": line}, policy=POLICY)
        flags.append(sum(one.active for one in found.deviations if one.detector == "failure_ratio"))
    assert flags == [1, 1, 2]


def test_failures_scattered_over_twenty_ticks_are_a_deviation() -> None:
    """Never two in a row, so no outage; five times in sixteen ticks is no chance. Over an hour later it is."""
    #                       0         1         2         3         4         5
    #                       0123456789012345678901234567890123456789012345678901234
    found = run({"ams": "H" * 40 + "FHHHFHHFHHHFHHHF" + "H" * 450}, policy=POLICY)
    mine = [deviation for deviation in found.deviations if deviation.detector == "failure_ratio"]
    flags = [(deviation.active, (deviation.tick_us - START) // INTERVAL) for deviation in mine]
    assert [active for active, _ in flags] == [True, False]
    assert 47 <= flags[0][1] <= 56
    assert mine[0].since_us == START + 40 * INTERVAL
    assert found.letters(96)[56:58] == "dd"
    reason = next(v for v in found.verdicts if v.verdict == "degraded").reasons[0]
    assert (reason.kind, reason.metric) == ("failure_ratio", "failure_ratio")
    assert found.letters(506)[-1] == "h"


def test_an_outage_is_no_failure_ratio_and_leaves_none_behind() -> None:
    """Ten failing ticks, then well: healthy at once."""
    found = run({"ams": "H" * 40 + "F" * 10 + "H" * 30, "fra": "H" * 40 + "F" * 10 + "H" * 30}, policy=POLICY)
    assert found.deviations == []
    assert found.letters(80)[49:52] == "fhh"


def test_a_restart_of_two_ticks_is_one_event() -> None:
    """All locations fail together twice in a row: no ratio, and healthy after it."""
    lines = dict.fromkeys(("ams", "fra", "nyc"), "H" * 40 + "FF" + "H" * 30)
    found = run(lines, policy=POLICY)
    assert found.deviations == []
    assert found.letters(72)[40:44] == "ffhh"


def test_one_locations_failures_alone_are_no_ratio() -> None:
    """Ams fails often, fra never: partial failures of ams, which may be its own trouble."""
    found = run({"ams": "H" * 40 + "FHFHFHFHFHFH" + "H" * 20, "fra": "H" * 72}, policy=POLICY)
    assert found.deviations == []


def test_lost_checks_now_and_then_are_no_deviation() -> None:
    """One failure in fifty ticks is within what is expected."""
    found = run({"ams": ("H" * 49 + "F") * 8}, policy=POLICY)
    assert found.deviations == []


class Groups:
    """Failures of n groups with so many locations each, one tick of all a step."""

    def __init__(self, count: int, locations: int, *, interval_s: int = 30) -> None:
        self.count, self.locations, self.interval_us = count, locations, interval_s * SECOND
        policies = Policies(DetectPolicy(), {})
        for number in range(count):
            policies.add(f"main/{number}")
        self.failures = Failures(policies)
        self.failures.groups.grow(count)
        self.failures.lanes.grow(count * locations)
        self.ring = np.full((count, REMEMBERED), NEVER, dtype=np.int64)
        self.ticks = 0
        self.left: list[tuple[int, int]] = []
        self.back: list[tuple[int, int]] = []

    def step(self, failed: Bools, reported: Bools | None = None) -> None:
        """One tick; shapes (count, locations)."""
        flat = failed.ravel()
        said = np.ones(flat.size, dtype=np.bool_) if reported is None else reported.ravel()
        at_us = np.full(self.count, self.ticks * self.interval_us, dtype=np.int64)
        turn = Round(
            groups=np.arange(self.count),
            tick_us=at_us,
            first=np.arange(self.count) * self.locations,
            lanes=np.arange(flat.size),
            local=np.repeat(np.arange(self.count), self.locations),
            at_us=np.repeat(at_us, self.locations),
            rows=np.zeros(flat.size, dtype=ROW),
            present=said,
            reported=said,
            failed=flat & said,
        )
        self.ring[:, self.ticks % REMEMBERED] = at_us
        self.ticks += 1
        seen, bad = turn.total(turn.reported), turn.total(turn.failed)
        failing = (seen > 0) & (bad >= majority(seen))
        interval_us = np.full(self.count, self.interval_us, dtype=np.int64)
        closings = np.full(self.count, self.ticks, dtype=np.int64)
        changes = self.failures.update(turn, failing, interval_us, self.ring, closings)
        if changes is not None:
            self.left += [(self.ticks - 1, group) for group in changes.left.tolist()]
            self.back += [(self.ticks - 1, group) for group in changes.back.tolist()]

    def play(self, ratio: Callable[[int], float], ticks: int, seed: int = 0) -> None:
        """Let each check fail by itself with the ratio of its tick."""
        rng = np.random.default_rng(seed)
        for tick in range(ticks):
            self.step(rng.random((self.count, self.locations)) < ratio(tick))


@pytest.mark.parametrize("locations", [1, 2, 3, 5])
def test_checks_lost_by_chance_warn_nobody(locations: int) -> None:
    """One in 200, in 300 groups for 3,000 ticks: 45 weeks of checks each 30 s, and the budget is one in 100."""
    groups = Groups(300, locations)
    groups.play(lambda _: 0.005, 3000)
    assert len(groups.left) <= 2


@pytest.mark.parametrize("locations", [1, 2, 3])
def test_a_rising_ratio_is_warned_of_while_most_checks_succeed(locations: int) -> None:
    """From none to every second check within six hours: nine in ten groups are flagged in the first third."""
    groups = Groups(200, locations)
    groups.play(lambda _: 0.002, 600)
    groups.play(lambda tick: tick / 1440, 240, seed=1)
    assert len({group for _, group in groups.left}) >= 180


def test_a_low_ratio_is_seen_with_more_patience() -> None:
    """Eight checks in a hundred fail where none did: flagged within three hours, whatever the seed."""
    groups = Groups(100, 3)
    groups.play(lambda _: 0.0, 600)
    groups.play(lambda _: 0.08, 360, seed=2)
    assert len({group for _, group in groups.left}) >= 95


def test_a_target_that_always_loses_some_checks_is_normal_so() -> None:
    """Three in a hundred from the beginning: what warns at first does not go on warning."""
    groups = Groups(100, 1)
    groups.play(lambda _: 0.03, 5000)
    late = [tick for tick, _ in groups.left if tick >= 3000]
    assert len(late) <= 3


@given(ratio=st.floats(0.0, 1.0), lost=st.floats(0.0, 0.004), locations=st.integers(3, 5), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_whatever_one_location_sees_alone_flags_nobody(ratio: float, lost: float, locations: int, seed: int) -> None:
    """Its own network may lose any share of checks; the others lose one now and then."""
    rng, groups = np.random.default_rng(seed), Groups(10, locations)
    for _ in range(400):
        chance = np.full((10, locations), lost)
        chance[:, 0] = ratio
        groups.step(rng.random((10, locations)) < chance)
    assert groups.left == []


@pytest.mark.parametrize("locations", [2, 3, 4])
def test_what_one_location_alone_saw_goes_with_it(locations: int) -> None:
    """One location loses half of its checks for twenty minutes, then it is away: what is left saw nothing."""
    rng, groups = np.random.default_rng(6), Groups(10, locations)
    for tick in range(400):
        failed, reported = np.zeros((10, locations), dtype=np.bool_), np.ones((10, locations), dtype=np.bool_)
        failed[:, 0] = (200 <= tick < 240) & (rng.random(10) < 0.5)
        reported[:, 0] = tick < 240
        groups.step(failed, reported)
    assert groups.left == []


def test_a_restart_now_and_then_is_no_ratio() -> None:
    """All locations fail for one or two ticks, every two hours."""
    groups = Groups(20, 3)
    for tick in range(2880):
        groups.step(np.full((20, 3), tick % 240 < 1 + tick // 240 % 2))
    assert groups.left == []


def test_missing_checks_are_neither_failures_nor_successes() -> None:
    """A location that reports every second tick, or never, changes nothing by itself."""
    groups, rng = Groups(50, 3), np.random.default_rng(4)
    for tick in range(1500):
        reported = np.ones((50, 3), dtype=np.bool_)
        reported[:, 1], reported[:, 2] = tick % 2 == 0, False
        groups.step(rng.random((50, 3)) < 0.004, reported)
    assert groups.left == []


def test_groups_are_independent_of_each_other() -> None:
    """A group alone is judged as among others."""
    rng = np.random.default_rng(5)
    bad = rng.random((600, 6, 2)) < 0.12
    together, alone = Groups(6, 2), Groups(1, 2)
    for tick in range(600):
        together.step(bad[tick])
        alone.step(bad[tick, 3:4])
    assert [(tick, 3) for tick, _ in alone.left] == [each for each in together.left if each[1] == 3]
    assert together.left


def test_what_is_kept_of_a_group_does_not_depend_on_others() -> None:
    """Bursts and quiet in one group, another that always loses checks beside it: bit for bit as alone."""
    rng = np.random.default_rng(7)
    bad = rng.random((2000, 2, 2)) < 0.05
    bad[:, 0] &= (np.arange(2000) % 500 < 60)[:, None]
    bad[:, 0] |= (rng.random((2000, 2)) < 0.3) & (np.arange(2000) % 500 < 30)[:, None]
    together, alone = Groups(2, 2), Groups(1, 2)
    for tick in range(2000):
        together.step(bad[tick])
        alone.step(bad[tick, :1])
        for name in FailureGroups.COLUMNS:
            ours, others = getattr(alone.failures.groups, name)[0], getattr(together.failures.groups, name)[0]
            assert ours == others, (tick, name)
        assert (alone.failures.lanes.sums[:2] == together.failures.lanes.sums[:2]).all()
    assert alone.left
    assert alone.back
