"""Snapshots of the workers' state in the store: a ring of three for each group and partition.

A new snapshot takes the place of the oldest one of the three, so the table replaces itself and nothing has to be
deleted. Those of several partitions go in together; each is looked for before `save` returns.
"""

from collections.abc import Sequence
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from analytics.errors import StoreRefusedError, StoreUnavailableError
from analytics.row_binary import array, insert_rows, text, whole
from analytics.session import Session
from analytics.settings import StoreSettings
from producers.telemetry import logger
from streams.contract import Snapshot, payload_checksum

KEPT: Final = 3
TABLE: Final = "snapshots_log"

_COLUMNS: Final = (
    *("group_name", "log_partition", "slot", "number", "taken_at"),
    *("code", "positions", "checksum", "payload_bytes", "payload"),
)

_OF_PLACE: Final = "group_name = %(group)s AND log_partition = %(partition)s"
_OF_PLACES: Final = "group_name = %(group)s AND log_partition IN %(partitions)s"

# Without the payload: it may be tens of megabytes, and copies that are replaced already are still among the rows.
_NUMBERS: Final = f"""
SELECT DISTINCT number FROM {TABLE} WHERE {_OF_PLACE} ORDER BY number DESC LIMIT {KEPT}
"""  # noqa: S608 - table and conditions are constants

_NEWEST: Final = f"""
SELECT log_partition, max(number) FROM {TABLE} WHERE {_OF_PLACES} GROUP BY log_partition
"""  # noqa: S608 - as above

_ONE: Final = f"""
SELECT toUnixTimestamp64Micro(taken_at), code, positions, checksum, payload FROM {TABLE}
WHERE {_OF_PLACE} AND slot = %(slot)s AND number = %(number)s LIMIT 1
"""  # noqa: S608 - as above

_THERE: Final = f"""
SELECT log_partition, number, checksum, length(payload) FROM {TABLE}
WHERE {_OF_PLACES} AND slot IN %(slots)s AND number IN %(numbers)s
"""  # noqa: S608 - as above

_log = logger(__name__)


class ClickHouseStateStore:
    """Implements `streams.contract.StateStore` over the store. Blocking; safe to call from several threads.

    A refusal (credentials, rights) is told as unavailable too: judging goes on while an operator cures it.
    """

    def __init__(self, settings: StoreSettings) -> None:
        self._session = Session(settings)

    def save(self, *snapshots: Snapshot) -> None:
        """Keep snapshots of one group, each in place of the oldest of its partition's three.

        Returns when the store has all of them.

        Raises:
            StoreUnavailableError: The store is away, or does not have one whole.
            ValueError: A snapshot's own checksum does not hold; nothing is kept.
        """
        for snapshot in snapshots:
            if payload_checksum(snapshot.payload) != snapshot.checksum:
                raise ValueError(f"the snapshot of {snapshot.group}[{snapshot.partition}] has a wrong checksum")
        try:
            with self._session.client() as client:
                _save(client, snapshots)
        except StoreRefusedError as error:
            raise StoreUnavailableError(str(error)) from error

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
        found = client.query(
            _ONE, parameters=_place(group, partition, number), query_formats={"String": "bytes"}
        ).result_rows
        if not found:
            return None  # a newer one has replaced it meanwhile
        taken_at_us, code, positions, checksum, payload = found[0]
        if payload_checksum(payload) != _text(checksum):
            _log.error("a snapshot in the store is damaged; an older one is used", group=group, partition=partition)
            return None
        return Snapshot(
            group=group,
            partition=partition,
            positions=tuple(
                (_text(one["topic"]), one["log_partition"], _text(one["log_epoch"]), one["log_offset"])
                for one in positions
            ),
            taken_at_us=taken_at_us,
            code=_text(code),
            payload=payload,
            checksum=_text(checksum),
        )


def _save(client: Client, snapshots: Sequence[Snapshot]) -> None:
    """Insert snapshots of one group, and look for each of them."""
    of_places = {"group": snapshots[0].group, "partitions": tuple(one.partition for one in snapshots)}
    newest = {int(one): int(number) for one, number in client.query(_NEWEST, parameters=of_places).result_rows}
    places = [_place(one.group, one.partition, newest.get(one.partition, -1) + 1) for one in snapshots]
    insert_rows(client, TABLE, _COLUMNS, [_row(one, place) for one, place in zip(snapshots, places, strict=True)])
    numbers = {f"{name}s": tuple(place[name] for place in places) for name in ("slot", "number")}
    there = set(client.query(_THERE, parameters=of_places | numbers).result_rows)
    for one, place in zip(snapshots, places, strict=True):
        if (one.partition, place["number"], one.checksum, len(one.payload)) not in there:
            raise StoreUnavailableError(f"a snapshot of {one.group}[{one.partition}] was not stored whole")


def _place(group: str, partition: int, number: int) -> dict[str, Any]:
    return {"group": group, "partition": partition, "slot": number % KEPT, "number": number}


def _row(snapshot: Snapshot, place: dict[str, Any]) -> bytes:
    positions = (
        text(topic) + whole(partition) + text(epoch) + whole(offset)
        for topic, partition, epoch, offset in snapshot.positions
    )
    values = (
        *(text(snapshot.group), whole(snapshot.partition), whole(place["slot"]), whole(place["number"])),
        *(whole(snapshot.taken_at_us), text(snapshot.code), array(positions), text(snapshot.checksum)),
        *(whole(len(snapshot.payload)), text(snapshot.payload)),
    )
    return b"".join(values)


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()
