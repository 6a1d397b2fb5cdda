"""Builds checks from timelines that can be read: one letter a tick, one line a location."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from producers.contract import OUTCOME_FAILURE, OUTCOME_MISSED, OUTCOME_SUCCESS, PHASES, CheckColumns
from streams.contract import Deviation, TickSummary, Verdict
from streams.core.detect import Detector
from streams.core.outputs import Outputs
from streams.policy import DetectPolicy, Expectations, ProbeExpectation

SECOND = 1_000_000
START = 1_800_000_000 * SECOND
INTERVAL = 10 * SECOND
TARGET, PROBE = "main/shop", "front"

QUORUM_ONLY = DetectPolicy(warm_up_checks=20, expected_failure_ratio=0.99)

OUTCOMES = {"H": OUTCOME_SUCCESS, "S": OUTCOME_SUCCESS, "F": OUTCOME_FAILURE, "M": OUTCOME_MISSED}
LETTERS = {"healthy": "h", "degraded": "d", "failing": "f", "unknown": "u"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One check, with defaults for all that a test does not care for."""

    tick_us: int
    location: str = "ams"
    target: str = TARGET
    probe: str = PROBE
    kind: str = "http"
    outcome: int = OUTCOME_SUCCESS
    duration_us: float = 20_000.0
    started_us: int | None = None
    reason: str | None = None
    address: str | None = None
    detail: str | None = None
    disturbed: bool = False
    phases: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


def columns(rows: Sequence[Row]) -> CheckColumns:
    """Return rows as columns."""
    metrics = sorted({name for row in rows for name in row.metrics})
    missed = [row.outcome == OUTCOME_MISSED for row in rows]
    return CheckColumns(
        target=[row.target for row in rows],
        probe=[row.probe for row in rows],
        kind=[row.kind for row in rows],
        location=[row.location for row in rows],
        scheduled_at_us=np.array([row.tick_us for row in rows], dtype=np.int64),
        started_at_us=np.array(
            [row.tick_us if row.started_us is None else row.started_us for row in rows], dtype=np.int64
        ),
        duration_us=np.array(
            [np.nan if gone else row.duration_us for row, gone in zip(rows, missed, strict=True)], dtype=np.float64
        ),
        outcome=np.array([row.outcome for row in rows], dtype=np.uint8),
        reason=["timeout" if row.outcome == OUTCOME_FAILURE and row.reason is None else row.reason for row in rows],
        address=[row.address for row in rows],
        http_status=[None for _ in rows],
        phases={
            phase: np.array([row.phases.get(phase, np.nan) for row in rows], dtype=np.float64)
            for phase in PHASES
            if any(phase in row.phases for row in rows)
        },
        metrics={name: np.array([row.metrics.get(name, np.nan) for row in rows], dtype=np.float64) for name in metrics},
        detail=[row.detail for row in rows],
        disturbed=np.array([row.disturbed for row in rows], dtype=np.bool_),
    )


def expectations(
    *locations: str, interval_us: int = INTERVAL, target: str = TARGET, probe: str = PROBE
) -> Expectations:
    """Return a config of one probe."""
    return Expectations(probes={(target, probe): ProbeExpectation(interval_us=interval_us, locations=locations)})


def detector(config: Expectations | None = None, policy: DetectPolicy | None = None) -> Detector:
    """Return a detector; without a policy one that looks at quorum and latency, not at how often checks fail."""
    return Detector(
        policy if policy is not None else QUORUM_ONLY,
        config if config is not None else Expectations(),
        partition=0,
    )


@dataclass(slots=True)
class Published:
    """All that a run published."""

    deviations: list[Deviation] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    summaries: list[TickSummary] = field(default_factory=list)
    late: int = 0
    redelivered: int = 0

    def add(self, outputs: Outputs) -> "Published":
        """Collect one call's outputs."""
        self.deviations += outputs.deviations
        self.verdicts += [each for each in outputs.verdicts if isinstance(each, Verdict)]
        self.summaries += [each for each in outputs.verdicts if isinstance(each, TickSummary)]
        self.late += outputs.late
        self.redelivered += outputs.redelivered
        return self

    def letters(self, ticks: int, *, target: str = TARGET, interval_us: int = INTERVAL) -> str:
        """Return the verdict at each tick: what is not published is like the last; `.` before the first."""
        found = {}
        for verdict in self.verdicts:
            if verdict.target == target:
                found[(verdict.tick_us - START) // interval_us] = LETTERS[verdict.verdict]
        line, last = "", "."
        for tick in range(ticks):
            last = found.get(tick, last)
            line += last
        return line


def rows_of(lines: Mapping[str, str], *, interval_us: int = INTERVAL) -> list[list[Row]]:
    """Return the checks of a timeline by tick: H healthy, S slow, F failed, M missed, a dot none."""
    length = max(map(len, lines.values()))
    return [
        [
            Row(
                tick_us=START + tick * interval_us,
                location=location,
                outcome=OUTCOMES[line[tick]],
                duration_us=400_000.0 if line[tick] == "S" else 20_000.0,
            )
            for location, line in lines.items()
            if tick < len(line) and line[tick] != "."
        ]
        for tick in range(length)
    ]


def run(
    lines: Mapping[str, str],
    config: Expectations | None = None,
    *,
    policy: DetectPolicy | None = None,
    interval_us: int = INTERVAL,
    clock_after_s: int = 0,
) -> Published:
    """Play a timeline as it would arrive: each tick a message, then the clock of half an interval later.

    Args:
        lines: By location.
        config: The lines' locations by default.
        policy: Of the detector.
        interval_us: Between ticks.
        clock_after_s: How long the clock goes on after the last tick.
    """
    config = expectations(*lines, interval_us=interval_us) if config is None else config
    core, published = detector(config, policy), Published()
    ticks = rows_of(lines, interval_us=interval_us)
    for tick, rows in enumerate(ticks):
        if rows:
            published.add(core.apply(columns(rows)))
        published.add(core.clock(START + tick * interval_us + interval_us // 2))
    end_us = START + len(ticks) * interval_us
    for second in range(0, clock_after_s + 1, 10):
        published.add(core.clock(end_us + second * SECOND))
    return published
