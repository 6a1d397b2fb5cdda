"""All locations as of one event time: which are in trouble, which are silent."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from streams.contract import Incident, Verdict
from streams.core.incidents.findings import Hold
from streams.core.incidents.landscape import Landscape
from streams.core.incidents.trouble import (
    RECOUNT_US,
    Silence,
    Trouble,
    began_together,
    judge_silence,
    judge_trouble,
    open_silence,
    tell,
)
from streams.policy import DAY_US, IncidentPolicy

NEVER: Final = -1


class Wake(NamedTuple):
    """A time at which a location must be judged again, whether or not a verdict comes then."""

    at_us: int
    location: str


@dataclass(slots=True, kw_only=True)
class Locations:
    """The landscape, and the incidents of locations that are open over it.

    Attributes:
        silences: By the incident's id.
        past: The troubles that each location had within a day, the oldest in front: detectors remember them.
    """

    policy: IncidentPolicy
    landscape: Landscape = field(default_factory=Landscape)
    troubles: dict[str, Trouble] = field(default_factory=dict)
    silences: dict[str, Silence] = field(default_factory=dict)
    past: dict[str, tuple[Hold, ...]] = field(default_factory=dict)

    def advance(self, at_us: int, verdicts: Iterable[Verdict], due: Iterable[str]) -> tuple[list[Incident], list[Wake]]:
        """Take in the verdicts of one event time, judge the locations that they touch and those that are due.

        Returns:
            Revisions to be published, and when to judge again.
        """
        due = sorted(set(due))
        suspected = set(due)
        wakes: list[Wake] = []
        touched: set[str] = set()
        for verdict in verdicts:
            change = self.landscape.apply(verdict)
            touched |= change.touched
            for location, counts_from_us in change.suspicions:
                suspected.add(location)
                if counts_from_us > at_us:
                    wakes.append(Wake(counts_from_us, location))
        # A location without trouble is judged only when a sign begins to count: signs that go open none.
        suspected |= touched & self.troubles.keys()
        suspected |= {location for location in touched if self.landscape.anchor(location) is not None}
        revisions = self._judge_troubles(sorted(suspected), at_us, wakes)
        revisions += self._judge_silences(touched, due, at_us, wakes)
        return revisions + self._tell(due, at_us), wakes

    def holds(self) -> Mapping[str, Sequence[Hold]]:
        """Return by location when it was in trouble, the newest last: of that time its word is not taken."""
        now = {location: Hold(trouble.from_us, run=self._run(trouble)) for location, trouble in self.troubles.items()}
        return self.past | {location: (*self.past.get(location, ()), hold) for location, hold in now.items()}

    def _run(self, trouble: Trouble) -> int | None:
        # An outage opens only some failures later.
        return None if trouble.run is None else max(trouble.run - self.policy.failure_ticks, 0)

    def open(self) -> list[Incident]:
        """Return the open incidents of locations."""
        return [trouble.incident for trouble in self.troubles.values()] + [
            silence.incident for silence in self.silences.values()
        ]

    def _judge_troubles(self, locations: Sequence[str], at_us: int, wakes: list[Wake]) -> list[Incident]:
        revisions: list[Incident] = []
        for location in locations:
            before = self.troubles.get(location)
            past = self.past.get(location)
            ended_us = past[-1].until_us if past else None
            trouble, told = judge_trouble(
                before, location, self.landscape, at_us, self.policy, NEVER if ended_us is None else ended_us
            )
            revisions.extend(told)
            self._keep_trouble(location, before, trouble, at_us, wakes)
        return revisions

    def _judge_silences(self, touched: set[str], due: Sequence[str], at_us: int, wakes: list[Wake]) -> list[Incident]:
        concerned = touched.union(due)
        told = {location for known in self.silences.values() for location in known.silent}
        new = sorted(concerned & self.landscape.silent.keys() - told)
        revisions: list[Incident] = []
        for name, known in list(self.silences.items()):
            joining = [location for location in new if began_together(known.incident, location, self.landscape)]
            new = [location for location in new if location not in joining]
            if concerned.isdisjoint([*known.silent, *joining]):
                continue
            silent = sorted(self.landscape.silent.keys() & {*known.silent, *joining})
            recount = not told.isdisjoint(due) and known.incident.opened_at_us + RECOUNT_US <= at_us
            silence, revised = judge_silence(known, silent, self.landscape, at_us, recount=recount)
            revisions += revised
            if silence is None:
                del self.silences[name]
            else:
                self.silences[name] = silence
        while new:
            silence = open_silence(new, self.landscape, at_us)
            new = [location for location in new if location not in silence.silent]
            self.silences[silence.incident.incident_id] = silence
            revisions.append(silence.incident)
            wakes.append(Wake(at_us + RECOUNT_US, silence.silent[0]))
        return revisions

    def _keep_trouble(
        self, location: str, before: Trouble | None, trouble: Trouble | None, at_us: int, wakes: list[Wake]
    ) -> None:
        if trouble is None:
            self.troubles.pop(location, None)
            if before is not None:
                recent = [hold for hold in self.past.get(location, ()) if (hold.until_us or 0) > at_us - DAY_US]
                self.past[location] = (*recent, Hold(before.from_us, at_us))
            return
        self.troubles[location] = trouble
        if before is None:
            wakes.append(Wake(at_us + RECOUNT_US, location))
        if trouble.clear_since_us is not None and trouble.clear_since_us == at_us:
            wakes.append(Wake(at_us + trouble.hold_us, location))
        if trouble.run is not None and at_us >= trouble.look_us:
            # That nothing is lost any more is told by no verdict.
            look_us = at_us + trouble.hold_us
            self.troubles[location] = replace(trouble, look_us=look_us)
            wakes.append(Wake(look_us, location))

    def _tell(self, due: Sequence[str], at_us: int) -> list[Incident]:
        """Publish new troubles, recount those that are due, and tell all when sight is lost or comes back."""
        if not self.troubles:
            return []
        blind = self.landscape.reporting.keys() <= self.troubles.keys()
        revisions: list[Incident] = []
        for location in sorted(self.troubles):
            trouble = self.troubles[location]
            recount = location in due and at_us >= trouble.incident.opened_at_us + RECOUNT_US
            if trouble.incident.cause == "" or trouble.blind != blind or (recount and trouble.incident.revision == 0):
                self.troubles[location], told = tell(trouble, location, self.landscape, at_us, blind=blind)
                revisions.extend(told)
        return revisions
