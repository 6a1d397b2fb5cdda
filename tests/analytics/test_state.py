"""Snapshots in the store: three a group and partition, whole, newest first."""

import random
import shutil
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from analytics import state as state_module
from analytics.client import connect
from analytics.errors import StoreUnavailableError
from analytics.migrate import DIRECTORY, migrate, read_migrations
from analytics.row_binary import insert_rows
from analytics.session import Session
from analytics.settings import StoreSettings
from analytics.state import ClickHouseStateStore
from forewarn.embedded.broker import free_port
from streams.contract import Snapshot, StateStore, payload_checksum
from tests.analytics.messages import NOW_US, read

TOGETHER = 11
"""The migration that keeps small snapshots of all partitions in one part."""

LARGE = 262_144
"""From this size on a snapshot is merged with those of its own partition alone."""

PARTS = "SELECT DISTINCT partition FROM system.parts WHERE active AND table = 'snapshots_log'"
PARTS += " AND database = currentDatabase() ORDER BY partition"


def snapshot(
    number: int, *, group: str = "detect", partition: int = 3, taken_at_us: int | None = None, size: int = 5_000
) -> Snapshot:
    """Return a snapshot whose payload is no text."""
    payload = random.Random(number).randbytes(size)
    return Snapshot(
        group=group,
        partition=partition,
        positions=(("checks.v1", partition, "c/t", number), ("verdicts.v1", 0, "c/v", 2**53 + 1)),
        taken_at_us=NOW_US + number if taken_at_us is None else taken_at_us,
        code="detect-1",
        payload=payload,
        checksum=payload_checksum(payload),
    )


@pytest.fixture
def state(database: StoreSettings) -> ClickHouseStateStore:
    """A state store over the test's database."""
    return ClickHouseStateStore(database)


def test_what_was_saved_is_loaded_byte_for_byte(state: ClickHouseStateStore) -> None:
    """Positions, code, time, and a payload of every byte value."""
    store: StateStore = state
    store.save(snapshot(1))
    assert list(store.load("detect", 3)) == [snapshot(1)]


def test_the_three_newest_are_kept_newest_first(state: ClickHouseStateStore) -> None:
    """A ring: the fourth takes the place of the first."""
    for number in range(7):
        state.save(snapshot(number))
        assert list(state.load("detect", 3)) == [snapshot(n) for n in range(number, max(-1, number - 3), -1)]


def test_replaced_snapshots_leave_the_disk(state: ClickHouseStateStore, session: Session) -> None:
    """After a merge the table holds three rows, whatever was saved."""
    for number in range(8):
        state.save(snapshot(number))
    with session.client() as client:
        client.command("OPTIMIZE TABLE snapshots_log FINAL")
    assert read(session, "SELECT count() AS n FROM snapshots_log") == [{"n": 3}]
    assert [one.taken_at_us for one in state.load("detect", 3)] == [NOW_US + 7, NOW_US + 6, NOW_US + 5]


def test_newest_means_saved_last_whatever_clocks_say(state: ClickHouseStateStore, session: Session) -> None:
    """The next owner's clock is an hour behind: its snapshots are kept, and survive a merge."""
    for number in range(3):
        state.save(snapshot(number))
    behind = [snapshot(number, taken_at_us=NOW_US - 3_600_000_000 + number) for number in range(3, 6)]
    for one in behind:
        state.save(one)
    with session.client() as client:
        client.command("OPTIMIZE TABLE snapshots_log FINAL")
    assert list(state.load("detect", 3)) == behind[::-1]


def test_groups_and_partitions_do_not_mix(state: ClickHouseStateStore) -> None:
    """Each has its own three."""
    places = [("detect", 0), ("detect", 1), ("incidents", 0)]
    for number, (group, partition) in enumerate(places * 2):
        state.save(snapshot(number, group=group, partition=partition))
    for number, (group, partition) in enumerate(places):
        assert [one.positions[0][3] for one in state.load(group, partition)] == [number + 3, number]
    assert state.load("alerts", 0) == []


def test_snapshots_of_several_partitions_go_in_together(state: ClickHouseStateStore) -> None:
    """Each in place of the oldest of its own three, however many each has by then."""
    state.save(snapshot(1, partition=1))
    state.save(snapshot(2, partition=1), snapshot(3, partition=2))
    state.save(*(snapshot(4 + partition, partition=partition) for partition in range(4)))
    kept = {partition: [one.taken_at_us - NOW_US for one in state.load("detect", partition)] for partition in range(4)}
    assert kept == {0: [4], 1: [5, 2, 1], 2: [6, 3], 3: [7]}


def test_small_ones_of_all_partitions_are_one_part_and_large_ones_are_their_own(
    state: ClickHouseStateStore, session: Session
) -> None:
    """An insert of twelve would write twelve parts; a merge of large ones would rewrite those of all partitions."""
    state.save(*(snapshot(partition, partition=partition) for partition in range(12)))
    assert [row["partition"] for row in read(session, PARTS)] == ["('detect',-1)"]
    state.save(snapshot(13, partition=5, size=LARGE), snapshot(14, partition=6, size=LARGE - 1))
    assert [row["partition"] for row in read(session, PARTS)] == ["('detect',-1)", "('detect',5)"]


def test_a_state_that_grows_large_and_small_again_keeps_its_three_newest(
    state: ClickHouseStateStore, session: Session
) -> None:
    """Rows of the other size are not replaced by a merge, and are not taken for newer ones."""
    saved = [snapshot(number, size=LARGE if 2 <= number < 6 else 5_000) for number in range(9)]
    for number, one in enumerate(saved):
        state.save(one)
        with session.client() as client:
            client.command("OPTIMIZE TABLE snapshots_log FINAL")
        assert list(state.load("detect", 3)) == saved[max(0, number - 2) : number + 1][::-1]
    assert read(session, "SELECT number FROM snapshots ORDER BY number") == [{"number": n} for n in (6, 7, 8)]


def test_snapshots_of_a_database_before_they_were_together_are_kept(
    fresh_database: StoreSettings, tmp_path: Path
) -> None:
    """The migration moves them; were it cut off between its two last statements, the next run would lose nothing."""
    before = [one.name for one in read_migrations() if one.number < TOGETHER]
    for name in before:
        shutil.copy(DIRECTORY / name, tmp_path)
    assert migrate(fresh_database, directory=tmp_path) == before
    state = ClickHouseStateStore(fresh_database)
    saved = [snapshot(number, partition=number % 2, size=300_000 if number % 2 else 5_000) for number in range(8)]
    for one in saved:
        state.save(one)
    (moving,) = (one for one in read_migrations() if one.number == TOGETHER)
    with closing(connect(fresh_database)) as client:
        for statement in moving.statements[:3]:
            client.command(statement.text)
    assert migrate(fresh_database) == [one.name for one in read_migrations() if one.number >= TOGETHER]
    assert [list(state.load("detect", partition)) for partition in (0, 1)] == [
        [saved[6], saved[4], saved[2]],
        [saved[7], saved[5], saved[3]],
    ]
    with closing(connect(fresh_database)) as client:
        assert client.query("EXISTS TABLE snapshots_together").result_rows == [(0,)]
    state.close()


def test_a_snapshot_of_several_that_is_not_there_is_said(
    state: ClickHouseStateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store says yes and has all but one: which one it is, and that nothing counts as kept."""

    def without_last(client: Client, table: str, columns: Iterable[str], rows: Iterable[bytes]) -> None:
        insert_rows(client, table, columns, list(rows)[:-1])

    monkeypatch.setattr(state_module, "insert_rows", without_last)
    with pytest.raises(StoreUnavailableError, match=r"detect\[2\] was not stored whole"):
        state.save(snapshot(1, partition=1), snapshot(2, partition=2))


def test_a_damaged_snapshot_is_left_out(state: ClickHouseStateStore, session: Session) -> None:
    """Its checksum does not hold: the older ones are what is left."""
    for number in range(3):
        state.save(snapshot(number))
    with session.client() as client:
        client.command(
            "ALTER TABLE snapshots_log UPDATE payload = concat('x', payload) WHERE number = 2",
            settings={"mutations_sync": 1},
        )
    assert list(state.load("detect", 3)) == [snapshot(1), snapshot(0)]


def test_a_large_snapshot_is_stored(state: ClickHouseStateStore) -> None:
    """Tens of megabytes that do not compress."""
    payload = random.Random(1).randbytes(30_000_000)
    large = Snapshot(
        group="detect",
        partition=0,
        positions=(),
        taken_at_us=NOW_US,
        code="detect-1",
        payload=payload,
        checksum=payload_checksum(payload),
    )
    state.save(large)
    assert list(state.load("detect", 0)) == [large]


def test_a_snapshot_that_does_not_match_its_checksum_is_refused(state: ClickHouseStateStore) -> None:
    """A bug of the caller must not become a state that cannot be loaded."""
    good = snapshot(1)
    wrong = Snapshot(
        group=good.group,
        partition=good.partition,
        positions=good.positions,
        taken_at_us=good.taken_at_us,
        code=good.code,
        payload=good.payload + b"x",
        checksum=good.checksum,
    )
    with pytest.raises(ValueError, match="wrong checksum"):
        state.save(wrong)


def test_with_the_store_away_it_is_unavailable(database: StoreSettings) -> None:
    """Also where the database is not migrated: detection goes on while an operator cures it."""
    away = ClickHouseStateStore(StoreSettings(url=f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(StoreUnavailableError):
        away.save(snapshot(1))
    with pytest.raises(StoreUnavailableError):
        away.load("detect", 0)
    bare = ClickHouseStateStore(StoreSettings(url=database.url, token=database.token, database="system"))
    with pytest.raises(StoreUnavailableError, match="migrate"):
        bare.save(snapshot(1))
