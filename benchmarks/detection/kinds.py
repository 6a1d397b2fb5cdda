"""Faults: what goes wrong with a service, from its onset to the outage that it ends in.

Each kind is one function that is given its time (`Course`) and writes into what befalls the target (`Effect`). What
it looks like (shape, size, length, phase, at how many locations) is drawn anew for each fault.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.detection.noise import DAY_US, SECOND_US, Floats, Ints, Rng
from benchmarks.detection.render import REASONS, Effect

MINUTE_US: Final = 60 * SECOND_US
TIMEOUT, REFUSED, STATUS, TLS, DNS = range(len(REASONS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """When a fault runs.

    Attributes:
        tick_us: Of the target, shape (n,).
        onset_us: The first time at which anything is wrong.
        outage_us: From here on the service is down for sure; it may fail before.
        end_us: It is up again, and well.
        locations: How many look at the target.
    """

    tick_us: Ints
    onset_us: int
    outage_us: int
    end_us: int
    locations: int

    def progress(self) -> Floats:
        """Return how far the fault has come, from 0 to 1 at the outage, and 0 after the end; shape (n,)."""
        share = (self.tick_us - self.onset_us) / (self.outage_us - self.onset_us)
        return np.where(self.tick_us < self.end_us, np.clip(share, 0.0, 1.0), 0.0)

    def down(self) -> Ints:
        """Return the places of the ticks of the outage."""
        return np.flatnonzero((self.tick_us >= self.outage_us) & (self.tick_us < self.end_us))


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultKind:
    """A kind of fault.

    Attributes:
        minutes: Shortest and longest time from onset to outage; drawn evenly by its logarithm.
        abrupt: It begins with the outage: nobody can warn of it.
        trap: What the target is before its onset: as such it may already be spoken of.
        before: Probability that it began before the first check: its onset is the first check then.
        befall: Writes it down.
    """

    name: str
    minutes: tuple[float, float]
    befall: Callable[[Rng, Course, Effect], None]
    abrupt: bool = False
    trap: str | None = None
    before: float = 0.0


def ramp(rng: Rng, course: Course, effect: Effect) -> None:
    """A leak: the application slows down bit by bit, until it dies."""
    peak = np.log(rng.uniform(1.8, 8.0))
    shape = course.progress() ** rng.uniform(0.7, 2.5)
    effect.log_wait += shape * peak if rng.random() < 0.5 else np.log1p(shape * (np.exp(peak) - 1.0))
    _end(rng, course, effect, (TIMEOUT, REFUSED, STATUS))


def queueing(rng: Rng, course: Course, effect: Effect) -> None:
    """Load grows toward saturation: the waiting time goes with rho / (1 - rho), and varies as much."""
    idle = rng.uniform(0.2, 0.5)
    load = idle + (rng.uniform(0.97, 0.99) - idle) * course.progress()
    effect.log_wait += np.log1p(load / (1 - load)) - np.log1p(idle / (1 - idle))
    effect.spread *= 1.0 + np.where(course.progress() > 0, load - idle, 0.0)
    _end(rng, course, effect, (TIMEOUT, STATUS))


def errors(rng: Rng, course: Course, effect: Effect) -> None:
    """More and more checks fail, each by itself."""
    first, last = rng.uniform(0.003, 0.02), rng.uniform(0.25, 0.6)
    progress = course.progress()
    grown = first * (last / first) ** progress if rng.random() < 0.5 else first + (last - first) * progress
    effect.fails = np.maximum(effect.fails, np.where(progress > 0, grown, 0.0)[:, None])
    _end(rng, course, effect, (TIMEOUT, STATUS, REFUSED))


def spread(rng: Rng, course: Course, effect: Effect) -> None:
    """Slow answers become slower and the usual one stays what it was: a pool runs dry, a lock is fought over."""
    effect.spread *= 1.0 + rng.uniform(2.0, 6.0) * course.progress() ** rng.uniform(0.7, 1.5)
    _end(rng, course, effect, (TIMEOUT, STATUS))


def sawtooth(rng: Rng, course: Course, effect: Effect) -> None:
    """Latency climbs and falls back, and each peak is higher: garbage collection, workers that are recycled."""
    progress = course.progress()
    cycles = rng.uniform(5, 25)
    tooth = (progress * cycles) % 1.0
    effect.log_wait += np.log1p(rng.uniform(1.0, 5.0) * progress ** rng.uniform(0.7, 1.3) * tooth)
    _end(rng, course, effect, (TIMEOUT, STATUS, REFUSED))


def phase(rng: Rng, course: Course, effect: Effect) -> None:
    """Name resolution or connecting slows down; the application does not."""
    name = "dns" if rng.random() < 0.5 else "connect"
    peak_us = rng.uniform(0.3e6, 4e6)
    grown = peak_us * course.progress() ** rng.uniform(1.0, 2.5)
    shape = (course.tick_us.size, course.locations)
    extra = np.broadcast_to(grown[:, None], shape)
    if rng.random() < 0.3:
        # A resolver of several is slow, or a handshake packet is dropped: only some checks meet it.
        extra = extra * (rng.random(shape) < rng.uniform(0.3, 0.7))
    effect.extra_us[name] = effect.extra_us.get(name, 0.0) + extra
    _end(rng, course, effect, (DNS,) if name == "dns" else (TIMEOUT, REFUSED))


def flapping(rng: Rng, course: Course, effect: Effect) -> None:
    """Down for a tick or two and up again, ever more often, until it stays down."""
    count = int(rng.integers(5, 16))
    # Gaps shrink by the same factor each time.
    at = 1.0 - np.geomspace(1.0, rng.uniform(0.02, 0.1), count)
    interval_us = int(course.tick_us[1] - course.tick_us[0])
    last = -10
    for share in at.tolist():
        onset = int(np.searchsorted(course.tick_us, course.onset_us + share * (course.outage_us - course.onset_us)))
        length = int(rng.integers(1, 3))
        if onset < last + 2 or course.tick_us[onset] + (length + 1) * interval_us >= course.outage_us:
            continue  # two blips would run together and be an outage
        effect.down[onset : onset + length] = True
        last = onset + length
    _end(rng, course, effect, (REFUSED, STATUS))


def disk(rng: Rng, course: Course, effect: Effect) -> None:
    """A disk fills while its logs are rotated, until nothing can be written."""
    ticks = course.tick_us
    name = "disk_free_ratio:/"
    effect.host.setdefault(name, rotated_disk(rng, ticks))
    healthy = effect.host[name]
    at_outage = healthy[min(int(np.searchsorted(ticks, course.outage_us)), ticks.size - 1)]
    progress = course.progress() ** rng.uniform(0.8, 1.3)
    effect.host[name] = np.clip(healthy - progress * (at_outage - 0.0005), 0.0005, 1.0)
    effect.host[name][course.down()] = 0.0005
    _end(rng, course, effect, (STATUS,))


def certificate(rng: Rng, course: Course, effect: Effect) -> None:
    """A certificate is not renewed when it should be, and expires. The onset is the renewal that did not happen."""
    ticks = course.tick_us
    left_days = (course.outage_us - ticks) / DAY_US
    at_renewal = (course.outage_us - course.onset_us) / DAY_US
    cycle = at_renewal * rng.uniform(0.8, 2.0)
    if course.onset_us > ticks[0]:
        # It was seen to be renewed at least once: before that nobody can know at how many days left it is.
        cycle = min(cycle, 0.9 * (course.onset_us - ticks[0]) / DAY_US)
    # Before the onset it was renewed each time that it came down to where it should have been renewed again.
    since = (course.onset_us - ticks) / DAY_US
    before = at_renewal + since % cycle
    after = (ticks - course.end_us) / DAY_US
    renewed = at_renewal + cycle - after % cycle
    days = np.where(ticks <= course.onset_us, before, left_days)
    effect.metrics["tls_days_left"] = np.where(ticks >= course.end_us, renewed, days)
    _end(rng, course, effect, (TLS,))


def crash(rng: Rng, course: Course, effect: Effect) -> None:
    """Everything was well, and it is down."""
    _end(rng, course, effect, (TIMEOUT, REFUSED, STATUS, TLS, DNS))


def region(rng: Rng, course: Course, effect: Effect) -> None:
    """Down for some of the locations, never for most of them; with one location it is a crash."""
    most = (course.locations - 1) // 2 if course.locations > 2 else 1
    hit = rng.permutation(course.locations)[: int(rng.integers(1, most + 1))]
    effect.down[np.ix_(course.down(), hit)] = True
    effect.reason = int(rng.choice((TIMEOUT, REFUSED)))


def rotated_disk(rng: Rng, tick_us: Ints) -> Floats:
    """Return the free share of a disk whose logs are rotated, once a day or every few hours."""
    days = (tick_us - tick_us[0]) / DAY_US + rng.random()
    cycle, amplitude = rng.choice([0.25, 1.0, 1.0]), np.exp(rng.uniform(np.log(0.005), np.log(0.06)))
    free = rng.uniform(0.25, 0.8) - amplitude * ((days / cycle) % 1.0)
    return np.asarray(free + 0.001 * np.cumsum(rng.normal(0.0, 1.0, tick_us.size)) / np.sqrt(1440))


def _end(rng: Rng, course: Course, effect: Effect, reasons: tuple[int, ...]) -> None:
    effect.down[course.down()] = True
    effect.reason = int(rng.choice(reasons))


KINDS: Final = (
    FaultKind(name="ramp", minutes=(60, 8000), befall=ramp),
    FaultKind(name="queueing", minutes=(20, 2880), befall=queueing),
    FaultKind(name="errors", minutes=(20, 1440), befall=errors),
    FaultKind(name="spread", minutes=(60, 5760), befall=spread),
    FaultKind(name="sawtooth", minutes=(360, 8000), befall=sawtooth),
    FaultKind(name="phase", minutes=(30, 2880), befall=phase),
    FaultKind(name="flapping", minutes=(60, 1440), befall=flapping),
    FaultKind(name="disk", minutes=(60, 8000), befall=disk),
    FaultKind(name="certificate", minutes=(2160, 5760), befall=certificate, trap="short_certificates", before=0.5),
    FaultKind(name="crash", minutes=(0, 0), befall=crash, abrupt=True),
    FaultKind(name="region", minutes=(0, 0), befall=region, abrupt=True),
)
