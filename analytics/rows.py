"""Messages become rows: checks column by column, everything else event by event.

No Python object is made for a check: the lists of a batch become Arrow columns as they are.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from analytics import tables
from analytics.tables import INSTANT, NUMBER, TEXT, WHOLE, Table
from producers.contract import PHASES, CheckBatch, CheckMessage, ClockTick, ProducerHealth, ProducerStopped
from producers.errors import InvalidEvent
from producers.topics import Position
from streams.codec import Event
from streams.contract import Action, Alert, DeadLetter, Deviation, Incident, Reason, TickSummary, Verdict


class Rows(NamedTuple):
    """Rows of one table, columns as its schema says, not stamped yet."""

    table: Table
    batch: pa.RecordBatch


_INSTANTS: Final = {
    "tick_us": "tick_at",
    "since_us": "since_at",
    "slot_us": "slot_at",
    "closed_through_us": "closed_through_at",
    "until_us": "until_at",
    "effective_from_us": "effective_from_at",
    "log_timestamp_us": "source_logged_at",
}
"""Instants of the wire whose name does not end with `_at_us`."""

_OWN_NAMES: Final[Mapping[type, Mapping[str, str]]] = {
    TickSummary: {"partition": "checks_partition"},
    DeadLetter: {
        "topic": "source_topic",
        "epoch": "source_epoch",
        "partition": "source_partition",
        "offset": "source_offset",
        "group": "group_name",
        "key": "source_key",
    },
}
"""Fields that would read as something else among the columns."""

_TABLES: Final[Mapping[type, Table]] = {
    Deviation: tables.DEVIATIONS,
    Verdict: tables.VERDICTS,
    TickSummary: tables.VERDICT_SUMMARIES,
    Incident: tables.INCIDENTS,
    Alert: tables.ALERTS,
    Action: tables.ACTIONS,
    DeadLetter: tables.DEAD_LETTERS,
    ProducerHealth: tables.PRODUCER_HEALTH,
    ProducerStopped: tables.PRODUCER_STOPS,
}

_CHECKSUM_BYTES: Final = 16


Read = tuple[CheckMessage | Event, Position]
"""A decoded message, and where it was read."""


def rows_of(message: CheckMessage | Event, position: Position) -> tuple[Rows, ...]:
    """Return the rows that one decoded message becomes. See `rows_of_all`."""
    return rows_of_all([(message, position)])


def rows_of_all(messages: Iterable[Read]) -> tuple[Rows, ...]:
    """Return the rows that decoded messages become: those of two tables for an accepted config, none for a clock event.

    None for what was told without the state either (a summary that may count a part of its checks, a provisional
    verdict): it would replace, or stand beside, what is told of the same by whoever has the state.
    Events of a table become one batch: most of what a batch costs is its columns, however few rows are in it.

    Args:
        messages: As a codec gave them.

    Raises:
        InvalidEvent: One holds what no column can: half a character, a number beyond 64 bits.
    """
    found: list[Rows] = []
    events: dict[str, tuple[Table, list[dict[str, Any]]]] = {}
    try:
        for message, position in messages:
            if isinstance(message, CheckBatch):
                found.append(Rows(tables.CHECKS, check_rows(message, position)))
            elif not isinstance(message, ClockTick) and not _is_without_state(message):
                for table, row in _event_rows(message):
                    events.setdefault(table.name, (table, []))[1].append(row | _placed(position))
        return (*found, *(Rows(table, _batch(table, rows)) for table, rows in events.values()))
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        raise InvalidEvent("invalid", f"no row can hold it: {error}") from error


def _is_without_state(event: ProducerHealth | ProducerStopped | Event) -> bool:
    if isinstance(event, TickSummary):
        return event.partial
    return isinstance(event, Verdict | Deviation) and event.provisional


def _event_rows(event: ProducerHealth | ProducerStopped | Event) -> Iterator[tuple[Table, dict[str, Any]]]:
    yield _TABLES[type(event)], event_row(event)
    if isinstance(event, Action) and event.kind == "configure" and event.config_version is not None:
        yield tables.CONFIG_VERSIONS, _config_version_row(event)


def check_rows(batch: CheckBatch, position: Position) -> pa.RecordBatch:
    """Return a batch of n checks as n rows of `checks_log`.

    Args:
        batch: As `producers.codec.decode` gave it.
        position: Of its message.

    Raises:
        pa.ArrowException, OverflowError, UnicodeError: A value fits no column.
    """
    count = len(batch.target)
    scheduled = np.fromiter(batch.scheduled_at_us, np.int64, count)
    started = np.fromiter(batch.started_at_us, np.int64, count)
    nothing = pa.nulls(count, WHOLE)
    disturbed = np.zeros(count, dtype=np.bool_)
    if batch.disturbed:
        disturbed[batch.disturbed] = True
    phases = (batch.phases.get(phase) for phase in PHASES)
    columns = [
        pa.array(batch.target, TEXT),
        _mostly_one(batch.probe, TEXT),
        pa.repeat(batch.location, count),
        pa.array(scheduled).view(INSTANT),
        # Falls as started_at rises: of two rows of one check the store keeps the highest version.
        pa.array(scheduled - started),
        _mostly_one(batch.kind, TEXT),
        _mostly_one(batch.outcome, TEXT),
        _mostly_one(batch.reason, TEXT),
        _whole(batch.duration_us),
        *(nothing if values is None else _whole(values) for values in phases),
        pa.array(batch.address, TEXT),
        _mostly_one(batch.http_status, WHOLE),
        _details(batch, count),
        _readings(batch, count),
        pa.array(disturbed),
        pa.repeat(batch.producer, count),
        pa.repeat(position.epoch, count),
        pa.repeat(pa.scalar(position.partition, WHOLE), count),
        pa.repeat(pa.scalar(position.offset, WHOLE), count),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=_CHECKS_SCHEMA)


_CHECKS_SCHEMA: Final = tables.CHECKS.schema


def _whole(values: Sequence[int | None]) -> pa.Array:
    """Return a column of whole numbers, of which nearly always none is missing: then numpy makes it in less time."""
    try:
        return pa.array(np.fromiter(values, np.int64, len(values)))
    except TypeError:
        return pa.array(values, WHOLE)


def _mostly_one(values: Sequence[str | int | None], kind: Any) -> pa.Array:
    """Return a column whose values mostly are one object: then it is made at once, not value by value."""
    first = values[0]
    if values.count(first) < len(values):
        return pa.array(values, kind)
    return pa.nulls(len(values), kind) if first is None else pa.repeat(pa.scalar(first, kind), len(values))


def _details(batch: CheckBatch, count: int) -> pa.Array:
    if batch.detail is None:
        return pa.nulls(count, TEXT)
    details: list[str | None] = [None] * count
    for row, text in zip(batch.detail.rows, batch.detail.values, strict=True):
        details[row] = text
    return pa.array(details, TEXT)


def _readings(batch: CheckBatch, count: int) -> pa.Array:
    """Return the sparse metrics as a map a check, its names in alphabetical order."""
    if not batch.metrics:
        empty = pa.array(np.zeros(count + 1, dtype=np.int32))
        return pa.MapArray.from_arrays(empty, pa.nulls(0, TEXT), pa.nulls(0, NUMBER))
    names = sorted(batch.metrics)
    lengths = [len(batch.metrics[name].rows) for name in names]
    rows = np.array([row for name in names for row in batch.metrics[name].rows], dtype=np.int64)
    values = np.array([value for name in names for value in batch.metrics[name].values], dtype=np.float64)
    of_name = np.repeat(np.arange(len(names)), lengths)
    by_row = np.argsort(rows, kind="stable")  # stable: names stay in order inside a row
    offsets = np.zeros(count + 1, dtype=np.int32)
    np.cumsum(np.bincount(rows, minlength=count), out=offsets[1:])
    keys = pa.array(names, TEXT).take(pa.array(of_name[by_row]))
    return pa.MapArray.from_arrays(pa.array(offsets), keys, pa.array(values[by_row]))


def event_row(event: ProducerHealth | ProducerStopped | Event) -> dict[str, Any]:
    """Return an event's fields by the names of its columns, without its position."""
    own = _OWN_NAMES.get(type(event), {})
    row = {
        own.get(name) or _column(name): value for name, value in msgspec.structs.asdict(event).items() if name != "v"
    }
    if "reasons" in row:
        row["reasons"] = [_reason(reason) for reason in row["reasons"]]
    if isinstance(event, Verdict | Deviation):
        del row["provisional"]  # see _is_without_state
    if isinstance(event, TickSummary):
        del row["partial"]  # see _is_without_state
        counts = event.locations
        row["locations"] = [count.location for count in counts]
        row["reported"] = [count.reported for count in counts]
        row["failed"] = [count.failed for count in counts]
    return row


def _column(field: str) -> str:
    if field.endswith("at_us"):
        return field.removesuffix("_us")
    return _INSTANTS.get(field, field)


def _reason(reason: Reason) -> dict[str, Any]:
    return {_column(name): value for name, value in msgspec.structs.asdict(reason).items()}


def _config_version_row(action: Action) -> dict[str, Any]:
    text = action.text or ""
    effective_from = action.at_us if action.effective_from_us is None else action.effective_from_us
    return {
        "config_version": action.config_version,
        "checksum": hashlib.blake2b(text.encode(), digest_size=_CHECKSUM_BYTES).hexdigest(),
        "effective_from_at": effective_from,
        "accepted_at": action.at_us,
        "person": action.person,
        "text": text,
    }


def _placed(position: Position) -> dict[str, Any]:
    return {"log_epoch": position.epoch, "log_partition": position.partition, "log_offset": position.offset}


def _batch(table: Table, rows: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
    columns = [pa.array([row[name] for row in rows], kind) for name, kind in table.columns]
    return pa.RecordBatch.from_arrays(columns, schema=table.schema)


def one_table(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """Return batches as one table of one chunk a column: many small chunks double the store's work."""
    return pa.Table.from_batches(batches, schema=schema).combine_chunks()
