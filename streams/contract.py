"""What the streams publish: deviations, verdicts, incidents, alerts, actions, dead letters.

All are JSON objects, one a message, with a version `v` and an `id` derived from what they are about, so that a
replay publishes the same ids. Times are integer microseconds UTC. Readers ignore fields that they do not know.

Also here: the protocols that an upper folder implements (`StateStore`, `History`).
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol

import msgspec

if TYPE_CHECKING:
    from producers.contract import CheckColumns

VERSION: Final = 1

VerdictName = Literal["healthy", "degraded", "failing", "unknown"]
Severity = Literal["info", "warning", "critical"]
IncidentKind = Literal["early_warning", "outage", "location_trouble", "silence"]
IncidentEffect = Literal["opened", "escalated", "updated", "resolved"]
AlertKind = Literal["initial", "reminder", "escalation", "resolved"]
ActionKind = Literal["acknowledge", "note", "resolve", "silence", "maintenance", "configure"]

SERVICE: Final = "service"
"""The subject of all reasons about answering and speed. A forecast's subject is its metric's name."""

JUDGING: Final = "judging"
"""The subject of an incident about forewarn itself: partitions of `checks` are judged late or not at all."""


def derived_id(*parts: str | int | None) -> str:
    """Return 24 hex digits that stand for `parts`: the same parts, the same id, on every machine."""
    text = "\x1f".join("" if part is None else str(part) for part in parts)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def payload_checksum(payload: bytes) -> str:
    """Return the checksum that a snapshot of this payload carries: blake2b, 32 hex digits."""
    return hashlib.blake2b(payload, digest_size=16).hexdigest()


class Deviation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A series leaves its norm (`active` true), or is back in it (false).

    Attributes:
        detector: The name of the detector: latency_level, failure_ratio, metric_level, forecast, ...
        metric: `latency`, `failure_ratio`, or the metric's name.
        location: Where the series is measured; None for what is judged over all locations (failure_ratio).
        tick_us: The tick at which it was flagged.
        since_us: The first tick that was abnormal.
        score: Robust standard deviations, or -log10 of a probability, as the detector says; finite.
        value: What was seen, in the metric's unit (latency: microseconds).
        baseline: What is normal, same unit; None for a forecast.
        limit: The limit of a forecast, or the value from which it counts as abnormal.
        phase: The phase that grew most, if one explains it.
        time_left_us: Lower bound of the time until the limit.
        time_left_upper_us: Upper bound; None if open.
        provisional: Judged without the state, as a Verdict may be.
    """

    v: int
    id: str
    target: str
    probe: str
    location: str | None
    metric: str
    detector: str
    tick_us: int
    since_us: int
    active: bool
    score: float
    value: float
    baseline: float | None = None
    limit: float | None = None
    phase: str | None = None
    time_left_us: int | None = None
    time_left_upper_us: int | None = None
    provisional: bool = False


class Reason(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a verdict is what it is, complete enough to write an alert from it.

    Attributes:
        kind: `failing`, `partial_failure`, `silence`, or a detector's name.
        subject: SERVICE, or the metric's name of a forecast: reasons of one subject make one incident.
        text: One sentence for a person, without the target's name.
        locations: Where it is seen.
        baseline: What is normal. Of `failing` and `partial_failure`: the share of checks that fail by themselves.
        limit: From where it is not normal. Of `failing` and `partial_failure`: so many ticks in a row are no chance.
        failure: The failure reason of checks, if checks fail: of most of them.
    """

    kind: str
    subject: str
    text: str
    probe: str
    since_us: int
    severity: Severity = "warning"
    locations: list[str] = []
    metric: str | None = None
    value: float | None = None
    baseline: float | None = None
    limit: float | None = None
    score: float | None = None
    phase: str | None = None
    failure: str | None = None
    time_left_us: int | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="verdict", omit_defaults=True):
    """What a target is at a tick.

    Published at each change (of the verdict, of the failing locations, or of the reasons' kinds and subjects),
    `changed` true, and for the few ticks after it that counting thresholds need (`DetectPolicy.settle_ticks`).
    A tick of a target that has none is like the last one that was published.

    Attributes:
        since_us: The first tick of this verdict; for failing, the first failing check (back-dated).
        interval_us: Of the probe that closed this tick.
        reported: Locations that reported at this tick; failed: those of them whose check failed.
        address: What the target's checks talked to last.
        provisional: Judged without the state, while it cannot be had: failures in a row are sure, what the target was
            before is not. It opens incidents and is not stored; whoever has the state judges the tick again.
    """

    v: int
    id: str
    target: str
    tick_us: int
    verdict: VerdictName
    previous: VerdictName
    changed: bool
    since_us: int
    interval_us: int
    lateness_us: int
    reported: list[str]
    failed: list[str]
    address: str | None = None
    reasons: list[Reason] = []
    provisional: bool = False


class LocationCount(msgspec.Struct, frozen=True, kw_only=True):
    """Checks of one location in a slot, by outcome (missed ones are not reported)."""

    location: str
    reported: int
    failed: int


class TickSummary(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="summary"):
    """One partition of `checks` has closed a slot, even when nothing was in it.

    Attributes:
        slot_us: Start of the slot, a multiple of `width_us`.
        closed_through_us: Every tick of this partition at or before this is judged and published.
        locations: What each reported.
        partial: Who tells it began without the state, and may have seen a part of the slot's checks only. It says how
            far the partition is; its counts are not stored.
    """

    v: int
    id: str
    partition: int
    slot_us: int
    width_us: int
    closed_through_us: int
    locations: list[LocationCount]
    partial: bool = False


class Incident(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An incident after a step: the whole state, so the last revision says all.

    Attributes:
        id: `<incident_id>.<revision>`.
        incident_id: From target or location, subject, and the tick that opened it.
        target: None where it is a location's, or forewarn's own (subject JUDGING; each reason's probe is then the
            number of a partition).
        location: None but for a location's.
        kind: The highest stage reached.
        began_at_us: The first abnormal tick (back-dated), what SLA accounting counts from.
        opened_at_us: The tick at which it was decided to open it.
        warned_at_us: The tick at which the early warning was raised.
        outage_at_us: The tick at which it was declared an outage.
        page: True if anything about it pages so far.
        cause: One line: what, where, since when, how far from normal, time left.
        updated_at_us: The tick of this step.
        caused_by: The target whose failure explains this one (a sibling's, or what this target depends on). Such an
            incident is recorded and told nobody: the other one is told. None where it stands for itself.
        related: Targets that fail with this one and are told with it.
    """

    v: int
    id: str
    incident_id: str
    revision: int
    effect: IncidentEffect
    target: str | None
    location: str | None
    subject: str
    kind: IncidentKind
    severity: Severity
    page: bool
    cause: str
    began_at_us: int
    opened_at_us: int
    updated_at_us: int
    warned_at_us: int | None = None
    outage_at_us: int | None = None
    resolved_at_us: int | None = None
    locations: list[str] = []
    reasons: list[Reason] = []
    caused_by: str | None = None
    related: list[str] = []


class Alert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message to one channel was delivered, or given up.

    Attributes:
        id: From incident_id, kind, number and channel: its key. At least one message for each key.
        number: 0 for initial and resolved; counts reminders.
        text: What was sent.
        stage: The incident's kind when it was sent.
    """

    v: int
    id: str
    incident_id: str
    kind: AlertKind
    number: int
    channel: str
    page: bool
    at_us: int
    delivered: bool
    attempts: int
    title: str
    text: str
    error: str | None = None
    stage: IncidentKind | None = None


class Action(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a person (or an accepted config) does. `id` is made once, at its source.

    Attributes:
        text: A note; for `configure` the accepted config's text with its secrets masked.
        effective_from_us: For `configure`: the first tick that this config version judges.
    """

    v: int
    id: str
    kind: ActionKind
    at_us: int
    person: str
    incident_id: str | None = None
    target: str | None = None
    until_us: int | None = None
    text: str | None = None
    config_version: int | None = None
    effective_from_us: int | None = None


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message that could not be used. `id` is derived from its position.

    Attributes:
        reason: One of `producers.contract.DEAD_LETTER_REASONS`.
        payload: The first 64 KiB of the message, base64; `payload_bytes` is its whole size.
        group: Who refused it.
        key: The message's key in the log, base64; None if it had none.
    """

    v: int
    id: str
    topic: str
    epoch: str
    partition: int
    offset: int
    log_timestamp_us: int
    reason: str
    detail: str
    group: str
    at_us: int
    payload: str
    payload_bytes: int
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The whole state of one group for one partition, as of the positions that it includes.

    Attributes:
        group: detect, incidents, alerts.
        positions: (topic, partition, epoch, offset of the last message included) for each topic that was read.
        code: Version of the state's form; another one is not loaded (and said so).
        payload: Compressed; `checksum` is `payload_checksum` of it.
    """

    group: str
    partition: int
    positions: tuple[tuple[str, int, str, int], ...]
    taken_at_us: int
    code: str
    payload: bytes
    checksum: str


class StateStore(Protocol):
    """Where snapshots are kept: three a (group, partition). Implemented by `analytics` and by a local copy."""

    def save(self, *snapshots: Snapshot) -> None:
        """Keep snapshots of one group, at most one a partition. Returns when all are durable.

        Raises:
            TransientError: The store is away; any of them may be kept all the same.
        """

    def load(self, group: str, partition: int) -> Sequence[Snapshot]:
        """Return the kept snapshots whose checksum holds, newest first.

        Raises:
            TransientError: The store is away.
        """


class History(Protocol):
    """Where checks are stored: what a detector learns from when its state is lost. Implemented by `analytics`.

    Meant are the checks of one partition of `checks` from `from_us` on that the log of `epoch` does not bring from
    its offset `before` on: those of other epochs, and those that were read before it.
    """

    def checks(self, partition: int, *, from_us: int, epoch: str, before: int) -> "Iterator[CheckColumns]":
        """Yield them by time, in pieces that follow each other.

        Raises:
            TransientError: The store is away.
        """

    def count(self, partition: int, *, from_us: int, epoch: str, before: int) -> int:
        """Return about how many there are.

        Raises:
            TransientError: The store is away.
        """
