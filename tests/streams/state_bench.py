"""A group between a store that can be away or hang, a local copy and a log; and what it holds."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import ClassVar

from producers.errors import TransientError
from producers.marks import Mark
from streams.contract import Snapshot
from streams.group import Assigned, LogMessage, OutMessage, Place
from streams.keeper import Rules
from streams.local_state import LocalStateStore
from streams.state_group import StateGroup
from tests.streams.log_ranges import Messages

TURNS = count(1)
"""Of saving; see `Group.cut`."""

PLACE = Place("checks.v1", 0)


@dataclass(frozen=True)
class Offsets:
    """What a part has taken in."""

    taken: tuple[int, ...]
    size: int = 0

    def pack(self) -> bytes:
        """Return them as text."""
        return ",".join(map(str, self.taken)).encode()


class Log:
    """A part that remembers what it took in.

    Attributes:
        size: That its states have.
    """

    size: ClassVar[int] = 0

    def __init__(self, *_: object) -> None:
        self.taken: list[int] = []

    def handle(self, *messages: LogMessage) -> Sequence[OutMessage]:
        """Remember the offsets."""
        self.taken += [message.offset for message in messages]
        return []

    def freeze(self) -> "Offsets":
        """Return all offsets as of now."""
        return Offsets(tuple(self.taken), self.size)

    def restore(self, payload: bytes) -> None:
        """Take them back; ValueError for anything else."""
        self.taken = [int(one) for one in payload.decode().split(",")]


def message(
    offset: int, *, epoch: str = "e1", partition: int = 0, headers: tuple[tuple[str, bytes], ...] = ()
) -> LogMessage:
    """A message of the place."""
    return LogMessage(
        epoch=epoch,
        topic="checks.v1",
        partition=partition,
        offset=offset,
        timestamp_us=0,
        key=None,
        value=b"",
        headers=headers,
    )


@dataclass
class Switched:
    """A store that can be away, and that answers nothing while somebody holds `hangs`."""

    store: LocalStateStore
    away: bool = False
    hangs: threading.Lock = field(default_factory=threading.Lock)
    asked: int = field(default=0)

    def save(self, *snapshots: Snapshot) -> None:
        """See StateStore."""
        self._answer()
        self.store.save(*snapshots)

    def load(self, group: str, partition: int) -> Sequence[Snapshot]:
        """See StateStore."""
        self._answer()
        return self.store.load(group, partition)

    def _answer(self) -> None:
        self.asked += 1
        with self.hangs:
            if self.away:
                raise TransientError("the store is away")


@dataclass
class MarksKept:
    """Where marks go; can be away."""

    kept: list[Mark] = field(default_factory=list)
    away: bool = False

    def keep_marks(self, marks: Sequence[Mark]) -> None:
        """See KeptMarks."""
        if self.away:
            raise TransientError("the store is away")
        self.kept += marks


@dataclass
class Bench:
    """A group between a store and a local copy in a directory."""

    directory: Path
    code: str = "1"
    local_name: str = "local"
    from_log: bool = False
    skip_gaps: bool = False
    in_log: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.store = Switched(LocalStateStore(self.directory / "store"))
        self.local = LocalStateStore(self.directory / self.local_name)
        self.marks = MarksKept()
        self.log = Messages([message(offset) for offset in self.in_log])
        self.group = StateGroup(
            "detect",
            ("checks.v1",),
            Rules(code=self.code, make=Log, from_log=self.from_log, skip_gaps=self.skip_gaps, with_marks=True),
            store=self.store,
            local=self.local,
            log_range=self.log,
            marks=self.marks,
        )

    async def assign(self, *, epoch: str = "e1", committed: int | None = None, first: int = 0) -> int | None:
        """Own the place; return the position, None if it is not read."""
        one = Assigned(place=PLACE, epoch=epoch, committed=committed, end=1000, first=first)
        return (await self.group.assign([one])).get(PLACE)

    async def assign_nothing(self) -> None:
        """Another worker has the place."""
        assert not await self.group.assign([])

    def take(self, *offsets: int, epoch: str = "e1", outbox: str | None = None) -> None:
        """Take in messages, of an outbox or of nobody's."""
        headers = () if outbox is None else (("outbox", outbox.encode()),)
        for offset in offsets:
            self.group.handle(message(offset, epoch=epoch, headers=headers))

    async def keep(self) -> int | None:
        """Keep a cut; return what may be committed."""
        cut = self.group.cut(next(TURNS))
        assert cut is not None
        return (await self.group.keep(cut)).get(PLACE)

    @property
    def taken(self) -> list[int]:
        """What the state holds."""
        part = self.group.parts[0]
        assert isinstance(part, Log)
        return part.taken
