"""How old what is judged is: one incident while any partition of `checks` is judged late, or not at all.

It is about forewarn itself: a detect worker that is dead, a partition that is stopped, a backlog. Told by the wall
clock, because all of these may be that no message comes. What it says is what the messages said, so two workers that
look at the same log at the same time say the same.

When the log stood still for longer than that, nobody could be told anything meanwhile, this neither. So it is told
with the first message that comes after it, though all may be judged before anybody looks.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from streams.contract import JUDGING, Incident, Reason
from streams.core.incidents.closing import NEVER
from streams.core.incidents.incident import new_incident, revise
from streams.core.words import instant, span
from streams.policy import SECOND_US

BEHIND_US: Final = 300 * SECOND_US
"""A tick is closed within its lateness (120 s at most) and a clock event: what is older than this is late."""

BACK_US: Final = 240 * SECOND_US
"""Judging has caught up when everything is younger than this."""

GRACE_US: Final = 60 * SECOND_US
"""So long after a start old partitions are no news: their workers are starting too."""

Told = tuple[Incident | None, Sequence[Incident]]


class Pace:
    """Looks, and remembers what is open.

    Attributes:
        incident: The one that is open.
    """

    def __init__(self, incident: Incident | None = None) -> None:
        self.incident = incident
        self._since_us = self._looked_us = self._slept_us = NEVER

    def look(self, closed_us: Mapping[int, int], now_us: int) -> Sequence[Incident]:
        """Look by the wall clock; return what is to be published."""
        if now_us - self._looked_us > GRACE_US:
            self._since_us = now_us  # the start, or the machine slept: the others have to wake up too
            self._slept_us = NEVER if self._looked_us == NEVER else now_us
        self._looked_us = now_us
        self.incident, told = judge_pace(self.incident, closed_us, now_us, since_us=self._since_us)
        return told

    def goes_on(self, closed_us: Mapping[int, int], at_us: int) -> Sequence[Incident]:
        """The log goes on, at this time of its own, after it stood still; return what is to be published.

        None where this process slept with it: the machine did, and nobody expects to be told of that time.
        """
        slept = self._looked_us != NEVER and at_us - self._looked_us > GRACE_US
        if slept or at_us - self._slept_us <= GRACE_US:
            return ()
        self.incident, told = judge_pace(self.incident, closed_us, at_us, since_us=at_us - GRACE_US)
        return told


def judge_pace(known: Incident | None, closed_us: Mapping[int, int], now_us: int, *, since_us: int) -> Told:
    """Return the incident that is open, and what is to be published of it.

    Args:
        known: The one that is open.
        closed_us: Up to which tick each partition is judged; negative: it never was.
        now_us: Wall clock.
        since_us: When the looking began.
    """
    limit_us = BEHIND_US if known is None else BACK_US
    # Of a partition that was never judged nothing is known but that it was not since the looking began.
    judged_us = {number: us if us >= 0 else since_us for number, us in closed_us.items()}
    behind = {number: us for number, us in sorted(judged_us.items()) if now_us - us > limit_us}
    if known is None:
        return _open(behind, len(closed_us), now_us) if behind and now_us - since_us >= GRACE_US else (None, ())
    if not behind:
        return None, (revise(known, "resolved", updated_at_us=now_us, resolved_at_us=now_us),)
    if behind_partitions(known) == frozenset(behind):
        return known, ()
    reasons = _reasons(behind)
    cause = _cause(behind, len(closed_us), now_us)
    known = revise(known, "updated", updated_at_us=now_us, reasons=reasons, cause=cause)
    return known, (known,)


def behind_partitions(incident: Incident) -> frozenset[int]:
    """Return the partitions that an incident of this kind is about."""
    return frozenset(int(reason.probe) for reason in incident.reasons)


def _open(behind: Mapping[int, int], partitions: int, now_us: int) -> Told:
    began_us = min(behind.values())
    # The id stands for where it stood still: a worker that comes back opens the same one.
    incident = new_incident(target=None, location=None, subject=JUDGING, opened_at_us=began_us, began_at_us=began_us)
    incident = msgspec.structs.replace(
        incident,
        kind="silence",
        severity="critical",
        page=True,
        opened_at_us=now_us,
        updated_at_us=now_us,
        cause=_cause(behind, partitions, now_us),
        reasons=_reasons(behind),
    )
    return incident, (incident,)


def _cause(behind: Mapping[int, int], partitions: int, now_us: int) -> str:
    late = span(now_us - min(behind.values()))
    which = "all partitions" if len(behind) == partitions else f"partition {', '.join(map(str, behind))}"
    return f"judging is {late} behind in {which} of checks: warnings come late, or not at all"


def _reasons(behind: Mapping[int, int]) -> list[Reason]:
    return [
        Reason(
            kind="behind",
            subject=JUDGING,
            text=f"partition {number} is judged up to {instant(judged_us)}",
            probe=str(number),
            since_us=judged_us,
            severity="critical",
        )
        for number, judged_us in behind.items()
    ]
