"""Snapshots of the workers' state in the store: a ring of three for each group and partition.

A new snapshot takes the place of the oldest one of the three, so the table replaces itself and nothing has to be
deleted. It is read back and compared before `save` returns.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
from clickhouse_connect.driver.client import Client

from analytics.errors import StoreRefusedError, StoreUnavailableError
from analytics.insert import INSERT_SETTINGS
from analytics.session import Session
from analytics.settings import StoreSettings
from analytics.tables import INSTANT, TEXT, WHOLE
from producers.telemetry import logger
from streams.contract import Snapshot, payload_checksum

KEPT: Final = 3
TABLE: Final = "snapshots_log"

_POSITION: Final = pa.struct([("topic", TEXT), ("log_partition", WHOLE), ("log_epoch", TEXT), ("log_offset", WHOLE)])
_SCHEMA: Final = pa.schema(
    [
        ("group_name", TEXT),
        ("log_partition", WHOLE),
        ("slot", WHOLE),
        ("number", WHOLE),
        ("taken_at", INSTANT),
        ("code", TEXT),
        ("positions", pa.list_(_POSITION)),
        ("checksum", TEXT),
        ("payload_bytes", WHOLE),
        ("payload", pa.binary()),
    ]
)

_OF_PLACE: Final = "group_name = %(group)s AND log_partition = %(partition)s"
_ONE_OF_IT: Final = f"{_OF_PLACE} AND slot = %(slot)s AND number = %(number)s"

# Without the payload: it may be tens of megabytes, and copies that are replaced already are still among the rows.
_NUMBERS: Final = f"""
SELECT DISTINCT number FROM {TABLE} WHERE {_OF_PLACE} ORDER BY number DESC LIMIT {KEPT}
"""  # noqa: S608 - table and conditions are constants

_ONE: Final = f"""
SELECT taken_at, code, positions, checksum, payload FROM {TABLE} WHERE {_ONE_OF_IT} LIMIT 1
"""  # noqa: S608 - as above

_WHOLE: Final = f"""
SELECT count() FROM {TABLE} WHERE {_ONE_OF_IT} AND checksum = %(checksum)s AND length(payload) = %(bytes)s
"""  # noqa: S608 - as above

_log = logger(__name__)


class ClickHouseStateStore:
    """Implements `streams.contract.StateStore` over the store. Blocking; safe to call from several threads.

    A refusal (credentials, rights) is told as unavailable too: judging goes on while an operator cures it.
    """

    def __init__(self, settings: StoreSettings) -> None:
        self._session = Session(settings)

    def save(self, snapshot: Snapshot) -> None:
        """Keep a snapshot in place of the oldest of the three. Returns when the store has all of it.

        Raises:
            StoreUnavailableError: The store is away, or does not have it whole.
            ValueError: The snapshot's own checksum does not hold.
        """
        if payload_checksum(snapshot.payload) != snapshot.checksum:
            raise ValueError(f"the snapshot of {snapshot.group}[{snapshot.partition}] has a wrong checksum")
        try:
            with self._session.client() as client:
                self._save(client, snapshot)
        except StoreRefusedError as error:
            raise StoreUnavailableError(str(error)) from error

    def _save(self, client: Client, snapshot: Snapshot) -> None:
        newest = next(iter(self._numbers(client, snapshot.group, snapshot.partition)), -1)
        place = _place(snapshot.group, snapshot.partition, newest + 1)
        client.insert_arrow(TABLE, _row(snapshot, place), settings=INSERT_SETTINGS)
        parameters = {**place, "checksum": snapshot.checksum, "bytes": len(snapshot.payload)}
        if client.query(_WHOLE, parameters=parameters).result_rows[0][0] == 0:
            raise StoreUnavailableError(f"a snapshot of {snapshot.group}[{snapshot.partition}] was not stored whole")

    def load(self, group: str, partition: int) -> Sequence[Snapshot]:
        """Return the kept snapshots whose checksum holds, newest first; a damaged one is said and left out.

        Raises:
            StoreUnavailableError: The store is away.
        """
        try:
            with self._session.client() as client:
                numbers = self._numbers(client, group, partition)
                found = [self._load(client, group, partition, number) for number in numbers]
        except StoreRefusedError as error:
            raise StoreUnavailableError(str(error)) from error
        return [snapshot for snapshot in found if snapshot is not None]

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    @staticmethod
    def _numbers(client: Client, group: str, partition: int) -> list[int]:
        """Return the numbers of the kept snapshots, newest first."""
        rows = client.query(_NUMBERS, parameters={"group": group, "partition": partition}).result_rows
        return [int(number) for (number,) in rows]

    @staticmethod
    def _load(client: Client, group: str, partition: int, number: int) -> Snapshot | None:
        # As bytes: the payload is no text.
        table = client.query_arrow(_ONE, parameters=_place(group, partition, number), use_strings=False)
        if table.num_rows == 0:
            return None  # a newer one has replaced it meanwhile
        row = table.to_pylist()[0]
        payload, checksum = row["payload"], _text(row["checksum"])
        if payload_checksum(payload) != checksum:
            _log.error("a snapshot in the store is damaged; an older one is used", group=group, partition=partition)
            return None
        return Snapshot(
            group=group,
            partition=partition,
            positions=tuple(
                (_text(one["topic"]), one["log_partition"], _text(one["log_epoch"]), one["log_offset"])
                for one in row["positions"]
            ),
            taken_at_us=table.column("taken_at").cast(WHOLE)[0].as_py(),
            code=_text(row["code"]),
            payload=payload,
            checksum=checksum,
        )


def _place(group: str, partition: int, number: int) -> dict[str, Any]:
    return {"group": group, "partition": partition, "slot": number % KEPT, "number": number}


def _row(snapshot: Snapshot, place: Mapping[str, Any]) -> pa.Table:
    names = ("topic", "log_partition", "log_epoch", "log_offset")
    values = {
        "group_name": snapshot.group,
        "log_partition": snapshot.partition,
        "slot": place["slot"],
        "number": place["number"],
        "taken_at": snapshot.taken_at_us,
        "code": snapshot.code,
        "positions": [dict(zip(names, position, strict=True)) for position in snapshot.positions],
        "checksum": snapshot.checksum,
        "payload_bytes": len(snapshot.payload),
        "payload": snapshot.payload,
    }
    return pa.Table.from_arrays([pa.array([values[field.name]], field.type) for field in _SCHEMA], schema=_SCHEMA)


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()
