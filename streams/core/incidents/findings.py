"""What a verdict says of each subject of its target, given the locations that are in trouble."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from streams.contract import SERVICE, Reason, Verdict
from streams.core.failures.flaps import FLAPPING
from streams.core.incidents.landscape import MISSED, SILENCE, Seen, majority
from streams.core.incidents.signs import LATENCY, PARTIAL_FAILURE, PRESENT, Finding, Sign, counts_failures
from streams.policy import DAY_US, SECOND_US

UNSEEN: Final = frozenset({SILENCE, MISSED})
"""Kinds of reasons that say that nothing is known: they make nothing abnormal, and nothing well."""


SLOW_BEFORE_US: Final = 600 * SECOND_US
"""A network is slow for so long before it loses checks."""

LINGERS_INTERVALS: Final = 180
"""So long after a location's trouble detectors may still speak of it: windows end sooner, sums fade slowly ..."""

DOUBT_INTERVALS: Final = 60
"""So long after it what it sees together with others is not taken for a sign of the target."""

FAILURES_LINGER_US: Final = DAY_US
"""... and flap memory reaches back over a day. A target that is down then is told all the same."""


class Hold(NamedTuple):
    """A location that is in trouble, or was: what it says of this time is its own and not the targets'.

    Attributes:
        from_us: The fault began at this time or after it.
        until_us: When it ended; None while it lasts.
        run: How many failures in a row are its own; None: any number.
    """

    from_us: int
    until_us: int | None = None
    run: int | None = None

    def explains(self, began_us: int, verdict: Verdict) -> bool:
        """Say whether a target fails by this, from its location, since a time."""
        run = (verdict.tick_us - began_us) // verdict.interval_us + 1
        return self.until_us is None and began_us >= self.from_us and (self.run is None or run <= self.run)


Holds = Mapping[str, Sequence[Hold]]
"""By location, the newest last."""


def service_finding(
    verdict: Verdict, holds: Holds, seen: Seen | None = None, hosts: Collection[str] = ()
) -> tuple[Finding, bool]:
    """Return what a verdict says of the service, and whether a location's trouble changed that.

    Args:
        verdict: Of one target.
        holds: When locations were or are in trouble; what began earlier is not theirs.
        seen: What is known of the target: since when it fails at each location, since when each reason is told. Where
            that is not known, since it fails or since the reason began.
        hosts: Locations that are the targets' own machines: how the service is seen from outside they do not know.
    """
    if verdict.verdict == "unknown":
        return _finding(verdict, Sign.UNKNOWN, ()), False
    reasons = [reason for reason in verdict.reasons if reason.subject == SERVICE and _is_abnormal(reason)]
    if verdict.verdict == "failing":
        if _fails_by_trouble(verdict, holds, seen.failing if seen is not None else {}):
            return _finding(verdict, Sign.UNKNOWN, ()), True
        return _finding(verdict, Sign.FAILING, reasons), False
    kept = [reason for reason in reasons if not _is_locations(reason, verdict, holds, seen, hosts)]
    if kept:
        partial = all(reason.kind == PARTIAL_FAILURE for reason in kept)
        finding = _finding(verdict, Sign.PARTIAL if partial else Sign.DEGRADED, kept)
        trusted = tuple(location for location in finding.locations if location not in _troubled(holds))
        return replace(finding, locations=trusted or finding.locations), len(kept) < len(reasons)
    if not reasons:
        # Of two probes one may be unseen while the other's forecast makes the target degraded.
        unseen = any(map(_says_unseen, verdict.reasons))
        return _finding(verdict, Sign.UNKNOWN if unseen else Sign.HEALTHY, ()), False
    # What is wrong is the location's. Where another one sees the target well, it is well.
    doubted = {location for reason in reasons for location in _places(reason, verdict)}
    elsewhere = set(verdict.reported) - set(verdict.failed) - doubted - _troubled(holds) - set(hosts)
    return _finding(verdict, Sign.HEALTHY if elsewhere else Sign.UNKNOWN, ()), True


def forecast_findings(verdict: Verdict, open_subjects: Iterable[str]) -> dict[str, Finding]:
    """Return what a verdict says of each forecast: those with a reason, and those that had one before.

    While the target is failing or unknown a forecast without a reason is not well: its metric does not come.
    """
    by_subject: dict[str, list[Reason]] = {subject: [] for subject in open_subjects}
    for reason in verdict.reasons:
        if reason.subject != SERVICE and _is_abnormal(reason):
            by_subject.setdefault(reason.subject, []).append(reason)
    absent = Sign.HEALTHY if verdict.verdict in ("healthy", "degraded") else Sign.UNKNOWN
    return {
        subject: _finding(verdict, Sign.DEGRADED if reasons else absent, reasons)
        for subject, reasons in sorted(by_subject.items())
    }


def _is_abnormal(reason: Reason) -> bool:
    return reason.severity != "info" and reason.kind not in UNSEEN


def _says_unseen(reason: Reason) -> bool:
    # The silence of some locations is for information: the others see the target.
    return reason.kind == MISSED or (reason.kind == SILENCE and reason.severity != "info")


def _finding(verdict: Verdict, sign: Sign, reasons: Collection[Reason]) -> Finding:
    seen_at = {location for reason in reasons for location in reason.locations}
    if sign is Sign.FAILING:
        since_us = verdict.since_us
        seen_at = set(verdict.failed) or seen_at
    else:
        since_us = min((reason.since_us for reason in reasons), default=verdict.tick_us)
    return Finding(
        tick_us=verdict.tick_us,
        sign=sign,
        since_us=since_us,
        interval_us=verdict.interval_us,
        reasons=tuple(reasons),
        locations=tuple(sorted(seen_at)),
    )


def _places(reason: Reason, verdict: Verdict) -> set[str]:
    if reason.locations:
        return set(reason.locations)
    return set(verdict.failed) if counts_failures(reason) else set()


def _troubled(holds: Holds) -> set[str]:
    return {location for location, own in holds.items() if own[-1].until_us is None}


def _fails_by_trouble(verdict: Verdict, holds: Holds, failing: Mapping[str, int]) -> bool:
    # Two locations may be in trouble, one after the other: each answers for its own failures.
    return bool(verdict.failed) and all(
        location in holds and holds[location][-1].explains(failing.get(location, verdict.since_us), verdict)
        for location in verdict.failed
    )


def _is_locations(reason: Reason, verdict: Verdict, holds: Holds, seen: Seen | None, hosts: Collection[str]) -> bool:
    """Say whether a reason is that of its locations: they are in trouble, or a detector remembers that they were.

    One location that is slow is not enough for a target that others see well; a second one that is slow because of its
    own network does not confirm it, nor does one that has fallen silent.
    """
    places = _places(reason, verdict)
    if not places:
        return False
    if counts_failures(reason) and places <= _troubled(holds):
        return True
    if reason.kind in PRESENT or not (counts_failures(reason) or reason.metric == LATENCY):
        return False  # a reading of the target's own machine is no matter of the network
    told_us = reason.since_us if seen is None else seen.told.get(reason.kind, reason.since_us)
    covered = {
        place for place in places if any(_covers(hold, reason, verdict, told_us) for hold in holds.get(place, ()))
    }
    if covered == places or reason.kind == FLAPPING:
        return bool(covered)  # nor is a target down whenever one check is lost while a location is out
    doubted = {place for place in places if _is_doubted(place, verdict, holds)}
    if doubted == places or any(told_us < holds[place][-1].from_us - SLOW_BEFORE_US for place in doubted):
        return False  # it was told before
    # Of failures all locations must agree already; where two are in trouble they do.
    absent = _absent(reason, told_us, seen) if reason.metric == LATENCY else set()
    # What was odd before the trouble was not told, as these saw the target well; now they cannot say.
    voters = {*verdict.reported, *absent}.difference(hosts)
    if all(reason.since_us >= holds[place][-1].from_us for place in doubted):
        voters -= doubted
    return bool(doubted or absent) and not majority(len(places - doubted), len(voters))


def _absent(reason: Reason, told_us: int, seen: Seen | None) -> set[str]:
    """Return the locations that fell silent while they saw nothing of a reason that others saw already."""
    silent = seen.silent if seen is not None else {}
    return {location for location, since_us in silent.items() if reason.since_us < since_us <= told_us}


def _is_doubted(place: str, verdict: Verdict, holds: Holds) -> bool:
    if place not in holds:
        return False
    until_us = holds[place][-1].until_us
    return until_us is None or verdict.tick_us <= until_us + DOUBT_INTERVALS * verdict.interval_us


def _covers(hold: Hold, reason: Reason, verdict: Verdict, told_us: int) -> bool:
    """Say whether a detector speaks of the time of a trouble: of what began then, or was told no sooner.

    Detectors add up what they see, so the little that was odd before becomes news by what the trouble adds.
    """
    from_us = hold.from_us - SLOW_BEFORE_US
    if reason.since_us < from_us and told_us < from_us:
        return False
    if hold.until_us is None:
        return True
    if min(reason.since_us, told_us) > hold.until_us or (reason.since_us < from_us and told_us > hold.until_us):
        return False
    lingers_us = LINGERS_INTERVALS * verdict.interval_us
    if counts_failures(reason):
        lingers_us = max(lingers_us, FAILURES_LINGER_US)
    return verdict.tick_us <= hold.until_us + lingers_us
