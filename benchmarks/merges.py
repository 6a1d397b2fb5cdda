"""What merging costs the store, by `merge_selector_base` of checks_log: `python -m benchmarks.merges [--quick]`.

The same checks go into a store of its own for each base, in inserts of 10,000 rows four times a second, then it is
waited until nothing is merged any more. The lower the base, the sooner parts are merged: fewer of them, each row
written more often. Printed by base: CPU time of the store a row, how often each row was written by merges, how many
parts are left, and the seconds of two questions over them. The last line is JSON.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import psutil
import pyarrow as pa

from analytics.insert import Inserter
from analytics.rows import one_table, rows_of
from analytics.session import Session
from analytics.tables import CHECKS
from benchmarks.storage import fresh_store, messages, query_times
from producers.codec import decode
from producers.topics import Position

BASES: Final = (5, 10, 20)
"""ClickHouse's own is 5."""

ROWS_AN_INSERT: Final = 10_000
PAUSE_S: Final = 0.25
SETTLED_S: Final = 3.0
TARGETS: Final = 1_000


def inserts(rows: int) -> list[pa.Table]:
    """Return checks as tables of about ROWS_AN_INSERT rows."""
    tables: list[pa.Table] = []
    batches: list[pa.RecordBatch] = []
    for message in messages(TARGETS, rows, np.random.default_rng(1)):
        position = Position(epoch="benchmark", topic=message.topic, partition=message.partition, offset=message.offset)
        decoded = decode(message.value, log_timestamp_us=message.timestamp_us)
        batches += [made.batch for made in rows_of(decoded, position)]
        if sum(batch.num_rows for batch in batches) >= ROWS_AN_INSERT:
            tables.append(one_table(batches, CHECKS.schema))
            batches = []
    return tables


def measure(base: int, tables: Sequence[pa.Table]) -> dict[str, float]:
    """Return what one base costs."""
    with fresh_store() as store:
        session = Session(store.settings)
        with session.client() as client:
            client.command(f"ALTER TABLE checks_log MODIFY SETTING merge_selector_base = {base:d}")
        assert store.pid is not None
        process, inserter = psutil.Process(store.pid), Inserter(session)
        before_s = _cpu_s(process)
        for table in tables:
            inserter.insert(CHECKS, table)
            time.sleep(PAUSE_S)
        inserting_s = _cpu_s(process) - before_s
        _settle(session)
        spent_s = _cpu_s(process) - before_s
        with session.client() as client:
            parts = "SELECT count() FROM system.parts WHERE active AND table = 'checks_log'"
            written = "SELECT sum(value) FROM system.events WHERE event = 'MergeWrittenRows'"
            left, merged = (int(client.query(sql).result_rows[0][0]) for sql in (parts, written))
        asked = query_times(session)
        session.close()
    rows = sum(table.num_rows for table in tables)
    return {
        "base": base,
        "cpu_us_a_row": round(spent_s * 1e6 / rows, 2),
        "cpu_us_a_row_while_inserting": round(inserting_s * 1e6 / rows, 2),
        "written_by_merges": round(merged / rows, 2),
        "parts": left,
        **asked,
    }


def _settle(session: Session) -> None:
    quiet_since_s = time.monotonic()
    while time.monotonic() - quiet_since_s < SETTLED_S:
        with session.client() as client:
            if client.query("SELECT count() FROM system.merges").result_rows[0][0]:
                quiet_since_s = time.monotonic()
        time.sleep(0.2)


def _cpu_s(process: psutil.Process) -> float:
    times: Any = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute")
    tables = inserts(200_000 if parser.parse_args().quick else 1_600_000)
    found = [measure(base, tables) for base in BASES]
    for one in found:
        sys.stdout.write("  ".join(f"{name} {value}" for name, value in one.items()) + "\n")
    sys.stdout.write(json.dumps({"benchmark": "merges", "inserts": len(tables), "bases": found}) + "\n")


if __name__ == "__main__":
    main()
