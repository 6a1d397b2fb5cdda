"""Inserts that are proved: what was sent is counted in the store, and what is not there is sent again.

An answer of 200 and its `written_rows` count what a server read, not what lies in the table: a broken decoder once
stored a third of the rows and answered 200. So after each insert the rows that carry its stamp are counted: a sink
gives it to no other insert, so as many as were sent are those that were sent. If they are not as many, a merge may have
replaced some by rows of the same identity: then the distinct keys are counted, then each key is looked for whatever its
stamp, and what is not there at all is inserted again and alarmed.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from clickhouse_connect.driver.client import Client

from analytics.errors import StoreUnavailableError
from analytics.session import INSERT_SETTINGS, Session
from analytics.tables import INSTANT, STORED_AT, Table
from producers.telemetry import STORE_INSERT_SECONDS, logger

DAY_US: Final = 86_400 * 1_000_000
KEYS_A_QUERY: Final = 1_000
ROUNDS: Final = 3

_log = logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inserted:
    """What became of an insert.

    Attributes:
        rows: Rows that were sent.
        missing: Keys that the first answer promised and the table did not have; they are there now.
        expired: Keys that are older than the table keeps rows, so the store dropped them at once.
    """

    rows: int
    missing: int = 0
    expired: int = 0


class Inserter:
    """Inserts Arrow tables and verifies them. Blocking: call it from a thread."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._last_stamp_us = 0

    def insert(self, table: Table, rows: pa.Table) -> Inserted:
        """Insert rows and return when each of their keys was seen in the table.

        Args:
            table: Where to.
            rows: With the table's columns, in one chunk each for speed; no rows is fine.

        Raises:
            StoreUnavailableError: The store is away, or keys stay missing: nothing is known, insert again.
            StoreRefusedError: The store says no.
        """
        if rows.num_rows == 0:
            return Inserted(rows=0)
        with self._session.client() as client, STORE_INSERT_SECONDS.labels(table.name).time():
            return self._insert_and_verify(client, table, rows)

    def _insert_and_verify(self, client: Client, table: Table, rows: pa.Table) -> Inserted:
        missing_first, left, expired = 0, rows, 0
        for round_number in range(ROUNDS):
            stamp_us = self._send(client, table, left)
            missing, expired_now = self._missing(client, table, left, stamp_us)
            expired += expired_now
            if missing.num_rows == 0:
                return Inserted(rows=rows.num_rows, missing=missing_first, expired=expired)
            _log.error("rows missing after insert", table=table.name, sent=left.num_rows, missing=missing.num_rows)
            missing_first = missing_first if round_number else missing.num_rows
            left = missing
        raise StoreUnavailableError(
            f"{left.num_rows} rows of {table.name} are not in the store after {ROUNDS} inserts that it confirmed"
        )

    def _send(self, client: Client, table: Table, rows: pa.Table) -> int:
        """Insert with a stamp of its own and return the stamp."""
        stamp_us = max(time.time_ns() // 1000, self._last_stamp_us + 1)
        self._last_stamp_us = stamp_us
        stamped = rows.append_column(STORED_AT, pa.repeat(pa.scalar(stamp_us, INSTANT), rows.num_rows))
        summary = client.insert_arrow(table.name, stamped, settings=INSERT_SETTINGS)
        if summary.written_rows != rows.num_rows:
            _log.warning(
                "the store counted other rows", table=table.name, sent=rows.num_rows, written=summary.written_rows
            )
        return stamp_us

    def _missing(self, client: Client, table: Table, rows: pa.Table, stamp_us: int) -> tuple[pa.Table, int]:
        """Return the rows whose key is not in the table, and how many keys were too old to be kept."""
        if _stamped(client, table, stamp_us, "count()") == rows.num_rows:
            return rows.slice(0, 0), 0
        keys = _distinct(rows.select(list(table.identity)))
        if _stamped(client, table, stamp_us, f"uniqExact({', '.join(table.identity)})") == keys.num_rows:
            return rows.slice(0, 0), 0
        young, expired = self._young(table, rows)
        found = _keys_found(client, table, _distinct(young.select(list(table.identity))))
        absent = _rows_without(young, found, table)
        if expired:
            _log.warning("rows older than the store keeps", table=table.name, rows=expired)
        return absent, expired

    def _young(self, table: Table, rows: pa.Table) -> tuple[pa.Table, int]:
        """Return the rows that the table's TTL still keeps, and the number of the others."""
        if table.ttl is None or table.ttl[0] == STORED_AT:
            return rows, 0
        column, setting = table.ttl
        days: int = getattr(self._session.settings, setting)
        oldest = pa.scalar(time.time_ns() // 1000 - days * DAY_US, INSTANT)
        young = rows.filter(pc.greater(rows.column(column), oldest))
        return young, rows.num_rows - young.num_rows


def _stamped(client: Client, table: Table, stamp_us: int, counted: str) -> int:
    """Count what carries a stamp; a minmax index makes it a look at the newest parts."""
    sql = f"SELECT {counted} FROM {table.name} WHERE {STORED_AT} = fromUnixTimestamp64Micro(%(stamp)s, 'UTC')"  # noqa: S608 - made of constants of analytics.tables
    return int(client.query(sql, parameters={"stamp": stamp_us}).result_rows[0][0])


def _distinct(keys: pa.Table) -> pa.Table:
    return keys.group_by(keys.column_names).aggregate([])


def _keys_found(client: Client, table: Table, keys: pa.Table) -> pa.Table:
    """Return those of the keys that the table has, and perhaps some of its other keys."""
    ordered = keys.sort_by([(name, "ascending") for name in table.identity])
    schema = keys.schema
    found = [schema.empty_table()]
    for chunk in _chunks(ordered):
        conditions, parameters = _around(table, chunk)
        sql = f"SELECT DISTINCT {', '.join(table.identity)} FROM {table.name} WHERE {conditions}"  # noqa: S608 - as above
        found.append(client.query_arrow(sql, parameters=parameters, use_strings=True).cast(schema))
    return pa.concat_tables(found)


def _chunks(keys: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, keys.num_rows, KEYS_A_QUERY):
        yield keys.slice(start, KEYS_A_QUERY)


def _around(table: Table, keys: pa.Table) -> tuple[str, dict[str, Any]]:
    """Return conditions that every one of the keys fulfils, so that the primary index is used."""
    conditions: list[str] = []
    parameters: dict[str, Any] = {}
    for name in table.identity:
        column = keys.column(name)
        if column.type == INSTANT:
            bounds = pc.min_max(column.cast(pa.int64())).as_py()
            parameters |= {f"{name}_from": bounds["min"], f"{name}_to": bounds["max"]}
            conditions.append(
                f"{name} BETWEEN fromUnixTimestamp64Micro(%({name}_from)s, 'UTC')"
                f" AND fromUnixTimestamp64Micro(%({name}_to)s, 'UTC')"
            )
        else:
            parameters[name] = tuple(pc.unique(column).to_pylist())
            conditions.append(f"{name} IN %({name})s")
    return " AND ".join(conditions), parameters


def _rows_without(rows: pa.Table, found: pa.Table, table: Table) -> pa.Table:
    """Return the rows whose key is not among `found`."""
    identity = list(table.identity)
    keys = rows.select(identity).append_column("row_number", pa.array(range(rows.num_rows), pa.int64()))
    absent = keys.join(_distinct(found), keys=identity, join_type="left anti")
    return rows.take(absent.column("row_number").sort())
