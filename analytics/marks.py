"""High-water marks of outboxes: up to which number a process may forget what it has published.

The sink writes a mark only after every row of the messages up to it was seen in the store, another group only when its
kept state includes them; outboxes read the lowest of those that count for a topic.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Final

from clickhouse_connect.driver.client import Client

from analytics.errors import StoreRefusedError, StoreUnavailableError
from analytics.row_binary import insert_rows, text, whole
from analytics.session import Session
from analytics.settings import StoreSettings
from producers.marks import Mark, mark_of
from producers.topics import ACTIONS, ALERTS, CHECKS, INCIDENTS, VERDICTS

__all__ = ["READERS", "SINK", "ClickHouseMarks", "Mark", "mark_of"]

SINK: Final = "sink"
READERS: Final[Mapping[str, Sequence[str]]] = {
    CHECKS: (SINK, "detect"),
    VERDICTS: (SINK, "incidents"),
    INCIDENTS: (SINK, "alerts"),
    ACTIONS: (SINK, "alerts"),
    ALERTS: (SINK, "alerts"),
}
"""Who must be done with a topic's messages before an outbox may forget them; of other topics the sink alone."""

TABLE: Final = "outbox_marks_log"
SQL: Final = f"""
SELECT topic, log_partition, reader, max(seq)
FROM {TABLE}
WHERE outbox_id = %(outbox_id)s
GROUP BY topic, log_partition, reader
"""  # noqa: S608 - the table's name is a constant
_THERE: Final = f"""
SELECT outbox_id, topic, log_partition, reader, max(seq)
FROM {TABLE}
WHERE outbox_id IN %(outbox_ids)s
GROUP BY outbox_id, topic, log_partition, reader
"""  # noqa: S608 - as above
_COLUMNS: Final = ("outbox_id", "topic", "log_partition", "seq", "log_epoch", "reader", "stored_at")


class ClickHouseMarks:
    """Implements `producers.outbox.OutboxMarks` and `streams.contract.KeptMarks` over the store. Blocking."""

    def __init__(self, settings: StoreSettings) -> None:
        self._session = Session(settings)

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
            StoreUnavailableError: The store is away, says no for now, or does not have them after it said yes.
        """
        try:
            with self._session.client() as client:
                _insert(client, marks)
        except StoreRefusedError as error:
            raise StoreUnavailableError(str(error)) from error

    def close(self) -> None:
        """Close the connection."""
        self._session.close()


def _insert(client: Client, marks: Sequence[Mark]) -> None:
    """Insert marks and look for each of them."""
    now_us = whole(time.time_ns() // 1000)
    encoded = (
        text(one.outbox_id)
        + text(one.topic)
        + whole(one.partition)
        + whole(one.seq)
        + text(one.epoch)
        + text(one.reader)
        for one in marks
    )
    insert_rows(client, TABLE, _COLUMNS, [row + now_us for row in encoded])
    rows = client.query(_THERE, parameters={"outbox_ids": tuple({mark.outbox_id for mark in marks})}).result_rows
    there = {tuple(key): int(seq) for *key, seq in rows}
    missing = [one for one in marks if there.get((one.outbox_id, one.topic, one.partition, one.reader), -1) < one.seq]
    if missing:
        raise StoreUnavailableError(f"{len(missing)} of {len(marks)} marks are not in the store that confirmed them")
