"""Targets that fail or deviate together, as of one event time: who explains whose trouble.

Two things explain a target's trouble: one that it depends on (by the config) is down, or a sibling has an incident
already and both began together. Siblings are the targets of one configured group, those on one address if most of
that address is ill (then it is the hoster and not the sites), and those that are slow, or fail now and then, at one
and the same location and nowhere else: then it is the location and not the sites. One such neighbour may be chance, so
what has only one or two is explained for a moment only; it takes a crowd to explain more.

Who is explained is recorded and wakes nobody. When the explanation has ended, and the target is still ill a little
later, it stands for itself again.

Everything is told in the order of event time, so nothing here depends on how messages interleave. No two targets
ever explain each other, so of those that are ill together one always speaks.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Final, Literal

from streams.contract import Incident, IncidentKind
from streams.core.incidents.landscape import majority
from streams.core.incidents.signs import Finding, Sign, place_of
from streams.policy import SECOND_US, Expectations

TOGETHER_INTERVALS: Final[Mapping[Sign, int]] = {Sign.FAILING: 2, Sign.DEGRADED: 20, Sign.PARTIAL: 20}
"""What began within so many intervals of each other began together; detectors differ in patience, failures do not."""

TOGETHER_US: Final = 30 * SECOND_US
"""The least of that: a host that goes down does not do it within two seconds."""

GRACE_INTERVALS: Final = 2
GRACE_US: Final = 60 * SECOND_US
"""So long after its explanation ended a target may still be ill: it is checked later, and has to recover itself."""

PLACE_INTERVALS: Final = 10
PLACE_WINDOW_INTERVALS: Final = 30
PLACE_WINDOW_US: Final = 1200 * SECOND_US
CROWD: Final = 4
PATIENCE_INTERVALS: Final = 5
"""Targets at one location are explained by each other from so many on that began within that window, and before that
for so long: what slows a location down is seen at all its targets within minutes. Of a hundred targets that one
location alone sees some are always ill, one after the other: each for a reason of its own."""

PLACE_GRACE_INTERVALS: Final = 180
"""Detectors of latency come back one after the other."""

ILL: Final = frozenset({Sign.FAILING, Sign.DEGRADED, Sign.PARTIAL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What a target was at its last tick that was judged.

    Attributes:
        began_us: Since when it is what it is; of an incident that is open, its beginning.
        incident: The kind of its service's incident, if one is open.
        opened_us: When that was opened.
        place: The one location at which it is slow or fails now and then, if that is all.
        cause: The target that explains it.
        explained_us, explained: The last tick at which it did, and what it explained.
        crowd: It explained enough of them at one time that it was no chance.
    """

    sign: Sign
    began_us: int
    interval_us: int
    address: str | None
    incident: IncidentKind | None = None
    opened_us: int | None = None
    place: str | None = None
    cause: str | None = None
    explained_us: int | None = None
    explained: Sign | None = None
    crowd: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """Who is ill together with a target.

    Attributes:
        caused_by: The target that explains its trouble; None if it stands for itself.
        siblings: Those that began with it; `shared` says what they have in common.
        is_hoster: That is an address, most of which is ill; is_location: it is a location.
        dependents: Those that it explains because they depend on it.
    """

    caused_by: str | None = None
    siblings: tuple[str, ...] = ()
    shared: str = ""
    is_hoster: bool = False
    is_location: bool = False
    dependents: tuple[str, ...] = ()

    @property
    def related(self) -> list[str]:
        """All that are told with it."""
        return sorted({*self.siblings, *self.dependents})


ALONE: Final = Company()


Kind = Literal["on", "ill", "failing", "at", "root", "member root", "root at", "follower"]


@dataclass(slots=True)
class Companies:
    """The conditions of all targets. Only `conditions` is state; the index follows from it and from the config."""

    expectations: Expectations
    conditions: dict[str, Condition] = field(default_factory=dict)
    _members: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _index: dict[tuple[Kind, str], set[str]] = field(default_factory=lambda: defaultdict(set))

    def __post_init__(self) -> None:
        """Index what the config says, and the conditions."""
        for target, group in self.expectations.groups.items():
            self._members[group].add(target)
        for target, condition in self.conditions.items():
            self._enter(target, None, condition)

    def of(self, target: str, finding: Finding, address: str | None) -> Company:
        """Return who is ill together with a target, given what its tick says of it."""
        known = self.conditions.get(target)
        address = known.address if address is None and known is not None else address
        if finding.sign not in ILL:
            # What explained an incident stays written on it until it ends.
            kept = known.cause if known is not None and known.incident is not None else None
            return Company(caused_by=kept)
        cause = self._cause(target, finding, address, known)
        if cause is not None:
            return Company(caused_by=cause)
        return self.around(target, finding, address)

    def around(self, target: str, finding: Finding, address: str | None) -> Company:
        """Return whom a target that stands for itself is told with."""
        siblings, shared, is_hoster = self._siblings(target, finding, address)
        followers = self.followed_by(target)
        return Company(
            siblings=tuple(sorted({*siblings, *followers.siblings} - set(followers.dependents))),
            shared=shared or followers.shared,
            is_hoster=is_hoster or followers.is_hoster,
            is_location=followers.is_location and not shared,
            dependents=followers.dependents,
        )

    def followed_by(self, target: str) -> Company:
        """Return whom a target explains."""
        followers = self._index.get(("follower", target), set())
        dependents = {name for name in followers if target in self._depends_on(name)}
        siblings = followers - dependents
        group = self.expectations.groups.get(target)
        known = self.conditions.get(target)
        in_group = group is not None and siblings <= self._members[group]
        near = in_group or known is None or not siblings
        near = near or any(self._are_siblings(target, name) for name in siblings)
        shared = f"of the group {group}"
        if not in_group and known is not None:
            shared = f"on one address ({known.address})" if near else f"seen from {known.place or 'one location'}"
        return Company(
            siblings=tuple(sorted(siblings)),
            shared=shared,
            is_hoster=near and not in_group,
            is_location=not near,
            dependents=tuple(sorted(dependents)),
        )

    def see(
        self, target: str, finding: Finding, address: str | None, incident: Incident | None, cause: str | None
    ) -> None:
        """Note what a target's tick came to, after its incident was stepped.

        While an incident is open, what explains its target is what is written on it: an outage on its way back, or
        one that fails again but not yet for long enough, is not told anew. Else two could explain each other.
        """
        known = self.conditions.get(target)
        if incident is not None:
            cause = incident.caused_by
        address = known.address if address is None and known is not None else address
        explained_us, explained = (known.explained_us, known.explained) if known is not None else (None, None)
        if cause is None:
            explained_us = explained = None
        elif finding.sign in ILL and self._explains(cause, target, finding):
            explained_us, explained = finding.tick_us, finding.sign
        elif incident is None and finding.sign is Sign.HEALTHY:
            cause = None
        condition = Condition(
            sign=finding.sign,
            began_us=incident.began_at_us if incident is not None else finding.since_us,
            interval_us=finding.interval_us,
            address=address,
            incident=incident.kind if incident is not None else None,
            opened_us=incident.opened_at_us if incident is not None else None,
            place=place_of(finding) or (known.place if known is not None and finding.sign not in ILL else None),
            cause=cause,
            explained_us=explained_us,
            explained=explained,
            crowd=cause is not None and ((known is not None and known.crowd) or self._has_crowd(cause, target)),
        )
        self.conditions[target] = condition
        self._enter(target, known, condition)

    def _has_crowd(self, cause: str, target: str) -> bool:
        followers = self._index.get(("follower", cause), set())
        return len({cause, target, *followers}) >= CROWD

    def _enter(self, target: str, before: Condition | None, now: Condition) -> None:
        was = self._places(target, before) if before is not None else set()
        places = self._places(target, now)
        for place in was - places:
            self._index[place].discard(target)
            if not self._index[place]:
                del self._index[place]
        for place in places - was:
            self._index[place].add(target)

    def _places(self, target: str, condition: Condition) -> set[tuple[Kind, str]]:
        address, group = condition.address, self.expectations.groups.get(target)
        stands = condition.incident is not None and condition.cause is None
        kinds: list[tuple[Kind, str | None, bool]] = [
            ("on", address, True),
            ("ill", address, condition.sign in ILL),
            ("at", condition.place, condition.sign in ILL),
            ("failing", address, condition.sign is Sign.FAILING),
            ("root", address, stands),
            ("member root", group, stands),
            ("root at", condition.place, stands),
            ("follower", condition.cause, True),
        ]
        return {(kind, key) for kind, key, holds in kinds if holds and key is not None}

    def _cause(self, target: str, finding: Finding, address: str | None, known: Condition | None) -> str | None:
        """Return what explains a target that is ill: what did before, if it still does."""
        before = known.cause if known is not None else None
        if before is not None and self._explains(before, target, finding):
            return before
        # What speaks for itself already goes on doing so, until it is worse than what was said.
        speaks = known is not None and known.incident is not None and known.cause is None
        worse = known is not None and finding.sign is Sign.FAILING and known.incident != "outage"
        candidates: Iterable[str] = self._elders(target, finding, address) if worse or not speaks else ()
        for candidate in chain(self._depends_on(target), candidates):
            if self._explains(candidate, target, finding) and not self._is_led_by(candidate, target):
                return candidate
        if before is None or known is None or known.explained_us is None:
            return None
        # It fails now, and what was explained is that it was slow: that is news.
        if finding.sign is Sign.FAILING and known.explained is not Sign.FAILING:
            return None
        grace_us = self._grace_us(target, before, finding)
        return before if finding.tick_us < known.explained_us + grace_us else None

    def _grace_us(self, target: str, cause: str, finding: Finding) -> int:
        """Return for how long a target may still be ill after its explanation has ended."""
        intervals = GRACE_INTERVALS
        if cause not in self._depends_on(target) and not self._are_siblings(target, cause):
            if self.conditions[target].crowd:
                intervals = PLACE_GRACE_INTERVALS
            elif cause in self.conditions and self.conditions[cause].sign in ILL:
                return 0  # no crowd came: that they are ill at the same time was chance
        return max(intervals * finding.interval_us, GRACE_US)

    def _explains(self, cause: str, target: str, finding: Finding) -> bool:
        condition = self.conditions.get(cause)
        if condition is None or condition.sign is Sign.HEALTHY:
            return False
        if cause in self._depends_on(target):
            down = condition.sign is Sign.FAILING or condition.incident == "outage"
            # What was ill long before is ill for a reason of its own.
            return down and finding.since_us >= condition.began_us - _window_us(Sign.FAILING, finding, condition)
        if finding.sign is Sign.FAILING and (condition.incident != "outage" or condition.sign not in _DOWN):
            return False
        if condition.incident is None:
            return False
        if not self._are_siblings(target, cause):
            return self._is_locations(target, finding, condition)
        return _began_together(finding, condition)

    def _are_siblings(self, one: str, other: str) -> bool:
        """Say whether two targets are of one group or on one address."""
        group = self.expectations.groups.get(one)
        if group is not None and group == self.expectations.groups.get(other):
            return True
        known, theirs = self.conditions.get(one), self.conditions.get(other)
        # Of a target that was never judged before nothing is known but what it was taken for.
        if known is None or theirs is None:
            return True
        return known.address is not None and known.address == theirs.address

    def _is_locations(self, target: str, finding: Finding, condition: Condition) -> bool:
        """Say whether what is wrong with a target is that of the one location at which another one is ill too."""
        place = place_of(finding)
        if place is None or place != condition.place or condition.opened_us is None:
            return False
        interval_us = max(finding.interval_us, condition.interval_us)
        earliest_us = condition.began_us - max(PLACE_INTERVALS * interval_us, TOGETHER_US)
        if finding.since_us < earliest_us:
            return False
        window_us = max(PLACE_WINDOW_INTERVALS * interval_us, PLACE_WINDOW_US)
        others = (name for name in self._index.get(("at", place), set()) if name != target)
        together = (name for name in others if abs(self.conditions[name].began_us - finding.since_us) <= window_us)
        if sum(1 for _name in islice(together, CROWD - 1)) == CROWD - 1:
            return True
        return finding.tick_us <= condition.opened_us + PATIENCE_INTERVALS * interval_us

    def _elders(self, target: str, finding: Finding, address: str | None) -> Iterator[str]:
        """Yield the siblings that stand for themselves and have an incident, the one that began first in front."""
        names: set[str] = set()
        group = self.expectations.groups.get(target)
        if group is not None:
            names |= self._index.get(("member root", group), set())
        if address is not None and self._is_hoster(target, finding, address):
            names |= self._index.get(("root", address), set())
        place = place_of(finding)
        if place is not None:
            names |= self._index.get(("root at", place), set())
        for name in sorted(names - {target}, key=lambda name: (self.conditions[name].began_us, name)):
            if target not in self._depends_on(name):
                yield name

    def _siblings(self, target: str, finding: Finding, address: str | None) -> tuple[list[str], str, bool]:
        """Return the siblings that are ill together with a target, what they share, and whether it is an address."""
        on_address: list[str] = []
        if address is not None and self._is_hoster(target, finding, address):
            on_address = self._together(self._index[_kind(finding), address] - {target}, finding)
        group = self.expectations.groups.get(target)
        in_group = self._together(self._members[group] - {target}, finding) if group is not None else []
        if len(in_group) > len(on_address):
            return in_group, f"of the group {group}", False
        return on_address, f"on one address ({address})" if on_address else "", bool(on_address)

    def _is_hoster(self, target: str, finding: Finding, address: str) -> bool:
        """Say whether most of an address is as ill as this target."""
        ill = len(self._index.get((_kind(finding), address), set()) | {target})
        return ill > 1 and majority(ill, len(self._index.get(("on", address), set()) | {target}))

    def _together(self, names: Iterable[str], finding: Finding) -> list[str]:
        found = []
        for name in sorted(names):
            condition = self.conditions.get(name)
            if condition is None or condition.sign not in ILL:
                continue
            alike = condition.sign is Sign.FAILING or finding.sign is not Sign.FAILING
            if alike and _began_together(finding, condition):
                found.append(name)
        return found

    def _depends_on(self, target: str) -> list[str]:
        """Return what a target depends on, directly and by others, the nearest first."""
        found: list[str] = []
        names = list(self.expectations.depends_on.get(target, ()))
        while names:
            name = names.pop(0)
            if name != target and name not in found:
                found.append(name)
                names += self.expectations.depends_on.get(name, ())
        return found

    def _is_led_by(self, name: str | None, target: str) -> bool:
        """Say whether a target is, by one or more steps, what explains another one."""
        while name is not None and name != target:
            condition = self.conditions.get(name)
            name = condition.cause if condition is not None else None
        return name is not None


_DOWN: Final = frozenset({Sign.FAILING, Sign.UNKNOWN})


def _kind(finding: Finding) -> Kind:
    return "failing" if finding.sign is Sign.FAILING else "ill"


def _began_together(finding: Finding, condition: Condition) -> bool:
    return abs(finding.since_us - condition.began_us) <= _window_us(finding.sign, finding, condition)


def _window_us(sign: Sign, finding: Finding, condition: Condition) -> int:
    intervals = TOGETHER_INTERVALS.get(sign, 0)
    return max(intervals * max(finding.interval_us, condition.interval_us), TOGETHER_US)
