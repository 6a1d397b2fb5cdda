"""Parts are killed, stopped and cut off while a recording is played: nothing is lost, nothing is told twice."""

from pathlib import Path

import pytest

from benchmarks.chaos.faults import Fault, plan
from benchmarks.chaos.fuzz import fuzz
from benchmarks.chaos.installations import LOCATIONS
from benchmarks.chaos.recording import record
from benchmarks.chaos.run import Plan, run

SEED = 3
INTERVAL_S = 10
"""Incidents wait for a partition for two intervals, and one whose worker was killed may stand still for as long as its
session lasts, ten seconds, and a start after it: what differs with less is what docs/chaos.md says of its limits."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("log", ["tansu", pytest.param("kafka", marks=pytest.mark.kafka)])
def test_what_is_stored_is_what_the_core_says_whatever_was_killed(log: str, tmp_path: Path) -> None:
    """Each part once, in an order by chance: the evidence of `benchmarks.chaos` holds.

    Not the embedded broker: in the log after it "in time" is judged anew (docs/chaos.md), and summaries show it.
    """
    recording = record(SEED, targets=20, locations=LOCATIONS, ticks=24)
    faults = [one for one in plan(SEED, kills=7, locations=LOCATIONS) if (log, one.name) != ("tansu", "broker")]
    result = run(Plan(log=log, recording=recording, interval_s=INTERVAL_S), faults, tmp_path / "chaos", lambda _: None)
    assert len(result.done) == len(faults)
    assert {name: lines for name, lines in result.wrong.items() if lines} == {}
    assert result.counts["incidents"] > 0


def test_each_part_is_hit_before_one_is_hit_again() -> None:
    """A seed is a plan; kills, and half as many stops and cuts."""
    faults = plan(SEED, kills=28, locations=LOCATIONS)
    assert faults == plan(SEED, kills=28, locations=LOCATIONS)
    assert faults != plan(SEED + 1, kills=28, locations=LOCATIONS)
    assert [sum(fault.how == how for fault in faults) for how in ("kill", "stop", "cut")] == [28, 7, 7]
    assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
    for start in range(0, len(faults), 7):
        assert len({part_of(fault) for fault in faults[start : start + 7]}) == 7


def part_of(fault: Fault) -> str:
    """Return the part that a fault hits, whichever of several processes it is."""
    return fault.name.partition(" ")[0]


@pytest.mark.timeout(300)
def test_messages_that_are_nearly_right_end_as_rows_or_dead_letters(tmp_path: Path) -> None:
    """Of every topic, in the groups that read them, with a real store behind them."""
    result = fuzz(SEED, 1_500, tmp_path)
    assert {name: lines for name, lines in result.wrong.items() if lines} == {}
    assert result.counts["row"] > 100
    assert {"malformed", "invalid", "unknown_type", "unknown_version"} <= result.counts.keys()
