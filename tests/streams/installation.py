"""A small installation as timelines, turned into the messages that detection would publish.

One letter a tick: S success, F failure, m missed (nothing is reported), x silent, D slow and successful.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from producers.topics import partition_of
from streams.contract import (
    SERVICE,
    VERSION,
    Incident,
    LocationCount,
    Reason,
    TickSummary,
    Verdict,
    VerdictName,
    derived_id,
)
from streams.core.incidents.incidents import Incidents
from streams.policy import Expectations, IncidentPolicy

SECOND = 1_000_000
INTERVAL_US = 30 * SECOND
START_US = 1_700_000_000 * SECOND // INTERVAL_US * INTERVAL_US
SETTLE_TICKS = 5

Message = Verdict | TickSummary
Rows = Mapping[str, Mapping[str, str]]
"""By target and location: the timeline."""


@dataclass(frozen=True, kw_only=True)
class Installation:
    """Targets under watch.

    Attributes:
        rows: The timelines, all of one length.
        addresses: By target; without one a target has its own.
        offsets_us: When in its interval a target is checked.
        forecasts: By target a line with `d` where the disk's forecast warns.
        expectations: What the config says of groups and dependencies.
    """

    rows: Rows
    partitions: int = 3
    lateness_us: int = 2 * INTERVAL_US
    addresses: Mapping[str, str] = field(default_factory=dict)
    offsets_us: Mapping[str, int] = field(default_factory=dict)
    forecasts: Mapping[str, str] = field(default_factory=dict)
    expectations: Expectations = field(default_factory=Expectations)

    @property
    def ticks(self) -> int:
        """How long the timelines are."""
        return max(len(line) for lines in self.rows.values() for line in lines.values())

    def tick_us(self, target: str, tick: int) -> int:
        """When a target is checked."""
        return START_US + tick * INTERVAL_US + self.offsets_us.get(target, 0)

    def verdicts(self, target: str) -> list[Verdict]:
        """What detection publishes of a target: each change, and a few ticks after it."""
        published: list[Verdict] = []
        last: Verdict | None = None
        quiet = 0
        for tick in range(self.ticks):
            verdict = self._verdict(target, tick, last)
            quiet = 0 if verdict.changed else quiet + 1
            if quiet <= SETTLE_TICKS:
                published.append(verdict)
            last = verdict
        return published

    def messages(self) -> list[list[Message]]:
        """By partition, in order: the verdicts of each tick, then the summary that closes its slot."""
        by_partition: list[list[Message]] = []
        for partition in range(self.partitions):
            own = [target for target in self.rows if partition_of(target, self.partitions) == partition]
            verdicts = sorted(
                (verdict for target in own for verdict in self.verdicts(target)),
                key=lambda verdict: (verdict.tick_us, verdict.target),
            )
            messages: list[Message] = []
            for tick in range(self.ticks):
                slot_us = START_US + tick * INTERVAL_US
                messages += [one for one in verdicts if slot_us <= one.tick_us < slot_us + INTERVAL_US]
                messages.append(summary(partition, slot_us))
            by_partition.append(messages)
        return by_partition

    def _verdict(self, target: str, tick: int, last: Verdict | None) -> Verdict:
        letters = {location: line[tick] for location, line in self.rows[target].items()}
        reported = sorted(location for location, letter in letters.items() if letter in "SFD")
        failed = sorted(location for location, letter in letters.items() if letter == "F")
        slow = sorted(location for location, letter in letters.items() if letter == "D")
        silent = sorted(location for location, letter in letters.items() if letter == "x")
        at_us = self.tick_us(target, tick)
        reasons = []
        if failed:
            kind = "failing" if 2 * len(failed) > len(reported) else "partial_failure"
            reasons.append(_reason(kind, "timeout", at_us, failed, failure="timeout"))
        if slow:
            reasons.append(_reason("latency_level", "latency 412 ms, normally 35 ms", at_us, slow, metric="latency"))
        if self.forecasts.get(target, "").ljust(self.ticks)[tick] == "d":
            text = "disk full in 2 days"
            reasons.append(
                _reason("forecast", text, at_us, ["ams"], metric="disk_free_ratio", subject="disk_free_ratio")
            )
        if silent:
            reasons.append(_reason("silence", "nothing comes", at_us, silent))
        name: VerdictName = "degraded" if [r for r in reasons if r.kind != "silence"] else "healthy"
        if not reported:
            name = "unknown"
        elif 2 * len(failed) > len(reported):
            name = "failing"
        changed = last is None or (name, failed, _kinds(reasons)) != (last.verdict, last.failed, _kinds(last.reasons))
        same = last is not None and last.verdict == name
        return Verdict(
            v=VERSION,
            id=derived_id(target, at_us),
            target=target,
            tick_us=at_us,
            verdict=name,
            previous=last.verdict if last is not None else "unknown",
            changed=changed,
            since_us=last.since_us if last is not None and same else at_us,
            interval_us=INTERVAL_US,
            lateness_us=self.lateness_us,
            reported=reported,
            failed=failed,
            address=self.addresses.get(target),
            reasons=reasons,
        )


def summary(partition: int, slot_us: int) -> TickSummary:
    """The message that closes a slot of a partition."""
    return TickSummary(
        v=VERSION,
        id=derived_id("summary", partition, slot_us),
        partition=partition,
        slot_us=slot_us,
        width_us=INTERVAL_US,
        closed_through_us=slot_us + INTERVAL_US - 1,
        locations=[LocationCount(location="ams", reported=1, failed=0)],
    )


def merged(by_partition: list[list[Message]]) -> list[Message]:
    """One order in which the partitions may be read: a slot of each in turn."""
    order: list[Message] = []
    queues = [list(messages) for messages in by_partition]
    while any(queues):
        for queue in queues:
            while queue:
                message = queue.pop(0)
                order.append(message)
                if isinstance(message, TickSummary):
                    break
    return order


def incidents_of(installation: Installation, **thresholds: int) -> Incidents:
    """An empty state for an installation."""
    policy = IncidentPolicy(**thresholds)
    return Incidents(policy, installation.expectations, partitions=installation.partitions)


def play(installation: Installation, **thresholds: int) -> list[Incident]:
    """All revisions, in order, the end of the timelines included."""
    incidents = incidents_of(installation, **thresholds)
    revisions = [one for message in merged(installation.messages()) for one in incidents.apply(message)]
    return revisions + incidents.finish()


def final(revisions: list[Incident]) -> dict[str, Incident]:
    """The last revision of each incident."""
    return {incident.incident_id: incident for incident in revisions}


def said(installation: Installation, **thresholds: int) -> set[tuple[str, str, int, int | None]]:
    """Final states as (target or location, kind, tick opened, tick resolved)."""

    def tick(at_us: int | None) -> int | None:
        return None if at_us is None else (at_us - START_US) // INTERVAL_US

    return {
        (
            incident.target or incident.location or "",
            incident.kind,
            tick(incident.opened_at_us) or 0,
            tick(incident.resolved_at_us),
        )
        for incident in final(play(installation, **thresholds)).values()
    }


def _reason(
    kind: str,
    text: str,
    since_us: int,
    locations: list[str],
    *,
    subject: str = SERVICE,
    metric: str | None = None,
    failure: str | None = None,
) -> Reason:
    return Reason(
        kind=kind,
        subject=subject,
        text=text,
        probe="http",
        since_us=since_us,
        locations=locations,
        metric=metric,
        failure=failure,
    )


def _kinds(reasons: list[Reason]) -> list[tuple[str, str, list[str]]]:
    return [(reason.kind, reason.subject, reason.locations) for reason in reasons]
