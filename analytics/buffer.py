"""What the sink has read and the store does not have yet, without I/O: nothing is committed before it is stored.

    start ─▶ add, add, ... ─▶ cut ── shell: inserts, verifies ──▶ rows_stored ── writes the marks ──▶ done: to commit
                               ▲                │                      │
                               └────────────────┴──────────────────────┴── what is not done is part of the next cut

`analytics.sink` drives it with a store, the simulation in the tests with a simulated one.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple, TypeVar

from producers.marks import Mark, mark_of
from streams.group import Assigned, LogMessage, Place

MESSAGE_OVERHEAD_BYTES: Final = 8 * 1024
"""What the rows of a message of one event weigh in memory beside their content."""

Rows = TypeVar("Rows")


class Hour(NamedTuple):
    """An hour of a partition of `checks`."""

    partition: int
    from_us: int


Touched = dict[Hour, set[str]]
"""Targets by hour whose checks are among some rows."""


@dataclass(slots=True, kw_only=True)
class Buffered(Generic[Rows]):
    """Rows that are not stored yet, or whose marks are not written yet, and how far in the log they reach.

    Attributes:
        term: Which assignment they belong to.
        batches: By table, until they are stored.
        positions: Of the last message of each place.
        marks: The highest number of each outbox by (outbox id, topic, partition).
        touched: Targets whose checks are among the rows, by hour.
        weight: Bytes that the rows count for.
    """

    term: int
    batches: dict[str, list[Rows]] = field(default_factory=dict)
    positions: dict[Place, int] = field(default_factory=dict)
    marks: dict[tuple[str, str, int], Mark] = field(default_factory=dict)
    touched: Touched = field(default_factory=dict)
    weight: int = 0

    def followed_by(self, later: "Buffered[Rows]") -> "Buffered[Rows]":
        """Return both as one; neither is changed."""
        names = dict.fromkeys((*self.batches, *later.batches))
        hours = self.touched.keys() | later.touched.keys()
        marks = dict(self.marks)
        for key, mark in later.marks.items():
            marks[key] = max(mark, marks.get(key, mark), key=lambda one: one.seq)
        return Buffered(
            term=later.term,
            batches={name: [*self.batches.get(name, ()), *later.batches.get(name, ())] for name in names},
            positions={**self.positions, **later.positions},
            marks=marks,
            touched={hour: self.touched.get(hour, set()) | later.touched.get(hour, set()) for hour in hours},
            weight=self.weight + later.weight,
        )


class Buffer(Generic[Rows]):
    """The protocol of the sink. Does nothing but remember and decide.

    Attributes:
        new: What no cut has yet; the caller adds the rows of the message at hand to it.
    """

    def __init__(self, *, with_marks: bool) -> None:
        """Make an empty one.

        Args:
            with_marks: Note the marks of outboxes: only where the log is forgetful does anybody read them.
        """
        self.new: Buffered[Rows] = Buffered(term=0)
        self._with_marks = with_marks
        self._cut: Buffered[Rows] | None = None  # frozen and not done
        self._turn = 0

    @property
    def weight(self) -> int:
        """Bytes that all that is not stored counts for."""
        return self.new.weight + (0 if self._cut is None else self._cut.weight)

    def start(self, places: Sequence[Assigned]) -> dict[Place, int]:
        """Begin at the committed offsets: what was read after them is read again and replaces itself.

        Returns:
            The last message of each place that is stored; -1 for none.
        """
        self.revoke()
        # A commit beyond the end belongs to a log that was replaced under the same name: all of this one is new.
        return {
            one.place: -1 if one.committed is None or one.committed > one.end else one.committed - 1 for one in places
        }

    def revoke(self) -> None:
        """Forget everything: the places are lost, and no cut of before counts any more."""
        self.new = Buffered(term=self.new.term + 1)
        self._cut = None

    def note(self, message: LogMessage) -> None:
        """Take note of a message: how far it reaches, what it weighs, whose outbox may forget it once it is stored."""
        new = self.new
        new.weight += len(message.value) + MESSAGE_OVERHEAD_BYTES
        new.positions[message.place] = message.offset
        mark = mark_of(message.headers) if self._with_marks else None
        if mark is None:
            return
        outbox_id, seq = mark
        key = (outbox_id, message.topic, message.partition)
        known = new.marks.get(key)
        if known is None or known.seq < seq:
            new.marks[key] = Mark(outbox_id, message.topic, message.partition, seq, message.epoch)

    def cut(self, turn: int) -> Buffered[Rows] | None:
        """Freeze what is not done yet; None if there is nothing, or this turn of saving has cut already.

        What an earlier cut could not store is in it, and the marks that were not written.
        """
        if turn == self._turn:
            return None
        self._turn = turn
        if self.new.positions:
            self._cut = self.new if self._cut is None else self._cut.followed_by(self.new)
            self.new = Buffered(term=self.new.term)
        return self._cut

    def rows_stored(self, cut: Buffered[Rows], tables: Collection[str]) -> None:
        """Take note that a cut's rows of these tables were seen in the store, and what they touched was noted.

        The others, which are few and count for nothing now, and the marks may wait for a later cut; so do commits.
        """
        cut.batches = {name: rows for name, rows in cut.batches.items() if name not in tables}
        cut.touched, cut.weight = {}, 0

    def done(self, cut: Buffered[Rows]) -> Mapping[Place, int]:
        """Take note that all rows of a cut, and then its marks, are in the store.

        Returns:
            The last message of each place that is safe; none if the places were lost meanwhile.
        """
        if self._cut is cut:
            self._cut = None
        return cut.positions if cut.term == self.new.term else {}
