"""What detection makes of messages as they are read from a log."""

import gc
import weakref

import pytest

from producers import codec as checks_codec
from producers import topics
from producers.contract import VERSION, Check, ClockTick, Outcome
from streams import codec
from streams.contract import TickSummary, Verdict
from streams.core.detect import Detector
from streams.detect import DetectPart
from streams.group import LogMessage, OutMessage
from streams.policy import DetectPolicy
from streams.starts import How
from tests.streams.timelines import INTERVAL, START, TARGET, expectations

PLACES = ("ams", "fra", "nyc")
BAD_TICK = 22


def batch(location: str, tick: int) -> bytes:
    """Return the message of one check; the target fails at BAD_TICK as ams and fra see it."""
    failing = tick == BAD_TICK and location != "nyc"
    at_us = START + tick * INTERVAL
    check = Check(
        target=TARGET,
        probe="front",
        kind="http",
        location=location,
        scheduled_at_us=at_us,
        started_at_us=at_us,
        duration_us=20_000,
        outcome=Outcome.FAILURE if failing else Outcome.SUCCESS,
        reason="timeout" if failing else None,
    )
    return checks_codec.encode(checks_codec.pack([check], producer=location))


def clock_event(tick: int) -> bytes:
    """Return the message that says that it is the time of this tick."""
    return checks_codec.encode(ClockTick(v=VERSION, partition=0, at_us=START + tick * INTERVAL))


def published(part: DetectPart, log: list[bytes], *, epoch: str, first_offset: int = 0, at_us: int) -> list[OutMessage]:
    """Let the part handle a log from an offset on, written at one time, and return all that it publishes."""
    found: list[OutMessage] = []
    for offset, value in enumerate(log, first_offset):
        message = LogMessage(
            epoch=epoch,
            topic=topics.CHECKS,
            partition=0,
            offset=offset,
            timestamp_us=at_us,
            key=None,
            value=value,
        )
        found += part.handle(message)
    return found


def told(part: DetectPart, log: list[bytes], *, epoch: str, first_offset: int = 0, at_us: int) -> list[codec.Event]:
    """Return the same as events."""
    messages = published(part, log, epoch=epoch, first_offset=first_offset, at_us=at_us)
    return [codec.decode(one.topic, one.value) for one in messages]


def judged(part: DetectPart, log: list[bytes], *, epoch: str, first_offset: int = 0) -> list[Verdict]:
    """Let the part handle a log from an offset on, and return its verdicts."""
    events = told(part, log, epoch=epoch, first_offset=first_offset, at_us=START + 3_600_000_000)
    return [one for one in events if isinstance(one, Verdict)]


def verdict_of_the_bad_tick(*, next_offset: int) -> str:
    """Return what is told of BAD_TICK when ams delivers two minutes after the others, in messages from an offset on."""
    part = DetectPart(Detector(DetectPolicy(), expectations(*PLACES), partition=0, partitions=1), 0)
    known = [batch(location, tick) for tick in range(20) for location in PLACES]
    judged(part, [clock_event(0), *known, clock_event(19)], epoch="1")
    again = [batch(location, tick) for tick in range(18, 30) for location in ("fra", "nyc")]
    again += [batch("ams", tick) for tick in range(18, 30)]
    [verdict] = {
        one.verdict
        for one in judged(part, again, epoch="2", first_offset=next_offset)
        if one.tick_us == START + BAD_TICK * INTERVAL
    }
    return verdict


def test_in_a_log_that_begins_anew_all_locations_are_waited_for() -> None:
    """The first message of a log says that it is a new one; in a log that goes on who is late stays late."""
    assert verdict_of_the_bad_tick(next_offset=0) == "failing"
    assert verdict_of_the_bad_tick(next_offset=60) == "degraded"


@pytest.mark.parametrize("how", [How.PROVISIONAL, How.CHANGED, How.LOST])
def test_what_began_without_its_state_says_which_slots_it_may_have_seen_in_part(how: How) -> None:
    """Those that began before its first message was written: what the lost state had taken in does not come again."""
    late_from = 4
    log = [clock_event(0), *(batch(place, tick) for tick in range(12) for place in PLACES), clock_event(12)]
    summaries = {}
    for begins in (how, How.LOADED, How.ANEW):
        part = DetectPart(Detector(DetectPolicy(), expectations(*PLACES), partition=0, partitions=1), 0, how=begins)
        events = told(part, log, epoch="1", at_us=START + late_from * INTERVAL)
        summaries[begins] = [one for one in events if isinstance(one, TickSummary)]
    partial = [one.slot_us for one in summaries[how] if one.partial]
    assert partial == [one.slot_us for one in summaries[how] if one.slot_us < START + late_from * INTERVAL]
    assert len(partial) > 1
    assert {one.slot_us: one.locations for one in summaries[how]} == {
        one.slot_us: one.locations for one in summaries[How.ANEW]
    }
    assert not any(one.partial for begins in (How.LOADED, How.ANEW) for one in summaries[begins])


def test_what_is_judged_provisionally_says_so_and_is_in_no_outbox() -> None:
    """In another log it is judged again, with the state as a rule: sent again there, it would contradict that."""
    log = [clock_event(0), *(batch(place, tick) for tick in range(BAD_TICK + 4) for place in PLACES)]
    for how in (How.PROVISIONAL, How.ANEW):
        part = DetectPart(Detector(DetectPolicy(), expectations(*PLACES), partition=0, partitions=1), 0, how=how)
        messages = published(part, log, epoch="1", at_us=START)
        events = [codec.decode(one.topic, one.value) for one in messages]
        verdicts = [one for one in events if isinstance(one, Verdict)]
        assert any(one.verdict == "failing" for one in verdicts)
        assert {one.provisional for one in verdicts} == {how is How.PROVISIONAL}
        assert {one.fleeting for one in messages} == {how is How.PROVISIONAL}


def test_which_slots_are_seen_in_part_outlives_a_restart() -> None:
    """It is part of the state."""
    log = [clock_event(0), *(batch(place, tick) for tick in range(12) for place in PLACES)]
    part = DetectPart(Detector(DetectPolicy(), expectations(*PLACES), partition=0, partitions=1), 0, how=How.CHANGED)
    told(part, log, epoch="1", at_us=START + 100 * INTERVAL)
    after = DetectPart(Detector(DetectPolicy(), expectations(*PLACES), partition=0, partitions=1), 0, how=How.LOADED)
    after.restore(part.freeze().pack())
    events = told(after, [clock_event(30)], epoch="1", first_offset=len(log), at_us=START + 100 * INTERVAL)
    summaries = [one for one in events if isinstance(one, TickSummary)]
    assert summaries
    assert all(one.partial for one in summaries)


def test_no_clock_event_follows_one_that_was_not_read_yet() -> None:
    """It waits for the broker and tells an old time then; many of them would hide that the log stood still."""
    part = DetectPart(Detector(DetectPolicy(), expectations(*PLACES), partition=0), 0)
    (first,) = part.tell_time(START)
    assert part.tell_time(START + INTERVAL) == ()
    judged(part, [batch("ams", 0)], epoch="1")
    assert part.tell_time(START + 2 * INTERVAL) == ()
    judged(part, [first.value], epoch="1", first_offset=1)
    (second,) = part.tell_time(START + 3 * INTERVAL)
    event = checks_codec.decode(second.value, log_timestamp_us=START)
    assert isinstance(event, ClockTick)
    assert (event.at_us, second.partition, second.fleeting) == (START + 3 * INTERVAL, 0, True)


def test_batches_before_a_standstill_are_judged_before_it() -> None:
    """What came in one turn of reading is no reason to take them together."""
    whole, single = (DetectPart(Detector(DetectPolicy(), expectations(*PLACES), partition=0), 0) for _ in range(2))
    ticks = [(tick, place) for tick in range(12) for place in PLACES]
    away = [(tick, place) for place in PLACES for tick in range(12, 40)]
    times_us = [START + tick * INTERVAL for tick, _ in ticks] + [START + 40 * INTERVAL] * len(away)
    log = [
        LogMessage(
            epoch="1", topic=topics.CHECKS, partition=0, offset=offset, timestamp_us=at_us, key=None, value=value
        )
        for offset, (at_us, value) in enumerate(
            zip(
                [START, *times_us], [clock_event(0), *(batch(place, tick) for tick, place in ticks + away)], strict=True
            )
        )
    ]
    told_whole = whole.handle(*log)
    assert told_whole == [out for message in log for out in single.handle(message)]
    verdicts = [codec.decode(one.topic, one.value) for one in told_whole]
    assert any(isinstance(one, Verdict) and one.tick_us == START + BAD_TICK * INTERVAL for one in verdicts)


def test_a_part_that_goes_to_another_worker_is_freed_without_the_collector() -> None:
    """Nothing in it refers in a circle: what is there when places are loaded is out of the collector's sight."""
    part: DetectPart | None = DetectPart(Detector(DetectPolicy(), expectations(*PLACES), partition=0, partitions=1), 0)
    assert part is not None
    judged(part, [clock_event(0), *(batch(place, tick) for tick in range(30) for place in PLACES)], epoch="1")
    part.freeze()
    kept = weakref.ref(part)
    gc.collect()
    gc.disable()
    try:
        part = None
        assert kept() is None
    finally:
        gc.enable()
