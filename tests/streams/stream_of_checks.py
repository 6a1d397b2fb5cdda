"""A stream of checks with a slow-down, an outage and a recovery in it, as the messages that producers write."""

import random
from collections.abc import Iterator

from producers import codec
from producers.contract import Check, FailureReason, Outcome
from producers.topics import partition_of
from streams.contract import Deviation, TickSummary, Verdict
from streams.core.detect import Detector
from streams.policy import DetectPolicy, Expectations

SECOND_US = 1_000_000
LOCATIONS = ("ams", "fra", "nyc")
PARTITIONS = 2

# Warm within half a minute; a slot that is wider than a test's run keeps the wall clock out of it.
POLICY = {"warm_up_checks": 20, "baseline_half_life_checks": 60.0, "slot_us": 3600 * SECOND_US}


def targets_of(partition: int, count: int = 3) -> list[str]:
    """Return names that belong to a partition."""
    names = (f"main/shop-{number}" for number in range(1000))
    found = [name for name in names if partition_of(name, PARTITIONS) == partition]
    return found[:count]


def messages(partition: int, *, start_us: int, ticks: int, seed: int = 7) -> Iterator[bytes]:
    """Yield one message a tick and location: the first target slows down, fails and recovers, the others are well."""
    chance = random.Random(f"{seed} {partition}")
    names = targets_of(partition)
    for tick in range(ticks):
        at_us = start_us + tick * SECOND_US
        for location in LOCATIONS:
            checks = [_check(name, location, at_us, _state(tick, ticks, name == names[0]), chance) for name in names]
            yield codec.encode(codec.pack(checks, producer=location))


def _state(tick: int, ticks: int, troubled: bool) -> str:
    if not troubled or tick < ticks * 0.5 or tick > ticks * 0.85:
        return "well"
    return "slow" if tick < ticks * 0.7 else "down"


def _check(target: str, location: str, at_us: int, state: str, chance: random.Random) -> Check:
    duration_us = round(80_000 * chance.lognormvariate(0, 0.05)) * (3 if state == "slow" else 1)
    return Check(
        target=target,
        probe="http",
        kind="http",
        location=location,
        scheduled_at_us=at_us,
        started_at_us=at_us + 1000,
        duration_us=duration_us,
        outcome=Outcome.FAILURE if state == "down" else Outcome.SUCCESS,
        reason=FailureReason.HTTP_STATUS if state == "down" else None,
        address="192.0.2.1",
        http_status=502 if state == "down" else 200,
        phases={"wait": duration_us},
    )


def judged(
    partition: int, log: list[tuple[bytes, int]], policy: DetectPolicy
) -> tuple[list[Deviation], list[Verdict | TickSummary]]:
    """Return what the pure core says of a partition's messages (value, log timestamp in microseconds), in order."""
    detector = Detector(policy, Expectations(), partition=partition)
    deviations: list[Deviation] = []
    verdicts: list[Verdict | TickSummary] = []
    for value, timestamp_us in log:
        event = codec.decode(value, log_timestamp_us=timestamp_us)
        kind = type(event).__name__
        if kind == "CheckBatch":
            outputs = detector.apply(codec.columns(event))  # type: ignore[arg-type]  # its type was just looked at
        elif kind == "ClockTick":
            outputs = detector.clock(event.at_us)  # type: ignore[union-attr]
        else:
            continue
        deviations += outputs.deviations
        verdicts += outputs.verdicts
    return deviations, verdicts
