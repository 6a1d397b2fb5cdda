"""One installation over some days: targets, what befalls them, and what really happened."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from benchmarks.detection.kinds import KINDS, MINUTE_US, Course, FaultKind, rotated_disk
from benchmarks.detection.noise import (
    DAY_US,
    HOUR_US,
    SECOND_US,
    Floats,
    Ints,
    Material,
    Noise,
    Rng,
    draw_habits,
    draw_noise,
)
from benchmarks.detection.render import Effect, Series, draw_phases, no_effect, render
from benchmarks.detection.traps import SHARED_TRAPS, TRAPS, Place, SharedTrapKind, TrapKind, Window
from benchmarks.detection.warnable import Visible, outage_start, visible
from producers.contract import OUTCOME_SUCCESS

FIRST_MONDAY_US: Final = 20_094 * DAY_US  # 2025-01-06
QUIET_DAYS: Final = 1.5
"""No fault before: a system may learn what is normal."""

INTERVALS_S: Final = (10, 30, 60)
INTERVAL_SHARES: Final = ((0.0, 0.0, 1.0), (0.0, 0.35, 0.65), (0.2, 0.3, 0.5))
"""Of 10, 30 and 60 s. An installation is of one of these sorts."""

LOCATION_SHARES: Final = (0.25, 0.2, 0.3, 0.15, 0.1)
FAULTY, TRAPPED = 0.45, 0.3
CITIES: Final = ("fra", "iad", "sin", "gru", "syd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to make.

    Attributes:
        kinds, traps, shared: What may befall a target, and the installation.
        shared_times: Each trap of the installation is set so many times.
    """

    targets: int = 120
    days: tuple[float, float] = (9.0, 14.0)
    kinds: tuple[FaultKind, ...] = KINDS
    traps: tuple[TrapKind, ...] = TRAPS
    shared: tuple[SharedTrapKind, ...] = SHARED_TRAPS
    shared_times: int = 3
    intervals: tuple[tuple[float, ...], ...] = INTERVAL_SHARES


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault that was injected.

    Attributes:
        outage_us: The first failing check of the outage, as the checks show it; None: it led to none.
        visible: By which statistic it could be seen before its outage; None: by none.
    """

    target: str
    kind: FaultKind
    onset_us: int
    outage_us: int | None
    end_us: int
    visible: Visible | None

    @property
    def warnable(self) -> bool:
        """Whether somebody could have warned of it."""
        return not self.kind.abrupt and self.outage_us is not None and self.visible is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trap:
    """A trap that was set: one event of it.

    Attributes:
        target: None: the installation's.
        location: Of the installation's; None: everywhere.
    """

    target: str | None
    location: str | None
    kind: str
    start_us: int
    end_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """An installation.

    Attributes:
        series: Of all targets; a host probe is a series of its own.
    """

    name: str
    start_us: int
    end_us: int
    series: tuple[Series, ...]
    faults: tuple[Fault, ...]
    traps: tuple[Trap, ...]

    @property
    def targets(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(series.target for series in self.series if series.probe == "http")

    @property
    def target_months(self) -> float:
        """Of 30 days."""
        return len(self.targets) * (self.end_us - self.start_us) / (30 * DAY_US)


def planned(plan: Plan, *, seed: int, months: float) -> list[int]:
    """Return the numbers of the installations that together have so many target-months."""
    numbers: list[int] = []
    made = 0.0
    while made < months:
        start_us, end_us = _days(np.random.default_rng([seed, len(numbers)]), plan)
        made += plan.targets * (end_us - start_us) / (30 * DAY_US)
        numbers.append(len(numbers))
    return numbers


def make(material: Material, plan: Plan, *, seed: int, number: int, shared: bool = True) -> Scenario:
    """Make the installation `number` of a seed: the same arguments, the same checks.

    Args:
        material: What noise is made of.
        plan: What to make.
        seed, number: Which one.
        shared: False: its twin, of the same draws, whose traps of the whole installation befall nobody.
    """
    rng = np.random.default_rng([seed, number])
    start_us, end_us = _days(rng, plan)
    locations = CITIES[: 1 + int(rng.choice(5, p=LOCATION_SHARES))]
    places = _places(rng, plan, start_us, end_us, len(locations))
    shares = plan.intervals[int(rng.integers(len(plan.intervals)))]
    lot = _lot(rng, plan, number)
    series: list[Series] = []
    faults: list[Fault] = []
    befalling = places if shared else []
    traps = [
        Trap(
            target=None,
            location=None if place.location is None else locations[place.location],
            kind=kind.name,
            start_us=start_us,
            end_us=end_us,
        )
        for kind, place in befalling
        for start_us, end_us in (told_within(kind.name, place, places),)
    ]
    for index, befalls in enumerate(lot):
        own = np.random.default_rng([seed, number, index])
        made = _Target(own, material, shares, f"main/t{index:02d}", locations, (start_us, end_us))
        if isinstance(befalls, TrapKind):
            traps += made.trap(befalls)
        for kind, place in befalling:
            kind.befall(place, made.tick_us, made.effect)
        if isinstance(befalls, FaultKind):
            fault = made.fault(
                befalls, [(place.start_us, place.end_us) for kind, place in places if kind.name != "skew"]
            )
            faults.append(fault)
            traps += _before(fault, start_us)
        series += made.series()
    return Scenario(
        name=f"{seed}-{number}",
        start_us=start_us,
        end_us=end_us,
        series=tuple(series),
        faults=tuple(faults),
        traps=tuple(traps),
    )


def told_within(name: str, place: Place, places: Sequence[tuple[SharedTrapKind, Place]]) -> Window:
    """Return when a trap of the installation is by the clocks of those who tell of it.

    A location whose clock is wrong tells of its network, and of its gaps, at the wrong time.
    """
    if name == "skew":
        return place.start_us, place.end_us
    by_us = [
        round(other.strength[0] * SECOND_US)
        for kind, other in places
        if kind.name == "skew"
        and place.location in (None, other.location)
        and other.start_us < place.end_us
        and place.start_us < other.end_us
    ]
    return place.start_us + min([0, *by_us]), place.end_us + max([0, *by_us])


def _days(rng: Rng, plan: Plan) -> Window:
    """Draw when an installation is looked at: what it draws first."""
    days = rng.uniform(*plan.days)
    start_us = FIRST_MONDAY_US + int(rng.integers(0, 52 * 7 * 24)) * HOUR_US
    return start_us, start_us + int(days * DAY_US)


def _before(fault: Fault, start_us: int) -> list[Trap]:
    """Return the trap that a target is before its fault."""
    if fault.kind.trap is None or fault.onset_us <= start_us + HOUR_US:
        return []
    return [Trap(target=fault.target, location=None, kind=fault.kind.trap, start_us=start_us, end_us=fault.onset_us)]


class _Target:
    """One target that is being made."""

    def __init__(
        self, rng: Rng, material: Material, shares: Sequence[float], name: str, locations: Sequence[str], span: Window
    ) -> None:
        self._rng = rng
        interval_us = int(rng.choice(INTERVALS_S, p=shares)) * SECOND_US
        seen_from = (
            tuple(locations) if rng.random() < 0.8 else tuple(locations[: int(rng.integers(1, len(locations) + 1))])
        )
        phase_us = int(rng.integers(0, interval_us // SECOND_US)) * SECOND_US
        self.tick_us: Ints = np.arange(span[0] + phase_us, span[1], interval_us, dtype=np.int64)
        self._habits = draw_habits(rng, material, locations=len(seen_from))
        self._phases = draw_phases(rng)
        self._noise: Noise = draw_noise(rng, material, self._habits, self.tick_us)
        # A few share an address. Their faults are independent, so it must not be many.
        address = f"198.18.{int(rng.integers(2))}.{int(rng.integers(1, 255))}"
        self._name = (name, address, seen_from)
        self.effect = no_effect(self.tick_us.size, len(seen_from), self._habits.base_us)
        if rng.random() < 0.6:
            self.effect.metrics["tls_days_left"] = _long_certificate(rng, self.tick_us)
        if rng.random() < 0.2:
            self._host()

    def _host(self) -> None:
        self.effect.host = _host_readings(self._rng, self._habits.week, self.tick_us)

    def trap(self, kind: TrapKind) -> list[Trap]:
        """Set a trap."""
        windows = kind.befall(self._rng, self.tick_us, self.effect)
        return [
            Trap(target=self._name[0], location=None, kind=kind.name, start_us=start_us, end_us=end_us)
            for start_us, end_us in windows
        ]

    def fault(self, kind: FaultKind, excused: Sequence[Window]) -> Fault:
        """Inject a fault, and see what it does beside its clean twin."""
        if kind.name == "disk" and not self.effect.host:
            self._host()
        course = _course(self._rng, kind, self.tick_us, len(self._name[2]))
        twin = self.series()
        kind.befall(self._rng, course, self.effect)
        faulty = self.series()
        outage_us = outage_start(faulty[0], twin[0], course.onset_us)
        seen = None
        if outage_us is not None and not kind.abrupt:
            seen = visible(faulty, twin, course.onset_us, outage_us, excused)
        return Fault(
            target=self._name[0],
            kind=kind,
            onset_us=course.onset_us,
            outage_us=outage_us,
            end_us=course.end_us,
            visible=seen,
        )

    def series(self) -> list[Series]:
        """Return its checks as things stand."""
        # What is written into one rendering is not in the next.
        effect = replace(self.effect, metrics=dict(self.effect.metrics), host=dict(self.effect.host))
        made = [render(self._name, self._noise, self._phases, self._habits, effect)]
        if effect.host:
            made.append(_host_series(self._name, self._noise, effect))
        return made


def _host_readings(rng: Rng, week: Floats, tick_us: Ints) -> dict[str, Floats]:
    hours = (tick_us + 3 * DAY_US) / HOUR_US % 168
    load = np.interp(hours, np.arange(169), np.append(week, week[0])) * rng.uniform(0.0, 0.2)
    noise = rng.normal(0.0, 0.03, tick_us.size)
    return {
        "disk_free_ratio:/": rotated_disk(rng, tick_us),
        "cpu_used_ratio": np.clip(rng.uniform(0.1, 0.5) + load + noise, 0.0, 1.0),
        "memory_used_ratio": np.clip(rng.uniform(0.3, 0.8) + 0.3 * load + noise / 10, 0.0, 1.0),
    }


def _host_series(name: tuple[str, str, tuple[str, ...]], noise: Noise, effect: Effect) -> Series:
    """Return the checks of the program on the host itself, one a minute."""
    target, address, _locations = name
    stride = max(1, int(MINUTE_US // (noise.tick_us[1] - noise.tick_us[0])))
    tick_us = noise.tick_us[::stride]
    shape = (tick_us.size, 1)
    return Series(
        target=target,
        probe="host",
        locations=(f"on-{target.rpartition('/')[2]}",),
        address=address,
        tick_us=tick_us,
        duration_us=(3e3 * np.exp(0.2 * noise.jitter[::stride, :1])).astype(np.float32),
        phases={},
        outcome=np.full(shape, OUTCOME_SUCCESS, dtype=np.uint8),
        reason=np.full(shape, -1, dtype=np.int8),
        metrics={metric: values[::stride] for metric, values in effect.host.items()},
    )


def _long_certificate(rng: Rng, tick_us: Ints) -> Floats:
    """Return the days left of a certificate for ninety days that is renewed when thirty are left."""
    days = (tick_us - tick_us[0]) / DAY_US + rng.uniform(0, 60)
    return np.asarray(90.0 - days % 60.0)


def _course(rng: Rng, kind: FaultKind, tick_us: Ints, locations: int) -> Course:
    """Draw when a fault runs: it begins and ends in the time that is looked at."""
    first_us, last_us = int(tick_us[0]), int(tick_us[-1])
    down_us = int(np.exp(rng.uniform(np.log(5), np.log(360))) * MINUTE_US)
    earliest_us, latest_us = first_us + int(QUIET_DAYS * DAY_US), last_us - down_us - HOUR_US
    if rng.random() < kind.before:
        outage_us = int(rng.uniform(earliest_us + 3 * DAY_US, latest_us))
        return Course(
            tick_us=tick_us, onset_us=first_us, outage_us=outage_us, end_us=outage_us + down_us, locations=locations
        )
    lead_us = 0
    if not kind.abrupt:
        least, most = kind.minutes
        # A fault of fewer than twenty ticks is as good as abrupt.
        least_us = max(least * MINUTE_US, 20 * int(tick_us[1] - tick_us[0]))
        most_us = max(min(most * MINUTE_US, latest_us - earliest_us - HOUR_US), least_us)
        lead_us = int(np.exp(rng.uniform(np.log(least_us), np.log(most_us))))
    onset_us = int(rng.uniform(earliest_us, latest_us - lead_us))
    # On a tick, so that the first failing check is at the outage.
    onset_us = int(tick_us[np.searchsorted(tick_us, onset_us)])
    outage_us = onset_us + max(lead_us, 1)
    return Course(
        tick_us=tick_us, onset_us=onset_us, outage_us=outage_us, end_us=outage_us + down_us, locations=locations
    )


def _lot(rng: Rng, plan: Plan, number: int) -> list[FaultKind | TrapKind | None]:
    """Say what befalls each target; kinds take turns from one installation to the next."""
    faulty = round(FAULTY * plan.targets) if plan.kinds else 0
    trapped = round(TRAPPED * plan.targets) if plan.traps else 0
    lot: list[FaultKind | TrapKind | None] = []
    lot += [plan.kinds[(number * faulty + turn) % len(plan.kinds)] for turn in range(faulty)]
    lot += [plan.traps[(number * trapped + turn) % len(plan.traps)] for turn in range(trapped)]
    lot += [None] * (plan.targets - len(lot))
    return [lot[place] for place in rng.permutation(len(lot))]


def _places(rng: Rng, plan: Plan, start_us: int, end_us: int, locations: int) -> list[tuple[SharedTrapKind, Place]]:
    places = []
    for kind in [kind for kind in plan.shared for _time in range(plan.shared_times)]:
        low, high = kind.minutes
        length_us = int(np.exp(rng.uniform(np.log(low), np.log(high))) * MINUTE_US)
        at_us = int(rng.uniform(start_us + DAY_US, end_us - length_us - HOUR_US))
        everywhere = rng.random() < kind.everywhere
        location = None if everywhere else int(rng.integers(locations))
        place = Place(location=location, start_us=at_us, end_us=at_us + length_us, strength=kind.draw(rng))
        places.append((kind, place))
    return places
