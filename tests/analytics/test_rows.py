"""Messages become rows, and come back from the store as they went in."""
# ruff: noqa: S608 - names of our own tables and columns only

from pathlib import Path
from typing import Any

import msgspec
import pytest

from analytics import tables
from analytics.insert import Inserter
from analytics.rows import event_row, one_table, rows_of
from analytics.session import Session
from producers import codec as checks_codec
from producers.contract import PHASES, CheckBatch, CheckMessage, ClockTick, ProducerHealth, ProducerStopped
from producers.errors import InvalidEvent
from producers.topics import ACTIONS, CHECKS
from streams import codec
from streams.codec import Event
from streams.contract import Action, DeadLetter, Deviation, TickSummary, Verdict
from tests.analytics.messages import NOW_US, batch, events, place, read, rich_batch, verdict, without

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = sorted((ROOT / "producers/schemas/examples").rglob("*.json")) + sorted(
    (ROOT / "streams/schemas/examples").rglob("*.json")
)
PLACED = {"log_epoch": "cluster/topic", "log_partition": 3, "log_offset": 7}


def there_and_back(session: Session, message: CheckMessage | Event) -> list[dict[str, Any]]:
    """Store a message as the sink does and read its table's view."""
    [rows, *_] = rows_of(message, place())
    Inserter(session).insert(rows.table, one_table([rows.batch], rows.table.schema))
    found = read(session, f"SELECT * FROM {rows.table.view} ORDER BY ALL")
    return [without(row, tables.STORED_AT) for row in found]


def expected_checks(message: CheckBatch) -> list[dict[str, Any]]:
    """Return a batch's rows, written out one by one from the contract's words."""
    details = {} if message.detail is None else dict(zip(message.detail.rows, message.detail.values, strict=True))
    return [
        {
            "target": message.target[row],
            "probe": message.probe[row],
            "location": message.location,
            "scheduled_at": message.scheduled_at_us[row],
            "started_at": message.started_at_us[row],
            "kind": message.kind[row],
            "outcome": str(message.outcome[row]),
            "reason": message.reason[row],
            "duration_us": message.duration_us[row],
            **{f"phase_{name}_us": message.phases.get(name, [None] * (row + 1))[row] for name in PHASES},
            "address": message.address[row],
            "http_status": message.http_status[row],
            "detail": details.get(row),
            "metrics": {
                name: sparse.values[sparse.rows.index(row)]
                for name, sparse in sorted(message.metrics.items())
                if row in sparse.rows
            },
            "disturbed": row in message.disturbed,
            "producer": message.producer,
            **PLACED,
        }
        for row in range(len(message.target))
    ]


def expected_event(event: Event | ProducerHealth | ProducerStopped) -> dict[str, Any]:
    """Return what the view must have of an event: its fields, its place, and what the view adds of its own."""
    own = {"replays": 0, "replayed_at": None} if isinstance(event, DeadLetter) else {}
    return {**event_row(event), **PLACED, **own}


def by_target(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows in one order."""
    return sorted(rows, key=lambda row: (row["target"], row["probe"], row["scheduled_at"]))


def test_a_batch_comes_back_check_by_check(session: Session) -> None:
    """Every field of every check: nulls, sparse columns, large numbers, quotes and other alphabets."""
    message = rich_batch()
    assert by_target(there_and_back(session, message)) == by_target(expected_checks(message))


@pytest.mark.parametrize("event", events(), ids=lambda event: type(event).__name__)
def test_an_event_comes_back_field_by_field(session: Session, event: Event) -> None:
    """Every field of every kind of event, by the name of its column."""
    assert there_and_back(session, event) == [expected_event(event)]


def test_every_field_of_an_event_has_its_column() -> None:
    """No field of the contract is left behind: what is not a column by its name is renamed or spread on purpose."""
    for event in events():
        [rows, *_] = rows_of(event, place())
        assert set(event_row(event)) == set(rows.batch.schema.names) - set(PLACED), type(event).__name__


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_published_examples_are_stored(lasting_session: Session, path: Path) -> None:
    """The example message of each schema goes through decoding, rows and the store, and loses nothing."""
    message: CheckMessage | Event
    if path.is_relative_to(ROOT / "producers"):
        message = checks_codec.decode(path.read_bytes(), log_timestamp_us=4_000_000_000_000_000)
    else:
        message = codec.decode(_topic_of(path), path.read_bytes())
    if isinstance(message, ClockTick):
        assert rows_of(message, place()) == ()
        return
    [table, *_] = [rows.table for rows in rows_of(message, place())]
    with lasting_session.client() as client:
        client.command(f"TRUNCATE TABLE {table.name}")
    found = there_and_back(lasting_session, message)
    expected = expected_checks(message) if isinstance(message, CheckBatch) else [expected_event(message)]
    assert sorted(found, key=_sorted_repr) == sorted(expected, key=_sorted_repr)


def _sorted_repr(row: dict[str, Any]) -> str:
    return repr(sorted(row.items()))


def _topic_of(path: Path) -> str:
    """Return the topic of an example by trying: exactly one contract accepts it by its own required fields."""
    accepted = []
    for topic in codec.EVENT_TYPES:
        try:
            codec.decode(topic, path.read_bytes())
        except InvalidEvent:
            continue
        accepted.append(topic)
    [topic] = accepted
    return topic


def test_a_clock_event_is_no_row() -> None:
    """It says what time it is to detect; the summaries are what is stored of it."""
    assert rows_of(ClockTick(v=1, partition=0, at_us=NOW_US), place()) == ()


def test_a_summary_that_may_count_a_part_of_its_checks_is_no_row() -> None:
    """It would replace the one that counts all of them."""
    [summary] = [event for event in events() if isinstance(event, TickSummary)]
    [rows] = rows_of(summary, place())
    assert rows.table is tables.VERDICT_SUMMARIES
    assert rows_of(msgspec.structs.replace(summary, partial=True), place()) == ()


@pytest.mark.parametrize(("kind", "table"), [(Verdict, tables.VERDICTS), (Deviation, tables.DEVIATIONS)])
def test_what_is_judged_provisionally_is_no_row(kind: type[Verdict | Deviation], table: tables.Table) -> None:
    """Whoever has the state judges the tick again, and may tell nothing of it: nothing would replace such a row."""
    one = next(event for event in events() if isinstance(event, kind))
    [rows] = rows_of(one, place())
    assert rows.table is table
    assert rows_of(msgspec.structs.replace(one, provisional=True), place()) == ()


def test_an_accepted_config_is_an_action_and_a_numbered_version(session: Session) -> None:
    """From the moment of acceptance where the action names no other; its text has a checksum."""
    action = Action(v=1, id="p9", kind="configure", at_us=NOW_US, person="ann", text="targets: {}\n", config_version=4)
    for message in (action, msgspec.structs.replace(action, id="p10", config_version=5, effective_from_us=NOW_US + 60)):
        for table, rows in rows_of(message, place(topic=ACTIONS)):
            Inserter(session).insert(table, one_table([rows], table.schema))
    assert read(session, "SELECT count() AS n FROM actions") == [{"n": 2}]
    versions = read(
        session, "SELECT config_version, effective_from_at, person, text, checksum FROM config_versions ORDER BY 1"
    )
    assert [(row["config_version"], row["effective_from_at"] - NOW_US) for row in versions] == [(4, 0), (5, 60)]
    assert versions[0]["checksum"] == versions[1]["checksum"]
    assert versions[0]["text"] == "targets: {}\n"


def test_what_no_column_can_hold_is_an_invalid_event() -> None:
    """Half a character, or a number beyond 64 bits, makes a dead letter and never an exception of a library."""
    with pytest.raises(InvalidEvent, match="no row can hold it"):
        rows_of(batch(["main/\ud800"]), place())
    with pytest.raises(InvalidEvent, match="no row can hold it"):
        rows_of(msgspec.structs.replace(batch(["main/a"]), http_status=[2**63]), place())
    broken = verdict("failing", NOW_US, lateness_us=2**64)
    assert isinstance(broken, Verdict)
    with pytest.raises(InvalidEvent, match="no row can hold it"):
        rows_of(broken, place())


def test_rows_say_where_they_were_read() -> None:
    """Every row carries epoch, partition and offset of its message."""
    [rows] = rows_of(batch(["main/a", "main/b"]), place(41, topic=CHECKS, partition=5, epoch="c/t"))
    assert rows.batch.column("log_offset").to_pylist() == [41, 41]
    assert rows.batch.column("log_partition").to_pylist() == [5, 5]
    assert rows.batch.column("log_epoch").to_pylist() == ["c/t", "c/t"]
