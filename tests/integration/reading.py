"""What lies in the log and what lies in the store, in one form, so that both can be compared.

The form is the one that the store's tables promise: a row by column names, instants as microseconds UTC. The rule from
an event to a row is written here once more, and not taken from the sink: one of the two would show a mistake of both.
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgspec
from clickhouse_connect.driver.client import Client
from kafka import KafkaConsumer, TopicPartition

from analytics.client import connect as connect_store
from analytics.client import store_errors
from analytics.settings import StoreSettings
from producers import codec as checks_codec
from producers.contract import PHASES, CheckBatch, CheckMessage, ClockTick, ProducerHealth, ProducerStopped
from producers.log_client import connect as connect_log
from producers.settings import LogSettings
from producers.topics import CHECKS
from streams import codec
from streams.codec import Event
from streams.contract import Action, Alert, DeadLetter, Deviation, Incident, TickSummary, Verdict

POLL_MS: Final = 400
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)

Row = dict[str, Any]

VIEWS: Final[Mapping[type, str]] = {
    Deviation: "deviations",
    Verdict: "verdicts",
    TickSummary: "verdict_summaries",
    Incident: "incident_revisions",
    Alert: "alerts",
    Action: "actions",
    DeadLetter: "dead_letters",
    ProducerHealth: "producer_health",
    ProducerStopped: "producer_stops",
}
CHECKS_VIEW: Final = "checks"

_KEYS: Final = {
    CHECKS_VIEW: ("target", "probe", "location", "scheduled_at"),
    "producer_health": ("producer", "at"),
    "producer_stops": ("producer", "at"),
}
"""What identifies a row; the others have an id."""

_INSTANTS: Final = {
    **{f"{name}_us": f"{name}_at" for name in ("tick", "since", "slot", "closed_through", "until", "effective_from")},
    "log_timestamp_us": "source_logged_at",
}
_RENAMED: Final[Mapping[type, Mapping[str, str]]] = {
    TickSummary: {"partition": "checks_partition"},
    DeadLetter: {
        **{name: f"source_{name}" for name in ("topic", "epoch", "partition", "offset")},
        "group": "group_name",
    },
}


@dataclass(frozen=True, kw_only=True)
class Logged:
    """One message of the log."""

    topic: str
    partition: int
    offset: int
    timestamp_us: int
    value: bytes

    def decoded(self) -> CheckMessage | Event:
        """Return what it says.

        Raises:
            InvalidEvent: Nothing that can be used.
        """
        if self.topic == CHECKS:
            return checks_codec.decode(self.value, log_timestamp_us=self.timestamp_us)
        return codec.decode(self.topic, self.value)


def read_log(settings: LogSettings, *topics: str) -> list[Logged]:
    """Return everything that lies in the topics now, each partition in its order."""
    consumer = connect_log(KafkaConsumer, settings, group_id=None, enable_auto_commit=False)
    try:
        places = [TopicPartition(topic, number) for topic in topics for number in consumer.partitions_for_topic(topic)]
        consumer.assign(places)
        consumer.seek_to_beginning()
        return list(_until_quiet(consumer))
    finally:
        consumer.close()


def _until_quiet(consumer: Any) -> Iterator[Logged]:
    while batches := consumer.poll(timeout_ms=POLL_MS):
        yield from messages_of(batches)


def messages_of(batches: Any) -> Iterator[Logged]:
    """Yield the messages of what a consumer has polled, each partition in its order."""
    for place, records in batches.items():
        for record in records:
            yield Logged(
                topic=place.topic,
                partition=place.partition,
                offset=record.offset,
                timestamp_us=record.timestamp * 1000,
                value=record.value or b"",
            )


def events(settings: LogSettings, topic: str) -> list[Any]:
    """Return the decoded events of a topic in the order of their first arrival, each id once."""
    found: dict[str, Any] = {}
    for message in read_log(settings, topic):
        event: Any = message.decoded()
        found.setdefault(event.id, event)
    return list(found.values())


def query(store: StoreSettings, sql: str, **parameters: object) -> list[Row]:
    """Return rows of the store, instants as microseconds UTC."""
    with store_errors(store):
        result = _client(store).query(sql, parameters=parameters)
    return [{name: _plain(value) for name, value in row.items()} for row in result.named_results()]


@lru_cache(maxsize=4)
def _client(store: StoreSettings) -> Client:
    """Return a client that outlives a restart of its store; a new one costs both sides a tenth of a second."""
    return connect_store(store)


def stored(store: StoreSettings, view: str) -> dict[tuple[Any, ...], Row]:
    """Return all rows of a view by what identifies them."""
    rows = query(store, f"SELECT * FROM {view}")  # noqa: S608 - a name of VIEWS
    found = {_key(view, row): row for row in rows}
    assert len(found) == len(rows), f"{view} has an identity twice"
    return found


def logged(messages: Sequence[Logged]) -> dict[str, dict[tuple[Any, ...], Row]]:
    """Return the rows that the messages must become, by view and by what identifies them.

    What was told without the state becomes none. Of two checks with one identity the earliest counts;
    everything else that comes twice says the same twice.
    """
    found: dict[str, dict[tuple[Any, ...], Row]] = {view: {} for view in (CHECKS_VIEW, *VIEWS.values())}
    for message in messages:
        event = message.decoded()
        if isinstance(event, ClockTick) or _is_without_state(event):
            continue
        if isinstance(event, CheckBatch):
            for row in _checks(event):
                known = found[CHECKS_VIEW].setdefault(_key(CHECKS_VIEW, row), row)
                if row["started_at"] < known["started_at"]:
                    found[CHECKS_VIEW][_key(CHECKS_VIEW, row)] = row
        else:
            view = VIEWS[type(event)]
            row = _row(event)
            found[view][_key(view, row)] = row
    return found


def _is_without_state(event: Any) -> bool:
    if isinstance(event, TickSummary):
        return event.partial
    return isinstance(event, Verdict | Deviation) and event.provisional


def _key(view: str, row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in _KEYS.get(view, ("id",)))


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return (value - _EPOCH) // _MICROSECOND
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def _checks(batch: CheckBatch) -> Iterator[Row]:
    details = {} if batch.detail is None else dict(zip(batch.detail.rows, batch.detail.values, strict=True))
    for row in range(len(batch.target)):
        yield {
            "target": batch.target[row],
            "probe": batch.probe[row],
            "location": batch.location,
            "scheduled_at": batch.scheduled_at_us[row],
            "started_at": batch.started_at_us[row],
            "kind": batch.kind[row],
            "outcome": batch.outcome[row].value,
            "reason": batch.reason[row],
            "duration_us": batch.duration_us[row],
            **{
                f"phase_{phase}_us": None if phase not in batch.phases else batch.phases[phase][row] for phase in PHASES
            },
            "address": batch.address[row],
            "http_status": batch.http_status[row],
            "detail": details.get(row),
            "metrics": {
                name: sparse.values[sparse.rows.index(row)]
                for name, sparse in batch.metrics.items()
                if row in sparse.rows
            },
            "disturbed": row in batch.disturbed,
            "producer": batch.producer,
        }


def _row(event: Any) -> Row:
    row = _columns(event, _RENAMED.get(type(event), {}))
    if "reasons" in row:
        row["reasons"] = [_columns(reason, {}) for reason in event.reasons]
    if isinstance(event, Verdict | Deviation):
        del row["provisional"]
    if isinstance(event, TickSummary):
        del row["partial"]
        row["locations"] = [one.location for one in event.locations]
        row["reported"] = [one.reported for one in event.locations]
        row["failed"] = [one.failed for one in event.locations]
    return row


def _columns(event: Any, renamed: Mapping[str, str]) -> Row:
    fields = {name: value for name, value in msgspec.structs.asdict(event).items() if name != "v"}
    return {renamed.get(name) or _column(name): value for name, value in fields.items()}


def _column(name: str) -> str:
    if name.endswith("at_us"):
        return name.removesuffix("_us")
    return _INSTANTS.get(name, name)


def differences(expected: Mapping[tuple[Any, ...], Row], found: Mapping[tuple[Any, ...], Row]) -> list[str]:
    """Return a line for each row of the log that the store does not have, or has otherwise."""
    said = []
    for key, row in expected.items():
        other = found.get(key)
        if other is None:
            said.append(f"not stored: {row}")
            continue
        wrong = [
            f"{name}: {value!r} is stored as {other[name]!r}" for name, value in row.items() if value != other[name]
        ]
        if wrong:
            said.append(f"{key}: {'; '.join(wrong)}")
    return said
