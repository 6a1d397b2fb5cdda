"""All targets as of one event time: who reports them, from where they fail, and what known locations there are."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from producers.contract import ANCHOR_CUSTOMER
from streams.contract import Verdict, VerdictName

SILENCE: Final = "silence"
ONSET_INTERVALS: Final = 2
"""A fault began at most so many intervals before the first check that failed: one, and one that was lucky."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A target as of its last verdict.

    Attributes:
        failing: The tick of the first failing check in a row, by location.
        silent: Since when nothing comes, by location.
        failure: Why its checks fail.
    """

    verdict: VerdictName
    tick_us: int
    interval_us: int
    reported: tuple[str, ...]
    failing: Mapping[str, int]
    silent: Mapping[str, int]
    address: str
    failure: str | None


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
        reporting: By location, how many targets it reports.
    """

    targets: dict[str, Seen] = field(default_factory=dict)
    suspects: dict[str, set[str]] = field(default_factory=dict)
    silent: dict[str, set[str]] = field(default_factory=dict)
    reporting: Counter[str] = field(default_factory=Counter)

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
        self.suspects, self.silent, self.reporting = {}, {}, Counter()
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
        return self.reporting[location] > 0

    def silence(self, location: str) -> tuple[list[str], int, int]:
        """Return the targets that miss a silent location, how many of them nobody sees, and since when."""
        silent = {target: self.targets[target] for target in sorted(self.silent[location])}
        unseen = sum(seen.verdict == "unknown" for seen in silent.values())
        return list(silent), unseen, min(seen.silent[location] for seen in silent.values())

    def _index(self, target: str, seen: Seen, sign: int) -> set[str]:
        for location in seen.reported:
            self.reporting[location] += sign
        for index, locations in ((self.suspects, _suspected(target, seen)), (self.silent, set(seen.silent))):
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
    failures = [reason.failure for reason in verdict.reasons if reason.failure is not None]
    return Seen(
        verdict=verdict.verdict,
        tick_us=verdict.tick_us,
        interval_us=verdict.interval_us,
        reported=tuple(verdict.reported),
        failing={location: began.get(location, verdict.tick_us) for location in verdict.failed},
        silent={location: silent.get(location, since_us) for location, since_us in _silent(verdict)},
        # A target that never got an address counts as one of its own.
        address=verdict.address if verdict.address is not None else verdict.target,
        failure=failures[0] if failures else None,
    )


def _silent(verdict: Verdict) -> Iterable[tuple[str, int]]:
    for reason in verdict.reasons:
        if reason.kind == SILENCE:
            for location in reason.locations:
                yield location, reason.since_us


def _suspected(target: str, seen: Seen) -> set[str]:
    if is_anchor(target):
        return set()
    return {location for location in seen.failing if not _fails_elsewhere(seen, location)}


def _fails_elsewhere(seen: Seen, location: str) -> bool:
    others = [other for other in seen.reported if other != location]
    return majority(sum(other in seen.failing for other in others), len(others))
