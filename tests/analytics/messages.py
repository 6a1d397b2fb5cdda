"""Messages and rows that the store's tests are made of."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from analytics.session import Session
from analytics.settings import StoreSettings
from analytics.tables import INSTANT
from producers.contract import CheckBatch, Outcome, ProducerHealth, ProducerStopped, SparseNumbers, SparseTexts
from producers.topics import CHECKS, Position
from streams.codec import Event
from streams.contract import (
    Action,
    Alert,
    DeadLetter,
    Deviation,
    Incident,
    LocationCount,
    Reason,
    TickSummary,
    Verdict,
)

SECOND_US: Final = 1_000_000
MINUTE_US: Final = 60 * SECOND_US
NOW_US: Final = time.time_ns() // 1000 // SECOND_US * SECOND_US
"""Rows that are older than the TTL vanish at once, so examples are of today."""


def place(offset: int = 7, *, topic: str = CHECKS, partition: int = 3, epoch: str = "cluster/topic") -> Position:
    """Return a position."""
    return Position(epoch=epoch, topic=topic, partition=partition, offset=offset)


def batch(targets: Sequence[str], *, tick_us: int = NOW_US, delay_us: int = 250, location: str = "north") -> CheckBatch:
    """Return plain healthy checks of one tick that began `delay_us` after it."""
    count = len(targets)
    return CheckBatch(
        v=1,
        producer=location,
        location=location,
        target=list(targets),
        probe=["web"] * count,
        kind=["http"] * count,
        scheduled_at_us=[tick_us] * count,
        started_at_us=[tick_us + delay_us] * count,
        duration_us=[80_000] * count,
        outcome=[Outcome.SUCCESS] * count,
        reason=[None] * count,
        address=["192.0.2.1"] * count,
        http_status=[200] * count,
    )


def rich_batch() -> CheckBatch:
    """Return a batch with everything that a batch may have: missed, failed, sparse, other alphabets."""
    return CheckBatch(
        v=1,
        producer="north-1",
        location="north",
        target=["main/shop", "main/база", "eu/host 1"],
        probe=["web", "web", "disk"],
        kind=["http", "http", "host"],
        scheduled_at_us=[NOW_US, NOW_US + 1, NOW_US + 2],
        started_at_us=[NOW_US + 250, NOW_US - 3, NOW_US + 2],
        duration_us=[81_234, None, 0],
        outcome=[Outcome.SUCCESS, Outcome.MISSED, Outcome.FAILURE],
        reason=[None, "overload", "unavailable"],
        address=["2001:db8::1", None, None],
        http_status=[200, None, 503],
        phases={"dns": [900, None, None], "transfer": [1, None, 2**40]},
        metrics={
            "tls_days_left": SparseNumbers(rows=[0], values=[9.25]),
            "disk_free_ratio:/": SparseNumbers(rows=[2, 0], values=[0.125, -0.5]),
        },
        detail=SparseTexts(rows=[2], values=["no such mount: /срв 'quoted' \\ \n"]),
        disturbed=[1],
    )


def reason(kind: str = "failing", **changes: Any) -> Reason:
    """Return a reason with every field set."""
    values: dict[str, Any] = {
        "kind": kind,
        "subject": "service",
        "text": "answers 502 in north; was 200",
        "probe": "web",
        "since_us": NOW_US - MINUTE_US,
        "severity": "critical",
        "locations": ["north", "south"],
        "metric": "latency",
        "value": 1.5,
        "baseline": 0.5,
        "limit": 2.0,
        "score": 7.25,
        "phase": "wait",
        "failure": "http_status",
        "time_left_us": 5,
    }
    return Reason(**{**values, **changes})


def summary(slot_us: int) -> TickSummary:
    """Return a summary of a slot."""
    return TickSummary(
        v=1,
        id=f"s{slot_us}",
        partition=4,
        slot_us=slot_us,
        width_us=10,
        closed_through_us=slot_us + 10,
        locations=[
            LocationCount(location="north", reported=3, failed=1),
            LocationCount(location="south", reported=0, failed=0),
        ],
    )


def verdict(verdict_name: str, tick_us: int, *, target: str = "main/shop", **changes: Any) -> Verdict:
    """Return a verdict that changed at this tick."""
    values: dict[str, Any] = {
        "v": 1,
        "id": f"{target}@{tick_us}",
        "target": target,
        "tick_us": tick_us,
        "verdict": verdict_name,
        "previous": "unknown",
        "changed": True,
        "since_us": tick_us,
        "interval_us": 30 * SECOND_US,
        "lateness_us": MINUTE_US,
        "reported": ["north", "south"],
        "failed": [],
    }
    return Verdict(**{**values, **changes})


def incident(revision: int, **changes: Any) -> Incident:
    """Return one step of an incident."""
    values: dict[str, Any] = {
        "v": 1,
        "id": f"abc.{revision}",
        "incident_id": "abc",
        "revision": revision,
        "effect": "updated",
        "target": "main/shop",
        "location": None,
        "subject": "service",
        "kind": "early_warning",
        "severity": "warning",
        "page": False,
        "cause": "latency 3 times its norm",
        "began_at_us": NOW_US,
        "opened_at_us": NOW_US + 1,
        "updated_at_us": NOW_US + revision,
    }
    return Incident(**{**values, **changes})


def events() -> tuple[ProducerHealth | ProducerStopped | Event, ...]:
    """Return one of each kind of event, with as many fields set as it has."""
    return (*_of_producers(), *_of_detection(), *_of_incidents_and_people())


def _of_producers() -> tuple[ProducerHealth | ProducerStopped, ...]:
    return (
        ProducerHealth(
            v=1,
            producer="north-1",
            location="north",
            at_us=NOW_US,
            started_at_us=NOW_US - 5,
            loop_lag_us=3,
            spool_bytes=4,
            spool_records=5,
            spool_dropped=6,
            checks=7,
            missed=8,
        ),
        ProducerStopped(v=1, producer="north-1", location="north", at_us=NOW_US),
    )


def _of_detection() -> tuple[Event, ...]:
    return (
        Deviation(
            v=1,
            id="d1",
            target="main/shop",
            probe="web",
            location=None,
            metric="latency",
            detector="latency_level",
            tick_us=NOW_US,
            since_us=NOW_US - 9,
            active=True,
            score=5.5,
            value=200.5,
            baseline=100.25,
            limit=150.0,
            phase="wait",
            time_left_us=1,
            time_left_upper_us=2,
        ),
        verdict(
            "failing", NOW_US, failed=["south"], address="192.0.2.1", reasons=[reason(), reason("silence", value=None)]
        ),
        summary(NOW_US),
    )


def _of_incidents_and_people() -> tuple[Event, ...]:
    return (
        incident(2, warned_at_us=NOW_US, outage_at_us=NOW_US + 1, locations=["north"], reasons=[reason()]),
        Alert(
            v=1,
            id="a1",
            incident_id="abc",
            kind="reminder",
            number=2,
            channel="mail",
            page=True,
            at_us=NOW_US,
            delivered=False,
            attempts=9,
            title="t",
            text="x\ny",
            error="refused",
            stage="outage",
        ),
        Action(
            v=1,
            id="p1",
            kind="silence",
            at_us=NOW_US,
            person="ann",
            incident_id="abc",
            target="main/shop",
            until_us=NOW_US + 1,
            text="moving",
        ),
        DeadLetter(
            v=1,
            id="l1",
            topic="checks.v1",
            epoch="c/t",
            partition=1,
            offset=2,
            log_timestamp_us=NOW_US - 1,
            reason="malformed",
            detail="no JSON",
            group="detect",
            at_us=NOW_US,
            payload="e30=",
            payload_bytes=2,
            key="a2V5",
        ),
    )


def read(session: Session, sql: str, **parameters: Any) -> list[dict[str, Any]]:
    """Return a query's rows; instants as microseconds, maps as dicts."""
    with session.client() as client:
        table = client.query_arrow(sql, parameters=parameters, use_strings=True)
    return [
        {field.name: _plain(value, field.type) for field, value in zip(table.schema, row.values(), strict=True)}
        for row in table.to_pylist()
    ]


def sink_marks(store: StoreSettings, outbox_id: str) -> dict[tuple[str, int], int]:
    """Return what the sink alone says of an outbox: up to which number it is stored, by topic and partition."""
    session = Session(store)
    sql = "SELECT topic, log_partition, seq FROM outbox_marks WHERE outbox_id = {outbox:String} AND reader = 'sink'"
    try:
        rows = read(session, sql, outbox=outbox_id)
    finally:
        session.close()
    return {(row["topic"], row["log_partition"]): row["seq"] for row in rows}


def _plain(value: Any, kind: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_timestamp(kind):
        return pa.scalar(value, INSTANT).cast(pa.int64()).as_py()
    if pa.types.is_map(kind):
        return dict(value)
    if pa.types.is_list(kind):
        return [_plain(one, kind.value_type) for one in value]
    if pa.types.is_struct(kind):
        return {field.name: _plain(value[field.name], field.type) for field in kind}
    return value


def without(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return a row without some columns."""
    return {name: value for name, value in row.items() if name not in names}
