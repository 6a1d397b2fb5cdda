"""The way of checks into the store and what they cost there: `python -m benchmarks.storage`.

Messages of 500 checks go through the sink's own code (decode, Arrow columns, insert, proof) into an embedded store
that is made for it, then the table is merged and measured. The checks are like real ones: two locations, an http
probe each 30 s, times that scatter by a quarter around a target's own norm, a certificate that grows older, one
failure in five hundred. `--quick` takes under a minute. The last line is JSON.
"""

import argparse
import asyncio
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np

from analytics.migrate import migrate
from analytics.session import Session
from analytics.settings import StoreSettings
from analytics.sink import Sink
from forewarn.embedded.store_process import StoreProcess
from producers.codec import encode
from producers.contract import MAX_BATCH_CHECKS, VERSION, CheckBatch, Outcome, SparseNumbers, SparseTexts
from producers.topics import CHECKS, partition_of
from streams.group import LogMessage

TURNS = count(1)
"""Of saving; see `Group.cut`."""

LOCATIONS = ("paris", "warsaw")
INTERVAL_US = 30_000_000
PARTITIONS = 12
PHASE_SHARES = {"dns": 0.05, "connect": 0.15, "tls": 0.3, "wait": 0.45, "transfer": 0.05}
DAY_US = 86_400_000_000
MONTH_DAYS = 30


@contextmanager
def fresh_store() -> Iterator[StoreProcess]:
    """Start an embedded store in a directory of its own, its tables made; both are gone after the block."""
    with tempfile.TemporaryDirectory(prefix="forewarn-store-") as directory:
        store = StoreProcess(Path(directory) / "store")
        store.start()
        try:
            migrate(store.settings)
            yield store
        finally:
            store.stop()


def messages(targets: int, rows: int, random: np.random.Generator) -> Iterator[LogMessage]:
    """Yield messages of about MAX_BATCH_CHECKS checks, of one location and partition each, oldest tick first."""
    by_partition: dict[int, list[int]] = {}
    for target in range(targets):
        by_partition.setdefault(partition_of(f"main/site-{target}", PARTITIONS), []).append(target)
    norms_us = random.lognormal(np.log(80_000), 0.6, targets)
    ticks = rows // (targets * len(LOCATIONS))
    begin_us = time.time_ns() // 1000 // INTERVAL_US * INTERVAL_US - ticks * INTERVAL_US
    offsets = dict.fromkeys(by_partition, 0)
    together = max(1, MAX_BATCH_CHECKS * PARTITIONS // targets)
    for first in range(0, ticks, together):
        for location in LOCATIONS:
            for partition, ours in by_partition.items():
                numbers = np.tile(ours, min(together, ticks - first))
                ticks_us = begin_us + INTERVAL_US * (first + np.arange(len(numbers)) // len(ours))
                for start in range(0, len(numbers), MAX_BATCH_CHECKS):
                    part = slice(start, start + MAX_BATCH_CHECKS)
                    value = encode(_batch(location, numbers[part], ticks_us[part], norms_us, random))
                    yield LogMessage(
                        epoch="benchmark/checks",
                        topic=CHECKS,
                        partition=partition,
                        offset=offsets[partition],
                        timestamp_us=time.time_ns() // 1000,
                        key=None,
                        value=value,
                    )
                    offsets[partition] += 1


def _batch(
    location: str,
    targets: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    ticks_us: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    norms_us: "np.ndarray[tuple[int], np.dtype[np.float64]]",
    random: np.random.Generator,
) -> CheckBatch:
    count = len(targets)
    # Each target has its own place inside the interval, so that ticks are spread.
    scheduled = ticks_us + (targets * 7919 % 30_000) * 1000
    durations = norms_us[targets] * random.lognormal(0, 0.25, count)
    failed = random.random(count) < 1 / 500
    failures = np.flatnonzero(failed).tolist()
    days_left = 60 + targets % 30 - (scheduled - scheduled.min()) / DAY_US
    return CheckBatch(
        v=VERSION,
        producer=location,
        location=location,
        target=[f"main/site-{target}" for target in targets],
        probe=["web"] * count,
        kind=["http"] * count,
        scheduled_at_us=scheduled.tolist(),
        started_at_us=(scheduled + random.integers(100, 4_000, count)).tolist(),
        duration_us=durations.astype(np.int64).tolist(),
        outcome=[Outcome.FAILURE if bad else Outcome.SUCCESS for bad in failed],
        reason=["http_status" if bad else None for bad in failed],
        address=[f"192.0.2.{target % 250}" for target in targets],
        http_status=[502 if bad else 200 for bad in failed],
        phases={name: (durations * share).astype(np.int64).tolist() for name, share in PHASE_SHARES.items()},
        metrics={"tls_days_left": SparseNumbers(rows=list(range(count)), values=days_left.tolist())},
        detail=SparseTexts(rows=failures, values=["status 502, expected 200-299"] * len(failures))
        if failures
        else None,
    )


async def fill(store: StoreSettings, log: list[LogMessage]) -> dict[str, float]:
    """Put messages into the store by the sink's own code; return seconds of each part."""
    sink = Sink(store, with_marks=False)
    spent = {"rows_s": 0.0, "stored_s": 0.0}
    pending = iter(log)
    last = False
    while not last:
        began = time.perf_counter()
        last = True
        for message in pending:
            sink.handle(message)
            if sink.crowded():
                last = False
                break
        made = time.perf_counter()
        cut = sink.cut(next(TURNS))
        if cut is not None and not await sink.keep(cut):
            raise SystemExit("the store did not take the rows; see the log above")
        spent["rows_s"] += made - began
        spent["stored_s"] += time.perf_counter() - made
    return spent


def measure(session: Session) -> dict[str, float]:
    """Merge the table and return its rows, and bytes a row by column."""
    with session.client() as client:
        client.command("OPTIMIZE TABLE checks_log FINAL")
        rows = client.query("SELECT count() FROM checks").result_rows[0][0]
        parts = "FROM system.parts_columns WHERE active AND database = currentDatabase() AND table = 'checks_log'"
        columns = client.query(
            f"SELECT column, sum(column_data_compressed_bytes) AS bytes {parts} GROUP BY column ORDER BY bytes DESC"
        ).result_rows
        on_disk = client.query(
            "SELECT sum(bytes_on_disk) FROM system.parts"
            " WHERE active AND database = currentDatabase() AND table = 'checks_log'"
        ).result_rows[0][0]
    for name, size in columns[:12]:
        sys.stdout.write(f"  {name:20} {size / rows:6.2f} bytes a row\n")
    return {"rows": rows, "bytes_a_row": round(on_disk / rows, 2)}


def query_times(session: Session) -> dict[str, float]:
    """Return seconds of two questions over the views of final rows."""
    questions = {
        "uptime_by_target_s": "SELECT target, countIf(outcome = 'success') / count() FROM checks GROUP BY target",
        "percentiles_of_a_target_s": (
            "SELECT toStartOfHour(scheduled_at) AS hour, quantilesExact(0.5, 0.95, 0.99)(duration_us)"
            " FROM checks WHERE target = 'main/site-1' GROUP BY hour"
        ),
    }
    took = {}
    with session.client() as client:
        for name, sql in questions.items():
            began = time.perf_counter()
            client.query(sql)
            took[name] = round(time.perf_counter() - began, 3)
    return took


def gigabytes_a_month(targets: int, bytes_a_row: float) -> float:
    """Return what one probe a target from two locations each 30 s needs, in GB for 30 days."""
    rows = targets * len(LOCATIONS) * MONTH_DAYS * DAY_US // INTERVAL_US
    return round(rows * bytes_a_row / 1e9, 3)


def main() -> None:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute")
    wanted = 200_000 if parser.parse_args().quick else 2_000_000
    with fresh_store() as store:
        session = Session(store.settings)
        log = list(messages(100, wanted, np.random.default_rng(1)))
        wire_bytes = sum(len(message.value) for message in log)
        spent = asyncio.run(fill(store.settings, log))
        found = measure(session)
        found |= query_times(session)
        session.close()
    rows = found["rows"]
    result = {
        "benchmark": "storage",
        **found,
        "wire_bytes_a_row": round(wire_bytes / rows, 1),
        "rows_a_second": round(rows / (spent["rows_s"] + spent["stored_s"])),
        "decode_and_columns_rows_a_second": round(rows / spent["rows_s"]),
        "insert_and_proof_rows_a_second": round(rows / spent["stored_s"]),
        "gb_a_month_50_targets": gigabytes_a_month(50, found["bytes_a_row"]),
        "gb_a_month_1000_targets": gigabytes_a_month(1_000, found["bytes_a_row"]),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
