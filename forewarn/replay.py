"""Recorded checks through the same core as the live run, without broker or store.

The rows' own time is the clock: after the rows of each slot the detector is told that the slot is over, as the owner
of a partition does. At the file's end time goes on until the last ticks are closed, but nothing is said about that
time: a file that ends is not a silence.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa

from forewarn.replay_input import Order, open_checks, part, read_checks, read_order, to_columns
from forewarn.replay_output import ReplayOutput
from forewarn.replay_rows import METRIC_PREFIX, TIME, CheckFile
from forewarn.replay_sort import ordered
from streams.contract import Incident, TickSummary
from streams.core.detect import Detector
from streams.core.incidents import Incidents
from streams.core.outputs import Outputs
from streams.policy import DAY_US, DetectPolicy, Expectations, IncidentPolicy

Tell = Callable[[str], None]
"""Gets a line for a person."""

WHOLE_GAP_US: Final = 7 * DAY_US
"""A gap in the rows is gone through slot by slot for so long; of a longer one the rest is passed in one step."""

Advance = Callable[[int, int], None]
"""Gets how many rows are done, of how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """How a replay judges; the defaults are those of a live run without a config."""

    detect: DetectPolicy = field(default_factory=DetectPolicy)
    incidents: IncidentPolicy = field(default_factory=IncidentPolicy)
    expectations: Expectations = field(default_factory=Expectations)


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
    order = read_order(source)
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
        self._last_us = order.last_us
        overrides = policies.expectations.detect.values()
        self._slot_us = policies.detect.slot_us
        self._patience_us = max(policy.max_lateness_us for policy in (policies.detect, *overrides))
        self._detector = Detector(policies.detect, policies.expectations, partition=0)
        self._incidents = Incidents(
            policies.incidents, policies.expectations, partitions=1, settle_ticks=policies.detect.settle_ticks
        )
        self._clock_us: int | None = None
        self._targets: set[str] = set()
        self._series: set[tuple[str, str, str, str]] = set()
        self._deviations = self._late = self._redelivered = 0

    def take(self, batch: pa.RecordBatch) -> None:
        """Take in rows, ordered by time."""
        self._count(batch)
        columns = to_columns(batch)
        slots = columns.scheduled_at_us // self._slot_us
        starts = [0, *(np.flatnonzero(np.diff(slots)) + 1).tolist(), len(columns)]
        for start, stop in pairwise(starts):
            self._tick_through(int(slots[start]) * self._slot_us)
            self._publish(self._detector.apply(part(columns, start, stop)))
        self.rows += len(columns)

    def finish(self) -> None:
        """Close what is open. Nothing is said about the time after the last row."""
        if self._clock_us is not None:
            # The watermark trails the clock by the longest lateness, and a tick waits for its own lateness.
            self._tick_through(self._last_us + 2 * self._patience_us + 2 * self._slot_us)
        self._keep(self._incidents.finish())

    def result(self, seconds: float) -> ReplayResult:
        """Return the counts."""
        return ReplayResult(
            rows=self.rows,
            targets=len(self._targets),
            series=len(self._series),
            deviations=self._deviations,
            redelivered=self._redelivered,
            late=self._late,
            incidents=Counter(incident.kind for incident in self.incidents.values()),
            paged=sum(incident.page for incident in self.incidents.values()),
            seconds=seconds,
        )

    def _tick_through(self, at_us: int) -> None:
        """Say each slot boundary that has passed, as the owner of a partition does."""
        if self._clock_us is None:
            self._clock_us = at_us
        whole_us = self._clock_us + WHOLE_GAP_US
        while self._clock_us + self._slot_us <= at_us:
            # By then all has been said about the gap; the slots before the next row matter again.
            beyond_us = at_us - self._patience_us - self._slot_us
            if self._clock_us >= whole_us and beyond_us > self._clock_us:
                self._clock_us = beyond_us // self._slot_us * self._slot_us
            else:
                self._clock_us += self._slot_us
            self._publish(self._detector.clock(self._clock_us))

    def _publish(self, outputs: Outputs) -> None:
        deviations = [one for one in outputs.deviations if one.tick_us <= self._last_us]
        self._deviations += len(deviations)
        self._late += outputs.late
        self._redelivered += outputs.redelivered
        self._output.add(deviations)
        for message in outputs.verdicts:
            if isinstance(message, TickSummary):
                through_us = min(message.closed_through_us, self._last_us)
                self._keep(self._incidents.apply(msgspec.structs.replace(message, closed_through_us=through_us)))
            elif message.tick_us <= self._last_us:
                self._keep(self._incidents.apply(message))

    def _keep(self, revisions: Iterable[Incident]) -> None:
        for incident in revisions:
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
