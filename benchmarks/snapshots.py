"""For how long messages wait while a worker keeps its state: `python -m benchmarks.snapshots [--quick]`.

One worker owns all partitions of `checks`. Its states are filled with checks of N series, then kept as
`streams.state_group` does it: one partition after the other is frozen on the event loop, then packed, checksummed and
written to the local copy in a thread. A task that wakes each millisecond says how late it was: no message waits longer
than that. `at once` is what it would be with all of it on the event loop. Times are of the machine as it is: its load
is printed. The last line is JSON.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.detection.cost import http_checks
from producers.topics import CHECKS
from streams.blocking import in_thread
from streams.contract import Snapshot, payload_checksum
from streams.core.detect import CODE, Detector
from streams.core.snapshot import Frozen
from streams.local_state import LocalStateStore
from streams.policy import SECOND_US, DetectPolicy, Expectations, ProbeExpectation

INTERVAL_US: Final = 30 * SECOND_US
START_US: Final = 1_800_000_000 * SECOND_US
ROUNDS: Final = 3
AIM_MS: Final = 200.0


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One row of the table; milliseconds and bytes.

    Attributes:
        pause_ms, pause_cpu_ms: The longest freeze of a partition, and its CPU time.
        loop_ms: The longest time for which the event loop did nothing else, over all of it.
        all_ms: Until every partition is kept.
        at_once_ms: Freeze and pack of all partitions in one.
        packed_bytes, raw_bytes: Of all partitions.
    """

    series: int
    partitions: int
    pause_ms: float
    pause_cpu_ms: float
    loop_ms: float
    all_ms: float
    at_once_ms: float
    packed_bytes: int
    raw_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.series:8} {self.partitions:10} {self.pause_ms:9.1f} {self.pause_cpu_ms:9.1f} {self.loop_ms:9.1f}"
            f" {self.all_ms:9.0f} {self.at_once_ms:9.0f} {self.packed_bytes / 1e6:9.1f} {self.raw_bytes / 1e6:9.1f}"
        )


def detector(series: int, partition: int) -> Detector:
    """Return the state of a partition that has seen a few rounds of so many series: its arrays have their full size."""
    targets = [f"main/site-{partition}-{number}" for number in range(series)]
    expected = ProbeExpectation(interval_us=INTERVAL_US, locations=("ams",))
    config = Expectations(probes={(target, "web"): expected for target in targets})
    core, rng = Detector(DetectPolicy(), config, partition=partition), np.random.default_rng(partition)
    for turn in range(ROUNDS):
        core.apply(http_checks(targets, START_US + turn * INTERVAL_US, rng))
    return core


async def keep(cores: list[Detector], directory: Path) -> tuple[float, float, float, float, int, int]:
    """Keep all of them, one after the other; return pause, its CPU time, the loop's worst, all, and both sizes."""
    store, worst = LocalStateStore(directory), [0.0]
    watching = asyncio.create_task(_watch(worst))
    await asyncio.sleep(0.05)
    worst[0] = pause_s = cpu_s = 0.0
    packed = raw = 0
    began_s = time.perf_counter()
    for partition, core in enumerate(cores):
        at_s, at_cpu_s = time.perf_counter(), time.thread_time()
        frozen = core.freeze()
        pause_s = max(pause_s, time.perf_counter() - at_s)
        cpu_s = max(cpu_s, time.thread_time() - at_cpu_s)
        raw += frozen.size
        packed += await in_thread(lambda frozen=frozen, partition=partition: _save(store, frozen, partition))  # type: ignore[misc]
    all_s = time.perf_counter() - began_s
    await asyncio.sleep(0.01)
    watching.cancel()
    return pause_s, cpu_s, worst[0], all_s, packed, raw


async def _watch(worst: list[float]) -> None:
    while True:
        at_s = time.perf_counter()
        await asyncio.sleep(0.001)
        worst[0] = max(worst[0], time.perf_counter() - at_s - 0.001)


def _save(store: LocalStateStore, frozen: Frozen, partition: int) -> int:
    payload = frozen.pack()
    snapshot = Snapshot(
        group="detect",
        partition=partition,
        positions=((CHECKS, partition, "epoch", 0),),
        taken_at_us=START_US,
        code=CODE,
        payload=payload,
        checksum=payload_checksum(payload),
    )
    store.save(snapshot)
    return len(payload)


def measure(series: int, partitions: int) -> Figures:
    """Return one row."""
    cores = [detector(series // partitions, number) for number in range(partitions)]
    with tempfile.TemporaryDirectory() as directory:
        pause_s, cpu_s, loop_s, all_s, packed, raw = asyncio.run(keep(cores, Path(directory)))
    began_s = time.perf_counter()
    for core in cores:
        payload_checksum(core.snapshot())
    return Figures(
        series=series,
        partitions=partitions,
        pause_ms=round(pause_s * 1e3, 2),
        pause_cpu_ms=round(cpu_s * 1e3, 2),
        loop_ms=round(loop_s * 1e3, 2),
        all_ms=round(all_s * 1e3, 1),
        at_once_ms=round((time.perf_counter() - began_s) * 1e3, 1),
        packed_bytes=packed,
        raw_bytes=raw,
    )


def main() -> int:
    """Measure and print; 1 if a message waited for longer than the aim with the default partitions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="up to 10,000 series, under a minute")
    options = parser.parse_args()
    sizes = [(1_000, 12), (10_000, 12)] if options.quick else [(1_000, 12), (10_000, 12), (100_000, 12), (100_000, 1)]
    load = os.getloadavg()[0]
    sys.stdout.write(f"load average {load:.1f}; aim: no message waits for more than {AIM_MS:g} ms\n")
    names = ("pause ms", "its CPU", "loop ms", "all ms", "at once", "packed MB", "raw MB")
    sys.stdout.write(f"{'series':>8} {'partitions':>10} {' '.join(f'{name:>9}' for name in names)}\n")
    rows = []
    for series, partitions in sizes:
        rows.append(measure(series, partitions))
        sys.stdout.write(f"{rows[-1]}\n")
        sys.stdout.flush()
    within = all(row.loop_ms <= AIM_MS for row in rows if row.partitions > 1)
    result = {"benchmark": "snapshots", "load": round(load, 1), "aim_ms": AIM_MS, "within_aim": within}
    sys.stdout.write(json.dumps({**result, "rows": [asdict(row) for row in rows]}) + "\n")
    return 0 if within else 1


if __name__ == "__main__":
    raise SystemExit(main())
