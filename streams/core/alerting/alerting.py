"""Which alerts are due: a fold of incidents, people's actions and the alerts that were sent. No clock, no sending.

    incidents ──┐
    actions   ──┼──> fold ──> due(channel, now): initial, escalation, reminder, resolved, each with its key
    alerts    ──┘    (what was sent)

An alert is done when its record has come back through the topic `alerts`, and not before. So a worker that dies in
between sends it again: at least once for each key.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from producers.topics import partition_of
from streams.contract import JUDGING, Action, Alert, AlertKind, Incident, derived_id
from streams.core.alerting import text as alert_text
from streams.core.incidents.pace import behind_partitions
from streams.core.snapshot import Frozen, freeze, unpack
from streams.policy import DAY_US, SECOND_US, AlertPolicy, Channel

CODE: Final = "alerts-1"
"""Version of the state's form: a snapshot of another one is not loaded."""

REMEMBERED_US: Final = 7 * DAY_US
"""A resolved incident is remembered for so long, because another log may bring its messages again."""

STALE_US: Final = 300 * SECOND_US
"""A step that is written so long after its tick comes out of a backlog."""

SETTLE_US: Final = 90 * SECOND_US
"""By then the incidents worker has said whether judging is behind."""

LOCATION_WAITS_US: Final = 1800 * SECOND_US
"""A location's incident is of all partitions: a single one that is stopped for days must not hold it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """One message to one channel that must be sent.

    Attributes:
        key: Of its record; the same however often it is tried.
        page: It wakes a person.
        parts: Of a digest: what it stands for, each with a record of its own. Its own key is made of theirs.
    """

    key: str
    kind: AlertKind
    number: int
    channel: str
    page: bool
    title: str
    text: str
    incident: Incident
    parts: tuple["Due", ...] = ()


class _Told(msgspec.Struct, kw_only=True):
    """What one channel was told about one incident.

    Attributes:
        at_us: The last attempt that ended, delivered or given up.
        delivered: Anything was delivered.
        stage: What the incident was when the initial alert was sent.
    """

    at_us: int
    delivered: bool
    stage: str
    escalated: bool = False
    reminders: int = 0
    resolved: bool = False


class _Case(msgspec.Struct, kw_only=True):
    """One incident and what was told about it; without `incident` only records of it are known so far.

    Attributes:
        quiet: It was over before this fold could have told anybody.
        told: By channel.
        stale_us: It came out of a backlog, at this time of the log: what it says may be over by now.
    """

    incident: Incident | None = None
    acknowledged: bool = False
    quiet: bool = False
    told: dict[str, _Told] = {}
    seen_us: int = 0
    stale_us: int | None = None


class _State(msgspec.Struct, kw_only=True):
    cases: dict[str, _Case]
    newest_us: int


class Alerting:
    """The fold. Feed it every message of the three topics, in any interleaving; redeliveries change nothing."""

    def __init__(self, policy: AlertPolicy, *, partitions: int) -> None:
        """Begin with nothing.

        Args:
            policy: How alerts are sent.
            partitions: Of `checks`.
        """
        self._policy = policy
        self._partitions = partitions
        self._cases: dict[str, _Case] = {}
        self._newest_us = 0

    def incident(self, incident: Incident, *, logged_us: int = 0) -> None:
        """Take in a revision of an incident; one at or before the known one is a redelivery.

        Args:
            incident: After a step.
            logged_us: The log's timestamp of it; 0 if that is unknown. Far after the step itself: it comes out of a
                backlog.
        """
        case = self._case(incident.incident_id, incident.updated_at_us)
        if case.incident is None or incident.revision > case.incident.revision:
            case.incident = incident
            late = logged_us - incident.updated_at_us > STALE_US
            case.stale_us = max(logged_us, case.stale_us or 0) if late else None
        self._forget()

    def action(self, action: Action) -> None:
        """Take in what a person did: an acknowledged incident is not reminded of."""
        if action.kind == "acknowledge" and action.incident_id is not None:
            self._case(action.incident_id, action.at_us).acknowledged = True

    def alert(self, alert: Alert) -> None:
        """Take in the record of an alert: it is done."""
        case = self._case(alert.incident_id, alert.at_us)
        told = case.told.get(alert.channel)
        if told is None:
            told = _Told(at_us=alert.at_us, delivered=alert.delivered, stage=alert.stage or "")
            case.told[alert.channel] = told
        told.at_us = max(told.at_us, alert.at_us)
        told.delivered = told.delivered or alert.delivered
        if alert.kind == "initial":
            told.stage = alert.stage or ""
        elif alert.kind == "escalation":
            told.escalated = True
        elif alert.kind == "reminder":
            told.reminders = max(told.reminders, alert.number)
        else:
            told.resolved = True

    def caught_up(self) -> None:
        """Say that all of the past is taken in: what is over and was never told stays untold, what is open is stale."""
        for case in self._cases.values():
            if case.incident is None or case.told:
                continue
            if case.incident.resolved_at_us is not None:
                case.quiet = True
            elif case.stale_us is None:
                case.stale_us = 0

    def due(self, channel: Channel, now_us: int) -> Sequence[Due]:
        """Return what must be sent to a channel now, oldest incident first.

        What comes out of a backlog waits until judging has caught up; what is open then is one message.

        Args:
            channel: One of the policy's.
            now_us: Wall clock, microseconds UTC.
        """
        found, stale = [], []
        late = self._late_partitions()
        for case in self._cases.values():
            step = None if case.incident is None or case.quiet else self._next(case, case.incident, channel, now_us)
            if step is None or case.incident is None:
                continue
            due = _due(case.incident, *step, channel, now_us, self._policy.watched)
            if due.kind != "initial" or case.stale_us is None or case.incident.subject == JUDGING:
                found.append(due)
            elif not self._waits(case.incident, case.stale_us, now_us, late):
                stale.append(due)
        found += [_digest(stale, now_us)] if len(stale) > 1 else stale
        return sorted(found, key=lambda one: (one.incident.opened_at_us, one.key))

    def _late_partitions(self) -> frozenset[int]:
        """Return the partitions that are judged late, as far as is known."""
        own = [case.incident for case in self._cases.values() if case.incident and case.incident.subject == JUDGING]
        newest = max(own, key=lambda one: one.opened_at_us, default=None)
        return frozenset() if newest is None or newest.resolved_at_us is not None else behind_partitions(newest)

    def _waits(self, incident: Incident, stale_us: int, now_us: int, late: frozenset[int]) -> bool:
        """Say whether an incident out of a backlog may be over by now, at the head of the log."""
        if now_us < stale_us + SETTLE_US:
            return True  # whether judging is behind is known only a little later
        if incident.target is None:
            return bool(late) and now_us < stale_us + LOCATION_WAITS_US
        return partition_of(incident.target, self._partitions) in late

    def _next(self, case: _Case, incident: Incident, channel: Channel, now_us: int) -> tuple[AlertKind, int] | None:
        """Return kind and number of the one message that comes next for this channel, if any is due."""
        told = case.told.get(channel.name)
        explained = incident.caused_by is not None  # the incident that explains it is told
        if told is None:
            if explained or (case.stale_us is not None and incident.resolved_at_us is not None):
                return None  # the latter: over before anybody could do anything
            if channel.pages and (not incident.page or incident.resolved_at_us is not None):
                return None  # nobody is woken for what does not page, nor for what is over
            return ("initial", 0)
        if incident.resolved_at_us is not None:
            return ("resolved", 0) if told.delivered and not told.resolved else None
        if incident.kind != "outage" or explained:
            return None
        if told.stage == "early_warning" and not told.escalated:
            return ("escalation", 0)
        wait_us = self._policy.reminder_us
        if wait_us is None or case.acknowledged or now_us < told.at_us + wait_us:
            return None
        return ("reminder", told.reminders + 1)

    def _case(self, incident_id: str, at_us: int) -> _Case:
        case = self._cases.setdefault(incident_id, _Case())
        case.seen_us = max(case.seen_us, at_us)
        self._newest_us = max(self._newest_us, at_us)
        return case

    def _forget(self) -> None:
        """Forget what has been over for long. Time is that of the messages: a replay forgets the same."""
        horizon_us = self._newest_us - REMEMBERED_US
        for incident_id in [key for key, case in self._cases.items() if case.seen_us < horizon_us and _is_over(case)]:
            del self._cases[incident_id]

    def freeze(self) -> Frozen:
        """Return the whole state as it is now."""
        return freeze({"code": CODE, "state": _State(cases=self._cases, newest_us=self._newest_us)}, {})

    def snapshot(self) -> bytes:
        """Return the whole state, packed."""
        return self.freeze().pack()

    def restore(self, payload: bytes) -> None:
        """Replace the whole state by that of a snapshot.

        Raises:
            ValueError: It is damaged or of another form; the state is then unchanged.
        """
        meta, _ = unpack(payload)
        if meta.get("code") != CODE:
            raise ValueError(f"snapshot: its form is {meta.get('code')!r}, not {CODE!r}")
        try:
            state = msgspec.convert(meta.get("state"), type=_State)
        except msgspec.ValidationError as error:
            raise ValueError(f"snapshot: its content is not usable: {error}") from error
        self._cases, self._newest_us = state.cases, state.newest_us


def _is_over(case: _Case) -> bool:
    return case.incident is None or case.incident.resolved_at_us is not None


def _digest(parts: Sequence[Due], now_us: int) -> Due:
    """Return one message for all of these, to one channel."""
    incidents = [one.incident for one in parts]
    worst = min(parts, key=lambda one: (one.incident.kind != "outage", one.incident.began_at_us, one.key))
    return Due(
        key=derived_id("digest", *sorted(one.key for one in parts)),
        kind="initial",
        number=0,
        channel=worst.channel,
        page=worst.page,
        title=alert_text.digest_title(incidents),
        text=alert_text.digest(incidents, now_us=now_us),
        incident=worst.incident,
        parts=tuple(parts),
    )


def _due(
    incident: Incident,
    kind: AlertKind,
    number: int,
    channel: Channel,
    now_us: int,
    watched: Mapping[tuple[str, str], str],
) -> Due:
    return Due(
        key=derived_id(incident.incident_id, kind, number, channel.name),
        kind=kind,
        number=number,
        channel=channel.name,
        page=channel.pages,
        title=alert_text.title(incident, kind, now_us=now_us),
        text=alert_text.text(incident, kind, now_us=now_us, watched=watched),
        incident=incident,
    )
