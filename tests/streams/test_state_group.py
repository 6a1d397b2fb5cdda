"""What is kept, and which offset may be committed."""

import asyncio
import time
from itertools import count
from pathlib import Path

import pytest

from producers.marks import Mark
from streams.group import Assigned, Place
from streams.keeper import TOGETHER_BYTES
from streams.state_group import LONGEST_REST_S, REST
from tests.streams.state_bench import TURNS, Bench, Log, message


async def test_the_oldest_of_three_kept_is_what_may_be_committed(tmp_path: Path) -> None:
    """Before there are three, nothing: a damaged first one would mean a gap."""
    bench = Bench(tmp_path)
    assert await bench.assign() == -1
    safe = []
    for offset in range(5):
        bench.take(offset)
        safe.append(await bench.keep())
    assert safe == [None, None, 0, 1, 2]
    assert bench.group.cut(next(TURNS)) is None


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


@pytest.mark.parametrize(("size", "asks"), [(TOGETHER_BYTES, 3), (TOGETHER_BYTES // 2, 2), (0, 1)])
async def test_a_store_that_is_away_is_told_once_and_asked_once_for_each_round(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, size: int, asks: int
) -> None:
    """Not for each of the partitions; one line when it goes, one when it is back. Small states are kept together."""
    monkeypatch.setattr(Log, "size", size)
    bench = Bench(tmp_path)
    places = [Place("checks.v1", number) for number in range(3)]
    await bench.group.assign([Assigned(place=place, epoch="e1", committed=None, end=9) for place in places])
    asked = []
    for offset, away in enumerate((True, True, True, False, False)):
        bench.store.away, bench.store.asked = away, 0
        for place in places:
            bench.group.handle(message(offset, partition=place.partition))
        turn = next(TURNS)
        while (cut := bench.group.cut(turn)) is not None:
            await bench.group.keep(cut)
        asked.append(bench.store.asked)
    assert asked == [1, 1, 1, asks, asks]
    assert [bench.local.load("detect", number)[0].payload for number in range(3)] == [b"0,1,2,3,4"] * 3
    said = capsys.readouterr().out
    assert (said.count("the store is away; commits wait"), said.count("the store is back")) == (1, 1)


async def test_large_states_are_kept_less_often_whatever_the_store_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest after a turn is so many times the CPU time of it, a minute at most; the next turn counts anew."""
    cpu_s = count()
    monkeypatch.setattr(time, "thread_time", lambda: float(next(cpu_s)))  # a second at each look
    monkeypatch.setattr(Log, "size", TOGETHER_BYTES)
    bench = Bench(tmp_path)
    places = [Place("checks.v1", number) for number in range(3)]
    await bench.group.assign([Assigned(place=place, epoch="e1", committed=None, end=9) for place in places])
    rests = []
    for changed in (1, 3):
        for place in places[:changed]:
            bench.group.handle(message(changed, partition=place.partition))
        turn = next(TURNS)
        while (cut := bench.group.cut(turn)) is not None:
            await bench.group.keep(cut)
        rests.append(bench.group.rest_s)
    assert rests == [3 * REST, LONGEST_REST_S], "two looks at what changed, one packing; then more than a minute's"


async def test_places_that_were_lost_while_keeping_are_not_committed(tmp_path: Path) -> None:
    """The new owner may be further already."""
    bench = Bench(tmp_path)
    await bench.assign()
    for offset in range(3):
        bench.take(offset)
        await bench.keep()
    bench.take(3)
    cut = bench.group.cut(next(TURNS))
    assert cut is not None
    bench.group.revoke()
    assert await bench.group.keep(cut) == {}


async def test_a_store_that_hangs_delays_no_message(tmp_path: Path) -> None:
    """It has taken the snapshot and does not answer: judging goes on, and with the answer the rest is kept."""
    bench = Bench(tmp_path)
    await bench.assign()
    bench.take(0)
    cut = bench.group.cut(next(TURNS))
    assert cut is not None
    with bench.store.hangs:
        keeping = asyncio.create_task(bench.group.keep(cut))
        bench.take(1, 2)
        done, _ = await asyncio.wait([keeping], timeout=0.2)
        assert not done
        bench.take(3)
        assert bench.taken == [0, 1, 2, 3]
    await keeping
    assert bench.store.store.load("detect", 0)[0].payload == b"0"
    assert await bench.keep() is None
    assert bench.store.store.load("detect", 0)[0].payload == b"0,1,2,3"
