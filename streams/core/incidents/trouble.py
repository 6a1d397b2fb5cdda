"""A location's own trouble and its silence: told once, as the location's, and not once a target.

A location is in trouble when enough targets on enough addresses fail **together** from it and not by quorum
elsewhere, or when its own anchor check fails. Together means that one moment lies before the first failing check of
each of them and at most two of its intervals before it; and each must have failed for a whole interval. Without that,
a few single lost checks, or a few sites that have refused one location for weeks, would pass for trouble of a
location with a thousand targets, and trouble takes the page from every target that is seen from there alone.

Where another location sees a target well, that is proof against the location. Where nobody else looks, only the
share speaks: unless most of what the location reports fails, it is the targets that fail, and they page. Most of it
means: of those that were checked since the fault began, as who is checked each ten seconds fails long before the
others are looked at. Among these also count those that failed just once, though they are no signs by themselves.

A network that loses some of its packets is in trouble too (`losses.py`), though no moment explains when each target
began to fail. A target that fails for longer than such losses explain is down, whatever its location loses.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from streams.contract import Incident
from streams.core.incidents.cause import silence_cause, trouble_cause
from streams.core.incidents.incident import Revisions, new_incident, revise
from streams.core.incidents.landscape import ONSET_INTERVALS, Landscape, Member
from streams.core.incidents.losses import OPENS, Loser, come_back, longest_run, loses, still_loses
from streams.policy import SECOND_US, IncidentPolicy

LOCATION_TROUBLE: Final = "location_trouble"
SILENCE: Final = "silence"
TOGETHER_US: Final = 300 * SECOND_US
"""Locations that fall silent within so long of each other are one silence: what they report to is gone."""

RECOUNT_US: Final = 60_000_000
"""So long after opening, the targets are counted again: at the opening only the first few are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A location that is in trouble.

    Attributes:
        from_us: The fault began at this time or after it: what failed before fails for a reason of its own.
        hold_us: It is over when the signs have been away for so long.
        clear_since_us: When the signs went away; None while they are there, or nothing is reported.
        run: How many failures in a row it explains, if it loses some of its checks; None: any number.
        look_us: When it is looked at again, if it does.
        out_us: When so much failed together last that nothing could be known.
    """

    incident: Incident
    from_us: int
    hold_us: int
    clear_since_us: int | None = None
    blind: bool = False
    run: int | None = None
    look_us: int = 0
    out_us: int = -1


def judge_trouble(
    trouble: Trouble | None, location: str, landscape: Landscape, at_us: int, policy: IncidentPolicy, ended_us: int
) -> tuple[Trouble | None, Revisions]:
    """Judge one location as of one event time. A new trouble has no cause yet: `tell` publishes it.

    Args:
        trouble: The one that is open.
        location: Its name.
        landscape: All targets.
        at_us: The event time.
        policy: Of the installation.
        ended_us: When the last one ended: what was lost before that is over.
    """
    if trouble is None:
        return _open(location, landscape, at_us, policy, ended_us), ()
    if not landscape.works(location):
        return replace(trouble, clear_since_us=None), ()
    losers, reporting = landscape.losers(location, at_us, trouble.out_us), landscape.reports(location)
    loses_some = still_loses(losers, reporting)
    if loses_some and come_back(losers):
        return replace(trouble, clear_since_us=None, run=longest_run(losers, reporting)), ()
    if _is_out(trouble, location, landscape, at_us, policy):
        return replace(trouble, clear_since_us=None, run=None, out_us=at_us), ()
    if loses_some:
        return replace(trouble, clear_since_us=None), ()
    since_us = trouble.clear_since_us
    if since_us is None:
        return replace(trouble, clear_since_us=at_us), ()
    if at_us < since_us + trouble.hold_us:
        return trouble, ()
    return None, (revise(trouble.incident, "resolved", updated_at_us=at_us, resolved_at_us=at_us),)


def tell(
    trouble: Trouble, location: str, landscape: Landscape, at_us: int, *, blind: bool
) -> tuple[Trouble, Revisions]:
    """Say whom it concerns, and whether nobody sees anything: at first, and again if that is something new."""
    cause = _cause(trouble, location, landscape, at_us, blind=blind)
    trouble = replace(trouble, blind=blind)
    if cause is None or cause == trouble.incident.cause:
        return trouble, ()
    if trouble.incident.cause == "":
        incident = msgspec.structs.replace(trouble.incident, cause=cause)
    else:
        incident = revise(trouble.incident, "updated", updated_at_us=at_us, cause=cause)
    return replace(trouble, incident=incident), (incident,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Locations that fell silent together.

    Attributes:
        incident: Its locations are all that were silent in it.
        silent: Those that are so still, in the order of names.
    """

    incident: Incident
    silent: list[str]


def open_silence(silent: Sequence[str], landscape: Landscape, at_us: int) -> Silence:
    """Open the silence of the first of some locations, and of those that fell silent with it, as of one event time."""
    since_us = landscape.silence(silent[:1])[2]
    incident = new_incident(target=None, location=silent[0], subject=SILENCE, opened_at_us=at_us, began_at_us=since_us)
    together = [location for location in silent if began_together(incident, location, landscape)]
    cause = _silence_cause(together, landscape)
    incident = msgspec.structs.replace(incident, kind="silence", cause=cause, locations=together)
    return Silence(incident=incident, silent=together)


def began_together(incident: Incident, location: str, landscape: Landscape) -> bool:
    """Say whether a location fell silent with those of a silence: then it is one."""
    return abs(landscape.silence([location])[2] - incident.began_at_us) <= TOGETHER_US


def judge_silence(
    known: Silence, silent: Sequence[str], landscape: Landscape, at_us: int, *, recount: bool
) -> tuple[Silence | None, Revisions]:
    """Recount or resolve a silence, as of one event time.

    Args:
        known: The silence.
        silent: Those of it that are silent now, in the order of names.
        landscape: All targets.
        at_us: The event time.
        recount: Its targets are counted again, even if its locations are the same.
    """
    if not silent:
        return None, (revise(known.incident, "resolved", updated_at_us=at_us, resolved_at_us=at_us),)
    if not recount and silent == known.silent:
        return known, ()
    known = replace(known, silent=list(silent))
    cause = _silence_cause(silent, landscape)
    if cause == known.incident.cause:
        return known, ()
    locations = sorted({*known.incident.locations, *silent})
    incident = revise(known.incident, "updated", updated_at_us=at_us, cause=cause, locations=locations)
    return replace(known, incident=incident), (incident,)


def _silence_cause(locations: Sequence[str], landscape: Landscape) -> str:
    targets, unseen, since_us = landscape.silence(locations)
    return silence_cause(locations, targets=targets, unseen=unseen, since_us=since_us)


def _open(location: str, landscape: Landscape, at_us: int, policy: IncidentPolicy, ended_us: int) -> Trouble | None:
    anchor = landscape.anchor(location)
    cluster = [anchor] if anchor is not None else _together(location, landscape, at_us, policy)
    if cluster:
        began_us = min(member.began_us for member in cluster)
        from_us = min(member.earliest_us for member in cluster)
        return _new(location, at_us, began_us, from_us, max(member.interval_us for member in cluster), policy)
    reporting = landscape.reports(location)
    if OPENS * len(landscape.losing.get(location, ())) <= reporting:
        return None  # most often: nothing to look at
    losers = landscape.losers(location, at_us, ended_us)
    if not loses(losers, reporting, policy):
        return None
    began_us = min(loser.begun_us[-1] for loser in losers)
    from_us = min(loser.begun_us[-1] - ONSET_INTERVALS * loser.interval_us for loser in losers)
    trouble = _new(location, at_us, began_us, from_us, max(loser.interval_us for loser in losers), policy)
    return replace(trouble, run=longest_run(losers, reporting))


def _new(location: str, at_us: int, began_us: int, from_us: int, interval_us: int, policy: IncidentPolicy) -> Trouble:
    incident = new_incident(
        target=None, location=location, subject=LOCATION_TROUBLE, opened_at_us=at_us, began_at_us=began_us
    )
    return Trouble(
        incident=msgspec.structs.replace(incident, kind="location_trouble", locations=[location]),
        from_us=from_us,
        hold_us=policy.success_ticks * interval_us,
    )


def _together(location: str, landscape: Landscape, at_us: int, policy: IncidentPolicy) -> list[Member]:
    """Return signs that one fault explains, or nothing."""
    counting = [member for member in landscape.members(location) if member.counts_from_us <= at_us]
    if len(counting) < policy.trouble_targets:
        return []
    counting.sort(key=lambda member: (member.began_us, member.target))
    for first, oldest in enumerate(counting):
        # The fault lies at or before the oldest's first failing check; later ones must reach back to it.
        cluster = [member for member in counting[first:] if member.earliest_us <= oldest.began_us]
        if _convicts(cluster, location, landscape, oldest.began_us, at_us, policy):
            return cluster
    return []


def _convicts(
    members: Sequence[Member], location: str, landscape: Landscape, onset_us: int, at_us: int, policy: IncidentPolicy
) -> bool:
    """Say whether these signs are enough against a location, if the fault began at `onset_us`."""
    if _enough((member for member in members if member.witnessed), policy):
        return True
    if not _enough(members, policy):
        return False
    count, failing = landscape.jury(location, {member.target for member in members}, onset_us, at_us)
    return 2 * failing > count


def _enough(members: Iterable[Member], policy: IncidentPolicy) -> bool:
    addresses: set[str] = set()
    for number, member in enumerate(members, start=1):
        addresses.add(member.address)
        if number >= policy.trouble_targets and len(addresses) >= policy.trouble_addresses:
            return True
    return False


def _is_out(trouble: Trouble, location: str, landscape: Landscape, at_us: int, policy: IncidentPolicy) -> bool:
    """Say whether what began with the trouble still fails from there, so that nothing can be known."""
    if landscape.anchor(location) is not None:
        return True
    concerned = list(_concerned(trouble, location, landscape))
    return _convicts(concerned, location, landscape, trouble.incident.began_at_us, at_us, policy)


def _concerned(trouble: Trouble, location: str, landscape: Landscape) -> Iterable[Member]:
    return (member for member in landscape.members(location) if member.began_us >= trouble.from_us)


def _cause(trouble: Trouble, location: str, landscape: Landscape, at_us: int, *, blind: bool) -> str | None:
    loses_some = trouble.run is not None
    signs: Sequence[Member | Loser] = (
        landscape.losers(location, at_us, trouble.out_us)
        if loses_some
        else list(_concerned(trouble, location, landscape))
    )
    anchor = landscape.anchor(location) is not None
    if not signs and not anchor:
        return None  # on its way out: what was said stands
    return trouble_cause(
        location,
        targets=[sign.target for sign in signs],
        addresses=len({sign.address for sign in signs}),
        failures=Counter(sorted(sign.failure for sign in signs if sign.failure is not None)),
        since_us=trouble.incident.began_at_us,
        anchor=anchor,
        blind=blind and not loses_some,
        loses_some=loses_some,
    )
