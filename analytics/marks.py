"""High-water marks of outboxes: up to which number a process may forget what it has published.

The sink writes a mark only after every row of the messages up to it was seen in the store, another group only when its
kept state includes them; outboxes read the lowest of those that count for a topic.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import pyarrow as pa

from analytics.errors import StoreRefusedError, StoreUnavailableError
from analytics.insert import Inserter
from analytics.session import Session
from analytics.settings import StoreSettings
from analytics.tables import OUTBOX_MARKS
from producers.marks import Mark, mark_of
from producers.topics import ACTIONS, ALERTS, CHECKS, INCIDENTS, VERDICTS

__all__ = ["READERS", "SINK", "ClickHouseMarks", "Mark", "mark_of", "mark_rows"]

SINK: Final = "sink"
READERS: Final[Mapping[str, Sequence[str]]] = {
    CHECKS: (SINK, "detect"),
    VERDICTS: (SINK, "incidents"),
    INCIDENTS: (SINK, "alerts"),
    ACTIONS: (SINK, "alerts"),
    ALERTS: (SINK, "alerts"),
}
"""Who must be done with a topic's messages before an outbox may forget them; of other topics the sink alone."""

SQL: Final = f"""
SELECT topic, log_partition, reader, max(seq)
FROM {OUTBOX_MARKS.name}
WHERE outbox_id = %(outbox_id)s
GROUP BY topic, log_partition, reader
"""  # noqa: S608 - the table's name is a constant


class ClickHouseMarks:
    """Implements `producers.outbox.OutboxMarks` and `streams.contract.KeptMarks` over the store. Blocking."""

    def __init__(self, settings: StoreSettings) -> None:
        self._session = Session(settings)
        self._inserter = Inserter(self._session)

    def stored_marks(self, outbox_id: str) -> dict[tuple[str, int], int]:
        """Return by (topic, partition) up to which number of this outbox every reader is done.

        Raises:
            StoreUnavailableError: The store is away, or says no for now: nothing may be forgotten.
        """
        try:
            with self._session.client() as client:
                rows = client.query(SQL, parameters={"outbox_id": outbox_id}).result_rows
        except StoreRefusedError as error:
            raise StoreUnavailableError(str(error)) from error
        done: dict[tuple[str, int], dict[str, int]] = {}
        for topic, partition, reader, seq in rows:
            done.setdefault((topic, int(partition)), {})[reader] = int(seq)
        return {
            place: min(by_reader[reader] for reader in readers)
            for place, by_reader in done.items()
            if by_reader.keys() >= set(readers := READERS.get(place[0], (SINK,)))
        }

    def keep_marks(self, marks: Sequence[Mark]) -> None:
        """Write marks of a group whose kept state includes what they cover.

        Raises:
            StoreUnavailableError: The store is away, or says no for now.
        """
        try:
            self._inserter.insert(OUTBOX_MARKS, mark_rows(marks))
        except StoreRefusedError as error:
            raise StoreUnavailableError(str(error)) from error

    def close(self) -> None:
        """Close the connection."""
        self._session.close()


def mark_rows(marks: Iterable[Mark]) -> pa.Table:
    """Return marks as rows of `outbox_marks_log`."""
    columns = list(zip(*marks, strict=True)) or [()] * len(OUTBOX_MARKS.columns)
    schema = OUTBOX_MARKS.schema
    return pa.Table.from_arrays(
        [pa.array(list(column), field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )
