"""From noise and what befalls a target to its checks."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.detection.noise import Floats, Habits, Ints, Noise, Rng
from producers.contract import OUTCOME_FAILURE, OUTCOME_MISSED, OUTCOME_SUCCESS, PHASES

Bools = npt.NDArray[np.bool_]
Singles = npt.NDArray[np.float32]

ABSENT: Final = 255
"""In `Series.outcome`: there is no row."""

REASONS: Final = ("timeout", "connection_error", "http_status", "tls_error", "dns_error")
TIMEOUT_US: Final = 10e6
STATUS: Final = 503


@dataclass(slots=True, kw_only=True)
class Effect:
    """What befalls a target, over n ticks and L locations. Everything at rest: nothing does.

    Attributes:
        usual_us: The target's usual latency: what befalls it may be measured by that.
        log_wait: Added to the log of the time that the application needs, shape (n,).
        extra_us: Added to a phase, by phase, shape (n, L).
        spread: Factor of upward residuals, shape (n,).
        network: Added to the log of connect, tls and transfer time and of a round trip of the wait, shape (n, L).
        fails: Probability that the service fails a check, shape (n, L); loses: that the network loses it.
        down: It fails for sure, shape (n, L).
        reason: Place in REASONS of what fails here; losses of the network are timeouts.
        absent, missed: No row; a row that says that the check was not run, shape (n, L).
        shift: By location, ticks (start, stop, by) during which its clock is wrong by `by` ticks.
        metrics: Readings by name, shape (n,).
        host: Readings of the host probe by name, shape (n,); empty: no host probe.
    """

    usual_us: float
    log_wait: Floats
    extra_us: dict[str, Floats]
    spread: Floats
    network: Floats
    fails: Floats
    loses: Floats
    down: Bools
    reason: int
    absent: Bools
    missed: Bools
    shift: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    metrics: dict[str, Floats] = field(default_factory=dict)
    host: dict[str, Floats] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """Usual phases of a target: all but the wait, which is the rest of the latency."""

    dns_us: float
    connect: float
    tls: float
    transfer: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """All checks of one probe of one target: n ticks, L locations.

    Attributes:
        duration_us: NaN where missed or absent. phases: by name.
        outcome: Codes OUTCOME_*, or ABSENT.
        reason: Place in REASONS; -1 where there is none.
        metrics: By name, shape (n,), the same from everywhere.
    """

    target: str
    probe: str
    locations: tuple[str, ...]
    address: str
    tick_us: Ints
    duration_us: Singles
    phases: dict[str, Singles]
    outcome: npt.NDArray[np.uint8]
    reason: npt.NDArray[np.int8]
    metrics: dict[str, Floats]

    @property
    def interval_us(self) -> int:
        """The spacing of ticks."""
        return int(self.tick_us[1] - self.tick_us[0])

    def failing(self) -> Bools:
        """Return the ticks at which a strict majority of the locations that reported saw a failure, shape (n,)."""
        failed = (self.outcome == OUTCOME_FAILURE).sum(axis=1)
        reported = failed + (self.outcome == OUTCOME_SUCCESS).sum(axis=1)
        return np.asarray(2 * failed > reported)


def no_effect(n: int, locations: int, usual_us: float) -> Effect:
    """Return what befalls a target that nothing befalls."""
    shape = (n, locations)
    return Effect(
        usual_us=usual_us,
        log_wait=np.zeros(n),
        extra_us={},
        spread=np.ones(n),
        network=np.zeros(shape),
        fails=np.zeros(shape),
        loses=np.zeros(shape),
        down=np.zeros(shape, dtype=np.bool_),
        reason=0,
        absent=np.zeros(shape, dtype=np.bool_),
        missed=np.zeros(shape, dtype=np.bool_),
    )


def draw_phases(rng: Rng) -> Phases:
    """Draw how a target's time divides; shares are of its usual latency."""
    connect = float(rng.uniform(0.05, 0.15))
    return Phases(
        dns_us=float(rng.uniform(800, 15_000)),
        connect=connect,
        tls=connect * float(rng.uniform(1.0, 2.0)),
        transfer=float(rng.uniform(0.01, 0.05)),
    )


def render(
    name: tuple[str, str, tuple[str, ...]], noise: Noise, phases: Phases, habits: Habits, effect: Effect
) -> Series:
    """Return the http checks of a target.

    Args:
        name: Target, address, locations.
        noise: Its draws; rendering draws nothing, so that a twin has the same.
    """
    target, address, locations = name
    parts = _latency(noise, phases, habits, effect)
    duration = sum(parts.values())
    assert isinstance(duration, np.ndarray)
    outcome = np.full(duration.shape, OUTCOME_SUCCESS, dtype=np.uint8)
    reason = np.full(duration.shape, -1, dtype=np.int8)
    served = effect.down | (noise.chance < effect.fails)
    for mask, code in (
        (served, effect.reason),
        (noise.lost, np.where(noise.jitter > 0, 0, 1)),
        (noise.path_chance < effect.loses, 0),
        (duration >= TIMEOUT_US, 0),
    ):
        outcome[mask] = OUTCOME_FAILURE
        reason[mask] = np.broadcast_to(code, mask.shape)[mask]
    _fail(duration, parts, outcome, reason)
    outcome[effect.missed] = OUTCOME_MISSED
    outcome[effect.absent] = ABSENT
    gone = effect.missed | effect.absent
    for values in (duration, *parts.values()):
        values[gone] = np.nan
    reason[gone] = -1
    for location, (start, stop, by) in effect.shift.items():
        source = shifted(noise.tick_us.size, start, stop, by)
        for times in (duration, *parts.values()):
            times[:, location] = times[source, location]
        reason[:, location] = reason[source, location]
        outcome[:, location] = np.where(source < 0, ABSENT, outcome[source, location])
    return Series(
        target=target,
        probe="http",
        locations=locations,
        address=address,
        tick_us=noise.tick_us,
        duration_us=duration.astype(np.float32),
        phases={phase: values.astype(np.float32) for phase, values in parts.items()},
        outcome=outcome,
        reason=reason,
        metrics=effect.metrics,
    )


def _latency(noise: Noise, phases: Phases, habits: Habits, effect: Effect) -> dict[str, Floats]:
    residual = noise.residual * np.where(noise.residual > 0, effect.spread[:, None], 1.0)
    whole = np.exp(noise.course + noise.offsets + residual)
    usual = habits.base_us * np.exp(noise.offsets)
    trip = usual * np.exp(0.08 * noise.jitter + effect.network)
    parts = {
        "dns": phases.dns_us * np.exp(0.4 * np.roll(noise.jitter, 7, axis=0)),
        "connect": phases.connect * trip,
        "tls": phases.tls * trip,
        "transfer": phases.transfer * trip,
    }
    small = (phases.connect + phases.tls + phases.transfer) * usual + phases.dns_us
    wait = np.maximum(whole - small, 0.1 * whole) * np.exp(effect.log_wait)[:, None]
    # A request and its answer cross the same network as the handshake.
    parts["wait"] = wait + phases.connect * (trip - usual)
    parts["wait"] = np.maximum(parts["wait"], 500.0)
    for phase, extra in effect.extra_us.items():
        parts[phase] = parts[phase] + extra
    return {phase: parts[phase] for phase in PHASES}


def _fail(
    duration: Floats, parts: dict[str, Floats], outcome: npt.NDArray[np.uint8], reason: npt.NDArray[np.int8]
) -> None:
    """Give failed checks the times that such checks have; an http status takes as long as an answer."""
    failed = outcome == OUTCOME_FAILURE
    reached = {"timeout": 3, "connection_error": 1, "tls_error": 2, "dns_error": 0}
    for name, count in reached.items():
        mask = failed & (reason == REASONS.index(name))
        if not mask.any():
            continue
        for phase in PHASES[count:]:
            parts[phase][mask] = np.nan
        if name == "timeout":
            duration[mask] = TIMEOUT_US
        else:
            duration[mask] = np.nansum([parts[phase][mask] for phase in PHASES], axis=0) + 1e3


def shifted(n: int, start: int, stop: int, by: int) -> Ints:
    """Return whose check each tick holds, of a location whose clock is wrong; -1: nobody's.

    A clock that jumps ahead leaves a hole and, set right, repeats ticks, of which the earlier check counts; a clock
    that falls back repeats at first and leaves the hole at the end.
    """
    source = np.arange(n, dtype=np.int64)
    wrong = np.arange(start, stop)
    labelled = wrong + by
    if by > 0:
        source[start : start + by] = -1
        inside = labelled < n
        source[labelled[inside]] = wrong[inside]
    else:
        new = labelled >= start
        source[start:stop] = -1
        source[labelled[new]] = wrong[new]
    return source
