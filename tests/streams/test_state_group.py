"""Which snapshot a group starts from, and which offset may be committed."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from producers.errors import TransientError
from producers.marks import Mark
from streams import state_group
from streams.contract import Snapshot
from streams.errors import StateFoundError
from streams.group import Assigned, LogMessage, OutMessage, Place
from streams.keeper import Rules
from streams.local_state import LocalStateStore
from streams.state_group import StateGroup
from tests.streams.log_ranges import Messages

PLACE = Place("checks.v1", 0)


@dataclass(frozen=True)
class Offsets:
    """What a part has taken in."""

    taken: tuple[int, ...]

    def pack(self) -> bytes:
        """Return them as text."""
        return ",".join(map(str, self.taken)).encode()


class Log:
    """A part that remembers what it took in."""

    def __init__(self, *_: object) -> None:
        self.taken: list[int] = []

    def handle(self, message: LogMessage) -> Sequence[OutMessage]:
        """Remember the offset."""
        self.taken.append(message.offset)
        return []

    def freeze(self) -> "Offsets":
        """Return all offsets as of now."""
        return Offsets(tuple(self.taken))

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

    def take(self, *offsets: int, epoch: str = "e1", outbox: str | None = None) -> None:
        """Take in messages, of an outbox or of nobody's."""
        headers = () if outbox is None else (("outbox", outbox.encode()),)
        for offset in offsets:
            self.group.handle(message(offset, epoch=epoch, headers=headers))

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


async def test_a_store_that_is_away_is_told_once_and_asked_once_for_each_round(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not for each of the partitions; one line when it goes, one when it is back."""
    bench = Bench(tmp_path)
    places = [Place("checks.v1", number) for number in range(3)]
    await bench.group.assign([Assigned(place=place, epoch="e1", committed=None, end=9) for place in places])
    asked = []
    for offset, away in enumerate((True, True, True, False, False)):
        bench.store.away, bench.store.asked = away, 0
        for place in places:
            bench.group.handle(message(offset, partition=place.partition))
        for _ in range(bench.group.pieces):
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


async def older_here(directory: Path, **options: Any) -> Bench:
    """A worker whose local copy ends with 1; another one kept up to 5 in the store, and 5 is committed."""
    old = Bench(directory)
    await old.assign()
    old.take(0, 1)
    await old.keep()
    newer = Bench(directory, local_name="other machine")
    await newer.assign()
    newer.take(2, 3, 4, 5)
    await newer.keep()
    return Bench(directory, **options)


async def test_what_lies_between_a_snapshot_and_the_committed_offset_is_read_again(tmp_path: Path) -> None:
    """From the log, once and in order, before anything else; so nothing is skipped and nobody waits for the store."""
    after = await older_here(tmp_path, in_log=(0, 1, 2, 3, 4, 5))
    after.store.away = True
    assert await after.assign(committed=5) == 4
    assert after.log.asked == [(PLACE, 2, 4)]
    assert after.taken == [0, 1, 2, 3, 4]
    assert after.group.troubles() == []


async def test_a_gap_that_the_log_no_longer_has_stops_the_partition_until_the_missing_snapshot_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not read, nothing of it can be committed, it is said; with the snapshot back the process starts again."""
    monkeypatch.setattr(state_group, "LOOK_AGAIN_S", 0.01)
    after = await older_here(tmp_path)
    hidden = (tmp_path / "store").rename(tmp_path / "hidden")
    assert await after.assign(committed=5, first=3) is None
    assert dict(after.group.parts) == {}
    assert after.group.cut() is None
    assert "stopped" in after.group.troubles()[0]
    assert "STOPPED: no snapshot reaches what was committed" in capsys.readouterr().out
    looking = asyncio.create_task(after.group.run(lambda _: None))
    done, _ = await asyncio.wait([looking], timeout=0.3)
    assert not done
    assert after.store.asked > 2
    hidden.rename(tmp_path / "store")
    with pytest.raises(StateFoundError):
        await looking
    assert await Bench(tmp_path).assign(committed=5, first=3) == 5


async def test_a_person_may_ask_to_go_on_without_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The newest state goes on at the committed offset, and says so."""
    after = await older_here(tmp_path, skip_gaps=True)
    (tmp_path / "store").rename(tmp_path / "hidden")
    assert await after.assign(committed=5, first=3) == 4
    assert after.taken == [0, 1]
    assert "skipped, as was asked for" in capsys.readouterr().out


async def test_with_store_and_local_copy_missing_it_judges_provisionally_and_commits_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the committed offset on; when the store is back the process starts again with the true state."""
    monkeypatch.setattr(state_group, "LOOK_AGAIN_S", 0.01)
    await older_here(tmp_path)
    after = Bench(tmp_path, local_name="third machine")
    after.store.away = True
    assert await after.assign(committed=5) == 4
    after.take(5, 6)
    assert after.taken == [5, 6]
    assert after.group.cut() is None
    assert "without its state" in after.group.troubles()[0]
    assert "the store and the local copy are missing" in capsys.readouterr().out
    looking = asyncio.create_task(after.group.run(lambda _: None))
    done, _ = await asyncio.wait([looking], timeout=0.3)
    assert not done
    assert after.store.asked > 2
    after.store.away = False
    with pytest.raises(StateFoundError):
        await looking
    true = Bench(tmp_path, local_name="third machine")
    assert await true.assign(committed=5) == 5
    assert true.taken == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("away", [True, False])
async def test_a_group_whose_state_the_log_makes_reads_all_of_it_where_its_snapshots_are_lost(
    tmp_path: Path, away: bool
) -> None:
    """With the store away too, but then nothing is committed: the log may not reach back far enough."""
    bench = Bench(tmp_path, from_log=True, in_log=(0, 1, 2, 3, 4))
    bench.store.away = away
    assert await bench.assign(committed=4) == 3
    assert bench.taken == [0, 1, 2, 3]
    bench.take(4)
    assert (bench.group.cut() is None) is away


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


async def test_a_state_of_another_form_begins_anew_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the committed offset: that is an upgrade and no reason to stop."""
    bench = Bench(tmp_path)
    await bench.assign()
    for offset in range(4):
        bench.take(offset)
        await bench.keep()
    after = Bench(tmp_path, code="2")
    assert await after.assign(committed=2) == 1
    assert after.taken == []
    assert after.group.troubles() == []
    said = capsys.readouterr().out
    assert "a new form of the state" in said
    assert "it is of the form 1, expected 2" in said


async def test_a_state_that_is_lost_begins_anew_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The store answers, and nobody has any snapshot."""
    bench = Bench(tmp_path)
    assert await bench.assign(committed=2) == 1
    assert "a state is lost" in capsys.readouterr().out
    assert await Bench(tmp_path).assign(committed=None) == -1
    assert "lost" not in capsys.readouterr().out


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
