"""Silence: nothing is known where nothing comes, and unknown is never healthy."""

from streams.policy import Expectations, ProbeExpectation
from tests.streams.timelines import (
    INTERVAL,
    PROBE,
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
