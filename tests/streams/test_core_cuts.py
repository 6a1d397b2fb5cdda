"""What the core knows of a target afterwards does not depend on which other targets were judged with it.

Published is the same however checks are cut into messages: `test_core_order` holds that. Here is what is kept: all
arrays of the state, bit for bit, of targets that fail, swing, slow down and fill their disks.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from producers.contract import OUTCOME_FAILURE, OUTCOME_MISSED, OUTCOME_SUCCESS, PHASES
from streams.core.detect import Detector
from streams.core.snapshot import unpack
from streams.policy import DetectPolicy, Expectations, ProbeExpectation
from tests.streams.timelines import SECOND, START, Published, Row, columns

TARGETS = tuple(f"main/shop-{number}" for number in range(5))
PROBE = "front"
POLICY = DetectPolicy(warm_up_checks=20, rebaseline_checks=60)
SHARES = dict(zip(PHASES, (0.05, 0.15, 0.3, 0.45, 0.05), strict=True))

POOLED = {"week.": "season.week", "unusual": "metric.row"}
"""Rows of these arrays are given out as they are needed; where a series has its own stands in the other one."""


def life(rng: np.random.Generator, target: str, interval_us: int, ticks: int, places: tuple[str, ...]) -> list[Row]:
    """Return the checks of a target whose level, spread, failures and phases change now and then."""
    base, level, spread, fails, slow, down, disk = 60_000.0, 1.0, 0.08, 0.01, "", 0, 0.8
    rows = []
    for tick in range(ticks):
        match int(rng.integers(0, 150)):
            case 0:
                level = float(rng.choice([1.0, 1.3, 2.0, 4.0]))
            case 1:
                spread = float(rng.choice([0.05, 0.2, 0.5]))
            case 2:
                fails = float(rng.choice([0.0, 0.03, 0.2, 0.5]))
            case 3:
                slow = str(rng.choice(["", *PHASES]))
            case 4:
                down = int(rng.integers(1, 9))
        down, disk = down - 1, disk - 0.002 * rng.random() if disk > 0.05 else 0.8
        for place in places:
            fate = rng.random()
            if fate < 0.01 and tick:
                continue
            failed, missed = down > 0 or fate < 0.01 + fails, fate > 0.995
            times = {name: base * level * share * (5.0 if name == slow else 1.0) for name, share in SHARES.items()}
            phases = {name: us * float(np.exp(rng.normal(0.0, spread))) for name, us in times.items()}
            rows.append(
                Row(
                    target=target,
                    probe=PROBE,
                    location=place,
                    tick_us=START + tick * interval_us,
                    outcome=OUTCOME_FAILURE if failed else OUTCOME_MISSED if missed else OUTCOME_SUCCESS,
                    duration_us=sum(phases.values()),
                    phases={} if failed or missed else phases,
                    metrics={"disk_free_ratio": disk, "cpu_used_ratio": float(rng.normal(0.4, spread / 4))},
                )
            )
    return rows


def messages(rows: list[Row], *, alone: bool) -> Iterator[list[Row]]:
    """Yield the checks of each tick at once, or those of each target by themselves; the first tick in both at once."""
    for tick_us in sorted({row.tick_us for row in rows}):
        now = [row for row in rows if row.tick_us == tick_us]
        if alone and tick_us > START:
            yield from ([row for row in now if row.target == target] for target in reversed(TARGETS))
        else:
            yield now


def played(rows: list[Row], config: Expectations, *, alone: bool) -> tuple[Published, dict[str, Any]]:
    """Return what is published, and the arrays that are kept."""
    core, found = Detector(POLICY, config, partition=0), Published()
    for message in messages(rows, alone=alone):
        if message:
            found.add(core.apply(columns(message)))
    found.add(core.clock(max(row.tick_us for row in rows) + 3600 * SECOND))
    kept = unpack(core.snapshot())[1]
    for prefix, owner in POOLED.items():
        at = kept[owner]
        own = {name: kept[name][at[at >= 0]] for name in kept if name.startswith(prefix)}
        kept |= own | {owner: at >= 0}
    return found, kept


@pytest.mark.parametrize(("interval_s", "places"), [(30, ("ams",)), (60, ("ams", "fra")), (10, ("ams", "fra", "nyc"))])
def test_a_target_is_judged_among_others_as_alone(interval_s: int, places: tuple[str, ...]) -> None:
    """Five targets in one message, and each in its own."""
    rng, interval_us, ticks = np.random.default_rng(interval_s), interval_s * SECOND, 300
    probe = ProbeExpectation(interval_us=interval_us, locations=places)
    config = Expectations(probes={(target, PROBE): probe for target in TARGETS})
    rows = [row for target in TARGETS for row in life(rng, target, interval_us, ticks, places)]
    (together, kept), (alone, kept_alone) = (played(rows, config, alone=alone) for alone in (False, True))
    assert sorted(map(str, together.verdicts)) == sorted(map(str, alone.verdicts))
    assert sorted(map(str, together.deviations)) == sorted(map(str, alone.deviations))
    assert {one.detector for one in together.deviations} > {"failure_ratio"}
    assert kept.keys() == kept_alone.keys()
    different = [name for name in kept if kept[name].tobytes() != kept_alone[name].tobytes()]
    assert different == []
