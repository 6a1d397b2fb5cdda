"""Windows of latency over all locations of a group: what is seen before any lane is sure, and what is nobody's."""

import numpy as np
import pytest

from producers.contract import PHASES
from streams.core.policies import Policies
from streams.core.table import Floats
from streams.core.window_tables import CONNECT, DNS, MEAN, TAIL, Checks
from streams.core.windows import Windows
from streams.policy import DAY_US, SECOND_US, DetectPolicy

START = 20_727 * DAY_US  # midnight UTC
INTERVAL_US = 120 * SECOND_US
DAY = 720
HOUR = 30
NORMAL_US = 80_000.0
SHARES = np.array([0.05, 0.1, 0.1, 0.7, 0.05])


class Groups:
    """Latency of n groups with so many locations each; the checks of a tick come in as many calls as there are parts.

    Attributes:
        left, back: (tick, group) of what was flagged, and of what is no longer.
    """

    def __init__(self, count: int, locations: int, *, sigma: float = 0.1, seed: int = 0, parts: int = 1) -> None:
        policies = Policies(DetectPolicy(), {})
        for group in range(count):
            policies.add(f"main/{group}")
        self.windows = Windows(policies)
        self.windows.grow(count, count * locations)
        self.count, self.locations, self.sigma, self.tick = count, locations, sigma, 0
        self.rng = np.random.default_rng(seed)
        self.parts = np.array_split(np.arange(count, dtype=np.intp), parts)
        self.left: list[tuple[int, int]] = []
        self.back: list[tuple[int, int]] = []

    def step(self, above: Floats, *, wider: float = 1.0, phases: Floats = SHARES) -> None:
        """One tick: `above` is added to log latency, shape broadcast to (groups, locations)."""
        noise = self.rng.normal(0.0, self.sigma, (self.count, self.locations))
        noise = np.where(noise > 0.0, noise * wider, noise)
        self.take(NORMAL_US * np.exp(noise + above)[:, :, None] * phases)

    def take(self, phases: Floats) -> None:
        """One tick of checks that took so long, shape (groups, locations, phases)."""
        tick_us = START + self.tick * INTERVAL_US
        for groups in self.parts:
            lanes = (groups[:, None] * self.locations + np.arange(self.locations)).ravel()
            first = np.arange(groups.size, dtype=np.int64) * self.locations
            members = lanes, first, np.full(groups.size, self.locations)
            here = phases[groups].reshape(-1, len(PHASES))
            at_us, interval_us = np.full(groups.size, tick_us), np.full(groups.size, INTERVAL_US)
            checks = Checks(lanes, here.sum(axis=1), here)
            changes = self.windows.update(groups, at_us, interval_us, members, checks)
            if changes is not None:
                self.left += [(self.tick, group) for group in changes.left.tolist()]
                self.back += [(self.tick, group) for group in changes.back.tolist()]
        self.tick += 1

    def play(self, ticks: int) -> None:
        """So many ticks at rest."""
        for _ in range(ticks):
            self.step(np.zeros((1, 1)))

    def first(self) -> dict[int, int]:
        """When each group was flagged first."""
        return {group: tick for tick, group in reversed(self.left)}


@pytest.mark.parametrize("sigma", [0.0, 0.05, 0.5])
def test_noise_at_rest_flags_nothing(sigma: float) -> None:
    """Forty groups for three days, from none to much of it."""
    groups = Groups(40, 2, sigma=sigma)
    groups.play(3 * DAY)
    assert groups.left == []
    assert np.isfinite(groups.windows.lanes.centre[:80]).all()


def test_what_all_locations_see_a_little_is_seen() -> None:
    """Half more at three locations, in a noise of as much: no lane could be sure."""
    groups = Groups(20, 3, sigma=0.5)
    groups.play(2 * DAY)
    for _ in range(8 * HOUR):
        groups.step(np.full((1, 1), 0.45))
    assert len(groups.first()) >= 18
    assert {groups.windows.cell(group)[1] for group in groups.first()} <= {MEAN, TAIL}


@pytest.mark.parametrize("locations", [2, 3, 5])
def test_one_location_alone_flags_nothing(locations: int) -> None:
    """Three times as slow, for six hours, at the first location only."""
    groups = Groups(20, locations)
    groups.play(DAY)
    alone = np.where(np.arange(locations) == 0, np.log(3.0), 0.0)[None, :]
    for _ in range(6 * HOUR):
        groups.step(alone)
    assert groups.left == []


def test_a_leak_is_seen_in_its_first_half_and_never_learned() -> None:
    """To four times within two days."""
    groups = Groups(10, 1, sigma=0.2)
    groups.play(2 * DAY)
    for tick in range(2 * DAY):
        groups.step(np.full((1, 1), np.log(4.0) * tick / (2 * DAY)))
    assert set(groups.first()) == set(range(10))
    assert max(groups.first().values()) < 3 * DAY
    assert groups.windows.groups.flagged[:10].all()
    assert len(groups.left) == 10


def test_a_tail_that_grows_is_seen() -> None:
    """Slow checks become five times as slow within a day, quick ones stay what they were."""
    groups = Groups(10, 2, sigma=0.15)
    groups.play(2 * DAY)
    for tick in range(DAY):
        groups.step(np.zeros((1, 1)), wider=1.0 + 4.0 * tick / DAY)
    assert set(groups.first()) == set(range(10))
    assert {groups.windows.cell(group)[1] for group in range(10)} <= {MEAN, TAIL}
    now_us, normal_us = groups.windows.said(0, *groups.windows.cell(0))
    assert now_us > 1.2 * normal_us


@pytest.mark.parametrize(("phase", "kind"), [(0, DNS), (1, CONNECT)])
def test_a_small_phase_that_slows_is_named(phase: int, kind: int) -> None:
    """A tenth of the check takes four times as long: of the whole that is a third more."""
    groups = Groups(10, 2, sigma=0.3)
    shares = np.array([0.1, 0.1, 0.1, 0.65, 0.05])
    for _ in range(2 * DAY):
        groups.step(np.zeros((1, 1)), phases=shares)
    slow = shares.copy()
    slow[phase] *= 4.0
    for _ in range(2 * HOUR):
        groups.step(np.zeros((1, 1)), phases=slow)
    assert set(groups.first()) == set(range(10))
    assert {groups.windows.cell(group)[1] for group in range(10)} == {kind}


def test_a_nightly_backup_warns_once_and_is_over_when_it_is_over() -> None:
    """Twice as slow from two to three each night."""
    groups = Groups(5, 2)
    for tick in range(6 * DAY):
        groups.step(np.full((1, 1), np.log(2.0) if 2 * HOUR <= tick % DAY < 3 * HOUR else 0.0))
    nights = [tick // DAY for tick, _ in groups.left]
    assert len(nights) == 5
    assert all(tick % DAY < 5 * HOUR for tick, _ in groups.back)


def test_failures_excuse_nothing() -> None:
    """The same with a row of failures each night: every night warns."""
    groups = Groups(2, 2)
    everybody = np.arange(2, dtype=np.intp)
    for tick in range(4 * DAY):
        groups.step(np.full((1, 1), np.log(2.0) if 2 * HOUR <= tick % DAY < 3 * HOUR else 0.0))
        if tick % DAY == 3 * HOUR - 1:
            groups.windows.failed(everybody)
    assert sorted(tick // DAY for tick, _ in groups.left if tick > DAY) == [1, 1, 2, 2, 3, 3]


def test_a_deployment_warns_once_and_is_the_norm() -> None:
    """A half more for ever: one warning, and after a day all is well."""
    groups = Groups(5, 2)
    groups.play(2 * DAY)
    for _ in range(3 * DAY):
        groups.step(np.full((1, 1), np.log(1.5)))
    assert len(groups.left) == len(groups.back) == 5
    assert max(tick for tick, _ in groups.back) < 3 * DAY + DAY // 2


def test_what_cannot_be_a_time_hurts_nobody() -> None:
    """Nothing, and as much as a clock can say."""
    groups = Groups(2, 1)
    for tick in range(DAY):
        groups.take(np.full((2, 1, len(PHASES)), 0.0 if tick % 7 else 1e15))
    assert np.isfinite(groups.windows.groups.above).all()


def test_a_round_is_its_parts_and_a_restored_one_continues() -> None:
    """Bit for bit."""
    whole, parts = Groups(7, 3, sigma=0.3), Groups(7, 3, sigma=0.3, parts=3)
    for tick in range(2 * DAY):
        if tick == DAY + 7:
            arrays = parts.windows.arrays()
            parts.windows = Groups(7, 3).windows
            parts.windows.load(arrays, 7, 21)
        for groups in (whole, parts):
            groups.step(np.full((1, 1), 0.5 * max(tick - DAY, 0) / DAY))
    assert whole.left == parts.left
    assert whole.left
    for name, array in whole.windows.arrays().items():
        np.testing.assert_array_equal(array, parts.windows.arrays()[name])
