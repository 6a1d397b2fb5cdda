"""Recorded checks through the same core as the live run, without broker or store.

The rows' own time is the clock: after the rows of each slot the detector is told that the slot is over, as the owner
of a partition does. At the file's end time goes on until the last ticks are closed, but nothing is said about that
time: a file that ends is not a silence.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa

from forewarn.replay.drive import Drive, Policies
from forewarn.replay.input import Order, open_checks, read_checks, read_order, to_columns
from forewarn.replay.output import ReplayOutput
from forewarn.replay.rows import METRIC_PREFIX, TIME, CheckFile
from forewarn.replay.sort import ordered
from streams.contract import Deviation, Incident

EARLIEST_US: Final = 946_684_800_000_000
"""The year 2000: earlier times are made up, or in another unit."""

Tell = Callable[[str], None]
"""Gets a line for a person."""

Advance = Callable[[int, int], None]
"""Gets how many rows are done, of how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """What a replay came to.

    Attributes:
        series: (target, probe, location, metric) that had a value; the duration counts as one metric.
        redelivered: Rows that repeat another one's target, probe, location and time.
        late: Rows that came after their tick was closed.
        incidents: By kind.
        paged: Incidents that would have woken somebody.
    """

    rows: int
    targets: int
    series: int
    deviations: int
    redelivered: int
    late: int
    incidents: Counter[str]
    paged: int
    seconds: float


def replay(checks: Path, out: Path, policies: Policies, *, tell: Tell, advance: Advance) -> ReplayResult:
    """Run recorded checks through detection and incidents; write deviations.parquet and incidents.parquet.

    Args:
        checks: A .parquet or .csv file; its columns are described in docs/replay.md.
        out: The directory of the outputs, made if it is not there.
        policies: How to judge.
        tell: Gets what a user should know (columns that are ignored, a file that is not in order).
        advance: Is called after each piece of rows.

    Raises:
        UsageError: The file cannot be used; nothing is written then.
        CommandError: The directory cannot be written to.
    """
    began = time.monotonic()
    source = open_checks(checks)
    if source.ignored:
        tell(f"{checks}: ignored columns that are not known: {', '.join(source.ignored)}")
    if "duration_us" not in source.names:
        tell(f"{checks}: there is no column duration_us: no latency is judged")
    order = read_order(source)
    if 0 <= order.last_us < EARLIEST_US:
        tell(
            f"{checks}: the times end on {datetime.fromtimestamp(order.last_us / 1e6, UTC):%Y-%m-%d}: "
            f"is {TIME} in microseconds?"
        )
    with ReplayOutput(out) as output, tempfile.TemporaryDirectory(prefix=".replay-", dir=out) as pieces:
        run = _Run(policies, output, order)
        for batch in _in_order(source, order, Path(pieces), tell):
            run.take(batch)
            advance(run.rows, order.rows)
        run.finish()
        output.commit(run.incidents.values())
    return run.result(time.monotonic() - began)


def _in_order(source: CheckFile, order: Order, pieces: Path, tell: Tell) -> Iterator[pa.RecordBatch]:
    rows: Iterable[pa.RecordBatch] = read_checks(source)
    if not order.ordered:
        tell(f"{source.path}: its rows are not ordered by {TIME}; they are sorted first, in {pieces.parent}")
        rows = ordered(rows, pieces)
    yield from rows


class _Run:
    """One replay under way.

    Attributes:
        rows: Taken so far.
        incidents: The newest revision of each.
    """

    def __init__(self, policies: Policies, output: ReplayOutput, order: Order) -> None:
        self.rows = 0
        self.incidents: dict[str, Incident] = {}
        self._output = output
        self._drive = Drive(policies, last_us=order.last_us, deviated=self._deviated, revised=self._revised)
        self._targets: set[str] = set()
        self._series: set[tuple[str, str, str, str]] = set()
        self._deviations = 0

    def take(self, batch: pa.RecordBatch) -> None:
        """Take in rows, ordered by time."""
        self._count(batch)
        self._drive.take(to_columns(batch))
        self.rows += batch.num_rows

    def finish(self) -> None:
        """Close what is open."""
        self._drive.finish()

    def result(self, seconds: float) -> ReplayResult:
        """Return the counts."""
        return ReplayResult(
            rows=self.rows,
            targets=len(self._targets),
            series=len(self._series),
            deviations=self._deviations,
            redelivered=self._drive.redelivered,
            late=self._drive.late,
            incidents=Counter(incident.kind for incident in self.incidents.values()),
            paged=sum(incident.page for incident in self.incidents.values()),
            seconds=seconds,
        )

    def _deviated(self, deviations: list[Deviation]) -> None:
        self._deviations += len(deviations)
        self._output.add(deviations)

    def _revised(self, incident: Incident) -> None:
        self.incidents[incident.incident_id] = incident

    def _count(self, batch: pa.RecordBatch) -> None:
        metrics = ["duration_us", *(name for name in batch.schema.names if name.startswith(METRIC_PREFIX))]
        keys = ["target", "probe", "location"]
        counts = pa.Table.from_batches([batch]).group_by(keys).aggregate([(name, "count") for name in metrics])
        for row in counts.to_pylist():
            self._targets.add(row["target"])
            for name in metrics:
                if row[f"{name}_count"] > 0:
                    self._series.add((row["target"], row["probe"], row["location"], name))
