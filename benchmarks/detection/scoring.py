"""What warnings were worth: each is explained by a fault, by a trap, or false.

A warning belongs to a fault of its target if it was raised between the fault's onset and its end (and GRACE_US after
it: things settle; from ten minutes before it where a location's clock is wrong); else to a trap that it fell into; else
it is false. A trap of the whole installation lasts up to two days and takes in whatever is said of any target: so the
system also judges a twin, the same installation of the same draws without these traps, and what it says there too, of
the same target within the trap's time, is not the trap's, but is explained by the target's own faults and traps, or
false. A fault is warned of by an early warning that was raised at or after its onset and before its outage. A
page is looked at by the time at which it was sent, so an early warning that is true and a page that is not are told
apart.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp, inf, sqrt
from statistics import median
from typing import Final

from benchmarks.detection.noise import DAY_US, HOUR_US, SECOND_US
from benchmarks.detection.scenario import Fault, Scenario, Trap
from benchmarks.detection.systems import Alarm
from benchmarks.detection.traps import MOST_SKEW_S
from streams.core.words import instant

GRACE_US: Final = 3600 * SECOND_US
MONTH_US: Final = 30 * DAY_US
EVERYWHERE: Final = "*"


@dataclass(slots=True, kw_only=True)
class FaultScore:
    """Faults of one kind.

    Attributes:
        chance: Sum over faults of the probability that one of as many random alerts would have warned.
        lead_us, lead_share: Of those that were warned of; the share is of the time from onset to outage.
        delay_us: From the outage's first failing check until it was called an outage or paged.
        visible_share: How early the twin's rule saw them, as a share of the same time.
        unseen: Outages that were never called one.
        why: What spoke first.
    """

    faults: int = 0
    warnable: int = 0
    warned: int = 0
    chance: float = 0.0
    lead_us: list[int] = field(default_factory=list)
    lead_share: list[float] = field(default_factory=list)
    delay_us: list[int] = field(default_factory=list)
    visible_share: list[float] = field(default_factory=list)
    unseen: int = 0
    why: Counter[str] = field(default_factory=Counter)

    def take(self, other: "FaultScore") -> None:
        """Add another one's faults to these."""
        self.faults += other.faults
        self.warnable += other.warnable
        self.warned += other.warned
        self.chance += other.chance
        self.unseen += other.unseen
        self.lead_us += other.lead_us
        self.lead_share += other.lead_share
        self.delay_us += other.delay_us
        self.visible_share += other.visible_share
        self.why.update(other.why)


@dataclass(slots=True, kw_only=True)
class TrapScore:
    """Traps of one kind: events, what was said about them, events with more than one warning, pages.

    Attributes:
        months: Target-months within the events of targets' own traps: other false warnings fall into them too.
    """

    events: int = 0
    months: float = 0.0
    warnings: int = 0
    over: int = 0
    pages: int = 0

    def take(self, other: "TrapScore") -> None:
        """Add another one's events to these."""
        self.events += other.events
        self.months += other.months
        self.warnings += other.warnings
        self.over += other.over
        self.pages += other.pages


@dataclass(slots=True, kw_only=True)
class Score:
    """One system over all scenarios.

    Attributes:
        clean_months: Target-months outside faults and the targets' own traps.
        false_warnings, false_pages: In them.
        crashes: From a crash to its being told, by scenario and target; infinite where it never was.
        examples: What was not warned of, what was false, what paged in a trap or was told of one trap more than once,
            for the one who wants to know.
    """

    faults: dict[str, FaultScore] = field(default_factory=lambda: defaultdict(FaultScore))
    traps: dict[str, TrapScore] = field(default_factory=lambda: defaultdict(TrapScore))
    months: float = 0.0
    clean_months: float = 0.0
    said: int = 0
    false_warnings: int = 0
    false_pages: int = 0
    false_why: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    crashes: dict[tuple[str, str], float] = field(default_factory=dict)

    def add(self, scenario: Scenario, warnings: Sequence[Alarm], *, without: Sequence[Alarm]) -> None:
        """Take in what a system said about an installation.

        Args:
            scenario: The installation.
            warnings: What was said about it.
            without: What the same system says about its twin without traps of the whole installation.
        """
        self.months += scenario.target_months
        self.clean_months += clean_us(scenario) / MONTH_US
        self.said += len(warnings)
        per_target_us = len(warnings) / (scenario.target_months * MONTH_US)
        of_target: dict[str, list[Alarm]] = defaultdict(list)
        for warning in warnings:
            of_target[warning.target if warning.target is not None else EVERYWHERE].append(warning)
        for fault in scenario.faults:
            self._fault(scenario, fault, of_target[fault.target], per_target_us)
            if fault.kind.name == "crash" and fault.outage_us is not None:
                told = _told(fault, fault.outage_us, of_target[fault.target])
                self.crashes[scenario.name, fault.target] = inf if told is None else told - fault.outage_us
        per_trap: dict[Trap, list[Alarm]] = defaultdict(list)
        for trap in scenario.traps:
            self.traps[trap.kind].events += 1
            if trap.target is not None:
                self.traps[trap.kind].months += (trap.end_us + GRACE_US - trap.start_us) / MONTH_US
        twin = _Twin(scenario, without)
        for warning in warnings:
            if not warning.explained:
                self._explain(scenario, warning, twin, per_trap)
        for trap, fell_in in per_trap.items():
            if len(fell_in) > 1:
                self.traps[trap.kind].over += 1
                for warning in fell_in:
                    self._example(f"one of {len(fell_in)} warnings of one {trap.kind}", scenario, warning)

    def take(self, other: "Score") -> None:
        """Add what was scored elsewhere, of other installations."""
        for kind, fault in other.faults.items():
            self.faults[kind].take(fault)
        for kind, trap in other.traps.items():
            self.traps[kind].take(trap)
        self.months += other.months
        self.clean_months += other.clean_months
        self.said += other.said
        self.false_warnings += other.false_warnings
        self.false_pages += other.false_pages
        self.false_why.update(other.false_why)
        self.examples += other.examples
        self.crashes |= other.crashes

    def _fault(self, scenario: Scenario, fault: Fault, warnings: Sequence[Alarm], per_target_us: float) -> None:
        score = self.faults[fault.kind.name]
        score.faults += 1
        if fault.outage_us is not None:
            told_us = _told(fault, fault.outage_us, warnings)
            if told_us is None:
                score.unseen += 1
            else:
                score.delay_us.append(told_us - fault.outage_us)
        if not fault.warnable or fault.outage_us is None:
            return
        score.warnable += 1
        assert fault.visible is not None
        score.visible_share.append((fault.outage_us - fault.visible.at_us) / (fault.outage_us - fault.onset_us))
        score.chance += 1.0 - exp(-per_target_us * (fault.outage_us - fault.onset_us))
        in_time = [
            (warning.warned_at_us, warning.why)
            for warning in warnings
            if warning.warned_at_us is not None and fault.onset_us <= warning.warned_at_us < fault.outage_us
        ]
        if in_time:
            at_us, why = min(in_time)
            score.warned += 1
            score.why[why] += 1
            score.lead_us.append(fault.outage_us - at_us)
            score.lead_share.append((fault.outage_us - at_us) / (fault.outage_us - fault.onset_us))
        else:
            hours = (fault.outage_us - fault.onset_us) / HOUR_US
            self.examples.append(
                f"not warned of: {scenario.name} {fault.target}: {fault.kind.name} of {hours:.1f} h, "
                f"visible in the last {score.visible_share[-1]:.0%}; outage {instant(fault.outage_us)}"
            )

    def _explain(self, scenario: Scenario, warning: Alarm, twin: "_Twin", per_trap: dict[Trap, list[Alarm]]) -> None:
        # Said and paged may be at different times, and then be about different things.
        if not _about_fault(scenario, warning, warning.opened_at_us):
            trap = _about_trap(scenario, warning, warning.opened_at_us, twin.opened)
            if trap is None:
                self.false_warnings += 1
                self.false_why[warning.why] += 1
                self._example("false warning", scenario, warning)
            else:
                per_trap[trap].append(warning)
                self.traps[trap.kind].warnings += 1
        if warning.page_at_us is not None and not _about_fault(scenario, warning, warning.page_at_us):
            trap = _about_trap(scenario, warning, warning.page_at_us, twin.paged)
            self._example(f"page in {trap.kind if trap is not None else 'no trap'}", scenario, warning)
            if trap is None:
                self.false_pages += 1
            else:
                self.traps[trap.kind].pages += 1

    def _example(self, what: str, scenario: Scenario, warning: Alarm) -> None:
        about, said = warning.target or warning.location, warning.cause or warning.why
        self.examples.append(f"{what}: {scenario.name} {about}: {said}; told {instant(warning.opened_at_us)}")


def _told(fault: Fault, outage_us: int, warnings: Sequence[Alarm]) -> int | None:
    """Return when the outage was first called one, None if it never was while it lasted."""
    told = [
        warning.outage_at_us
        for warning in warnings
        if warning.outage_at_us is not None and outage_us <= warning.outage_at_us < fault.end_us
    ]
    return min(told, default=None)


def _about_fault(scenario: Scenario, warning: Alarm, at_us: int) -> bool:
    return any(
        _told_from_us(scenario, fault) <= at_us < fault.end_us + GRACE_US
        for fault in scenario.faults
        if warning.target in (None, fault.target) and not (warning.target is None and fault.kind.name != "region")
    )


def _told_from_us(scenario: Scenario, fault: Fault) -> int:
    """Return from when on a fault may be told of: a location whose clock is wrong may do so before it has begun."""
    skewed = any(trap.kind == "skew" and trap.start_us <= fault.onset_us < trap.end_us for trap in scenario.traps)
    return fault.onset_us - (int(MOST_SKEW_S * SECOND_US) if skewed else 0)


class _Twin:
    """What is said of each target without the traps of the installation; each of it explains one thing said with them.

    Attributes:
        opened, paged: Times by target.
    """

    def __init__(self, scenario: Scenario, alarms: Sequence[Alarm]) -> None:
        """Take what is said, but for what is said of faults: these are told with the traps as well."""
        self.opened: dict[str, list[int]] = defaultdict(list)
        self.paged: dict[str, list[int]] = defaultdict(list)
        for alarm in alarms:
            if alarm.target is None or alarm.explained:
                continue
            for said, at_us in ((self.opened, alarm.opened_at_us), (self.paged, alarm.page_at_us)):
                if at_us is not None and not _about_fault(scenario, alarm, at_us):
                    said[alarm.target].append(at_us)


def _about_trap(scenario: Scenario, warning: Alarm, at_us: int, in_twin: dict[str, list[int]]) -> Trap | None:
    """Return the trap that a warning fell into; of several the shortest, which says most.

    Args:
        scenario: The installation.
        warning: What was said.
        at_us: When.
        in_twin: When that was said of each target of the twin. What explains this one is taken out.
    """
    trap = _shortest_trap(warning, at_us, scenario.traps)
    if trap is None or trap.target is not None or warning.target is None:
        return trap
    said = in_twin[warning.target]
    within = [time_us for time_us in said if trap.start_us <= time_us < trap.end_us + GRACE_US]
    if not within:
        return trap
    said.remove(within[0])
    return _shortest_trap(warning, at_us, [one for one in scenario.traps if one.target is not None])


def _shortest_trap(warning: Alarm, at_us: int, traps: Sequence[Trap]) -> Trap | None:
    inside = [
        trap
        for trap in traps
        if trap.start_us <= at_us < trap.end_us + GRACE_US
        and (trap.target is None or trap.target == warning.target)
        and not (warning.target is None and trap.target is not None)
    ]
    return min(inside, key=lambda trap: trap.end_us - trap.start_us, default=None)


def clean_us(scenario: Scenario) -> int:
    """Return the time of all targets outside faults and their own traps, microseconds."""
    total = 0
    for target in scenario.targets:
        taken = [(fault.onset_us, fault.end_us + GRACE_US) for fault in scenario.faults if fault.target == target] + [
            (trap.start_us, trap.end_us + GRACE_US) for trap in scenario.traps if trap.target == target
        ]
        at_us = scenario.start_us
        for start_us, end_us in sorted(taken):
            total += max(start_us - at_us, 0)
            at_us = max(at_us, end_us)
        total += max(scenario.end_us - at_us, 0)
    return total


def wilson(hits: int, tries: int) -> tuple[float, float]:
    """Return the 95 % interval of a share.

    Source:
        Wilson (1927).
    """
    if tries == 0:
        return 0.0, 1.0
    z = 1.96
    share = hits / tries
    centre = (share + z * z / (2 * tries)) / (1 + z * z / tries)
    reach = z * sqrt(share * (1 - share) / tries + z * z / (4 * tries * tries)) / (1 + z * z / tries)
    return max(centre - reach, 0.0), min(centre + reach, 1.0)


def middle(values: Sequence[float]) -> float | None:
    """Return the median, None of nothing."""
    return median(values) if values else None
