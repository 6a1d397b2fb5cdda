"""Each piece of evidence of `benchmarks.chaos` speaks up when something is lost, twice, or not as it should be."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.chaos import evidence
from benchmarks.chaos.evidence import Found
from benchmarks.chaos.faults import Done, Fault
from benchmarks.chaos.installations import LOCATIONS, Play
from benchmarks.chaos.recording import Recording, record, target_name
from producers.ticks import tick_offset_us
from streams.contract import JUDGING, Deviation, derived_id
from tests.integration.judging import STEPS, Judged
from tests.integration.local import Posted
from tests.integration.reading import Row

SECOND = 1_000_000
INTERVAL = 10 * SECOND
NOTHING = Found(checks=(), deviations=(), verdicts=(), incidents=(), alerts=(), summaries=(), posted=(), late=())
KILLED_US = 1_790_000_100 * SECOND


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Two targets, five ticks."""
    one = Play(record(1, targets=2, locations=LOCATIONS, ticks=5), tmp_path, interval_us=INTERVAL)
    one.begin(1_790_000_000 * SECOND)
    return one


def checks_of(play: Play) -> list[Row]:
    """Return the rows of a run in which nothing went wrong."""
    return [
        check_of(play, number, location, tick) for number in range(2) for location in LOCATIONS for tick in range(5)
    ]


def check_of(play: Play, number: int, location: str, tick: int) -> Row:
    """Return the row of one check."""
    target = f"main/{target_name(number)}"
    offset_us = tick_offset_us(target, "front", INTERVAL)
    first_us = play.start_us + (offset_us - play.start_us) % INTERVAL
    seen = play.recording.at(number, LOCATIONS.index(location), tick)
    return {
        "target": target,
        "probe": "front",
        "location": location,
        "scheduled_at": first_us + tick * INTERVAL,
        "outcome": "failure" if seen.failed else "success",
        "reason": None,
        "duration_us": seen.duration_us,
    }


def never(_location: str, _tick_us: int) -> bool:
    """Nothing is excused."""
    return False


def test_a_check_that_is_lost_or_there_twice_is_seen(play: Play) -> None:
    """One line for its series, also when another one makes up the number."""
    rows = checks_of(play)
    assert evidence.completeness(replace(NOTHING, checks=rows), play, never) == []
    assert len(evidence.completeness(replace(NOTHING, checks=rows[1:]), play, never)) == 1
    assert len(evidence.completeness(replace(NOTHING, checks=[*rows, rows[0]]), play, never)) == 1
    assert len(evidence.completeness(replace(NOTHING, checks=[*rows[1:], rows[2]]), play, never)) == 1
    assert evidence.completeness(replace(NOTHING, checks=rows[1:]), play, lambda *_: True) == []


def test_a_check_that_says_something_else_is_seen(play: Play) -> None:
    """Outcome and duration are the recording's, at that very tick."""
    rows = checks_of(play)
    assert evidence.truth(replace(NOTHING, checks=rows), play) == []
    changed = [{**rows[0], "duration_us": rows[0]["duration_us"] + 1}, {**rows[1], "outcome": "failure"}]
    assert len(evidence.truth(replace(NOTHING, checks=changed), play)) == 2


def kill(name: str, *, from_us: int = KILLED_US, seconds: int = 3) -> Done:
    """Return a kill that was carried out."""
    fault = Fault(at=0.5, name=name, how="kill", seconds=0.0)
    return Done(fault=fault, from_us=from_us, until_us=from_us + seconds * SECOND)


def test_missed_ticks_belong_to_a_producer_that_was_hit(play: Play) -> None:
    """One of another location, or of another time, has no cause; nor has one that was run by a dead producer."""
    row = check_of(play, 0, "ams", 0) | {"scheduled_at": KILLED_US + SECOND}
    missed = row | {"outcome": "missed", "reason": "stopped"}
    assert evidence.missed(replace(NOTHING, checks=[missed]), [kill("producer ams")]) == []
    assert len(evidence.missed(replace(NOTHING, checks=[missed]), [kill("producer fra")])) == 1
    assert (
        len(evidence.missed(replace(NOTHING, checks=[missed]), [kill("producer ams", from_us=KILLED_US + INTERVAL)]))
        == 1
    )
    assert len(evidence.missed(replace(NOTHING, checks=[row]), [kill("producer ams")])) == 1
    assert evidence.missed(replace(NOTHING, checks=[row]), [kill("sink")]) == []


def test_a_silence_belongs_to_a_producer_that_was_away_for_long() -> None:
    """It must be told, and nothing else must be."""
    long, short = kill("producer ams", seconds=200), kill("producer ams", seconds=5)
    silence = {"kind": "silence", "locations": ["ams"], "began_at": KILLED_US + INTERVAL}
    told = replace(NOTHING, incidents=[silence])
    assert evidence.silences(told, [long]) == []
    assert evidence.silences(NOTHING, [short]) == []
    assert len(evidence.silences(NOTHING, [long])) == 1
    assert len(evidence.silences(told, [short])) == 1
    assert len(evidence.silences(told, [])) == 1
    assert len(evidence.silences(replace(NOTHING, incidents=[silence | {"locations": ["fra"]}]), [long])) == 2


def test_a_summary_that_counts_a_check_twice_or_not_is_seen(play: Play) -> None:
    """What came too late is not counted; everything else is, once."""
    rows = [check_of(play, 0, "ams", tick) for tick in range(3)]
    summary = {"slot_at": play.start_us, "locations": ["ams"], "reported": [3], "failed": [0]}
    found = replace(NOTHING, checks=rows, summaries=[summary])
    assert evidence.summed_up(found, play) == []
    assert len(evidence.summed_up(replace(found, summaries=[summary, summary]), play)) == 1
    late = [evidence.identity(rows[2])]
    assert len(evidence.summed_up(replace(found, late=late), play)) == 1
    assert evidence.summed_up(replace(found, late=late, summaries=[summary | {"reported": [2]}]), play) == []


def test_things_of_one_side_only_and_different_ones_are_seen() -> None:
    """Lost, made up, changed: a line each."""
    assert evidence.differing({"a": 1, "b": 2}, {"a": 1, "b": 2}) == []
    assert len(evidence.differing({"a": 1, "b": 2}, {"b": 3, "c": 4})) == 3


def test_scores_are_compared_to_a_millionth() -> None:
    """What a sum in another order makes is none; more is."""
    one = Deviation(
        v=1,
        id="x",
        target="main/t000",
        probe="front",
        location="ams",
        metric="latency",
        detector="latency_level",
        tick_us=KILLED_US,
        since_us=KILLED_US,
        active=True,
        score=5.0,
        value=1.0,
    )
    judged = Judged(deviations={"x": one})
    row = {"id": "x", "score": 5.0 * (1 + 1e-9), "value": 1.0, "baseline": None}
    assert evidence.deviations(replace(NOTHING, deviations=[row]), judged) == []
    assert len(evidence.deviations(replace(NOTHING, deviations=[row | {"score": 5.0001}]), judged)) == 1
    assert len(evidence.deviations(replace(NOTHING, deviations=[row | {"baseline": 1.0}]), judged)) == 1


def posted(key: str, *, after_s: float) -> Posted:
    """Return a request, so long after the kill."""
    return Posted(key=key, message={}, at_us=KILLED_US + int(after_s * SECOND))


def test_a_repeated_request_needs_a_kill_between_the_two_and_a_kill_explains_one() -> None:
    """None without kills, one for each."""
    once = [posted("a", after_s=-1), posted("b", after_s=-1)]
    twice = [*once, posted("a", after_s=4)]
    thrice = [*twice, posted("b", after_s=4)]
    assert evidence.repeated(replace(NOTHING, posted=once), []) == (0, [])
    assert evidence.repeated(replace(NOTHING, posted=twice), [KILLED_US]) == (1, [])
    assert len(evidence.repeated(replace(NOTHING, posted=twice), [])[1]) == 1
    assert len(evidence.repeated(replace(NOTHING, posted=thrice), [KILLED_US])[1]) == 1


def test_an_alert_that_nobody_got_or_nobody_recorded_is_seen() -> None:
    """And an incident that was open for long and never told, unless another one explains it."""
    incident = {
        "incident_id": "i",
        "kind": "outage",
        "target": "main/t000",
        "opened_at": KILLED_US,
        "resolved_at": None,
        "caused_by": None,
    }
    alert = {"id": "a", "incident_id": "i", "kind": "initial", "delivered": True}
    well = replace(NOTHING, incidents=[incident], alerts=[alert], posted=[posted("a", after_s=0)])
    assert evidence.told(well, []) == []
    assert len(evidence.told(replace(well, posted=()), [])) == 1
    assert len(evidence.told(replace(well, alerts=()), [])) == 2
    assert len(evidence.told(replace(NOTHING, incidents=[incident]), [])) == 1
    short = incident | {"resolved_at": KILLED_US + SECOND}
    explained = incident | {"caused_by": "main/t001"}
    assert evidence.told(replace(NOTHING, incidents=[short, explained]), []) == []
    over = replace(NOTHING, incidents=[incident | {"resolved_at": KILLED_US + 100 * SECOND}])
    away = (KILLED_US + 90 * SECOND, KILLED_US + 120 * SECOND)
    assert len(evidence.told(over, [])) == 1
    assert evidence.told(over, [away]) == []
    assert len(evidence.told(over, [(KILLED_US, KILLED_US + 50 * SECOND)])) == 1


def test_a_digest_stands_for_the_records_of_all_its_parts() -> None:
    """One request, a record for each incident; a part that it does not list is a record that nobody got."""
    rows = [
        {"id": key, "incident_id": incident, "kind": "initial", "delivered": True, "text": "two are open"}
        for key, incident in (("a", "i"), ("b", "j"))
    ]
    body = {"text": "two are open", "incidents": [{"incident_id": "i"}, {"incident_id": "j"}]}
    sent = Posted(key=derived_id("digest", "a", "b"), message=body, at_us=KILLED_US)
    assert evidence.told(replace(NOTHING, alerts=rows, posted=[sent]), []) == []
    other = rows[1] | {"id": "c", "incident_id": "k"}
    assert len(evidence.told(replace(NOTHING, alerts=[*rows, other], posted=[sent]), [])) == 1
    assert len(evidence.told(replace(NOTHING, alerts=rows[:1], posted=[sent]), [])) == 2


def test_a_recording_comes_back_from_its_file(tmp_path: Path) -> None:
    """The producers play what was recorded; beyond its end all is well."""
    made = record(5, targets=3, locations=LOCATIONS, ticks=60)
    made.save(tmp_path / "recording.npz")
    read = Recording.load(tmp_path / "recording.npz")
    for tick in (0, 30, 59, 60, 1000):
        assert read.at(2, 1, tick) == made.at(2, 1, tick)
    assert not any(made.at(number, 0, 60 + tick).failed for number in range(3) for tick in range(60))
    assert sum(made.events.values()) > 0


def test_what_forewarn_tells_of_itself_is_not_asked_of_the_core() -> None:
    """It tells of the faults, which the core over the stored checks knows nothing of."""
    row = dict.fromkeys(("target", "location", *STEPS)) | {"incident_id": "1", "subject": JUDGING}
    assert evidence.incidents(replace(NOTHING, incidents=[row]), Judged()) == []
    assert len(evidence.incidents(replace(NOTHING, incidents=[row | {"subject": "service"}]), Judged())) == 1
