"""High-water marks of outboxes: up to which number a process may forget what it has published.

The sink writes a mark only after every row of the messages up to it was seen in the store; outboxes read them.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

import pyarrow as pa

from analytics.errors import StoreRefusedError, StoreUnavailableError
from analytics.session import Session
from analytics.settings import StoreSettings
from analytics.tables import OUTBOX_MARKS
from producers.topics import OUTBOX_HEADER

SQL: Final = f"""
SELECT topic, log_partition, max(seq)
FROM {OUTBOX_MARKS.name}
WHERE outbox_id = %(outbox_id)s
GROUP BY topic, log_partition
"""  # noqa: S608 - the table's name is a constant


class Mark(NamedTuple):
    """Every message of this outbox in this partition up to `seq` is stored."""

    outbox_id: str
    topic: str
    partition: int
    seq: int
    epoch: str


class ClickHouseMarks:
    """Implements `producers.outbox.OutboxMarks` over the store. Blocking."""

    def __init__(self, settings: StoreSettings) -> None:
        self._session = Session(settings)

    def stored_marks(self, outbox_id: str) -> dict[tuple[str, int], int]:
        """Return the highest stored number of this outbox by (topic, partition).

        Raises:
            StoreUnavailableError: The store is away, or says no for now: nothing may be forgotten.
        """
        try:
            with self._session.client() as client:
                rows = client.query(SQL, parameters={"outbox_id": outbox_id}).result_rows
        except StoreRefusedError as error:
            raise StoreUnavailableError(str(error)) from error
        return {(topic, int(partition)): int(seq) for topic, partition, seq in rows}

    def close(self) -> None:
        """Close the connection."""
        self._session.close()


def mark_of(headers: Iterable[tuple[str, bytes]]) -> tuple[str, int] | None:
    """Return (outbox id, number) of a message's header `outbox`; None without one, or if it is not of that form."""
    for name, value in headers:
        if name == OUTBOX_HEADER:
            outbox_id, _, number = value.decode("utf-8", errors="replace").rpartition(":")
            if outbox_id and number.isascii() and number.isdigit() and len(number) < 19:
                return outbox_id, int(number)
    return None


def mark_rows(marks: Iterable[Mark]) -> pa.Table:
    """Return marks as rows of `outbox_marks_log`."""
    columns = list(zip(*marks, strict=True)) or [()] * len(OUTBOX_MARKS.columns)
    schema = OUTBOX_MARKS.schema
    return pa.Table.from_arrays(
        [pa.array(list(column), field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )
