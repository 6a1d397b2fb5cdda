"""What is fed: an installation of so many series, its checks as packed messages, what its detectors know before."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from producers.codec import encode
from producers.contract import (
    MAX_BATCH_CHECKS,
    OUTCOME_SUCCESS,
    PHASES,
    VERSION,
    CheckBatch,
    CheckColumns,
    Outcome,
    SparseNumbers,
)
from producers.topics import partition_of
from streams.policy import Expectations, ProbeExpectation

LOCATION: Final = "paris"
PROBE: Final = "web"
MINUTE_US: Final = 60_000_000
PARTITIONS: Final = 12
WARM_TICKS: Final = 70
"""The detectors' warm-up takes 60."""

METRICS: Final = ("cpu_used_ratio", "memory_used_ratio", "load_ratio", "swap_used_ratio", "queue_length", "threads")
FAILS: Final = 1 / 500
PHASE_SHARES: Final = {"dns": 0.05, "connect": 0.15, "tls": 0.3, "wait": 0.45, "transfer": 0.05}

Numbers = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Load:
    """An installation: each target has one http probe at one location, and each check brings `per_check` series.

    Attributes:
        series: All together.
        per_check: 1 is the latency alone, with its phases; the others are metrics.
        ticks: So many checks of each target are fed.
        until_us: Before it they end. Ticks are spread evenly over the first minute of each interval.
        interval_us: Between two checks of a target.
    """

    series: int
    per_check: int
    ticks: int
    until_us: int
    interval_us: int = MINUTE_US
    targets: list[str] = field(init=False)

    def __post_init__(self) -> None:
        names = [f"main/site-{number:06}" for number in range(self.series // self.per_check)]
        object.__setattr__(self, "targets", names)

    @property
    def checks(self) -> int:
        """How many are fed."""
        return len(self.targets) * self.ticks

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of a check."""
        return METRICS[: self.per_check - 1]

    def expectations(self) -> Expectations:
        """What a config that names every target says."""
        probe = ProbeExpectation(interval_us=self.interval_us, locations=(LOCATION,))
        return Expectations(probes={(target, PROBE): probe for target in self.targets})

    def partitions(self) -> dict[int, Numbers]:
        """Numbers of the targets of each partition, in the order of their ticks inside an interval."""
        found: dict[int, list[int]] = {}
        for number, target in enumerate(self.targets):
            found.setdefault(partition_of(target, PARTITIONS), []).append(number)
        return {partition: np.array(sorted(numbers, key=self.place_us)) for partition, numbers in found.items()}

    def place_us(self, number: Any) -> Any:
        """Return where in its interval a target is checked."""
        return number * 7919 % (MINUTE_US // 1000) * 1000

    def begin_us(self) -> int:
        """The tick at which the load begins."""
        return self.until_us - self.ticks * self.interval_us

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """Yield (partition, message), oldest tick first."""
        rng = np.random.default_rng(1)
        partitions = self.partitions()
        for tick in range(self.ticks):
            for partition, numbers in partitions.items():
                for start in range(0, numbers.size, MAX_BATCH_CHECKS):
                    ours = numbers[start : start + MAX_BATCH_CHECKS]
                    yield (
                        partition,
                        encode(self.batch(ours, self.begin_us() + tick * self.interval_us + self.place_us(ours), rng)),
                    )

    def batch(self, numbers: Numbers, ticks_us: Numbers, rng: np.random.Generator) -> CheckBatch:
        """Return the checks of these targets; one in 500 fails."""
        count = numbers.size
        duration_us = _norms_us(numbers) * rng.lognormal(0.0, 0.1, count)
        failed = rng.random(count) < FAILS
        rows = list(range(count))
        return CheckBatch(
            v=VERSION,
            producer=LOCATION,
            location=LOCATION,
            target=[self.targets[number] for number in numbers.tolist()],
            probe=[PROBE] * count,
            kind=["http"] * count,
            scheduled_at_us=ticks_us.tolist(),
            started_at_us=(ticks_us + 700).tolist(),
            duration_us=duration_us.astype(np.int64).tolist(),
            outcome=[Outcome.FAILURE if bad else Outcome.SUCCESS for bad in failed.tolist()],
            reason=["http_status" if bad else None for bad in failed.tolist()],
            address=[f"192.0.2.{number % 250}" for number in numbers.tolist()],
            http_status=[502 if bad else 200 for bad in failed.tolist()],
            phases={name: (duration_us * share).astype(np.int64).tolist() for name, share in PHASE_SHARES.items()},
            metrics={
                name: SparseNumbers(rows=rows, values=rng.normal(0.4, 0.02, count).round(4).tolist())
                for name in self.metrics
            },
        )


class Known:
    """What was stored before, as a `streams.contract.History`: so detectors begin warm, as those of a worker do."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._partitions = load.partitions()

    def count(self, partition: int, *, from_us: int, epoch: str, before: int) -> int:  # noqa: ARG002 - the protocol
        """See History."""
        return self._partitions[partition].size if partition in self._partitions else 0

    def checks(self, partition: int, *, from_us: int, epoch: str, before: int) -> Iterator[CheckColumns]:  # noqa: ARG002 - the protocol
        """See History."""
        rng = np.random.default_rng(partition)
        for tick in range(-WARM_TICKS, 0):
            if partition in self._partitions:
                yield self.columns(self._partitions[partition], tick, rng)

    def columns(self, numbers: Numbers, tick: int, rng: np.random.Generator) -> CheckColumns:
        """Return a tick of these targets; 0 is the first that is fed."""
        count = numbers.size
        at_us = self._load.begin_us() + tick * self._load.interval_us + self._load.place_us(numbers)
        duration_us = _norms_us(numbers) * rng.lognormal(0.0, 0.1, count)
        return CheckColumns(
            target=[self._load.targets[number] for number in numbers.tolist()],
            probe=[PROBE] * count,
            kind=["http"] * count,
            location=[LOCATION] * count,
            scheduled_at_us=at_us,
            started_at_us=at_us + 700,
            duration_us=duration_us,
            outcome=np.full(count, OUTCOME_SUCCESS, dtype=np.uint8),
            reason=[None] * count,
            address=["192.0.2.1"] * count,
            http_status=[200] * count,
            phases={name: duration_us * PHASE_SHARES[name] for name in PHASES},
            metrics={name: rng.normal(0.4, 0.02, count) for name in self._load.metrics},
            detail=[None] * count,
            disturbed=np.zeros(count, dtype=np.bool_),
        )


def _norms_us(numbers: Numbers) -> "np.ndarray[Any, np.dtype[np.float64]]":
    return (40_000 + numbers * 7877 % 90_000).astype(np.float64)
