"""Inserts are proved: what an answer promised and the table does not have is found and sent again."""

import threading

import pyarrow as pa
import pytest

from analytics import tables
from analytics.errors import StoreRefusedError, StoreUnavailableError
from analytics.insert import KEYS_A_QUERY, Inserted, Inserter
from analytics.rows import one_table, rows_of
from analytics.session import Session
from analytics.settings import StoreSettings
from analytics.tables import CHECKS, Table
from forewarn.embedded.broker import free_port
from producers.contract import CheckBatch
from tests.analytics.lying_store import LyingStore
from tests.analytics.messages import MINUTE_US, NOW_US, batch, events, place, read

DAY_US = 24 * 60 * MINUTE_US


def check_table(*batches: CheckBatch) -> pa.Table:
    """Return batches as rows for one insert."""
    return one_table([rows_of(message, place())[0].batch for message in batches], CHECKS.schema)


def many(count: int, *, tick_us: int = NOW_US, delay_us: int = 250) -> pa.Table:
    """Return checks of so many targets."""
    names = [f"main/{number:05d}" for number in range(count)]
    return check_table(
        *(batch(names[start : start + 500], tick_us=tick_us, delay_us=delay_us) for start in range(0, count, 500))
    )


def stored(session: Session, what: str = "count()") -> int:
    """Return a figure over the final rows."""
    [row] = read(session, f"SELECT {what} AS n FROM checks")  # noqa: S608 - written here
    return int(row["n"])


def test_rows_are_there_when_insert_returns(session: Session) -> None:
    """The plain case, and an empty table is none at all."""
    assert Inserter(session).insert(CHECKS, many(2_500)) == Inserted(rows=2_500)
    assert stored(session) == 2_500
    assert Inserter(session).insert(CHECKS, CHECKS.schema.empty_table()) == Inserted(rows=0)


def test_an_insert_that_was_confirmed_but_not_stored_is_sent_again(database: StoreSettings) -> None:
    """A store that answers 200 and keeps nothing: the rows are missed, counted and inserted again."""
    with LyingStore(database, swallow=1) as lying:
        session = Session(lying.settings)
        assert Inserter(session).insert(CHECKS, many(1_200)) == Inserted(rows=1_200, missing=1_200)
        assert lying.inserts == 2
        assert stored(session) == 1_200
        session.close()


def test_only_what_is_missing_is_sent_again(database: StoreSettings) -> None:
    """Rows that are there already, from before, are not missing, whoever stored them."""
    with LyingStore(database, swallow=1) as lying:
        direct, session = Session(database), Session(lying.settings)
        Inserter(direct).insert(CHECKS, many(700))
        assert Inserter(session).insert(CHECKS, many(1_000)) == Inserted(rows=1_000, missing=300)
        assert stored(session) == 1_000
        direct.close()
        session.close()


def test_a_store_that_never_keeps_what_it_confirms_is_an_error(database: StoreSettings) -> None:
    """After three rounds nothing is known: the caller must not commit."""
    with LyingStore(database, swallow=1_000) as lying:
        session = Session(lying.settings)
        with pytest.raises(StoreUnavailableError, match="10 rows of checks_log are not in the store"):
            Inserter(session).insert(CHECKS, many(10))
        session.close()


@pytest.mark.parametrize("event", events(), ids=lambda event: type(event).__name__)
def test_missing_rows_are_found_in_every_table(database: StoreSettings, event: object) -> None:
    """The search by key works for each identity: texts, numbers and instants."""
    [rows, *_] = rows_of(event, place())  # type: ignore[arg-type]  # each is one of the union
    with LyingStore(database, swallow=1) as lying:
        session = Session(lying.settings)
        done = Inserter(session).insert(rows.table, one_table([rows.batch], rows.table.schema))
        assert done == Inserted(rows=1, missing=1)
        session.close()


def test_the_same_identity_twice_in_one_insert_is_no_loss(session: Session) -> None:
    """The store collapses it at once; that is what it is for."""
    done = Inserter(session).insert(CHECKS, pa.concat_tables([many(300), many(300, delay_us=9)]))
    assert done == Inserted(rows=600)
    assert stored(session) == 300
    delay = "toUnixTimestamp64Micro(started_at) - toUnixTimestamp64Micro(scheduled_at)"
    assert stored(session, f"sum({delay})") == 300 * 9


def test_rows_that_a_merge_has_replaced_are_not_missing(session: Session) -> None:
    """Their stamp is gone and their key is there: found by key, not sent again. More keys than one query asks for."""
    count = KEYS_A_QUERY * 2 + 500
    inserter = Inserter(session)
    inserter.insert(CHECKS, many(count, delay_us=1))
    late = many(count, delay_us=2)
    with session.client() as client:
        stamp_us = inserter._send(client, CHECKS, late)
        client.command("OPTIMIZE TABLE checks_log FINAL")
        missing, expired = inserter._missing(client, CHECKS, late, stamp_us)
    assert (missing.num_rows, expired) == (0, 0)


def test_rows_older_than_the_store_keeps_are_said_and_not_sent_for_ever(session: Session) -> None:
    """A merge drops them when it likes, perhaps before the proof: that is no loss, and it must not stop the flow."""
    rows = pa.concat_tables([many(500, tick_us=NOW_US - 200 * DAY_US), many(20)])
    inserter = Inserter(session)
    with session.client() as client:
        stamp_us = inserter._send(client, CHECKS, rows)
        client.command("OPTIMIZE TABLE checks_log FINAL")
        missing, expired = inserter._missing(client, CHECKS, rows, stamp_us)
    assert (missing.num_rows, expired) == (0, 500)
    done = inserter.insert(CHECKS, rows)
    assert (done.rows, done.missing) == (520, 0)
    with session.client() as client:
        client.command("OPTIMIZE TABLE checks_log FINAL")
    assert stored(session) == 20


def test_ticks_of_hundreds_of_weeks_in_one_insert_do_not_stop_the_flow(session: Session) -> None:
    """ClickHouse refuses more than 100 partitions an insert by default; a wild clock would block the sink."""
    weeks = [batch(["main/a"], tick_us=NOW_US - number * 7 * DAY_US) for number in range(150)]
    done = Inserter(session).insert(CHECKS, check_table(*weeks))
    assert (done.rows, done.missing) == (150, 0)
    assert stored(session) >= 14, "the weeks that the TTL keeps"


def test_several_threads_may_insert(session: Session) -> None:
    """They take turns, and each returns when its own rows are there."""
    inserter, failures = Inserter(session), []

    def insert(number: int) -> None:
        try:
            inserter.insert(CHECKS, many(200, tick_us=NOW_US + number))
        except Exception as error:  # noqa: BLE001 - shown by the assert below
            failures.append(error)

    threads = [threading.Thread(target=insert, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert stored(session) == 1_600


def test_a_store_that_is_not_there_is_unavailable() -> None:
    """Nothing listens: one line, and a kind of error that is retried."""
    session = Session(StoreSettings(url=f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(StoreUnavailableError, match="cannot be reached"):
        Inserter(session).insert(CHECKS, many(1))


def test_a_refusal_is_told_apart(session: Session) -> None:
    """A table that is not there will not come by waiting."""
    missing = Table(name="no_such_log", identity=CHECKS.identity, columns=CHECKS.columns)
    with pytest.raises(StoreRefusedError):
        Inserter(session).insert(missing, many(1))
    assert Inserter(session).insert(CHECKS, many(1)).rows == 1, "the session comes back after an error"


def test_every_table_of_the_log_says_its_identity() -> None:
    """Identities are columns: the proof could not ask for them otherwise."""
    for table in tables.LOG_TABLES:
        assert set(table.identity) <= {name for name, _ in table.columns}
