"""What a group starts from."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from streams import state_group
from streams.errors import StateFoundError
from tests.streams.state_bench import PLACE, TURNS, Bench


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
    assert after.group.cut(next(TURNS)) is None
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


async def test_a_start_waits_for_a_store_that_is_away_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was killed just now and is started again: better a few seconds later than without what is normal."""
    monkeypatch.setattr(state_group, "RETRY_S", 0.01)
    await older_here(tmp_path)
    after = Bench(tmp_path, local_name="third machine")
    after.store.away = True
    starting = asyncio.create_task(after.assign(committed=5))
    done, _ = await asyncio.wait([starting], timeout=0.3)
    assert not done
    after.store.away = False
    assert await starting == 5
    assert after.taken == [0, 1, 2, 3, 4, 5]
    assert after.group.troubles() == []


async def test_with_store_and_local_copy_missing_it_judges_provisionally_and_commits_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the committed offset on; when the store is back the process starts again with the true state."""
    monkeypatch.setattr(state_group, "LOOK_AGAIN_S", 0.01)
    monkeypatch.setattr(state_group, "STORE_WAIT_S", 0.0)
    await older_here(tmp_path)
    after = Bench(tmp_path, local_name="third machine")
    after.store.away = True
    assert await after.assign(committed=5) == 4
    after.take(5, 6)
    assert after.taken == [5, 6]
    assert after.group.cut(next(TURNS)) is None
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, away: bool
) -> None:
    """With the store away too, but then nothing is committed: the log may not reach back far enough."""
    monkeypatch.setattr(state_group, "STORE_WAIT_S", 0.0)
    bench = Bench(tmp_path, from_log=True, in_log=(0, 1, 2, 3, 4))
    bench.store.away = away
    assert await bench.assign(committed=4) == 3
    assert bench.taken == [0, 1, 2, 3]
    bench.take(4)
    assert (bench.group.cut(next(TURNS)) is None) is away


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


async def test_a_copy_of_what_another_worker_had_meanwhile_is_nothing_to_begin_another_log_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log is forgotten and the store is away: nobody could tell that it is old."""
    monkeypatch.setattr(state_group, "STORE_WAIT_S", 0.0)
    bench = Bench(tmp_path)
    await bench.assign()
    bench.take(0)
    await bench.keep()
    await bench.assign_nothing()
    other = Bench(tmp_path, local_name="other machine")
    await other.assign()
    other.take(1)
    await other.keep()
    bench.store.away = other.store.away = True
    assert await bench.assign(epoch="e2") == -1
    assert "without its state" in bench.group.troubles()[0]
    assert await other.assign(epoch="e2") == -1
    assert other.taken == [0, 1]


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
