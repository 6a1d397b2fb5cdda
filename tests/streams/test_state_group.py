"""Which snapshot a group starts from, and which offset may be committed."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from producers.errors import TransientError
from producers.marks import Mark
from streams import state_group
from streams.contract import Snapshot
from streams.group import Assigned, LogMessage, OutMessage, Place
from streams.local_state import LocalStateStore
from streams.state_group import StateGroup

PLACE = Place("checks.v1", 0)


class Log:
    """A part that remembers what it took in."""

    def __init__(self, *_: object) -> None:
        self.taken: list[int] = []

    def handle(self, message: LogMessage) -> Sequence[OutMessage]:
        """Remember the offset."""
        self.taken.append(message.offset)
        return []

    def snapshot(self) -> bytes:
        """Return all offsets."""
        return ",".join(map(str, self.taken)).encode()

    def restore(self, payload: bytes) -> None:
        """Take them back; ValueError for anything else."""
        self.taken = [int(one) for one in payload.decode().split(",")]


@dataclass
class Switched:
    """A store that can be away."""

    store: LocalStateStore
    away: bool = False
    asked: int = field(default=0)

    def save(self, snapshot: Snapshot) -> None:
        """See StateStore."""
        self._answer()
        self.store.save(snapshot)

    def load(self, group: str, partition: int) -> Sequence[Snapshot]:
        """See StateStore."""
        self._answer()
        return self.store.load(group, partition)

    def _answer(self) -> None:
        self.asked += 1
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

    def __post_init__(self) -> None:
        self.store = Switched(LocalStateStore(self.directory / "store"))
        self.local = LocalStateStore(self.directory / self.local_name)
        self.marks = MarksKept()
        self.group = StateGroup(
            "detect",
            ("checks.v1",),
            code=self.code,
            make=Log,
            store=self.store,
            local=self.local,
            marks=self.marks,
        )

    async def assign(self, *, epoch: str = "e1", committed: int | None = None) -> int:
        """Own the place; return the position."""
        one = Assigned(place=PLACE, epoch=epoch, committed=committed, end=1000)
        return (await self.group.assign([one]))[PLACE]

    def take(self, *offsets: int, epoch: str = "e1", outbox: str | None = None) -> None:
        """Take in messages, of an outbox or of nobody's."""
        headers = () if outbox is None else (("outbox", outbox.encode()),)
        for offset in offsets:
            message = LogMessage(
                epoch=epoch,
                topic="checks.v1",
                partition=0,
                offset=offset,
                timestamp_us=0,
                key=None,
                value=b"",
                headers=headers,
            )
            self.group.handle(message)

    async def keep(self) -> int | None:
        """Keep a cut; return what may be committed."""
        cut = self.group.cut()
        assert cut is not None
        return (await self.group.keep(cut)).get(PLACE)

    @property
    def taken(self) -> list[int]:
        """What the state holds."""
        part = self.group.parts[0]
        assert isinstance(part, Log)
        return part.taken


async def test_the_oldest_of_three_kept_is_what_may_be_committed(tmp_path: Path) -> None:
    """Before there are three, nothing: a damaged first one would mean a gap."""
    bench = Bench(tmp_path)
    assert await bench.assign() == -1
    safe = []
    for offset in range(5):
        bench.take(offset)
        safe.append(await bench.keep())
    assert safe == [None, None, 0, 1, 2]
    assert bench.group.cut() is None


async def test_an_outbox_may_forget_what_the_oldest_of_three_kept_includes(tmp_path: Path) -> None:
    """Not before: a worker that comes back with that one must find the messages after it again."""
    bench = Bench(tmp_path)
    await bench.assign()
    for offset in range(4):
        bench.take(offset, outbox=f"north:{10 + offset}")
        await bench.keep()
    assert bench.marks.kept == [Mark("north", "checks.v1", 0, seq, "e1", "detect") for seq in (10, 11)]


async def test_marks_that_could_not_be_written_are_part_of_the_next_ones(tmp_path: Path) -> None:
    """And what was written is not written again; the highest number counts, whatever comes twice."""
    bench = Bench(tmp_path)
    bench.marks.away = True
    await bench.assign()
    for offset, seq in enumerate((10, 11, 5, 11)):
        bench.take(offset, outbox=f"north:{seq}")
        assert await bench.keep() == (offset - 2 if offset >= 2 else None), "commits do not wait for marks"
    assert bench.marks.kept == []
    bench.marks.away = False
    for offset in range(4, 7):
        bench.take(offset)
        await bench.keep()
    assert bench.marks.kept == [Mark("north", "checks.v1", 0, 11, "e1", "detect")]


async def test_a_start_continues_from_the_newest_one_and_counts_those_before_it(tmp_path: Path) -> None:
    """Another process on another machine, so without the local copy."""
    bench = Bench(tmp_path)
    await bench.assign()
    for offset in range(4):
        bench.take(offset)
        await bench.keep()
    after = Bench(tmp_path, local_name="other machine")
    assert await after.assign(committed=2) == 3
    assert after.taken == [0, 1, 2, 3]
    after.take(4)
    assert await after.keep() == 2


async def test_with_the_store_away_the_local_copy_is_kept_and_nothing_may_be_committed(tmp_path: Path) -> None:
    """When it is back, the next cut is kept although no message came meanwhile."""
    bench = Bench(tmp_path)
    await bench.assign()
    for offset in range(3):
        bench.take(offset)
        await bench.keep()
    bench.store.away = True
    bench.take(3)
    assert await bench.keep() is None
    assert bench.local.load("detect", 0)[0].payload == b"0,1,2,3"
    bench.store.away = False
    assert await bench.keep() == 1


async def test_a_store_that_is_away_is_told_once_and_asked_once_for_each_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not for each of the partitions in a cut; one line when it goes, one when it is back."""
    bench = Bench(tmp_path)
    places = [Place("checks.v1", number) for number in range(3)]
    await bench.group.assign([Assigned(place=place, epoch="e1", committed=None, end=9) for place in places])
    asked = []
    for offset, away in enumerate((True, True, True, False, False)):
        bench.store.away, bench.store.asked = away, 0
        for place in places:
            bench.group.handle(
                LogMessage(
                    epoch="e1", topic=place.topic, partition=place.partition, offset=offset,
                    timestamp_us=0, key=None, value=b"",
                )
            )  # fmt: skip
        cut = bench.group.cut()
        assert cut is not None
        await bench.group.keep(cut)
        asked.append(bench.store.asked)
    assert asked == [1, 1, 1, 3, 3]
    assert [bench.local.load("detect", number)[0].payload for number in range(3)] == [b"0,1,2,3,4"] * 3
    said = capsys.readouterr().out
    assert (said.count("the store is away; commits wait"), said.count("the store is back")) == (1, 1)


async def test_a_start_without_the_store_takes_the_local_copy_if_it_leaves_no_gap(tmp_path: Path) -> None:
    """The same machine goes on at once."""
    bench = Bench(tmp_path)
    await bench.assign()
    bench.take(0, 1)
    await bench.keep()
    after = Bench(tmp_path)
    after.store.away = True
    assert await after.assign(committed=2) == 1
    assert after.taken == [0, 1]


async def test_a_start_without_the_store_waits_for_it_if_the_local_copy_is_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker was further: to go on from here would be a gap."""
    monkeypatch.setattr(state_group, "RETRY_S", 0.02)
    old = Bench(tmp_path)
    await old.assign()
    old.take(0, 1)
    await old.keep()
    newer = Bench(tmp_path, local_name="other machine")
    await newer.assign()
    newer.take(2, 3, 4, 5)
    await newer.keep()
    after = Bench(tmp_path)
    after.store.away = True
    waiting = asyncio.create_task(after.assign(committed=5))
    done, _ = await asyncio.wait([waiting], timeout=0.5)
    assert not done
    assert after.store.asked > 2
    after.store.away = False
    assert await waiting == 5
    assert after.taken == [0, 1, 2, 3, 4, 5]


async def test_in_another_log_the_state_goes_on_and_all_messages_are_read(tmp_path: Path) -> None:
    """Offsets of one log say nothing about another; its own snapshots are counted anew."""
    bench = Bench(tmp_path)
    await bench.assign()
    for offset in range(4):
        bench.take(offset)
        await bench.keep()
    after = Bench(tmp_path)
    assert await after.assign(epoch="e2") == -1
    assert after.taken == [0, 1, 2, 3]
    after.take(0, epoch="e2")
    assert await after.keep() is None
    assert await Bench(tmp_path).assign(epoch="e2") == 0


async def test_a_state_of_another_form_is_not_loaded_and_the_gap_is_not_hidden(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It begins empty at the committed offset, and says so."""
    bench = Bench(tmp_path)
    await bench.assign()
    for offset in range(4):
        bench.take(offset)
        await bench.keep()
    after = Bench(tmp_path, code="2")
    assert await after.assign(committed=2) == 1
    assert after.taken == []
    said = capsys.readouterr().out
    assert "it is of the form 1, expected 2" in said
    assert "no snapshot reaches the committed offsets" in said


async def test_places_that_were_lost_while_keeping_are_not_committed(tmp_path: Path) -> None:
    """The new owner may be further already."""
    bench = Bench(tmp_path)
    await bench.assign()
    for offset in range(3):
        bench.take(offset)
        await bench.keep()
    bench.take(3)
    cut = bench.group.cut()
    assert cut is not None
    bench.group.revoke()
    assert await bench.group.keep(cut) == {}
