"""What the simulated groups judge: each check causes one verdict, once, whatever the order."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from analytics.buffer import Buffer, Buffered
from streams.contract import Snapshot
from streams.group import LogMessage, OutMessage, Place
from streams.keeper import TOGETHER_BYTES, Keeper, Rules, StateCut

CHECKS: Final = "checks"
VERDICTS: Final = "verdicts"
PARTITIONS: Final = 3
CODE: Final = "1"


class SimPart:
    """A state that shows what is missing in it: the ids of all checks that it has seen."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def handle(self, *messages: LogMessage) -> Sequence[OutMessage]:
        """Take in checks; a redelivery causes nothing."""
        outputs = []
        for message in messages:
            check = message.value.decode()
            if check not in self.seen:
                self.seen.add(check)
                outputs.append(OutMessage(topic=VERDICTS, value=check.encode(), partition=message.partition))
        return outputs

    def freeze(self) -> "Ids":
        """Return the ids as they are now."""
        return Ids(frozenset(self.seen))

    def restore(self, payload: bytes) -> None:
        """Take the ids back; ValueError for anything else."""
        self.seen = set(json.loads(payload))


@dataclass(frozen=True)
class Ids:
    """The ids at one moment."""

    seen: frozenset[str]

    @property
    def size(self) -> int:
        """Every other state fills a cut by itself, so that both are played: alone, and together."""
        return TOGETHER_BYTES * (len(self.seen) % 2)

    def pack(self) -> bytes:
        """Return them as bytes."""
        return json.dumps(sorted(self.seen)).encode()


class SimDetect:
    """The part of a state's group that does not wait; the world saves what it cuts."""

    def __init__(self, now_us: "Clock", *, forgetful: bool, skip_gaps: bool) -> None:
        def make(*_: object) -> SimPart:
            return SimPart()

        rules = Rules(code=CODE, make=make, skip_gaps=skip_gaps, with_marks=forgetful)
        self.keeper = Keeper("detect", rules, now_us=now_us)

    def handle(self, *messages: LogMessage) -> Sequence[OutMessage]:
        """See Judging."""
        return self.keeper.handle(*messages)

    def cut(self, turn: int) -> tuple[StateCut, ...] | None:
        """See Judging."""
        return self.keeper.cut(turn)

    def revoke(self) -> None:
        """See Judging."""
        self.keeper.revoke()


class SimSink:
    """The part of the sink that does not wait; the world inserts what it cuts."""

    def __init__(self, *, forgetful: bool) -> None:
        self.buffer: Buffer[str] = Buffer(with_marks=forgetful)

    def handle(self, *messages: LogMessage) -> Sequence[OutMessage]:
        """See Judging."""
        for message in messages:
            self.buffer.note(message)
            self.buffer.new.batches.setdefault(message.topic, []).append(message.value.decode())
        return ()

    def cut(self, turn: int) -> Buffered[str] | None:
        """See Judging."""
        return self.buffer.cut(turn)

    def revoke(self) -> None:
        """See Judging."""
        self.buffer.revoke()


class Clock:
    """Time of a world: it rises by one at each look."""

    def __init__(self) -> None:
        self._now_us = 0

    def __call__(self) -> int:
        """Return the time."""
        self._now_us += 1
        return self._now_us


def moved_to(snapshot: Snapshot, epoch: str) -> Snapshot:
    """Return a snapshot whose positions claim to be of another epoch: the mistake of comparing across epochs."""
    return Snapshot(
        group=snapshot.group,
        partition=snapshot.partition,
        positions=tuple((topic, partition, epoch, offset) for topic, partition, _, offset in snapshot.positions),
        taken_at_us=snapshot.taken_at_us,
        code=snapshot.code,
        payload=snapshot.payload,
        checksum=snapshot.checksum,
    )


def places_of(topic: str) -> list[Place]:
    """Return all partitions of a topic."""
    return [Place(topic, partition) for partition in range(PARTITIONS)]
