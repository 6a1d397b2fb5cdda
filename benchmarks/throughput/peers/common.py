"""What every peer does with a message, however it gets it: decode, the trivial detector, rows, one insert a second.

Packed messages go through our own codec and rows, so that what is compared is the way from the log to here and back.
Single events are a JSON object each, decoded into a struct, with the detector as a dict.
"""

import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import clickhouse_connect
import msgspec
import pyarrow as pa

from analytics.rows import check_rows, one_table
from analytics.tables import CHECKS, STORED_AT
from benchmarks.throughput.ewma import ALPHA, TIMES, Ewma
from benchmarks.throughput.single import Event
from producers.codec import columns, decode
from producers.contract import CheckBatch
from producers.topics import Position

FLUSH_S: Final = 1.0
FLUSH_ROWS: Final = 200_000
TELL_S: Final = 0.25

_EVENT: Final = msgspec.json.Decoder(Event)


class Peer:
    """One process of a peer: gate, detector, writer."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        self.packed = bool(job["packed"])
        self.topic = str(job["topic"])
        self.bootstrap = str(job["bootstrap"])
        self.group = str(job["group"])
        self.checks = 0
        self.flagged = 0
        self._gate = Path(job["gate"])
        self._open = False
        self._detectors: dict[int, Ewma] = {}
        self._means: dict[str, float] = {}
        self._batches: list[pa.RecordBatch] = []
        self._events: list[Event] = []
        self._waiting = 0
        self._flushed_s = time.monotonic()
        url, token = job["store_url"], job["store_token"]
        host, port = url.removeprefix("http://").split(":")
        self._client = clickhouse_connect.get_client(
            host=host, port=int(port), access_token=token, database="forewarn", compress="lz4"
        )
        threading.Thread(target=self._tell, daemon=True).start()

    def wait(self) -> None:
        """Say that a message is at hand, and wait for the gate; at once when it is open."""
        if self._open:
            return
        print(json.dumps({"ready": True}), flush=True)
        while not self._gate.exists():
            time.sleep(0.05)
        self._open = True
        self._flushed_s = time.monotonic()

    def take(self, value: bytes, partition: int, offset: int) -> int:
        """Take in one message; return how many of its checks are flagged."""
        self.wait()
        flagged = self._take_packed(value, partition, offset) if self.packed else self._take_event(value)
        self.flagged += flagged
        return flagged

    def _take_packed(self, value: bytes, partition: int, offset: int) -> int:
        batch = decode(value, log_timestamp_us=time.time_ns() // 1000)
        assert isinstance(batch, CheckBatch)
        found = columns(batch)
        flagged = self._detectors.setdefault(partition, Ewma()).update(found.target, found.duration_us)
        position = Position(epoch="peer", topic=self.topic, partition=partition, offset=offset)
        self._batches.append(check_rows(batch, position))
        self._waiting += len(batch.target)
        return flagged

    def _take_event(self, value: bytes) -> int:
        event = _EVENT.decode(value)
        self._events.append(event)
        self._waiting += 1
        duration_us = event.duration_us
        if duration_us is None:
            return 0
        mean = self._means.get(event.target)
        self._means[event.target] = duration_us if mean is None else mean + ALPHA * (duration_us - mean)
        return 0 if mean is None else int(duration_us > TIMES * mean)

    def flush(self, *, now: bool = False) -> bool:
        """Insert what waits, if it is time; return whether all that was taken is in the store."""
        due = now or self._waiting >= FLUSH_ROWS or time.monotonic() - self._flushed_s >= FLUSH_S
        if not due or not self._waiting:
            return not self._waiting
        table = one_table(self._batches, CHECKS.schema) if self.packed else _event_rows(self._events)
        stamp = pa.repeat(pa.scalar(time.time_ns() // 1000, pa.timestamp("us", tz="UTC")), table.num_rows)
        summary = self._client.insert_arrow(CHECKS.name, table.append_column(STORED_AT, stamp))
        assert summary.written_rows == table.num_rows
        self.checks += table.num_rows
        self._batches, self._events, self._waiting = [], [], 0
        self._flushed_s = time.monotonic()
        return True

    def tell(self) -> None:
        """Say how far it is."""
        print(json.dumps({"at": time.time(), "checks": self.checks}), flush=True)

    def _tell(self) -> None:
        while True:
            self.tell()
            time.sleep(TELL_S)


def _event_rows(events: list[Event]) -> pa.Table:
    """Return single events as rows: column by column, as fast as it goes from objects."""
    count = len(events)
    nothing: dict[str, Any] = {name: pa.nulls(count, kind) for name, kind in CHECKS.columns}
    scheduled = pa.array([event.scheduled_at_us for event in events], pa.int64())
    version = [event.scheduled_at_us - event.started_at_us for event in events]
    made: dict[str, Any] = {
        "scheduled_at": scheduled.view(pa.timestamp("us", tz="UTC")),
        "version": pa.array(version, pa.int64()),
        "disturbed": pa.repeat(pa.scalar(value=False), count),
        "metrics": pa.array([[]] * count, dict(CHECKS.columns)["metrics"]),
        "producer": pa.repeat("peer", count),
        "log_epoch": pa.repeat("peer", count),
        "log_partition": pa.repeat(pa.scalar(0, pa.int64()), count),
        "log_offset": pa.repeat(pa.scalar(0, pa.int64()), count),
    }
    texts = ("target", "probe", "location", "kind", "outcome", "reason", "address")
    made |= {name: pa.array([getattr(event, name) for event in events], pa.string()) for name in texts}
    numbers = {"duration_us": "duration_us", "http_status": "http_status"} | {
        f"phase_{name}_us": name for name in ("dns", "connect", "tls", "wait", "transfer")
    }
    made |= {
        column: pa.array([getattr(event, name) for event in events], pa.int64()) for column, name in numbers.items()
    }
    return pa.Table.from_arrays([made.get(name, nothing[name]) for name, _ in CHECKS.columns], schema=CHECKS.schema)


def peer() -> Peer:
    """Return the peer that the job asks for, whose file JOB names (a variable: Bytewax reads the command line)."""
    return Peer(json.loads(Path(os.environ["JOB"]).read_text()))
