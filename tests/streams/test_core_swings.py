"""What a day's swing is taken for: a middle that moves is no tail, and limits are far before many days were seen."""

import numpy as np
import pytest

from producers.contract import PHASES
from streams.core.latency.blocks import Blocks
from streams.core.latency.drift import Drifts
from streams.core.latency.latency import Latency
from streams.core.latency.phases import Phases
from streams.core.latency.samples import Samples
from streams.core.policies import Policies
from streams.core.table import Floats
from streams.policy import DAY_US, SECOND_US, DetectPolicy

START = 20_727 * DAY_US
MINUTE_US = 60 * SECOND_US
BLOCK_US = 10 * MINUTE_US
BLOCKS_A_DAY = 144
NORMAL_US = 200_000.0


def policies() -> Policies:
    """The defaults, for one group."""
    found = Policies(DetectPolicy(), {})
    found.add("main/x")
    return found


def tails(shift: float, factor: float) -> int:
    """Two days of checks each minute, then twelve hours; say how many of 20 series have a tail in these.

    Args:
        shift: Of the whole distribution in the twelve hours, in log latency: reached within two of them.
        factor: By which only what is slower than usual is further out in them.
    """
    count, rng = 20, np.random.default_rng(7)
    latency = Latency(policies())
    latency.grow(count, 1)
    lanes, zeros = np.arange(count, dtype=np.intp), np.zeros(count, dtype=np.intp)
    flagged = np.zeros(count, dtype=np.bool_)
    for minute in range(60 * 60):
        part = float(np.clip((minute - 48 * 60) / 120.0, 0.0, 1.0))
        noise = rng.normal(0.0, 0.12, count)
        noise *= np.where(noise > 0.0, 1.0 + (factor - 1.0) * part, 1.0)
        at_us = np.full(count, START + minute * MINUTE_US, dtype=np.int64)
        interval_us = np.full(count, MINUTE_US, dtype=np.int64)
        duration_us = NORMAL_US * np.exp(noise + shift * part)
        latency.update(lanes, zeros, at_us, interval_us, duration_us, np.zeros((count, len(PHASES))))
        flagged |= latency.spreads.table.flagged[:count]
    return int(flagged.sum())


def test_a_middle_that_moves_is_no_tail() -> None:
    """A fifth slower within two hours, as by day: all slow checks are slower too, and that is no tail."""
    assert tails(0.2, 1.0) == 0


def test_a_tail_is_one_also_while_the_middle_moves() -> None:
    """The same, and slow checks are three times as far out."""
    assert tails(0.2, 3.0) >= 18


def test_a_short_swing_of_the_whole_is_no_tail() -> None:
    """Checks each ten seconds, a quarter slower for half an hour: over before the drift's mean has followed."""
    count, quiet, rng = 60, 6 * 360, np.random.default_rng(7)
    latency = Latency(policies())
    latency.grow(count, 1)
    lanes, zeros = np.arange(count, dtype=np.intp), np.zeros(count, dtype=np.intp)
    flagged = np.zeros(count, dtype=np.bool_)
    for check in range(quiet + 180):
        # One in five checks is slow.
        noise = rng.normal(0.0, 0.08, count) + np.where(rng.random(count) < 0.2, 0.3, 0.0)
        at_us = np.full(count, START + check * 10 * SECOND_US, dtype=np.int64)
        interval_us = np.full(count, 10 * SECOND_US, dtype=np.int64)
        duration_us = NORMAL_US * np.exp(noise + (0.25 if check >= quiet else 0.0))
        latency.update(lanes, zeros, at_us, interval_us, duration_us, np.zeros((count, len(PHASES))))
        flagged |= latency.spreads.table.flagged[:count]
    assert not flagged.any()


@pytest.mark.parametrize(("days", "told"), [(1, False), (12, True)])
def test_a_swing_is_told_once_many_days_had_none(days: int, told: bool) -> None:
    """Two fifths slower for three hours: after one quiet day that may be how it is, after twelve it is not."""
    drifts, rng = Drifts(policies()), np.random.default_rng(3)
    drifts.grow(1)
    flagged = False
    for block in range(days * BLOCKS_A_DAY + 18):
        above = 0.35 if block >= days * BLOCKS_A_DAY else 0.0
        mean = np.array([12.0 + above + rng.normal(0.0, 0.01)])
        drifts.update(_block(block, mean), np.zeros(1))
        flagged |= bool(drifts.table.flagged[0])
    assert flagged == told
    _, normal, limit = drifts.said(0)
    assert (limit - normal < 0.35) == told


def test_what_was_high_for_hours_is_not_over_with_the_first_calm_one() -> None:
    """High for half a day, well for an hour and a half, high again, and then well for good: one episode."""
    drifts, rng = Drifts(policies()), np.random.default_rng(5)
    drifts.grow(1)
    left, back = [], []
    heights = ((0.0, 60), (1.0, 72), (0.0, 10), (1.0, 24), (0.0, 72))
    blocks = np.concatenate([np.full(count, height) for height, count in heights])
    for block, height in enumerate(blocks):
        changes = drifts.update(_block(block, np.array([12.0 + height + rng.normal(0.0, 0.01)])), np.zeros(1))
        if changes is not None:
            left += [block] * changes.left.size
            back += [block] * changes.back.size
    assert len(left) == len(back) == 1
    assert back[0] > blocks.size - 72


@pytest.mark.parametrize(("hours", "told"), [(1, False), (24, True)])
def test_a_phase_is_told_once_hours_were_seen(hours: int, told: bool) -> None:
    """Checks each ten seconds: a name server that takes four times as long is told after a day, not in an hour."""
    phases, rng, every_us = Phases(policies()), np.random.default_rng(4), 10 * SECOND_US
    phases.grow(1)
    checks = hours * 360
    for check in range(checks + 60):
        usual = np.array([[0.1, 0.1, 0.1, 0.6, 0.1]]) * NORMAL_US * np.exp(rng.normal(0.0, 0.3, (1, len(PHASES))))
        usual[0, 0] *= 4.0 if check >= checks else 1.0
        phases.update(_sample(START + check * every_us, every_us, usual), learn=np.ones(1, dtype=np.bool_))
    assert bool(phases.table.flagged[0]) == told


def _block(number: int, mean: Floats) -> Blocks:
    one, at_us = np.zeros(1, dtype=np.intp), np.array([START + (number + 1) * BLOCK_US])
    return Blocks(one, one, one, at_us, at_us - BLOCK_US // 2, np.array([BLOCK_US]), mean, np.zeros(1, dtype=np.bool_))


def _sample(at_us: int, interval_us: int, phases: Floats) -> Samples:
    one = np.zeros(1, dtype=np.intp)
    return Samples(
        lanes=one,
        groups=one,
        at_us=np.array([at_us]),
        interval_us=np.array([interval_us]),
        log_us=np.log(phases.sum(axis=1)),
        offset=np.zeros(1),
        excuse=np.zeros(1),
        phases=phases,
    )
