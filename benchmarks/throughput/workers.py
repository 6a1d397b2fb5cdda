"""One worker process: the product's own group behind a gate, telling four times a second how far it is.

    python -m benchmarks.throughput.workers detect|sink|ewma JOB.json

Where it waits for the gate it has joined, loaded and learned; so what is measured is the flow and not the start. The
gate is a file that the benchmark makes. What it tells goes to stdout, a line of JSON each.
"""

import json
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from analytics.lean_arrow import leave_pandas_out
from analytics.marks import ClickHouseMarks
from analytics.settings import StoreSettings
from analytics.sink import FLUSH_US, Sink
from analytics.state import ClickHouseStateStore
from benchmarks.throughput.ewma import Ewma
from benchmarks.throughput.load import PARTITIONS, Known, Load
from producers import codec
from producers.contract import CheckBatch
from producers.errors import InvalidEvent
from producers.settings import LogSettings
from producers.telemetry import CHECKS_JUDGED, CHECKS_LATE, CHECKS_REDELIVERED, ROWS_STORED
from producers.topics import CHECKS
from streams.detect import DetectGroup
from streams.group import Assigned, LogMessage, OutMessage, Place, Publish
from streams.local_state import LocalStateStore
from streams.log_range import KafkaRange
from streams.policy import DetectPolicy
from streams.settings import WorkerSettings
from streams.worker import run_worker

TELL_S: Final = 0.25
TAKEN: Final = (CHECKS_JUDGED, CHECKS_LATE, CHECKS_REDELIVERED)


class Gate:
    """Closed until a file is there. Who asks has a message at hand, so is ready: that is told."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told = self._open = False

    @property
    def closed(self) -> bool:
        """Whether to wait."""
        if not self._told:
            self._told = True
            print(json.dumps({"ready": True}), flush=True)
        self._open = self._open or self._path.exists()
        return not self._open


class GatedDetect(DetectGroup):
    """The group detect, as it is."""

    gate: Gate

    def crowded(self) -> bool:
        """See Group."""
        return self.gate.closed or super().crowded()


class GatedSink(Sink):
    """The group sink, as it is, without rollups of hours that are over: they are computed after the flow."""

    gate: Gate

    async def run(self, publish: Publish) -> None:
        """See Group."""

    def crowded(self) -> bool:
        """See Group."""
        return self.gate.closed or super().crowded()


class EwmaGroup:
    """The trivial detector as a group of ours."""

    name = "ewma"
    topics: tuple[str, ...] = (CHECKS,)

    def __init__(self, gate: Gate) -> None:
        self.checks = 0
        self._gate = gate
        self._ewma: dict[int, Ewma] = {}

    async def assign(self, places: Sequence[Assigned]) -> Mapping[Place, int]:
        """See Group."""
        return {one.place: -1 for one in places}

    @property
    def rest_s(self) -> float:
        """See Group."""
        return 0.0

    def hurry(self) -> None:
        """See Group."""

    def revoke(self) -> None:
        """See Group."""

    def handle(self, *messages: LogMessage) -> Sequence[OutMessage]:
        """See Group."""
        for message in messages:
            try:
                batch = codec.decode(message.value, log_timestamp_us=message.timestamp_us)
            except InvalidEvent as error:
                raise AssertionError("the benchmark's own messages are good") from error
            if isinstance(batch, CheckBatch):
                found = codec.columns(batch)
                self._ewma.setdefault(message.partition, Ewma()).update(found.target, found.duration_us)
                self.checks += len(found)
        return ()

    def troubles(self) -> Sequence[str]:
        """See Group."""
        return ()

    def crowded(self) -> bool:
        """See Group."""
        return self._gate.closed

    def due(self) -> bool:
        """See Group."""
        return False

    def cut(self, turn: int) -> None:
        """See Group: nothing is kept."""

    async def keep(self, cut: None) -> Mapping[Place, int]:  # noqa: ARG002 - the protocol
        """See Group."""
        return {}

    async def run(self, publish: Publish) -> None:
        """See Group."""


def detect(job: Mapping[str, Any], gate: Gate, log: LogSettings, store: StoreSettings, worker: WorkerSettings) -> None:
    """Run a detect worker as `streams.detect.run` does."""
    load = Load(**job["load"])
    marks = ClickHouseMarks(store)
    group = GatedDetect(
        DetectPolicy(),
        load.expectations(),
        partitions=PARTITIONS,
        store=ClickHouseStateStore(store),
        local=LocalStateStore(worker.data_dir / "snapshots"),
        log_range=KafkaRange(log),
        history=Known(load) if job["warm"] else None,
        marks=marks,
    )
    group.gate = gate
    counters = [kind.labels(str(number)) for kind in TAKEN for number in range(PARTITIONS)]
    _tell(lambda: sum(counter._value.get() for counter in counters))  # noqa: SLF001 - prometheus has no other way
    run_worker(group, log, worker, marks=marks)


def sink(job: Mapping[str, Any], gate: Gate, log: LogSettings, store: StoreSettings, worker: WorkerSettings) -> None:  # noqa: ARG001 - the same as the others
    """Run a sink as `analytics.sink.run` does."""
    leave_pandas_out()
    group = GatedSink(store, with_marks=True)
    group.gate = gate
    _tell(ROWS_STORED.labels("checks_log")._value.get)  # noqa: SLF001 - as above
    run_worker(group, log, replace(worker, snapshot_interval_us=FLUSH_US), marks=ClickHouseMarks(store))


def ewma(job: Mapping[str, Any], gate: Gate, log: LogSettings, store: StoreSettings, worker: WorkerSettings) -> None:  # noqa: ARG001 - the same as the others
    """Run the trivial detector under our frame."""
    group = EwmaGroup(gate)
    _tell(lambda: group.checks)
    run_worker(group, log, worker, marks=ClickHouseMarks(store))


def _tell(done: Any) -> None:
    def tell() -> None:
        while True:
            print(json.dumps({"at": time.time(), "checks": int(done())}), flush=True)
            time.sleep(TELL_S)

    threading.Thread(target=tell, daemon=True).start()


def main() -> None:
    """Run one worker until SIGTERM."""
    name, job = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    directory = Path(job["directory"])
    log = LogSettings(bootstrap=(job["bootstrap"],), partitions=PARTITIONS, forgetful=True)
    store = StoreSettings(url=job["store_url"], token=job["store_token"])
    worker = WorkerSettings(data_dir=directory / name, session_timeout_s=job["session_timeout_s"])
    {"detect": detect, "sink": sink, "ewma": ewma}[name](job, Gate(Path(job["gate"])), log, store, worker)


if __name__ == "__main__":
    main()
