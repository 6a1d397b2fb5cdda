"""What is published is a function of the set of checks that arrive within their lateness, not of their order."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.contract import CheckColumns
from streams.core import columns as checks
from streams.core.detect import Detector
from streams.policy import DetectPolicy, Expectations, ProbeExpectation
from tests.streams.timelines import INTERVAL, SECOND, START, Published, Row, columns, detector, expectations

LOCATIONS = ("ams", "fra", "nyc")
POLICY = DetectPolicy(warm_up_checks=8, rebaseline_checks=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A check, or the clock, and when it comes."""

    at_us: float
    row: Row | None


def deliver(
    rows: Sequence[Row], delays: np.ndarray, sizes: np.random.Generator, config: Expectations, *, restart: bool
) -> Published:
    """Play checks in the order of tick + delay, clock events among them, cut into messages of random sizes."""
    end_us = max((row.tick_us for row in rows), default=START) + 400 * SECOND
    arrivals = [Arrival(at_us=row.tick_us + delay, row=row) for row, delay in zip(rows, delays, strict=True)]
    slot_us = 10 * SECOND if end_us - START < 1800 * SECOND else 60 * SECOND
    arrivals += [Arrival(at_us=at_us, row=None) for at_us in range(START, end_us, slot_us)]
    arrivals.sort(key=lambda arrival: (arrival.at_us, arrival.row is None))
    core, found, message = detector(config, POLICY), Published(), list[Row]()
    for arrival in arrivals:
        if message and (arrival.row is None or sizes.random() < 0.3):
            found.add(core.apply(columns(message)))
            message = []
        if arrival.row is not None:
            message.append(arrival.row)
        else:
            found.add(core.clock(int(arrival.at_us)))
            core = again(core, config) if restart and sizes.random() < 0.2 else core
    return found


def again(core: Detector, config: Expectations) -> Detector:
    """Return another detector that was restored from a snapshot of this one."""
    restored = detector(config, POLICY)
    restored.restore(core.snapshot())
    return restored


def essence(found: Published) -> tuple[object, ...]:
    """Return all but the counts of a target that comes back from a silence: nobody waits for the silent."""
    silent = any(reason.kind == "silence" for verdict in found.verdicts for reason in verdict.reasons)
    return (
        sorted(map(msgspec.json.encode, found.deviations)),
        sorted(map(msgspec.json.encode, found.verdicts)),
        [
            msgspec.structs.replace(summary, locations=[] if silent else summary.locations)
            for summary in found.summaries
        ],
    )


def scene(
    seed: int, ticks: int, interval_us: int, locations: Sequence[str], probes: Sequence[str] = ("front",)
) -> list[Row]:
    """Return random checks: a slow phase, failures, missed and lost checks, a silent location, a silent target."""
    rng = np.random.default_rng(seed)
    slow_from, silent_from = rng.integers(10, ticks, 2)
    lonely, gone = rng.choice(locations), bool(rng.random() < 0.4)
    rows = []
    for probe in probes:
        failing = rng.random(ticks) < 0.2
        for tick in range(ticks):
            if gone and silent_from <= tick < silent_from + 90 * SECOND // interval_us + 12:
                continue
            for location in locations:
                fate = rng.random()
                if fate < 0.05 or (location == lonely and silent_from - 25 <= tick < silent_from - 5):
                    continue
                outcome = 2 if fate < 0.1 else int(fate < 0.15 or (failing[tick] and fate < 0.8))
                level = 20_000.0 * (6.0 if tick >= slow_from else 1.0)
                rows.append(
                    Row(
                        tick_us=START + tick * interval_us,
                        location=location,
                        probe=probe,
                        outcome=outcome,
                        duration_us=level * float(np.exp(rng.normal(0.0, 0.1))),
                        reason=str(rng.choice(["timeout", "dns_error"])) if outcome == 1 else None,
                        address="192.0.2.1",
                        metrics={"tls_days_left": 20.0 - tick / 4},
                    )
                )
    return rows


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    interval_s=st.sampled_from([1, 10, 30, 60, 300]),
    count=st.integers(1, 3),
    named=st.booleans(),
)
def test_order_and_cuts_do_not_matter(seed: int, interval_s: int, count: int, named: bool) -> None:
    """Two arrivals of one set of checks, each within the lateness, publish the same."""
    interval_us, locations = interval_s * SECOND, LOCATIONS[:count]
    config = expectations(*locations, interval_us=interval_us) if named else Expectations()
    rows = scene(seed, 60, interval_us, locations)
    rng = np.random.default_rng(seed)
    lateness_us = min(2 * interval_us, 120 * SECOND)
    found = [
        essence(deliver(rows, rng.uniform(0, lateness_us - 1, len(rows)), rng, config, restart=False)) for _ in range(2)
    ]
    assert found[0] == found[1]
    assert found[0][1]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), named=st.integers(0, 2))
def test_locations_that_the_config_does_not_name_do_not_break_it(seed: int, named: int) -> None:
    """Of three locations the config names some: the others count after a while, in any order of arrival."""
    config = expectations(*LOCATIONS[:named], interval_us=INTERVAL) if named else Expectations()
    rows = scene(seed, 60, INTERVAL, LOCATIONS)
    rng = np.random.default_rng(seed)
    found = [
        essence(deliver(rows, rng.uniform(0, 2 * INTERVAL - 1, len(rows)), rng, config, restart=False)) for _ in "ab"
    ]
    assert found[0] == found[1]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_two_probes_of_a_target_do_not_break_it(seed: int) -> None:
    """The target's verdicts are the same as long as both probes arrive within the shorter one's lateness."""
    config = Expectations(
        probes={
            ("main/shop", probe): ProbeExpectation(interval_us=INTERVAL, locations=LOCATIONS[:2])
            for probe in ("api", "front")
        }
    )
    rows = scene(seed, 50, INTERVAL, LOCATIONS[:2], ("api", "front"))
    rng = np.random.default_rng(seed)
    found = [
        essence(deliver(rows, rng.uniform(0, 2 * INTERVAL - 1, len(rows)), rng, config, restart=False)) for _ in "ab"
    ]
    assert found[0] == found[1]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), named=st.booleans())
def test_a_detector_that_is_restored_continues_bit_for_bit(seed: int, named: bool) -> None:
    """Snapshots taken and loaded in the middle change nothing of what is published."""
    config = expectations(*LOCATIONS) if named else Expectations()
    rows = scene(seed, 50, INTERVAL, LOCATIONS)
    delays = np.random.default_rng(seed).uniform(0, 2 * INTERVAL - 1, len(rows))
    whole = deliver(rows, delays, np.random.default_rng(seed), config, restart=False)
    cut = deliver(rows, delays, np.random.default_rng(seed + 1), config, restart=True)
    assert essence(whole) == essence(cut)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32), fraction=st.floats(0.2, 0.9))
def test_the_beginning_of_a_run_is_the_run_of_the_beginning(seed: int, fraction: float) -> None:
    """Nothing that comes later changes what was published: no look-ahead."""
    rows = sorted(scene(seed, 60, INTERVAL, LOCATIONS), key=lambda row: row.tick_us)
    cut_us = START + int(60 * fraction) * INTERVAL
    config = expectations(*LOCATIONS)

    def told(part: Sequence[Row]) -> Published:
        core, found = detector(config, POLICY), Published()
        for row in part:
            found.add(core.apply(columns([row])))
        return found

    beginning, whole = told([row for row in rows if row.tick_us < cut_us]), told(rows)
    assert beginning.deviations == whole.deviations[: len(beginning.deviations)]
    assert beginning.verdicts == whole.verdicts[: len(beginning.verdicts)]
    assert beginning.verdicts


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_one_message_of_n_checks_is_n_messages_of_one(size: int) -> None:
    """How checks are packed does not matter."""
    rows = scene(7, 60, INTERVAL, LOCATIONS)
    found = []
    for width in (1, size):
        core, published = detector(expectations(*LOCATIONS), POLICY), Published()
        for first in range(0, len(rows), width):
            published.add(core.apply(columns(rows[first : first + width])))
        published.add(core.clock(START + 3600 * SECOND))
        found.append(essence(published))
    assert found[0][:2] == found[1][:2]


def test_a_targets_own_policy_holds_for_it_alone() -> None:
    """Two targets, one with an override: each is judged as in an installation that has only its policy."""
    own = DetectPolicy(warm_up_checks=12, warn_ticks=2, settle_ticks=7, failure_window_ticks=12, rebaseline_checks=25)
    rows = scene(11, 60, INTERVAL, LOCATIONS)
    others = [dataclasses.replace(row, target="main/other") for row in rows]
    config = Expectations(detect={"main/other": own})
    both, alone, one = Detector(POLICY, config, partition=0), detector(policy=own), detector(policy=POLICY)
    found = [Published(), Published(), Published()]
    for first in range(0, len(rows), 20):
        mine, other = rows[first : first + 20], others[first : first + 20]
        found[0].add(both.apply(columns([*mine, *other])))
        found[1].add(alone.apply(columns(other)))
        found[2].add(one.apply(columns(mine)))
    for number, target in ((1, "main/other"), (2, "main/shop")):
        assert found[number].verdicts == [each for each in found[0].verdicts if each.target == target]
        assert found[number].deviations == [each for each in found[0].deviations if each.target == target]
        assert found[number].deviations


def test_a_second_run_over_the_same_log_publishes_the_same() -> None:
    """A replay has the same ids and contents."""
    rows = scene(3, 50, INTERVAL, LOCATIONS)
    delays = np.random.default_rng(3).uniform(0, INTERVAL, len(rows))
    runs = [deliver(rows, delays, np.random.default_rng(3), expectations(*LOCATIONS), restart=False) for _ in range(2)]
    assert essence(runs[0]) == essence(runs[1])


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    interval_s=st.sampled_from([10, 30, 60]),
    count=st.integers(1, 3),
    named=st.integers(0, 3),
    worst=st.floats(0.2, 4.0),
)
def test_messages_that_are_taken_together_are_taken_one_by_one(
    seed: int, interval_s: int, count: int, named: int, worst: float
) -> None:
    """Whatever comes late, twice or from somewhere new: the same is published.

    How many checks are counted as late may differ by those of a location that is about to count.
    """
    interval_us, locations = interval_s * SECOND, LOCATIONS[:count]
    config = expectations(*locations[:named], interval_us=interval_us) if named else Expectations()
    rng = np.random.default_rng(seed)
    rows = scene(seed, 60, interval_us, locations)
    rows += [row for row in rows if rng.random() < 0.02]
    arrival = [
        row.tick_us + delay for row, delay in zip(rows, rng.uniform(0, worst * interval_us, len(rows)), strict=True)
    ]
    order = np.argsort(arrival, kind="stable")
    messages = [[rows[place] for place in part] for part in np.array_split(order, len(rows) // 3)]

    def told(handfuls: Sequence[Sequence[list[Row]]]) -> tuple[object, ...]:
        core, found = detector(config, POLICY), Published()
        for handful in handfuls:
            found.add(core.apply(*(columns(message) for message in handful)))
        found.add(core.clock(START + 3600 * SECOND))
        return essence(found)

    sizes = rng.integers(1, 7, len(messages)).cumsum()
    handfuls = [part for part in np.split(np.arange(len(messages)), sizes[sizes < len(messages)]) if part.size]
    together = told([[messages[place] for place in part] for part in handfuls])
    assert together == told([[message] for message in messages])


def test_messages_in_time_are_judged_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of targets that are known: the first message of each is taken alone."""
    whole, sizes = checks.joined, list[int]()

    def joined(parts: Sequence[CheckColumns]) -> CheckColumns:
        sizes.append(len(parts))
        return whole(parts)

    monkeypatch.setattr(checks, "joined", joined)
    core = detector(expectations(*LOCATIONS), POLICY)
    for tick in range(0, 8, 2):
        core.apply(
            *(
                columns([Row(tick_us=START + at * INTERVAL, location=place)])
                for at in (tick, tick + 1)
                for place in LOCATIONS
            )
        )
    assert sizes == [6, 6, 6]
