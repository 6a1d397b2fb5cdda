"""Messages that nobody can use, written into `checks` as any client with the right could."""

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from kafka import KafkaProducer

from producers.contract import FAR_FUTURE_US, MAX_MESSAGE_BYTES
from producers.log_client import connect
from producers.topics import CHECKS, DEAD_LETTERS, Position
from tests.integration.deployment import Deployment
from tests.integration.outage import wait_until_watched
from tests.integration.reading import events, query
from tests.integration.test_killed import now_us
from tests.integration.waiting import wait_for

pytestmark = pytest.mark.timeout(300)

TARGET: Final = "flow"


def batch(**fields: object) -> dict[str, Any]:
    """Return a batch of one check of a target that nobody watches, with some fields replaced."""
    at_us = time.time_ns() // 1000
    whole: dict[str, Any] = {
        "v": 1,
        "type": "checks",
        "producer": "stranger",
        "location": "ams",
        "target": ["main/poison"],
        "probe": ["front"],
        "kind": ["http"],
        "scheduled_at_us": [at_us],
        "started_at_us": [at_us],
        "duration_us": [1000],
        "outcome": ["success"],
        "reason": [None],
        "address": [None],
        "http_status": [200],
    }
    return whole | fields


def as_json(message: object) -> bytes:
    """Return a message's bytes."""
    return json.dumps(message).encode()


def far_us() -> list[int]:
    """Return a tick that is far in the future, whatever the log's clock says now."""
    return [time.time_ns() // 1000 + 10 * FAR_FUTURE_US]


POISON: Final[dict[str, tuple[str, Callable[[], bytes]]]] = {
    "no JSON": ("malformed", lambda: b"\x00\xff no JSON"),
    "half a message": ("malformed", lambda: as_json(batch())[:-20]),
    "nothing": ("malformed", lambda: b""),
    "too large": ("oversized", lambda: as_json(batch(producer="x" * MAX_MESSAGE_BYTES))),
    "of a later version": ("unknown_version", lambda: as_json(batch(v=99))),
    "of an unknown type": ("unknown_type", lambda: as_json({"v": 1, "type": "rumour"})),
    "of the far future": ("far_future", lambda: as_json(batch(scheduled_at_us=far_us(), started_at_us=far_us()))),
    "text for a number": ("malformed", lambda: as_json(batch(duration_us=["soon"]))),
    "columns of different lengths": ("invalid", lambda: as_json(batch(kind=["http", "http"]))),
}


def write(deployment: Deployment, values: list[bytes]) -> list[Position]:
    """Write messages to partition 0 of `checks`; return where they lie."""
    producer = connect(KafkaProducer, deployment.log, acks="all")
    try:
        sent = [producer.send(CHECKS, value=value, partition=0).get(timeout=30) for value in values]
    finally:
        producer.close()
    return [Position(epoch="", topic=CHECKS, partition=one.partition, offset=one.offset) for one in sent]


def test_each_message_that_cannot_be_used_is_one_dead_letter(deployment: Deployment) -> None:
    """With its position and its reason, in the topic, in the table, and for a person; the flow goes on behind it."""
    wait_until_watched(deployment, TARGET)
    values = {name: make() for name, (_, make) in POISON.items()}
    positions = dict(zip(values, write(deployment, list(values.values())), strict=True))
    offsets = [position.offset for position in positions.values()]
    since_us = now_us(deployment)

    sql = "SELECT * FROM dead_letters WHERE source_topic = %(topic)s AND source_partition = 0"

    def letters() -> list[dict[str, Any]]:
        rows = query(deployment.store, sql, topic=CHECKS)
        mine = [row for row in rows if row["source_offset"] in offsets]
        return mine if len(mine) >= len(offsets) else []

    rows = {row["source_offset"]: row for row in wait_for("the dead letters in the store", letters)}
    told = [one for one in events(deployment.log, DEAD_LETTERS) if one.offset in offsets and one.topic == CHECKS]
    assert sorted(one.offset for one in told) == sorted(offsets)
    by_offset = {one.offset: one for one in told}
    for name, (reason, _) in POISON.items():
        offset, value = positions[name].offset, values[name]
        row = rows[offset]
        assert (name, row["reason"], by_offset[offset].reason) == (name, reason, reason)
        assert row["payload_bytes"] == len(value), name
        assert value.startswith(base64.b64decode(row["payload"])), name
        assert row["detail"], name
        assert row["id"] == by_offset[offset].id
    wait_until_watched(deployment, TARGET, since_us=since_us)
    assert query(deployment.store, "SELECT count() AS rows FROM checks WHERE target = 'main/poison'") == [{"rows": 0}]

    done = deployment.command("sink", "dead-letters", "--json", "--limit", "1000")
    assert done.returncode == 0, done.stderr
    listed = {line["id"]: line for line in map(json.loads, done.stdout.splitlines())}
    for row in rows.values():
        assert listed[row["id"]]["reason"] == row["reason"]
        assert listed[row["id"]]["source_offset"] == row["source_offset"]


def test_a_dead_letter_that_was_repaired_becomes_a_row_and_one_that_was_not_a_letter_again(
    deployment: Deployment, tmp_path: Path
) -> None:
    """Sent again as it was it is refused again, at a new place; with a good message it is a check like any other."""
    wait_until_watched(deployment, TARGET)
    [position] = write(deployment, [as_json(batch(v=99))])
    sql = "SELECT id, source_offset, reason, replays FROM dead_letters WHERE source_offset >= %(offset)s"
    sql += " AND source_topic = %(topic)s AND source_partition = 0 ORDER BY source_offset"

    def letters(count: int) -> list[dict[str, Any]]:
        rows = query(deployment.store, sql, topic=CHECKS, offset=position.offset)
        return rows if len(rows) >= count else []

    [letter] = wait_for("the dead letter", lambda: letters(1))
    done = deployment.command("replay", "dead-letters", "replay", "--id", letter["id"])
    assert done.returncode == 0, done.stderr
    first, second = wait_for("the second letter", lambda: letters(2))
    assert (first["id"], first["replays"]) == (letter["id"], 1)
    assert (second["reason"], second["replays"]) == (letter["reason"], 0)

    good = tmp_path / "good.json"
    good.write_bytes(as_json(batch(target=["main/repaired"])))
    done = deployment.command("replay", "dead-letters", "replay", "--id", second["id"], "--edit", str(good))
    assert done.returncode == 0, done.stderr
    stored = "SELECT target FROM checks WHERE target = 'main/repaired'"
    assert wait_for("the row", lambda: query(deployment.store, stored)) == [{"target": "main/repaired"}]
    listed = deployment.command("sink", "dead-letters", "--json", "--limit", "1000")
    assert {first["id"], second["id"]}.isdisjoint(json.loads(line)["id"] for line in listed.stdout.splitlines())
