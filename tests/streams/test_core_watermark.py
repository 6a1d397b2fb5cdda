"""The watermark: no wrong clock moves it, no dead location stops it."""

import pytest

from producers.contract import CheckColumns
from streams.core.detect import Detector
from streams.core.watermark import NEVER, LocationTable, advance
from streams.policy import Expectations
from tests.streams.timelines import (
    INTERVAL,
    QUORUM_ONLY,
    SECOND,
    START,
    TARGET,
    Published,
    Row,
    columns,
    detector,
    expectations,
)

NOW, HOUR, PATIENCE = START, 3600 * SECOND, 60 * SECOND


def mark(*newest_us: int, clock_us: int = NOW, before_us: int = NEVER) -> int:
    """Return the watermark for locations with these newest ticks."""
    locations = LocationTable()
    locations.grow(len(newest_us))
    locations.newest_us[: len(newest_us)] = newest_us
    return advance(locations, before_us=before_us, clock_us=clock_us, patience_us=PATIENCE)


@pytest.mark.parametrize(
    ("newest_us", "expected_us"),
    [
        ([NOW], NOW),
        ([NOW + HOUR], NOW + PATIENCE),  # followed no further than that past the clock
        ([NOW - HOUR], NOW - PATIENCE),  # dead, or behind: the clock alone
        ([NOW, NOW - SECOND], NOW - SECOND),
        ([NOW, NOW - HOUR], NOW),  # one is dead: the other decides
        ([NOW, NOW + HOUR], NOW),  # one is ahead
        ([NOW - HOUR, NOW + HOUR], NOW + PATIENCE),
        ([NOW - SECOND, NOW, NOW + HOUR], NOW),
        ([NOW - SECOND, NOW, NOW - HOUR], NOW - SECOND),
        ([NOW - HOUR, NOW, NOW + HOUR], NOW),
        ([NOW - HOUR, NOW - HOUR, NOW], NOW),
        ([NOW - HOUR, NOW - HOUR, NOW - HOUR], NOW - PATIENCE),
        ([], NOW - PATIENCE),
    ],
)
def test_one_wrong_location_decides_nothing(newest_us: list[int], expected_us: int) -> None:
    """One to three locations, one of them dead, an hour ahead or an hour behind."""
    assert mark(*newest_us) == expected_us


def test_without_a_clock_the_median_decides() -> None:
    """Before the first clock event all locations have a vote."""
    assert mark(NOW, NOW - HOUR, clock_us=NEVER) == NOW - HOUR
    assert mark(NOW, NOW - HOUR, NOW + HOUR, clock_us=NEVER) == NOW


def test_it_never_falls() -> None:
    """Whatever comes."""
    assert mark(NOW - SECOND, before_us=NOW) == NOW


@pytest.mark.parametrize("skew_us", [HOUR, -HOUR])
@pytest.mark.parametrize("others", [("fra",), ("fra", "nyc")])
def test_a_location_with_a_wrong_clock_changes_nobody_elses_verdicts(skew_us: int, others: tuple[str, ...]) -> None:
    """Ams is an hour off; the target fails at ticks 4 to 6 as the others see it, and that is told within the tick."""
    core, found = detector(expectations("ams", *others)), Published()
    told_at = None
    for tick in range(30):
        at_us = START + tick * INTERVAL
        failing = int(14 <= tick < 17)
        rows = [Row(tick_us=at_us + skew_us, location="ams")]
        rows += [Row(tick_us=at_us, location=location, outcome=failing) for location in others]
        found.add(core.apply(columns(rows)))
        found.add(core.clock(at_us))
        if told_at is None and any(verdict.verdict == "failing" for verdict in found.verdicts):
            told_at = tick
    assert told_at is not None
    assert 14 <= told_at <= 17  # until ams counts as silent its absence is waited for, two intervals
    for tick in range(30, 36):
        found.add(core.clock(START + tick * INTERVAL))
    here = [verdict for verdict in found.verdicts if START <= verdict.tick_us < START + HOUR // 2]
    failing_ticks = sorted((v.tick_us - START) // INTERVAL for v in here if v.verdict == "failing")
    assert failing_ticks == [14, 15, 16]
    assert all(verdict.target == TARGET for verdict in found.verdicts)


def test_a_dead_location_delays_ticks_only_until_it_counts_as_silent() -> None:
    """Nyc dies at tick 10: later ticks close at once again, without it, and say so for information."""
    core = detector(expectations("ams", "fra", "nyc"))
    delays: list[int] = []
    closed = Published()
    for tick in range(40):
        at_us = START + tick * INTERVAL
        locations = ("ams", "fra", "nyc") if tick < 10 else ("ams", "fra")
        # Every tick changes something, so that each is published.
        rows = [Row(tick_us=at_us, location=location, outcome=tick % 2) for location in locations]
        before = len(closed.verdicts)
        closed.add(core.apply(columns(rows)))
        delays += [(at_us - verdict.tick_us) // INTERVAL for verdict in closed.verdicts[before:]]
        closed.add(core.clock(at_us))
    assert max(delays) <= 2
    assert delays[-15:] == [0] * 15
    last = closed.verdicts[-1]
    assert [(r.kind, r.locations, r.severity) for r in last.reasons if r.kind == "silence"] == [
        ("silence", ["nyc"], "info")
    ]
    # Down at every other tick is flapping: between two failing ticks the target is up, and not well.
    assert [verdict.verdict for verdict in closed.verdicts[-4:]] == ["degraded", "failing"] * 2


PLACES = ("ams", "fra", "nyc")


def known_log(until: int = 20) -> Detector:
    """Return a detector that has judged so many ticks of three locations, each told to it with the time."""
    core = detector(expectations(*PLACES))
    for tick in range(until):
        core.apply(ticks_of(*PLACES, ticks=range(tick, tick + 1)))
        core.clock(START + tick * INTERVAL)
    return core


def ticks_of(*locations: str, ticks: range) -> CheckColumns:
    """Return one check of each tick and location; fra and ams fail at tick 22."""
    return columns(
        [
            Row(tick_us=START + tick * INTERVAL, location=location, outcome=int(tick == 22 and location != "nyc"))
            for tick in ticks
            for location in locations
        ]
    )


@pytest.mark.parametrize(("begins_anew", "late", "verdict"), [(True, 0, "failing"), (False, 10, "degraded")])
def test_when_the_log_begins_anew_nobody_is_late_who_delivers_after_the_others(
    begins_anew: bool, late: int, verdict: str
) -> None:
    """Ams comes back when the others have delivered two minutes already; a restart in between changes nothing."""
    core, found = known_log(), Published()
    if begins_anew:
        core.logged(0, first=True)
    for tick in range(18, 24):
        found.add(core.apply(ticks_of("fra", "nyc", ticks=range(tick, tick + 1))))
    found.add(core.apply(ticks_of("fra", "nyc", ticks=range(24, 30)), ticks_of("nyc", ticks=range(30, 31))))
    again = detector(expectations(*PLACES))
    again.restore(core.snapshot())
    found.add(again.apply(ticks_of("ams", ticks=range(18, 26)), ticks_of("ams", ticks=range(26, 30))))
    found.add(again.clock(START + 29 * INTERVAL))
    assert found.late == late
    assert {one.verdict for one in found.verdicts if one.tick_us == START + 22 * INTERVAL} == {verdict}
    if begins_anew:
        assert again.apply(ticks_of("fra", "nyc", ticks=range(30, 33))).late == 0
        assert again.apply(ticks_of("ams", ticks=range(30, 31))).late == 1  # all are together: late is late again


def test_who_was_ahead_when_the_log_ended_has_not_delivered_again_by_that() -> None:
    """Ams was one tick ahead of the others, as far as it has come: it is waited for until it sends something newer."""
    core, found = known_log(), Published()
    found.add(core.apply(ticks_of("ams", ticks=range(20, 21))))
    core.logged(0, first=True)
    for tick in range(20, 28):
        found.add(core.apply(ticks_of("fra", "nyc", ticks=range(tick, tick + 1))))
    for tick in range(20, 28):
        found.add(core.apply(ticks_of("ams", ticks=range(tick, tick + 1))))
    found.add(core.clock(START + 28 * INTERVAL))
    assert found.late == 0
    assert {one.verdict for one in found.verdicts if one.tick_us == START + 22 * INTERVAL} == {"failing"}
    assert core.apply(ticks_of("fra", "nyc", ticks=range(28, 31))).late == 0
    assert core.apply(ticks_of("ams", ticks=range(28, 29))).late == 1  # all are together: late is late again


def test_who_does_not_come_back_is_waited_for_two_minutes_at_most() -> None:
    """Ams is dead when the log begins anew. Its silence is seen, and the others are judged without it."""
    core, found = known_log(), Published()
    core.logged(0, first=True)
    for tick in range(20, 33):
        found.add(core.apply(ticks_of("fra", "nyc", ticks=range(tick, tick + 1))))
        found.add(core.clock(START + tick * INTERVAL))
    assert [verdict.verdict for verdict in found.verdicts if verdict.tick_us == START + 22 * INTERVAL] == ["degraded"]
    assert core.apply(ticks_of("ams", ticks=range(28, 29))).late == 1


def test_a_location_whose_clock_is_behind_is_not_gathered_for_ever() -> None:
    """Nyc's clock is half a minute behind: it is live, and never together with the others."""
    core = known_log()
    core.logged(0, first=True)
    late = 0
    for tick in range(20, 36):
        late += core.apply(ticks_of("ams", "fra", ticks=range(tick, tick + 1))).late
        late += core.apply(ticks_of("nyc", ticks=range(tick - 3, tick - 2))).late
        core.clock(START + tick * INTERVAL)
    assert late > 0


def begun(*locations: str) -> Detector:
    """Return a detector that knows nothing but the config, at the beginning of a log."""
    config = expectations(*locations) if locations else Expectations()
    core = Detector(QUORUM_ONLY, config, partition=0, partitions=1)
    core.logged(0, first=True)
    return core


def told_of(core: Detector, *messages: CheckColumns | int) -> Published:
    """Return what comes of these messages: checks, or the tick whose time a clock event says."""
    found = Published()
    for one in messages:
        found.add(core.clock(START + one * INTERVAL) if isinstance(one, int) else core.apply(one))
    return found


def test_a_state_that_begins_with_the_log_awaits_all_that_the_config_names() -> None:
    """Detection and the log are lost before anything was kept: the clock closes no slot before checks come again."""
    undisturbed = begun(*PLACES)
    expected = told_of(undisturbed, 0, *(ticks_of(*PLACES, ticks=range(tick, tick + 1)) for tick in range(12)), 11, 14)
    again = begun(*PLACES)
    before = told_of(again, 3, 4)  # the clock is first, nobody has sent anything again yet
    assert before.summaries == []
    waiting = begun(*PLACES)
    waiting.restore(again.snapshot())
    found = told_of(
        waiting,
        ticks_of("fra", "nyc", ticks=range(5, 9)),
        5,
        ticks_of("fra", "nyc", ticks=range(5)),
        ticks_of("nyc", "fra", ticks=range(9, 12)),
        ticks_of("ams", ticks=range(12)),
        11,
        14,
    )
    assert found.late == 0
    assert found.summaries == expected.summaries
    assert sum(count.reported for one in found.summaries for count in one.locations) == 3 * 12
    assert found.verdicts == expected.verdicts


def test_who_is_awaited_and_never_comes_delays_nothing_for_longer_than_two_minutes() -> None:
    """Ams is named, and was never started."""
    core = begun(*PLACES)
    found = Published()
    closed_at: dict[int, int] = {}
    for tick in range(40):
        found.add(core.apply(ticks_of("fra", "nyc", ticks=range(tick, tick + 1))))
        found.add(core.clock(START + tick * INTERVAL))
        for one in found.summaries[len(closed_at) :]:
            closed_at[one.slot_us] = tick - (one.slot_us - START) // INTERVAL
    assert max(closed_at.values()) <= 9
    assert closed_at[START + 30 * INTERVAL] <= 3
    assert found.late == 0


def test_a_partition_of_which_the_config_names_nothing_awaits_nobody() -> None:
    """Its slots are judged in advance, so that it holds nobody up, in a new log too."""
    core = begun()
    assert told_of(core, 0).summaries != []
