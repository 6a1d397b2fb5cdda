"""All targets as of one event time: who reports them, from where they fail, and what known locations there are."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from producers.contract import ANCHOR_CUSTOMER
from streams.contract import Verdict, VerdictName
from streams.core.incidents.losses import Loser, aged, begun, since

SILENCE: Final = "silence"
MISSED: Final = "missed"
ONSET_INTERVALS: Final = 2
"""A fault began at most so many intervals before the first check that failed: one, and one that was lucky."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A target as of its last verdict.

    Attributes:
        failing: The tick of the first failing check in a row, by location.
        silent: Since when nothing comes, by location.
        failure: Why its checks fail, or did so last.
        lost: Which of the last ticks failed, by location, if not by quorum elsewhere (see `losses`).
        told: Since when each kind of reason is told.
    """

    verdict: VerdictName
    tick_us: int
    interval_us: int
    reported: tuple[str, ...]
    failing: Mapping[str, int]
    silent: Mapping[str, int]
    address: str
    failure: str | None
    lost: Mapping[str, int] = field(default_factory=dict)
    told: Mapping[str, int] = field(default_factory=dict)

    def ticked_us(self, at_us: int) -> int:
        """Return its newest tick as of a time: those that are not published were there too."""
        return self.tick_us + max((at_us - self.tick_us) // self.interval_us, 0) * self.interval_us


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A target that fails from a location and is well, or unseen, elsewhere: a sign of the location's trouble.

    Attributes:
        earliest_us: The fault began at this time or after it.
        counts_from_us: It failed for a whole interval at this time: one lost check is no sign.
        witnessed: Another location reports it, and sees it well.
    """

    target: str
    address: str
    began_us: int
    earliest_us: int
    counts_from_us: int
    interval_us: int
    failure: str | None
    witnessed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one verdict changed.

    Attributes:
        touched: Locations whose reports, failures or silence may be others now.
        suspicions: Locations that this target has become a sign against, and from when it counts.
    """

    touched: frozenset[str]
    suspicions: tuple[tuple[str, int], ...]


@dataclass(slots=True, kw_only=True)
class Landscape:
    """Indexes over the last verdict of each target. Only `targets` is state; the rest follows from it.

    Attributes:
        suspects: By location, the targets that fail from there and not by quorum elsewhere.
        silent: By location, the targets that it should report and does not.
        losing: By location, the targets that lost checks from there before their last verdict.
        reporting: By location, the targets that it reports.
    """

    targets: dict[str, Seen] = field(default_factory=dict)
    suspects: dict[str, set[str]] = field(default_factory=dict)
    silent: dict[str, set[str]] = field(default_factory=dict)
    losing: dict[str, set[str]] = field(default_factory=dict)
    reporting: dict[str, set[str]] = field(default_factory=dict)

    def apply(self, verdict: Verdict) -> Change:
        """Take in a target's newest verdict."""
        target = verdict.target
        known = self.targets.get(target)
        seen = _seen(verdict, known)
        touched: set[str] = set()
        suspected: set[str] = set()
        if known is not None:
            touched |= self._index(target, known, -1)
            suspected = _suspected(target, known)
        self.targets[target] = seen
        touched |= self._index(target, seen, 1)
        new = sorted(_suspected(target, seen) - suspected)
        suspicions = tuple((location, member(target, seen, location).counts_from_us) for location in new)
        return Change(touched=frozenset(touched), suspicions=suspicions)

    def rebuild(self, targets: Mapping[str, Seen]) -> None:
        """Take over the targets of a snapshot."""
        self.targets = dict(targets)
        self.suspects, self.silent, self.losing, self.reporting = {}, {}, {}, {}
        for target, seen in self.targets.items():
            self._index(target, seen, 1)

    def members(self, location: str) -> Iterator[Member]:
        """Yield the signs of a location's trouble, in no order."""
        for target in self.suspects.get(location, ()):
            yield member(target, self.targets[target], location)

    def anchor(self, location: str) -> Member | None:
        """Return a location's own anchor check if it fails."""
        target = anchor_of(location)
        seen = self.targets.get(target)
        if seen is None or location not in seen.failing:
            return None
        return member(target, seen, location)

    def works(self, location: str) -> bool:
        """Say whether anything is reported from there: silence says nothing of its network."""
        return location in self.reporting

    def reports(self, location: str) -> int:
        """Return how many targets a location reports."""
        return len(self.reporting.get(location, ()))

    def hosts(self, locations: Collection[str]) -> set[str]:
        """Return which of a target's locations report it alone, if others report more: its own machine."""
        alone = {location for location in locations if self.reports(location) == 1}
        return alone if len(alone) < len(locations) else set()

    def jury(self, location: str, members: Collection[str], onset_us: int, at_us: int) -> tuple[int, int]:
        """Return how many targets can say whether a location has failed since a time, and how many say so.

        Who was not checked since then cannot, nor can who fails by quorum elsewhere: it is down. Who failed just once
        since then says so: a network that loses most packets fails some twice while others are lucky once, and to count
        the lucky alone would clear it.
        """
        count = failing = 0
        for target in self.reporting.get(location, ()):
            seen = self.targets[target]
            fails = target in members or seen.failing.get(location, onset_us - 1) >= onset_us
            if fails and _fails_elsewhere(seen, location):
                continue
            if fails or seen.ticked_us(at_us) >= onset_us:
                count += 1
                failing += fails
        return count, failing

    def losers(self, location: str, at_us: int, after_us: int) -> list[Loser]:
        """Return the targets that began to fail from a location lately and after a time, in the order of names."""
        found = []
        for target in sorted(self.losing.get(location, ())):
            seen = self.targets[target]
            ticked_us = seen.ticked_us(at_us)
            lost = aged(seen.lost[location], (ticked_us - seen.tick_us) // seen.interval_us)
            lost = since(lost, (ticked_us - after_us - 1) // seen.interval_us + 1)
            if begun(lost):
                loser = Loser(
                    target=target,
                    address=seen.address,
                    lost=lost,
                    ticked_us=ticked_us,
                    interval_us=seen.interval_us,
                    failure=seen.failure,
                )
                found.append(loser)
        return found

    def silence(self, locations: Iterable[str]) -> tuple[list[str], int, int]:
        """Return the targets that miss silent locations, how many of them nobody sees, and since when."""
        silent = {target: self.targets[target] for location in locations for target in self.silent.get(location, ())}
        unseen = sum(seen.verdict == "unknown" for seen in silent.values())
        since_us = min(
            seen.silent[location] for location in locations for seen in silent.values() if location in seen.silent
        )
        return sorted(silent), unseen, since_us

    def _index(self, target: str, seen: Seen, sign: int) -> set[str]:
        indexes: Iterable[tuple[dict[str, set[str]], Collection[str]]] = (
            (self.reporting, seen.reported),
            (self.suspects, _suspected(target, seen)),
            (self.silent, seen.silent),
            (self.losing, seen.lost),
        )
        for index, locations in indexes:
            for location in locations:
                targets = index.setdefault(location, set())
                if sign > 0:
                    targets.add(target)
                else:
                    targets.discard(target)
                if not targets:
                    del index[location]
        return {*seen.reported, *seen.failing, *seen.silent}


def anchor_of(location: str) -> str:
    """Return the target that is a location's own anchor check."""
    return f"{ANCHOR_CUSTOMER}/{location}"


def is_anchor(target: str) -> bool:
    """Say whether a target is the anchor check of a location."""
    return target.startswith(f"{ANCHOR_CUSTOMER}/")


def member(target: str, seen: Seen, location: str) -> Member:
    """Return a target that fails from a location as a sign against it."""
    began_us = seen.failing[location]
    return Member(
        target=target,
        address=seen.address,
        began_us=began_us,
        earliest_us=began_us - ONSET_INTERVALS * seen.interval_us,
        counts_from_us=began_us + seen.interval_us,
        interval_us=seen.interval_us,
        failure=seen.failure,
        witnessed=any(other != location for other in seen.reported),
    )


def majority(failed: int, reported: int) -> bool:
    """The default quorum: a strict majority of those that reported; with two both, with one that one."""
    return 2 * failed > reported


def _seen(verdict: Verdict, known: Seen | None) -> Seen:
    began = known.failing if known is not None else {}
    silent = known.silent if known is not None else {}
    told = known.told if known is not None else {}
    failures = [reason.failure for reason in verdict.reasons if reason.failure is not None]
    seen = Seen(
        verdict=verdict.verdict,
        tick_us=verdict.tick_us,
        interval_us=verdict.interval_us,
        reported=tuple(verdict.reported),
        failing={location: began.get(location, verdict.tick_us) for location in verdict.failed},
        silent={location: silent.get(location, since_us) for location, since_us in _silent(verdict, silent)},
        # A target that never got an address counts as one of its own.
        address=verdict.address if verdict.address is not None else verdict.target,
        failure=failures[0] if failures else known.failure if known is not None else None,
        told={reason.kind: told.get(reason.kind, verdict.tick_us) for reason in verdict.reasons},
    )
    return replace(seen, lost=_lost(verdict.target, seen, known))


def _lost(target: str, seen: Seen, known: Seen | None) -> dict[str, int]:
    before = known.lost if known is not None else {}
    ticks = (seen.tick_us - known.tick_us) // seen.interval_us if known is not None else 0
    now = _suspected(target, seen)
    lost = {
        location: aged(before.get(location, 0), ticks) & ~1 | (location in now)
        for location in sorted(before.keys() | now)
    }
    return {location: bits for location, bits in lost.items() if bits}


def _silent(verdict: Verdict, known: Mapping[str, int]) -> Iterable[tuple[str, int]]:
    missed: set[str] = set()
    for reason in verdict.reasons:
        if reason.kind == SILENCE:
            for location in reason.locations:
                yield location, reason.since_us
        elif reason.kind == MISSED:
            missed.update(reason.locations)
    if not verdict.reported:
        # Nobody waits any more for those that were silent before, but they are so still.
        yield from ((location, since_us) for location, since_us in known.items() if location not in missed)


def _suspected(target: str, seen: Seen) -> set[str]:
    if is_anchor(target):
        return set()
    return {location for location in seen.failing if not _fails_elsewhere(seen, location)}


def _fails_elsewhere(seen: Seen, location: str) -> bool:
    others = [other for other in seen.reported if other != location]
    return majority(sum(other in seen.failing for other in others), len(others))
