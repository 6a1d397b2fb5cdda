"""The incidents of all targets and locations: verdicts and summaries in, revisions of incidents out.

Verdicts come from the owners of all partitions of `checks`, so their order holds only within one partition. What a
forecast says depends on its target alone and is published at once. What is said of a service depends on all targets
at that time (a location's trouble, siblings, what it depends on): it waits until every partition is closed through
its tick, or had time enough for it (`closing.py`), and is then judged in the order of event time. Therefore the result
does not depend on how the partitions' messages interleave, as long as none lags by more than the lateness; and even
then a target's own ticks are never made up.
"""

import bisect
import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from producers.topics import partition_of
from streams.contract import SERVICE, Incident, TickSummary, Verdict
from streams.core.incidents.closing import NEVER, Closing
from streams.core.incidents.company import Companies, Condition
from streams.core.incidents.findings import Hold, forecast_findings, service_finding
from streams.core.incidents.incident import SubjectState, accompany, step, waits
from streams.core.incidents.landscape import Seen, is_anchor
from streams.core.incidents.locations import Locations
from streams.core.incidents.pace import Pace
from streams.core.incidents.signs import Finding, Sign
from streams.core.incidents.trouble import Silence, Trouble
from streams.core.snapshot import Frozen, freeze, unpack
from streams.policy import DetectPolicy, Expectations, IncidentPolicy

CODE: Final = "incidents-10"
"""Version of the state's form: a snapshot of another one is not loaded."""

VERDICT, ECHO, WAKE = 0, 1, 2


class Entry(NamedTuple):
    """Something to be judged in the order of event time.

    Attributes:
        order: VERDICT, ECHO or WAKE: at one time all verdicts come first.
        name: The target; of a wake the location.
        lateness_us: How long to wait for a partition that lags.
        verdict: Of a VERDICT entry.
    """

    tick_us: int
    order: int
    name: str
    lateness_us: int
    verdict: Verdict | None


@dataclass(slots=True, kw_only=True)
class Track:
    """One target.

    Attributes:
        judged_us: The last tick that was judged; what comes at or before it is a redelivery.
        waiting: Ticks that are not judged yet, ascending.
        foreseen_us: The last tick whose forecasts were told.
        echo: The last verdict, to be judged again at `echo_us` if none comes: a tick without one is like the last
            that was published, and a location's trouble may have ended since.
    """

    judged_us: int = NEVER
    waiting: list[int] = field(default_factory=list)
    foreseen_us: int = NEVER
    service: SubjectState = field(default_factory=SubjectState)
    forecasts: dict[str, SubjectState] = field(default_factory=dict)
    echo_us: int | None = None
    echo: Verdict | None = None


class _State(msgspec.Struct, kw_only=True):
    """What a snapshot holds."""

    code: str
    closing: Closing
    now_us: int
    lateness_us: int
    tracks: dict[str, Track]
    queue: list[Entry]
    deferred: list[Entry]
    targets: dict[str, Seen]
    troubles: dict[str, Trouble]
    silences: dict[str, Silence]
    past: dict[str, tuple[Hold, ...]]
    conditions: dict[str, Condition]
    pace: Incident | None = None


class Incidents:
    """The state of all incidents, and the only way to advance it."""

    def __init__(
        self,
        policy: IncidentPolicy,
        expectations: Expectations,
        *,
        partitions: int,
        settle_ticks: int = DetectPolicy().settle_ticks,
    ) -> None:
        """Start with nothing seen.

        Args:
            policy: Of the installation; `expectations.incidents` overrides it by target.
            expectations: What the config says of the targets.
            partitions: Of `checks`.
            settle_ticks: How many ticks after a change detection publishes, where a target has no policy of its own.

        Raises:
            ValueError: A threshold counts more ticks than detection publishes.
        """
        self._policy = policy
        self._overrides = expectations.incidents
        _refuse_unreachable("", policy, settle_ticks)
        for target, own in expectations.incidents.items():
            detect = expectations.detect.get(target)
            _refuse_unreachable(f"{target}: ", own, settle_ticks if detect is None else detect.settle_ticks)
        self._partitions = partitions
        self._closing = Closing(closed_us=dict.fromkeys(range(partitions), NEVER))
        self._now_us = NEVER
        self._lateness_us = 0
        self._tracks: dict[str, Track] = {}
        self._queue: list[Entry] = []
        self._deferred: list[Entry] = []
        self._locations = Locations(policy=policy)
        self._expectations = expectations
        self._companies = Companies(expectations)
        self._pace = Pace()

    def clock(self, now_us: int) -> Sequence[Incident]:
        """Look how old what is judged is; return the revisions to be published. Judges no target.

        Args:
            now_us: Wall clock, microseconds UTC.
        """
        return self._pace.look(self._closing.closed_us, now_us)

    def logged(self, at_us: int, *, first: bool = False) -> Sequence[Incident]:
        """Say when the log took the message that comes next; return the revisions to be published before it is applied.

        Args:
            at_us: Its timestamp; 0 if it has none.
            first: The log begins anew with it: what was not kept comes again, in any order.
        """
        return self._pace.goes_on(self._closing.closed_us, at_us) if self._closing.logged(at_us, first=first) else ()

    def apply(self, message: Verdict | TickSummary) -> list[Incident]:
        """Take in one message; return the revisions that it causes, in the order in which they are to be published."""
        if isinstance(message, TickSummary):
            self._closing.close(message)
            self._resume()
            return self._release()
        return self._take(message) + self._release()

    def finish(self) -> list[Incident]:
        """Say that nothing more will come: what waits is judged now. Time does not go on by it."""
        last_us = max((entry.tick_us for entry in self._queue if entry.order == VERDICT), default=NEVER)
        self._closing.finish(max(last_us, self._now_us, self._closing.leading_us))
        self._resume()
        return self._release()

    def open(self) -> list[Incident]:
        """Return the incidents that are open, oldest first."""
        found = [*self._locations.open(), *([] if self._pace.incident is None else [self._pace.incident])]
        for track in self._tracks.values():
            states = (track.service, *track.forecasts.values())
            found.extend(state.incident for state in states if state.incident is not None)
        return sorted(found, key=lambda incident: (incident.opened_at_us, incident.incident_id))

    def snapshot(self) -> bytes:
        """Return the whole state, packed."""
        return self.freeze().pack()

    def freeze(self) -> Frozen:
        """Return the whole state as it is now. What is restored from it continues bit for bit."""
        state = _State(
            code=CODE,
            closing=self._closing,
            now_us=self._now_us,
            lateness_us=self._lateness_us,
            tracks=self._tracks,
            queue=self._queue,
            deferred=self._deferred,
            targets=self._locations.landscape.targets,
            troubles=self._locations.troubles,
            silences=self._locations.silences,
            past=self._locations.past,
            conditions=self._companies.conditions,
            pace=self._pace.incident,
        )
        return freeze({"incidents": state}, {})

    def restore(self, payload: bytes) -> None:
        """Replace the whole state by that of a snapshot.

        Raises:
            ValueError: If the payload is damaged or of another form (see CODE); the state is then unchanged.
        """
        meta, _arrays = unpack(payload)
        form = meta.get("incidents")
        code = form.get("code") if isinstance(form, dict) else None
        if code != CODE:
            raise ValueError(f"snapshot: its form is {code!r}, this is {CODE!r}")
        try:
            state = msgspec.convert(form, _State, str_keys=True)  # JSON has no other keys
        except msgspec.ValidationError as error:
            raise ValueError(f"snapshot: {error}") from error
        closed, here = state.closing.closed_us.keys(), self._closing.closed_us.keys()
        if not here <= closed:
            raise ValueError(f"snapshot: it is of {len(closed)} partitions, here are {len(here)}")
        self._closing = state.closing
        self._now_us, self._lateness_us = state.now_us, state.lateness_us
        self._tracks, self._queue, self._deferred = state.tracks, state.queue, state.deferred
        self._locations = Locations(
            policy=self._policy, troubles=state.troubles, silences=state.silences, past=state.past
        )
        self._locations.landscape.rebuild(state.targets)
        self._companies = Companies(self._expectations, state.conditions)
        self._pace = Pace(state.pace)

    def _take(self, verdict: Verdict) -> list[Incident]:
        track = self._tracks.setdefault(verdict.target, Track())
        if verdict.tick_us <= track.judged_us or verdict.tick_us in track.waiting:
            return []
        # Not always the newest: in a new log, who judged the target before may deliver again after who judges it now.
        bisect.insort(track.waiting, verdict.tick_us)
        self._lateness_us = max(self._lateness_us, verdict.lateness_us)
        entry = Entry(verdict.tick_us, VERDICT, verdict.target, verdict.lateness_us, verdict)
        heapq.heappush(self._queue, entry)
        if is_anchor(verdict.target):
            return []  # it speaks of its location, not of a service
        if track.echo_us is not None and verdict.tick_us <= track.echo_us:
            track.echo_us = track.echo = None
        # In a new log older ones may follow: there forecasts wait too.
        return [] if self._closing.gathering else self._step_forecasts(track, verdict)

    def _release(self) -> list[Incident]:
        """Judge what no partition can add to any more, in the order of event time."""
        revisions: list[Incident] = []
        while self._queue and self._closing.enough(self._queue[0].tick_us, self._queue[0].lateness_us):
            tick_us = self._queue[0].tick_us
            entries = []
            while self._queue and self._queue[0].tick_us == tick_us:
                entry = heapq.heappop(self._queue)
                if entry.order == ECHO and not self._is_closed(entry):
                    self._deferred.append(entry)
                else:
                    entries.append(entry)
            revisions += self._advance(tick_us, entries)
        return revisions

    def _is_closed(self, entry: Entry) -> bool:
        """Say whether a target's own partition can add no verdict at or before this any more.

        Only then an echo says what the tick was, however long the others wait for that partition.
        """
        return self._closing.closed_us[partition_of(entry.name, self._partitions)] >= entry.tick_us

    def _resume(self) -> None:
        """Put back the echoes that waited for their own partition."""
        waiting = self._deferred
        self._deferred = []
        for entry in waiting:
            if self._is_closed(entry):
                heapq.heappush(self._queue, entry)
            else:
                self._deferred.append(entry)

    def _advance(self, tick_us: int, entries: Sequence[Entry]) -> list[Incident]:
        # A verdict of a partition that lagged too far is judged by what is known now.
        self._now_us = max(self._now_us, tick_us)
        verdicts = [entry.verdict for entry in entries if entry.verdict is not None]
        due = [entry.name for entry in entries if entry.order == WAKE]
        revisions, wakes = self._locations.advance(self._now_us, verdicts, due)
        for wake in wakes:
            heapq.heappush(self._queue, Entry(wake.at_us, WAKE, wake.location, self._lateness_us, None))
        for verdict in verdicts:
            revisions += self._judge(verdict)
        for entry in entries:
            if entry.order == ECHO:
                revisions += self._echo(entry)
        return revisions

    def _judge(self, verdict: Verdict) -> list[Incident]:
        track = self._tracks[verdict.target]
        # Its own partition is past them, or this one would not be here.
        revisions = self._catch_up(track, verdict.tick_us)
        track.waiting.remove(verdict.tick_us)
        if is_anchor(verdict.target):
            track.judged_us = verdict.tick_us
            return []  # it speaks of its location, not of a service
        revisions += self._step_forecasts(track, verdict)
        return revisions + self._judge_at(track, verdict, verdict.tick_us)

    def _catch_up(self, track: Track, before_us: int) -> list[Incident]:
        revisions: list[Incident] = []
        while track.echo is not None and track.echo_us is not None and track.echo_us < before_us:
            verdict, echo_us = track.echo, track.echo_us
            track.echo_us = track.echo = None
            revisions += self._judge_at(track, verdict, echo_us)
        return revisions

    def _echo(self, entry: Entry) -> list[Incident]:
        track = self._tracks[entry.name]
        verdict = track.echo
        if track.echo_us != entry.tick_us or verdict is None:
            return []  # a newer verdict came
        track.echo_us = track.echo = None
        return self._judge_at(track, verdict, entry.tick_us)

    def _judge_at(self, track: Track, verdict: Verdict, tick_us: int) -> list[Incident]:
        track.judged_us = tick_us
        again = msgspec.structs.replace(verdict, tick_us=tick_us)
        landscape = self._locations.landscape
        hosts = landscape.hosts(verdict.reported)
        finding, held = service_finding(again, self._locations.holds(), landscape.targets[verdict.target], hosts)
        revisions = self._step_service(track, verdict, finding)
        if held or waits(track.service, finding) or not self._settled(track, verdict.target, finding):
            self._push_echo(track, verdict, tick_us + verdict.interval_us)
        return revisions

    def _push_echo(self, track: Track, verdict: Verdict, echo_us: int) -> None:
        if track.waiting and track.waiting[0] <= echo_us:
            return
        track.echo_us, track.echo = echo_us, verdict
        entry = Entry(echo_us, ECHO, verdict.target, verdict.lateness_us, None)
        heapq.heappush(self._queue, entry)

    def _settled(self, track: Track, target: str, finding: Finding) -> bool:
        """Say whether another tick like this one would change nothing."""
        state, policy = track.service, self._policy_of(target)
        company = self._companies.of(target, finding, None)
        again, revisions = step(target, SERVICE, state, finding, policy, company)
        return again == state and not revisions

    def _step_service(self, track: Track, verdict: Verdict, finding: Finding) -> list[Incident]:
        target, companies = verdict.target, self._companies
        company = companies.of(target, finding, verdict.address)
        track.service, told = step(target, SERVICE, track.service, finding, self._policy_of(target), company)
        incident = track.service.incident
        companies.see(target, finding, verdict.address, incident, company.caused_by)
        if incident is None or incident.caused_by is None:
            return list(told)
        return [*told, *self._tell_cause(incident.caused_by, finding.tick_us)]

    def _tell_cause(self, target: str, at_us: int) -> list[Incident]:
        """Say of the incident that explains another one that it does."""
        track = self._tracks.get(target)
        if track is None:
            return []
        track.service, told = accompany(track.service, self._companies.followed_by(target), at_us)
        return list(told)

    def _step_forecasts(self, track: Track, verdict: Verdict) -> list[Incident]:
        if verdict.tick_us <= track.foreseen_us:
            return []
        track.foreseen_us = verdict.tick_us
        revisions: list[Incident] = []
        policy = self._policy_of(verdict.target)
        for subject, finding in forecast_findings(verdict, track.forecasts).items():
            before = track.forecasts.get(subject, SubjectState())
            state, told = step(verdict.target, subject, before, finding, policy)
            revisions += told
            if state.incident is None and finding.sign is Sign.HEALTHY:
                track.forecasts.pop(subject, None)
            else:
                track.forecasts[subject] = state
        return revisions

    def _policy_of(self, target: str) -> IncidentPolicy:
        return self._overrides.get(target, self._policy)


def _refuse_unreachable(owner: str, policy: IncidentPolicy, settle_ticks: int) -> None:
    for name in ("failure_ticks", "success_ticks", "warning_ticks", "partial_failure_ticks"):
        ticks = getattr(policy, name)
        if not 1 <= ticks <= settle_ticks + 1:
            raise ValueError(f"{owner}{name} is {ticks}: it must be from 1 to {settle_ticks + 1} (settle_ticks + 1)")
