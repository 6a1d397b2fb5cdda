"""Proof that what workers and outboxes rely on at their next start is whole: snapshots, positions, marks, revisions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from analytics.session import Session
from analytics.state import KEPT, ClickHouseStateStore
from streams.contract import Snapshot

# At most one row a slot: which is the newest is said by the number, as in `analytics.state`.
_SNAPSHOTS: Final = """
SELECT group_name, log_partition, groupArray((number, slot)) FROM snapshots
GROUP BY group_name, log_partition ORDER BY group_name, log_partition
"""
_REVISIONS: Final = """
SELECT incident_id, toInt64(uniqExact(revision)), min(revision), max(revision) FROM incidents_log
GROUP BY incident_id HAVING uniqExact(revision) != max(revision) - min(revision) + 1 ORDER BY incident_id
"""
_MARKS: Final = "SELECT outbox_id, max(seq) FROM outbox_marks_log GROUP BY outbox_id ORDER BY outbox_id"

Committed = Mapping[tuple[str, str, int], tuple[str, int]]
"""By (group, topic, partition): the epoch of the topic, and the group's committed offset of the next message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that is not as it must be.

    Attributes:
        what: table, view, snapshot, position, mark or incident.
        subject: Which one.
        text: What is wrong.
        repaired: It was put right.
    """

    what: str
    subject: str
    text: str
    repaired: bool = False


def check_kept(session: Session, committed: Committed | None = None) -> list[Fault]:
    """Look at everything; `committed` is what the log says, None: it was not asked. Blocking.

    Raises:
        StoreUnavailableError, StoreRefusedError: The store is away, or says no.
    """
    return [*_snapshot_faults(session, committed), *_revision_faults(session)]


def highest_marks(session: Session) -> dict[str, int]:
    """Return the highest number that any reader has marked, by outbox id. Blocking.

    Raises:
        StoreUnavailableError, StoreRefusedError: The store is away, or says no.
    """
    return {outbox: int(seq) for outbox, seq in _rows(session, _MARKS)}


def mark_faults(marks: Mapping[str, int], last_seqs: Mapping[str, int]) -> list[Fault]:
    """Say which outboxes are behind their own marks: what they publish next would count as stored already.

    Args:
        marks: As of before `last_seqs` was looked at.
        last_seqs: The last number that each outbox gave; outboxes of other machines are not in it.
    """
    return [
        Fault(what="mark", subject=outbox, text=f"is marked up to {marks[outbox]}, but ends at {last}: an older copy?")
        for outbox, last in sorted(last_seqs.items())
        if marks.get(outbox, 0) > last
    ]


def _rows(session: Session, sql: str) -> Sequence[Sequence[Any]]:
    with session.client() as client:
        return client.query(sql).result_rows


def _snapshot_faults(session: Session, committed: Committed | None) -> list[Fault]:
    faults: list[Fault] = []
    state = ClickHouseStateStore(session.settings)
    try:
        for group, partition, kept in _rows(session, _SNAPSHOTS):
            subject = f"{group}[{partition}]"
            faults += [Fault(what="snapshot", subject=subject, text=text) for text in _ring_faults(kept)]
            good = state.load(group, partition)  # newest first; it leaves out those whose checksum does not hold
            if len(good) < min(len(kept), KEPT):
                text = f"{min(len(kept), KEPT) - len(good)} of {len(kept)} are damaged: their checksum does not hold"
                faults.append(Fault(what="snapshot", subject=subject, text=text))
            faults += [Fault(what="position", subject=subject, text=text) for text in _backward(good)]
            faults += [Fault(what="position", subject=subject, text=text) for text in _gaps(good, committed or {})]
    finally:
        state.close()
    return faults


def _ring_faults(kept: Sequence[tuple[int, int]]) -> list[str]:
    """Say what is wrong with (number, slot) of the kept ones: numbers without gaps, each in its slot."""
    found = [f"number {number} lies in slot {slot}" for number, slot in kept if number % KEPT != slot]
    numbers = sorted(number for number, _ in kept)
    found += [f"number {left + 1} is missing before {right}" for left, right in pairwise(numbers) if right != left + 1]
    return found


def _backward(newest_first: Sequence[Snapshot]) -> list[str]:
    """Say where a newer snapshot includes less of the same log than an older one."""
    found = []
    for newer, older in pairwise(newest_first):
        reached = {position[:3]: position[3] for position in newer.positions}
        found += [
            f"{topic}[{partition}] went back from {offset} to {reached[topic, partition, epoch]}"
            for topic, partition, epoch, offset in older.positions
            if reached.get((topic, partition, epoch), offset) < offset
        ]
    return found


def _gaps(newest_first: Sequence[Snapshot], committed: Committed) -> list[str]:
    """Say which good snapshot does not reach what its group has committed: from it, messages would be skipped."""
    found = []
    for snapshot in newest_first:
        for topic, partition, epoch, offset in snapshot.positions:
            known = committed.get((snapshot.group, topic, partition))
            if known is not None and known[0] == epoch and known[1] > offset + 1:
                found.append(f"{topic}[{partition}] is committed up to {known[1] - 1}, a kept one reaches {offset}")
    return found


def _revision_faults(session: Session) -> list[Fault]:
    return [
        Fault(what="incident", subject=incident_id, text=f"has {count} of the revisions {first} to {last}")
        for incident_id, count, first, last in _rows(session, _REVISIONS)
    ]
