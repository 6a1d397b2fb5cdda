"""Silence: nothing is known where nothing comes, and unknown is never healthy."""

from producers.topics import partition_of
from streams.core.detect import Detector
from streams.policy import Expectations, ProbeExpectation
from tests.streams.timelines import (
    INTERVAL,
    PROBE,
    QUORUM_ONLY,
    SECOND,
    START,
    TARGET,
    Published,
    Row,
    columns,
    detector,
    expectations,
    run,
)


def test_a_silent_target_is_unknown_from_the_first_tick_that_is_missing() -> None:
    """After max(two intervals, 60 s) without a check; dated back to the first missing tick; locations are named."""
    found = run({"ams": "HHHHHHHH", "fra": "HHHHHHHH"}, clock_after_s=120)
    unknown = found.verdicts[-1]
    assert (unknown.verdict, unknown.previous) == ("unknown", "healthy")
    assert unknown.tick_us == START + (7 + 6) * INTERVAL
    assert unknown.since_us == START + 8 * INTERVAL
    assert [(reason.kind, reason.locations) for reason in unknown.reasons] == [("silence", ["ams", "fra"])]
    assert "no checks from ams and fra since" in unknown.reasons[0].text


def test_a_failing_target_that_falls_silent_is_unknown_and_not_failing() -> None:
    """What is not seen is not said."""
    found = run({"ams": "HHHFFF"}, clock_after_s=180)
    assert found.letters(20) == "hhhffffffffuuuuuuuuu"


def test_checks_that_come_again_end_the_silence() -> None:
    """A gap of 70 s and more is unknown in between; the first tick after it says what is."""
    found = run({"ams": "HHHH..............HHH"}, clock_after_s=60)
    #                            0123456789012345678901
    assert found.letters(21) == "hhhhhhhhhuuuuuuuuuhhh"


def test_a_gap_is_unknown_even_if_no_clock_event_said_so() -> None:
    """The owner of the partition was away, so no clock event was written: the gap is told with the next tick."""
    core, found = detector(expectations("ams")), Published()
    for tick in [0, 1, 2, 30, 31, 32, 33]:
        found.add(core.apply(columns([Row(tick_us=START + tick * INTERVAL)])))
    assert found.letters(33) == "hhhhhhhhuuuuuuuuuuuuuuuuuuuuuuhhh"


def test_long_intervals_are_silent_after_two_of_them() -> None:
    """300 s: silent 600 s after the last tick, not after one minute."""
    found = run({"ams": "HHH"}, interval_us=300 * SECOND, clock_after_s=1200)
    unknown = found.verdicts[-1]
    assert unknown.verdict == "unknown"
    assert unknown.tick_us == START + 4 * 300 * SECOND


def test_an_orderly_stop_is_excused_for_five_minutes() -> None:
    """Not unknown after 60 s, but after 300 s."""
    core, found = detector(expectations("ams")), Published()
    for tick in range(10):
        found.add(core.apply(columns([Row(tick_us=START + tick * INTERVAL)])))
    stop_us = START + 9 * INTERVAL + SECOND
    found.add(core.stopped("ams", stop_us))
    for second in range(0, 600, 10):
        found.add(core.clock(stop_us + second * SECOND))
        unknown = [verdict for verdict in found.verdicts if verdict.verdict == "unknown"]
        assert bool(unknown) == (second >= 330)
    assert unknown[0].since_us == START + 10 * INTERVAL


def test_a_stop_does_not_excuse_another_location() -> None:
    """Ams stops in order, fra dies: the target is unknown after 60 s."""
    core, found = detector(expectations("ams", "fra")), Published()
    for tick in range(10):
        rows = [Row(tick_us=START + tick * INTERVAL, location=location) for location in ("ams", "fra")]
        found.add(core.apply(columns(rows)))
    found.add(core.stopped("ams", START + 9 * INTERVAL))
    for second in range(0, 120, 10):
        found.add(core.clock(START + 9 * INTERVAL + second * SECOND))
    assert found.verdicts[-1].verdict == "unknown"


def test_checks_after_a_stop_end_its_excuse() -> None:
    """The producer is back after 30 s and dies later: that silence is not excused."""
    core, found = detector(expectations("ams")), Published()
    for tick in range(10):
        if tick == 5:
            found.add(core.stopped("ams", START + 4 * INTERVAL + SECOND))
        found.add(core.apply(columns([Row(tick_us=START + tick * INTERVAL)])))
    for second in range(0, 120, 10):
        found.add(core.clock(START + 9 * INTERVAL + second * SECOND))
    assert found.verdicts[-1].verdict == "unknown"


def test_a_location_that_never_reports_is_named() -> None:
    """The config expects nyc; it never comes: for information, the verdict is the others'."""
    found = run({"ams": "H" * 20, "fra": "H" * 20}, expectations("ams", "fra", "nyc"))
    assert found.letters(20).strip(".h") == ""
    assert found.verdicts[-1].verdict == "healthy"
    assert [(reason.kind, reason.locations) for reason in found.verdicts[-1].reasons] == [("silence", ["nyc"])]


def test_a_probe_that_never_reports_makes_its_target_unknown() -> None:
    """Front is well, machine never comes: an unknown probe never shows as healthy."""
    config = Expectations(
        probes={
            (TARGET, PROBE): ProbeExpectation(interval_us=INTERVAL, locations=("ams",)),
            (TARGET, "machine"): ProbeExpectation(interval_us=INTERVAL, locations=("shop-1",)),
        }
    )
    core, found = detector(config), Published()
    for tick in range(30):
        found.add(core.apply(columns([Row(tick_us=START + tick * INTERVAL)])))
        found.add(core.clock(START + tick * INTERVAL))
    assert found.verdicts[0].verdict == "healthy"
    assert found.verdicts[-1].verdict == "unknown"
    assert [(reason.probe, reason.kind) for reason in found.verdicts[-1].reasons] == [("machine", "silence")]


def test_a_silent_target_holds_back_no_summary() -> None:
    """Its partition goes on being closed, so that pages of others are not held."""
    found = run({"ams": "HHHH"}, clock_after_s=600)
    last_us = START + 4 * INTERVAL + 600 * SECOND
    assert found.summaries[-1].closed_through_us >= last_us


OTHERS = ("main/depot", "main/office")


def never_heard(partition: int, partitions: int | None) -> Detector:
    """Return a detector of three configured targets that none sends anything to."""
    probe = ProbeExpectation(interval_us=INTERVAL, locations=("ams", "fra"))
    config = Expectations(probes={(target, PROBE): probe for target in (TARGET, *OTHERS)})
    return Detector(QUORUM_ONLY, config, partition=partition, partitions=partitions)


def test_a_target_that_nobody_ever_heard_of_is_unknown_after_its_silence() -> None:
    """Not before max(two intervals, 60 s) since detection began, though no check ever came; said once."""
    core, found = never_heard(0, 1), Published()
    for second in range(0, 600, 10):
        found.add(core.clock(START + second * SECOND))
        assert bool(found.verdicts) == (second >= 70)
    assert [verdict.target for verdict in found.verdicts] == ["main/depot", "main/office", TARGET]
    assert {verdict.verdict for verdict in found.verdicts} == {"unknown"}
    assert {(reason.kind, *reason.locations) for verdict in found.verdicts for reason in verdict.reasons} == {
        ("silence", "ams", "fra")
    }
    assert {verdict.since_us for verdict in found.verdicts} == {START}


def test_each_partition_misses_its_own_targets_only() -> None:
    """All partitions together say each target once."""
    said: list[tuple[int, str]] = []
    for partition in range(4):
        core, found = never_heard(partition, 4), Published()
        for second in range(0, 200, 10):
            found.add(core.clock(START + second * SECOND))
        said += [(partition, verdict.target) for verdict in found.verdicts]
    assert sorted(said) == sorted((partition_of(target, 4), target) for target in (TARGET, *OTHERS))


def test_recorded_checks_miss_nobody() -> None:
    """A file of checks holds some targets of a config; it says nothing of the others."""
    core, found = never_heard(0, None), Published()
    for second in range(0, 600, 10):
        found.add(core.clock(START + second * SECOND))
    assert found.verdicts == []


def test_a_target_that_nobody_heard_of_is_well_from_its_first_checks_on() -> None:
    """What was unknown ends with the first tick."""
    core, found = never_heard(0, 1), Published()
    for second in range(0, 200, 10):
        found.add(core.clock(START + second * SECOND))
    for tick in range(30, 34):
        rows = [Row(tick_us=START + tick * INTERVAL, location=location) for location in ("ams", "fra")]
        found.add(core.apply(columns(rows)))
    for second in range(340, 400, 10):
        found.add(core.clock(START + second * SECOND))
    own = [verdict for verdict in found.verdicts if verdict.target == TARGET]
    assert [verdict.verdict for verdict in own][:2] == ["unknown", "healthy"]
    assert own[1].tick_us == START + 30 * INTERVAL


def test_a_target_that_the_config_names_anew_is_missed_from_the_restart_on() -> None:
    """However long the worker was away: the time in which nobody listened is no silence of a new target."""
    core = Detector(QUORUM_ONLY, expectations("ams"), partition=0, partitions=1)
    core.apply(columns([Row(tick_us=START)]))
    core.clock(START)
    probe = ProbeExpectation(interval_us=INTERVAL, locations=("ams",))
    config = Expectations(probes={(TARGET, PROBE): probe, (TARGET, "new"): probe, ("main/new", PROBE): probe})
    later, found, back_us = Detector(QUORUM_ONLY, config, partition=0, partitions=1), Published(), START + 10**12
    later.restore(core.snapshot())
    for second in range(0, 60, 10):
        found.add(later.clock(back_us + second * SECOND))
    assert {reason.probe for verdict in found.verdicts for reason in verdict.reasons} == {PROBE}
    for second in range(60, 300, 10):
        found.add(later.clock(back_us + second * SECOND))
    new = [verdict for verdict in found.verdicts if verdict.target == "main/new"]
    assert [(verdict.verdict, verdict.since_us) for verdict in new] == [("unknown", back_us)]


def test_a_missed_check_ends_no_run_of_failures() -> None:
    """M says nothing: the reason's since stays the first F; only a success ends the run."""
    #                    01234567890
    found = run({"ams": "HHFFMFFHFFM"}, clock_after_s=30)
    said = {(verdict.tick_us - START) // INTERVAL: verdict for verdict in found.verdicts}
    since = {
        tick: (reason.since_us - START) // INTERVAL
        for tick, verdict in said.items()
        for reason in verdict.reasons
        if reason.kind == "failing"
    }
    assert since == {2: 2, 3: 2, 5: 2, 6: 2, 8: 8, 9: 8}


def test_a_pause_ends_no_run_of_failures_but_is_not_accounted_as_one() -> None:
    """After a restart the reason still says since when; what nobody saw stays unknown."""
    found = run({"ams": "HHFF..............FFF"}, clock_after_s=30)
    back = [verdict for verdict in found.verdicts if verdict.previous == "unknown"][-1]
    assert (back.verdict, back.tick_us, back.since_us) == ("failing", START + 18 * INTERVAL, START + 18 * INTERVAL)
    assert [reason.since_us for reason in back.reasons] == [START + 2 * INTERVAL]
