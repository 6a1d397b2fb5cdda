"""Traps: what looks like trouble and ends in none.

A target's own traps are given its ticks; the installation's befall all targets, from one location or from all. Each
returns its events: the times within which what a system says is counted as said about the trap.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.detection.kinds import MINUTE_US, REFUSED
from benchmarks.detection.noise import DAY_US, HOUR_US, SECOND_US, Floats, Ints, Rng
from benchmarks.detection.render import Effect

Window = tuple[int, int]

MOST_SKEW_S: Final = 600.0
"""A clock is wrong by no more than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrapKind:
    """A trap of one target.

    Attributes:
        befall: Writes it down; returns the times of its events, microseconds UTC.
    """

    name: str
    befall: Callable[[Rng, Ints, Effect], list[Window]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where and when a trap of the whole installation is; drawn once for all targets.

    Attributes:
        location: None: everywhere.
        strength: What it is made of, drawn by its kind.
    """

    location: int | None
    start_us: int
    end_us: int
    strength: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedTrapKind:
    """A trap of the installation.

    Attributes:
        minutes: Shortest and longest.
        draw: What it is made of this time; `befall` writes it down for one target.
        everywhere: Probability that all locations are hit, where the kind can do that.
    """

    name: str
    minutes: tuple[float, float]
    draw: Callable[[Rng], tuple[float, ...]]
    befall: Callable[[Place, Ints, Effect], None]
    everywhere: float = 0.0


def deployment(rng: Rng, tick_us: Ints, effect: Effect) -> list[Window]:
    """A new release is slower (or quicker) than the last one, and stays so. It may restart for a tick."""
    at_us = _moment(rng, tick_us, 0.2, 0.8)
    after = tick_us >= at_us
    effect.log_wait += np.where(
        after, np.log(rng.uniform(1.15, 2.2) if rng.random() < 0.8 else rng.uniform(0.5, 0.85)), 0.0
    )
    if rng.random() < 0.5:
        effect.down[int(np.argmax(after))] = True
        effect.reason = REFUSED
    return [(at_us, at_us + DAY_US)]


def nightly(rng: Rng, tick_us: Ints, effect: Effect) -> list[Window]:
    """The backup runs at the same hour each night, give or take some minutes."""
    hour_us, length_us = rng.uniform(0, 24) * HOUR_US, rng.uniform(15, 75) * MINUTE_US
    peak, wobble_us = np.log(rng.uniform(1.3, 3.0)), rng.uniform(0, 5) * MINUTE_US
    windows = []
    for day in range(int(tick_us[0] // DAY_US), int(tick_us[-1] // DAY_US) + 1):
        start_us = int(day * DAY_US + hour_us + rng.normal(0.0, 1.0) * wobble_us)
        end_us = int(start_us + length_us * rng.uniform(0.8, 1.2))
        effect.log_wait += peak * _plateau(tick_us, start_us, end_us, 0.1)
        windows.append((start_us, end_us))
    return _seen(windows, tick_us)


def weekly(rng: Rng, tick_us: Ints, effect: Effect) -> list[Window]:
    """The newsletter goes out once a week, and people come."""
    first_us = int(tick_us[0] + rng.uniform(0.5, 7) * DAY_US)
    length_us, peak = rng.uniform(1, 6) * HOUR_US, np.log(rng.uniform(1.3, 3.0))
    windows = []
    for start_us in range(first_us, int(tick_us[-1]), 7 * DAY_US):
        end_us = int(start_us + length_us)
        share = np.clip((tick_us - start_us) / (end_us - start_us), 0.0, 1.0)
        # Up at once and slowly away.
        effect.log_wait += peak * np.minimum(share / 0.1, 1.0) * (1.0 - share)
        windows.append((start_us, end_us))
    return _seen(windows, tick_us)


def growth(rng: Rng, tick_us: Ints, effect: Effect) -> list[Window]:
    """A service becomes a little slower day by day as it is used more, and is well."""
    share = (tick_us - tick_us[0]) / (tick_us[-1] - tick_us[0])
    effect.log_wait += np.log(rng.uniform(1.08, 1.3)) * share
    return _whole(tick_us)


def restart(rng: Rng, tick_us: Ints, effect: Effect) -> list[Window]:
    """A service is restarted: it is away for about 30 seconds, a few times in these days."""
    windows = []
    for _time in range(int(rng.integers(1, 5))):
        start_us = _moment(rng, tick_us, 0.05, 0.98)
        end_us = start_us + int(rng.uniform(15, 35) * SECOND_US)
        effect.down[(tick_us >= start_us) & (tick_us < end_us)] = True
        windows.append((start_us, end_us))
    effect.reason = REFUSED
    return _seen(sorted(windows), tick_us)


def lossy(rng: Rng, tick_us: Ints, effect: Effect) -> list[Window]:
    """Single checks are lost all the time, each at one location."""
    effect.loses = np.maximum(effect.loses, rng.uniform(0.003, 0.02))
    # Never two of them in a row: these are single ones.
    effect.loses[1::2] = 0.0
    return _whole(tick_us)


def heavy(rng: Rng, tick_us: Ints, effect: Effect) -> list[Window]:
    """Some answers always took many times as long as others."""
    effect.spread *= rng.uniform(1.5, 2.5)
    slow = rng.random(effect.down.shape) < rng.uniform(0.01, 0.06)
    size_us = effect.usual_us * np.minimum(rng.pareto(1.2, effect.down.shape) + 1.0, 8e6 / effect.usual_us)
    effect.extra_us["wait"] = effect.extra_us.get("wait", 0.0) + np.where(slow, size_us, 0.0)
    return _whole(tick_us)


def short_certificates(rng: Rng, tick_us: Ints, effect: Effect) -> list[Window]:
    """Certificates live for six days and renew themselves when half or two thirds of that is over."""
    life, renewed_at = 160 / 24, rng.uniform(1.5, 3.5)
    days = (tick_us - tick_us[0]) / DAY_US + rng.uniform(0.0, life - renewed_at)
    effect.metrics["tls_days_left"] = life - days % (life - renewed_at)
    return _whole(tick_us)


def network(place: Place, tick_us: Ints, effect: Effect) -> None:
    """One location's network is slow, loses packets, or is gone."""
    inside = (tick_us >= place.start_us) & (tick_us < place.end_us)
    slower, loss = place.strength
    columns = _columns(place, effect)
    effect.network[np.ix_(inside, columns)] += slower
    effect.loses[np.ix_(inside, columns)] = np.maximum(effect.loses[np.ix_(inside, columns)], loss)


def gap(place: Place, tick_us: Ints, effect: Effect) -> None:
    """Nothing arrives, or the checks are reported as missed."""
    inside = (tick_us >= place.start_us) & (tick_us < place.end_us)
    (missed,) = place.strength
    array = effect.missed if missed else effect.absent
    array[np.ix_(inside, _columns(place, effect))] = True


def skew(place: Place, tick_us: Ints, effect: Effect) -> None:
    """One location's clock is wrong, by half a minute to ten minutes."""
    (by_s,) = place.strength
    by = round(by_s * SECOND_US / (tick_us[1] - tick_us[0]))
    start, stop = np.searchsorted(tick_us, (place.start_us, place.end_us))
    if by != 0 and stop - start > 2 * abs(by) and place.location is not None and place.location < effect.down.shape[1]:
        effect.shift[place.location] = (int(start), int(stop), by)


def _network_strength(rng: Rng) -> tuple[float, ...]:
    loss = 1.0 if rng.random() < 0.3 else float(rng.uniform(0.05, 0.9))
    return float(np.log(rng.uniform(1.0, 6.0))), loss if rng.random() < 0.8 else 0.0


def _gap_strength(rng: Rng) -> tuple[float, ...]:
    """Say whether checks are reported as missed: more often nothing comes at all."""
    return (float(rng.random() < 0.3),)


def _skew_seconds(rng: Rng) -> tuple[float, ...]:
    return (float(rng.choice((-1, 1)) * rng.uniform(30, MOST_SKEW_S)),)


def _moment(rng: Rng, tick_us: Ints, first: float, last: float) -> int:
    return int(tick_us[0] + rng.uniform(first, last) * (tick_us[-1] - tick_us[0]))


def _plateau(tick_us: Ints, start_us: int, end_us: int, edge: float) -> Floats:
    share = (tick_us - start_us) / (end_us - start_us)
    return np.clip(np.minimum(share, 1.0 - share) / edge, 0.0, 1.0)


def _columns(place: Place, effect: Effect) -> Ints:
    count = effect.down.shape[1]
    if place.location is None:
        return np.arange(count, dtype=np.int64)
    return np.array([place.location] if place.location < count else [], dtype=np.int64)


def _whole(tick_us: Ints) -> list[Window]:
    return [(int(tick_us[0]), int(tick_us[-1]) + 1)]


def _seen(windows: Sequence[Window], tick_us: Ints) -> list[Window]:
    """Return the windows that lie in the time that is looked at."""
    return [(start, end) for start, end in windows if start < tick_us[-1] and end > tick_us[0]]


TRAPS: Final = (
    TrapKind(name="deployment", befall=deployment),
    TrapKind(name="nightly", befall=nightly),
    TrapKind(name="weekly", befall=weekly),
    TrapKind(name="growth", befall=growth),
    TrapKind(name="restart", befall=restart),
    TrapKind(name="lossy", befall=lossy),
    TrapKind(name="heavy", befall=heavy),
    TrapKind(name="short_certificates", befall=short_certificates),
)
SHARED_TRAPS: Final = (
    SharedTrapKind(name="network", minutes=(5, 180), draw=_network_strength, befall=network),
    SharedTrapKind(name="gap", minutes=(10, 720), draw=_gap_strength, befall=gap, everywhere=0.3),
    SharedTrapKind(
        name="skew",
        minutes=(120, 2880),
        draw=_skew_seconds,
        befall=skew,
    ),
)
