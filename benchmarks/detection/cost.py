"""What the default detectors cost on one core: microseconds a check, bytes a series.

    python -m benchmarks.detection.cost [--quick] [--series 1000,100000]

Series come in two classes: fast ones, more often than every 30 s, and slow ones. All series have a reading in each
round, as when a worker falls behind; in `alone` each call has a single one, which is what a quiet worker sees. States
are warm. CPU time of the process; bytes are those of the arrays. `whole` is a check on its way through
`streams.core.detect`, from columns to verdicts, with all its detectors; its bytes are those of a compressed snapshot.
The last line is JSON.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from producers.contract import OUTCOME_SUCCESS, PHASES, CheckColumns
from streams.core.detect import Detector
from streams.core.latency.latency import Latency
from streams.core.metrics.metrics import Metrics
from streams.core.metrics.novelty import Novelty
from streams.core.policies import Policies
from streams.policy import SECOND_US, DetectPolicy, Expectations, ProbeExpectation

FAST_US: Final = 10 * SECOND_US
SLOW_US: Final = 60 * SECOND_US
START_US: Final = 1_800_000_000 * SECOND_US
WARM_ROUNDS: Final = 70
ROUNDS: Final = 8
ALONE: Final = 2000
AIMS: Final = {"fast": (1.0, 1024), "slow": (20.0, 16 * 1024)}

Step = Callable[[int, "np.ndarray[Any, np.dtype[np.intp]]"], None]
"""One round of these series."""


class Cost:
    """One row of the table."""

    def __init__(self, name: str, kind: str, series: int) -> None:
        self.name, self.kind, self.series = name, kind, series
        self.check_us = self.alone_us = self.series_bytes = float("nan")

    def line(self) -> str:
        """Return the row."""
        aim = AIMS[self.kind]
        return (
            f"{self.name:14} {self.kind:5} {self.series:8} {self.check_us:9.2f} {self.alone_us:9.0f}"
            f" {self.series_bytes:9.0f}   {aim[0]:g} µs, {aim[1]} bytes"
        )

    def measure(self, step: Step, size: Callable[[], int], rounds: int) -> None:
        """Warm up, then take the times."""
        rows = np.arange(self.series, dtype=np.intp)
        for turn in range(WARM_ROUNDS):
            step(turn, rows)
        began = time.process_time()
        for turn in range(WARM_ROUNDS, WARM_ROUNDS + rounds):
            step(turn, rows)
        self.check_us = (time.process_time() - began) * 1e6 / (rounds * self.series)
        began = time.process_time()
        for turn in range(ALONE):
            step(WARM_ROUNDS + rounds + turn // self.series, rows[[turn % self.series]])
        self.alone_us = (time.process_time() - began) * 1e6 / ALONE
        self.series_bytes = size() / self.series


def detectors(series: int, kind: str) -> dict[str, tuple[Step, Callable[[], int]]]:
    """Return a round and the size in bytes of each detector of series of this class."""
    policies, interval_us = _policies(series), FAST_US if kind == "fast" else SLOW_US
    rng = np.random.default_rng(0)
    latency, metrics, novelty = Latency(policies), Metrics(policies), Novelty()
    latency.grow(series, series)
    novelty.grow(series)
    for number in range(series):
        metrics.add(number, "cpu_used_ratio")

    def of_latency(turn: int, rows: Any) -> None:
        duration_us = 50_000.0 * rng.lognormal(0.0, 0.1, rows.size)
        phases = duration_us[:, None] * np.full(len(PHASES), 0.2)
        latency.update(rows, rows, *_times(turn, rows, interval_us), duration_us, phases)

    def of_metrics(turn: int, rows: Any) -> None:
        metrics.update(rows, rows, *_times(turn, rows, interval_us), rng.normal(0.4, 0.02, rows.size))

    def of_novelty(turn: int, rows: Any) -> None:
        novelty.update(rows, _times(turn, rows, interval_us)[0], rng.normal(0.4, 0.02, rows.size))

    found: dict[str, tuple[Step, Callable[[], int]]] = {
        "latency": (of_latency, lambda: _bytes(latency.arrays())),
        "metric_level": (of_metrics, lambda: _bytes(metrics.arrays())),
    }
    if kind == "slow":
        found["novelty"] = (
            of_novelty,
            lambda: sum(_bytes(table.arrays(name)) for name, table in novelty.tables.items()),
        )
    return found


def whole(series: int, kind: str, rounds: int) -> Cost:
    """Return the cost of checks of one location on their way through the core; bytes are of a compressed snapshot."""
    cost, interval_us = Cost("whole", kind, series), FAST_US if kind == "fast" else SLOW_US
    targets = [f"main/site-{number}" for number in range(series)]
    expected = ProbeExpectation(interval_us=interval_us, locations=("ams",))
    config = Expectations(probes={(target, "web"): expected for target in targets})
    core, rng = Detector(DetectPolicy(), config, partition=0), np.random.default_rng(0)

    def step(turn: int, rows: Any) -> None:
        core.apply(http_checks([targets[row] for row in rows.tolist()], _times(turn, rows, interval_us)[0], rng))

    cost.measure(step, lambda: len(core.snapshot()), rounds)
    return cost


def _policies(groups: int) -> Policies:
    policies = Policies(DetectPolicy(), {})
    for number in range(groups):
        policies.add(f"main/site-{number}")
    return policies


def _times(turn: int, rows: Any, interval_us: int) -> tuple[Any, Any]:
    return np.full(rows.size, START_US + turn * interval_us), np.full(rows.size, interval_us)


def http_checks(targets: list[str], tick_us: Any, rng: np.random.Generator) -> CheckColumns:
    """Return one good check of each target, at one time or at a time for each."""
    count = len(targets)
    duration_us = 50_000.0 * rng.lognormal(0.0, 0.1, count)
    at_us = np.broadcast_to(np.asarray(tick_us, dtype=np.int64), count)
    return CheckColumns(
        target=targets,
        probe=["web"] * count,
        kind=["http"] * count,
        location=["ams"] * count,
        scheduled_at_us=at_us,
        started_at_us=at_us,
        duration_us=duration_us,
        outcome=np.full(count, OUTCOME_SUCCESS, dtype=np.uint8),
        reason=[None] * count,
        address=["192.0.2.1"] * count,
        http_status=[200] * count,
        phases=dict.fromkeys(PHASES, 0.2 * duration_us),
        metrics={},
        detail=[None] * count,
        disturbed=np.zeros(count, dtype=np.bool_),
    )


def _bytes(arrays: Any) -> int:
    return sum(array.nbytes for array in arrays.values())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1,000 series only, under a minute")
    parser.add_argument("--series", default="1000,100000", help="comma-separated numbers of series")
    options = parser.parse_args()
    counts = [1000] if options.quick else [int(count) for count in options.series.split(",")]
    print(f"{'detector':14} {'class':5} {'series':>8} {'µs/check':>9} {'alone µs':>9} {'bytes':>9}   aim a detector")
    costs = []
    for count in counts:
        for kind in AIMS:
            for name, (step, size) in detectors(count, kind).items():
                cost = Cost(name, kind, count)
                cost.measure(step, size, ROUNDS)
                print(cost.line(), flush=True)
                costs.append(cost)
            costs.append(whole(min(count, 10_000), kind, ROUNDS))
            print(costs[-1].line(), flush=True)
    figures = [
        {
            "detector": cost.name,
            "class": cost.kind,
            "series": cost.series,
            "us_a_check": round(cost.check_us, 2),
            "us_alone": round(cost.alone_us),
            "bytes_a_series": round(cost.series_bytes),
        }
        for cost in costs
    ]
    print(json.dumps({"benchmark": "cost", "costs": figures}))


if __name__ == "__main__":
    main()
