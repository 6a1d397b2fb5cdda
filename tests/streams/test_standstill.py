"""The log stood still: what was checked meanwhile comes from each location in its own time, and is judged."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.contract import TickSummary
from streams.core.detect import Detector
from streams.core.incidents.closing import LONGEST_US, time_to_gather
from streams.core.standstill import STANDSTILL_US, stood_still
from streams.policy import DetectPolicy
from tests.streams.installation import INTERVAL_US, START_US, Installation, incidents_of, merged, summary
from tests.streams.test_core_watermark import PLACES, ticks_of
from tests.streams.test_incidents_new_log import went_on
from tests.streams.test_incidents_properties import installations, interleaved
from tests.streams.timelines import INTERVAL, SECOND, START, Published, detector, expectations

AWAY = 360
"""Ticks: an hour without a log."""

BEGAN = 20
BACK = BEGAN + AWAY


def at(tick: int) -> int:
    """Return the time of a tick."""
    return START + tick * INTERVAL


def before_it() -> Detector:
    """Return a detector that has judged some ticks of three locations, and then the log stands still."""
    core = detector(expectations(*PLACES))
    for tick in range(BEGAN):
        core.logged(at(tick))
        core.apply(ticks_of(*PLACES, ticks=range(tick, tick + 1)))
        core.clock(at(tick))
    return core


def delivered(core: Detector, found: Published, *parts: tuple[str, range]) -> None:
    """Deliver these ticks of these locations, each message logged when the log is back, with its clock first."""
    for location, ticks in parts:
        core.logged(at(BACK))
        found.add(core.clock(at(BACK)))
        found.add(core.apply(ticks_of(location, ticks=ticks)))


@pytest.mark.parametrize("gap_us", [0, STANDSTILL_US])
def test_a_log_that_goes_on_did_not_stand_still(gap_us: int) -> None:
    """Up to two slots may pass without a message."""
    assert stood_still(at(1), at(1) + gap_us) == 0
    assert stood_still(at(1), at(1) + STANDSTILL_US + 1) == STANDSTILL_US + 1
    assert stood_still(-1, at(1)) == 0
    assert stood_still(0, at(1)) == 0  # the one before had no timestamp
    assert stood_still(at(1), 0) == 0


@pytest.mark.parametrize("restarted", [False, True])
def test_an_hour_without_a_log_is_judged_whoever_delivers_first(restarted: bool) -> None:
    """Ams delivers last, when the others have delivered the whole hour; a restart in between changes nothing."""
    core, found = before_it(), Published()
    hour = range(BEGAN, BACK + 1)
    delivered(core, found, ("fra", hour), ("nyc", hour))
    if restarted:
        again = detector(expectations(*PLACES))
        again.restore(core.snapshot())
        core = again
    delivered(core, found, ("ams", range(BEGAN, BEGAN + 100)), ("ams", range(BEGAN + 100, BACK + 1)))
    assert found.late == 0
    assert {one.verdict for one in found.verdicts if one.tick_us == at(22)} == {"failing"}
    assert not [reason for one in found.verdicts for reason in one.reasons if reason.kind == "silence"]
    # All are together: late is late again, and the clock is the wall's.
    found.add(core.apply(ticks_of("fra", "nyc", ticks=range(BACK + 1, BACK + 5))))
    assert core.apply(ticks_of("ams", ticks=range(BACK + 1, BACK + 2))).late == 1
    found = Published()
    found.add(core.clock(at(BACK + 30)))
    assert [one.verdict for one in found.verdicts][-1] == "unknown"


def test_without_a_standstill_the_same_checks_are_late() -> None:
    """Ams alone was away, and what it kept comes after the others were judged."""
    core, found = before_it(), Published()
    for tick in range(BEGAN, BEGAN + 30):
        core.logged(at(tick))
        found.add(core.apply(ticks_of("fra", "nyc", ticks=range(tick, tick + 1))))
        found.add(core.clock(at(tick)))
    core.logged(at(BEGAN + 30))
    assert core.apply(ticks_of("ams", ticks=range(BEGAN, BEGAN + 20))).late == 20


def test_who_does_not_come_back_is_waited_for_two_minutes_at_most() -> None:
    """Ams died while the log stood still: the others are judged without it, and its silence is told."""
    core, found = before_it(), Published()
    hour = range(BEGAN, BACK + 1)
    delivered(core, found, ("fra", hour), ("nyc", hour))
    before = [one.tick_us for one in found.verdicts]
    for tick in range(BACK + 1, BACK + 20):
        core.logged(at(tick))
        found.add(core.apply(ticks_of("fra", "nyc", ticks=range(tick, tick + 1))))
        found.add(core.clock(at(tick)))
    assert at(22) not in before
    assert {one.verdict for one in found.verdicts if one.tick_us == at(22)} == {"degraded"}
    assert found.late == 0
    assert [reason for reason in found.verdicts[-1].reasons if reason.kind == "silence"]


def test_nobody_is_waited_for_where_nobody_was_live() -> None:
    """A partition without checks is as far as the clock at once: it holds up nobody."""
    core = Detector(DetectPolicy(), expectations(), partition=0)
    found = Published()
    for at_us in (at(0), at(1), at(BACK)):
        core.logged(at_us)
        found.add(core.clock(at_us))
    assert found.summaries[-1].closed_through_us >= at(BACK)


def test_a_standstill_shorter_than_two_slots_changes_nothing() -> None:
    """Who delivers after the others by more than the lateness is late."""
    core, found = before_it(), Published()
    core.logged(at(BEGAN - 1) + STANDSTILL_US)
    found.add(core.apply(ticks_of("fra", "nyc", ticks=range(BEGAN, BEGAN + 6))))
    assert core.apply(ticks_of("ams", ticks=range(BEGAN, BEGAN + 1))).late == 1


@settings(max_examples=150, deadline=None)
@given(installations(), st.integers(0, 2**32), st.integers(0, 200))
def test_incidents_after_a_standstill_do_not_depend_on_which_partition_is_first(
    installation: Installation, seed: int, cut: int
) -> None:
    """The lateness is short, and each partition works off its backlog in its own time."""
    installation = replace(installation, lateness_us=2 * INTERVAL_US)
    by_partition = installation.messages()
    order = merged(by_partition)
    each_known = [row for row, one in enumerate(order) if isinstance(one, TickSummary)][installation.partitions]
    before = order[: max(cut, each_known)]
    incidents, undisturbed = incidents_of(installation), incidents_of(installation)
    told = []
    for message in before:
        incidents.logged(START_US)
        told += incidents.apply(message)
    backlogs = [[one for one in messages if one not in before] for messages in by_partition]
    for message in interleaved(backlogs, random.Random(seed)):
        incidents.logged(START_US + 3600 * SECOND)
        told += incidents.apply(message)
    expected = [one for message in order for one in undisturbed.apply(message)]
    assert {one.id: one for one in told} == {one.id: one for one in expected}
    assert len(told) == len(expected)
    assert incidents.finish() == undisturbed.finish()


@pytest.mark.parametrize(
    ("gap_s", "expected_s"), [(0, 120), (60, 120), (720, 120), (1200, 200), (3600, 600), (86_400, 600)]
)
def test_the_longer_it_stood_still_the_longer_the_partitions_are_awaited(gap_s: int, expected_s: int) -> None:
    """A sixth of it, from two to ten minutes."""
    assert time_to_gather(gap_s * SECOND) == expected_s * SECOND


def test_a_partition_that_stays_behind_after_a_standstill_stops_nothing_for_longer() -> None:
    """Its worker is dead: after ten minutes the others are judged as in any log."""
    installation = Installation(rows={"shop/web": {"ams": "SSSFFFFFFFFF"}}, partitions=2)
    own = next(one for one in installation.messages() if len(one) > installation.ticks)
    incidents = incidents_of(installation)
    for partition in range(2):
        incidents.logged(START_US)
        incidents.apply(summary(partition, START_US - INTERVAL_US))
    back_us = START_US + 3600 * SECOND
    told = []
    for message in own[:-1]:
        incidents.logged(back_us)
        told += incidents.apply(message)
    assert told == []
    went_on(incidents, back_us, back_us + LONGEST_US)
    incidents.logged(back_us + LONGEST_US)
    assert [one.kind for one in incidents.apply(own[-1])][:1] == ["outage"]
