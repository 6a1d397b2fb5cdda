"""A store in memory: rows that replace themselves, snapshots in a ring of three, marks. It answers late, or not."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from producers.errors import TransientError
from producers.marks import Mark
from streams.contract import Snapshot
from streams.keeper import KEPT


@dataclass
class SimStore:
    """What ClickHouse has.

    Attributes:
        away: It does not answer.
        steady: No answer is lost any more.
        rows: The ids of the rows by table.
        rings: Snapshots with their numbers by group and partition.
        oldest: The first snapshot that there ever was: what an old backup holds.
        backups: What was there before the store was set back to that.
        marks: How far each reader is by (outbox, topic, partition).
    """

    rng: random.Random
    away: bool = False
    steady: bool = False
    rows: dict[str, set[str]] = field(default_factory=dict)
    rings: dict[tuple[str, int], dict[int, Snapshot]] = field(default_factory=dict)
    marks: dict[tuple[str, str, int], dict[str, int]] = field(default_factory=dict)
    oldest: dict[tuple[str, int], Snapshot] = field(default_factory=dict)
    backups: dict[tuple[str, int], list[Snapshot]] = field(default_factory=dict)

    def insert(self, table: str, ids: Sequence[str]) -> None:
        """Insert rows; on an error any part of them may be there.

        Raises:
            TransientError: It is away, or its answer was lost.
        """
        kept = self._answer(len(ids))
        self.rows.setdefault(table, set()).update(ids[:kept])
        self._lose_answer(kept < len(ids))

    def save(self, *snapshots: Snapshot) -> None:
        """Keep each snapshot in place of the oldest of three; on an error some of them may be there.

        Raises:
            TransientError: It is away, or its answer was lost.
        """
        kept = self._answer(len(snapshots))
        for snapshot in snapshots[:kept]:
            ring = self.rings.setdefault((snapshot.group, snapshot.partition), {})
            ring[max(ring, default=-1) + 1] = snapshot
            self.oldest.setdefault((snapshot.group, snapshot.partition), snapshot)
            for old in sorted(ring)[:-KEPT]:
                del ring[old]
        self._lose_answer(kept < len(snapshots))

    def load(self, group: str, partition: int) -> list[Snapshot]:
        """Return the snapshots, newest first.

        Raises:
            TransientError: It is away.
        """
        if self.away:
            raise TransientError("the store is away")
        ring = self.rings.get((group, partition), {})
        return [ring[number] for number in sorted(ring, reverse=True)]

    def lose_newest(self, group: str, partition: int) -> bool:
        """Lose the newest snapshot of a partition, as a damaged disk does; say whether there was one to lose."""
        ring = self.rings.get((group, partition), {})
        if not ring or (group, partition) in self.backups:  # without any the state itself would be lost
            return False
        del ring[max(ring)]
        return True

    def set_back(self, group: str, partition: int, *, before: int) -> bool:
        """Put back an old backup in place of the snapshots of a partition; say whether there was one so old.

        Args:
            group: Whose.
            partition: Which.
            before: The last message that it includes is before this offset.
        """
        key = (group, partition)
        if key not in self.oldest or key in self.backups or self.oldest[key].positions[0][3] >= before:
            return False
        self.backups[key] = list(self.rings[key].values())
        self.rings[key] = {0: self.oldest[key]}
        return True

    def repair(self) -> None:
        """Find again what was there before: it and what came since, the newest three."""
        for key, lost in self.backups.items():
            found = sorted([*lost, *self.rings[key].values()], key=lambda one: one.positions[0][3])
            self.rings[key] = dict(enumerate(found[-KEPT:]))
        self.backups = {}

    def keep_marks(self, marks: Sequence[Mark]) -> None:
        """Write marks.

        Raises:
            TransientError: It is away, or its answer was lost.
        """
        kept = self._answer(len(marks))
        for mark in marks[:kept]:
            by_reader = self.marks.setdefault((mark.outbox_id, mark.topic, mark.partition), {})
            by_reader[mark.reader] = max(by_reader.get(mark.reader, -1), mark.seq)
        self._lose_answer(kept < len(marks))

    def done(self, outbox: str, topic: str, partition: int, readers: Sequence[str]) -> int:
        """Return up to which number of an outbox all readers are done; -1 for none."""
        by_reader = self.marks.get((outbox, topic, partition), {})
        return min(by_reader.get(reader, -1) for reader in readers)

    def _answer(self, count: int) -> int:
        """Return how many of `count` things become durable."""
        if self.away:
            raise TransientError("the store is away")
        return count if self.steady or self.rng.random() > 0.1 else self.rng.randint(0, count)

    def _lose_answer(self, incomplete: bool) -> None:
        if incomplete or (not self.steady and self.rng.random() < 0.05):
            raise TransientError("no answer")
