"""A replay, which has one partition, comes to what a live run with several comes to."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from forewarn.replay.drive import Policies
from forewarn.replay.input import open_checks, part, read_checks, to_columns
from forewarn.replay.replay import replay
from producers.codec import take
from producers.topics import partition_of
from streams.contract import Incident, TickSummary
from streams.core.detect import Detector
from streams.core.incidents.incidents import Incidents
from streams.core.outputs import Outputs
from streams.policy import DetectPolicy, Expectations, IncidentPolicy
from tests.forewarn.recorded import SECOND, START_US, Numbers, between, by_time, checks, ramp, write

PARTITIONS = 5
TICKS = 240
SLOT_US = 10 * SECOND


def falling(ticks: Numbers) -> Numbers:
    """A disk that fills."""
    return 0.5 - ticks * 0.0003


def installation() -> pa.Table:
    """Targets checked at different moments: a slow-down, a crash, a location's trouble, flapping, a gap."""
    three = ("ams", "fra", "nyc")
    tables = [
        checks("shop/web", ticks=TICKS, latency=ramp(100, 180, 9), fails=between(180, 200, 1.0), seed=1),
        checks("shop/api", ticks=TICKS, locations=three, fails=between(60, 90, 1.0), fails_at=["ams"], seed=2),
        checks("shop/blog", ticks=TICKS, locations=three, fails=between(60, 90, 1.0), fails_at=["ams"], seed=3),
        checks("shop/cart", ticks=TICKS, locations=three, fails=between(60, 90, 1.0), fails_at=["ams"], seed=4),
        checks("shop/lone", ticks=TICKS, locations=["ams"], fails=between(70, 130, 1.0), seed=5),
        checks("shop/flap", ticks=TICKS, fails=between(50, 220, 0.4), seed=6),
        checks("shop/disk", ticks=TICKS, probe="host", metrics={"disk_free_ratio": falling}, seed=7),
    ]
    moved = []
    for number, table in enumerate(tables):
        offset_us = number * 3_700_000
        times = pa.compute.add(table["scheduled_at_us"], offset_us)
        moved.append(table.set_column(table.schema.get_field_index("scheduled_at_us"), "scheduled_at_us", times))
    whole = by_time(*moved)
    gone = pa.compute.and_(
        pa.compute.equal(whole["location"], "nyc"),
        pa.compute.greater(whole["scheduled_at_us"], START_US + 210 * 30 * SECOND),
    )
    return whole.filter(pa.compute.invert(gone))


def live(path: Path, end_us: int) -> dict[str, Incident]:
    """Several detectors, as many clocks, one group that sees them all."""
    policy, expectations = DetectPolicy(), Expectations()
    detectors = [Detector(policy, expectations, partition=number) for number in range(PARTITIONS)]
    incidents = Incidents(IncidentPolicy(), expectations, partitions=PARTITIONS)
    found: dict[str, Incident] = {}

    def publish(outputs: Outputs) -> None:
        for message in outputs.verdicts:
            if isinstance(message, TickSummary) or message.tick_us <= end_us:
                found.update({one.incident_id: one for one in incidents.apply(message) if one.updated_at_us <= end_us})

    (batch,) = read_checks(open_checks(path))
    columns = to_columns(batch)
    owner = np.array([partition_of(target, PARTITIONS) for target in columns.target])
    for slot_us in range(START_US, end_us + 400 * SECOND, SLOT_US):
        start, stop = np.searchsorted(columns.scheduled_at_us, [slot_us, slot_us + SLOT_US]).tolist()
        rows = part(columns, start, stop)
        for number, detector in enumerate(detectors):
            publish(detector.apply(take(rows, np.flatnonzero(owner[start:stop] == number))))
        for detector in detectors:
            publish(detector.clock(slot_us + SLOT_US))
    return found


def test_one_partition_and_several_come_to_the_same_incidents(tmp_path: Path) -> None:
    """The same ids, stages, times and causes."""
    table = installation()
    path = write(table, tmp_path / "checks.parquet")
    replay(path, tmp_path / "out", Policies(), tell=print, advance=lambda _done, _of: None)
    rows: list[dict[str, Any]] = pq.read_table(tmp_path / "out" / "incidents.parquet").to_pylist()
    end_us = pa.compute.max(table["scheduled_at_us"]).as_py()
    expected = live(path, end_us)
    assert {row["incident_id"]: row for row in rows} == {
        one.incident_id: {name: getattr(one, name) for name in rows[0]} for one in expected.values()
    }
    assert {row["kind"] for row in rows} == {"early_warning", "outage", "location_trouble", "silence"}
