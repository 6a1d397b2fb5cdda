"""What detection costs while one of three locations is dead: the checks of the others wait for it.

    python -m benchmarks.dead_location [--quick]

One partition of 100,000 targets at three locations, a check each 30 s, in messages of up to 500; the core alone. First
all three report, then one falls silent: until it counts as silent no tick closes before its lateness is over, so a
minute of checks waits. CPU microseconds a check in both times. Ends with one line of JSON.
"""

import argparse
import json
import os
import time
from dataclasses import replace

import numpy as np

from benchmarks.throughput.load import PARTITIONS, Load
from producers.codec import columns
from producers.contract import MAX_BATCH_CHECKS, CheckColumns
from streams.core.detect import Detector
from streams.policy import SECOND_US, DetectPolicy, Expectations, ProbeExpectation

LOCATIONS = ("ams", "fra", "paris")
INTERVAL_US = 30 * SECOND_US
SLOT_US = DetectPolicy().slot_us
START_US = 1_800_000_000 * SECOND_US


def turns(targets: int) -> list[CheckColumns]:
    """Return the messages of one interval at one location, in order of their ticks."""
    load = Load(series=targets, per_check=1, ticks=0, until_us=START_US)
    rng = np.random.default_rng(1)
    made = []
    for first in range(0, targets, MAX_BATCH_CHECKS):
        numbers = np.arange(first, min(first + MAX_BATCH_CHECKS, targets))
        made.append(columns(load.batch(numbers, START_US + numbers * INTERVAL_US // targets, rng)))
    return made


def moved(batch: CheckColumns, location: str, by_us: int) -> CheckColumns:
    """Return the same checks of another location and time."""
    return replace(
        batch,
        location=[location] * len(batch),
        scheduled_at_us=batch.scheduled_at_us + by_us,
        started_at_us=batch.started_at_us + by_us,
    )


def cost(detector: Detector, made: list[CheckColumns], intervals: range, locations: tuple[str, ...]) -> float:
    """Return the CPU microseconds a check while these locations report."""
    spent, checks = 0.0, 0
    for interval in intervals:
        by_us = interval * INTERVAL_US
        for batch in made:
            parts = [moved(batch, location, by_us) for location in locations]
            at_us = int(parts[0].scheduled_at_us[-1]) // SLOT_US * SLOT_US
            began_s = time.process_time()
            detector.clock(at_us)
            for part in parts:
                detector.apply(part)
            spent += time.process_time() - began_s
            checks += sum(map(len, parts))
    return spent * 1e6 / checks


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the targets")
    targets = (10_000 if parser.parse_args().quick else 100_000) // PARTITIONS
    made = turns(targets)
    probe = ProbeExpectation(interval_us=INTERVAL_US, locations=LOCATIONS)
    names = [(batch.target[row], batch.probe[row]) for batch in made for row in range(len(batch))]
    detector = Detector(DetectPolicy(), Expectations(probes=dict.fromkeys(names, probe)), partition=0)
    cost(detector, made, range(4), LOCATIONS)
    all_three = cost(detector, made, range(4, 8), LOCATIONS)
    one_dead = cost(detector, made, range(8, 12), LOCATIONS[:2])
    figures = {"benchmark": "dead_location", "targets": targets, "us_a_check": round(all_three, 2)}
    figures |= {"us_a_check_one_dead": round(one_dead, 2), "ratio": round(one_dead / all_three, 2)}
    print(json.dumps(figures | {"load_average": round(os.getloadavg()[0], 1)}))


if __name__ == "__main__":
    main()
