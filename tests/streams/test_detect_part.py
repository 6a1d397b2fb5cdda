"""What detection makes of messages as they are read from a log."""

from producers import codec as checks_codec
from producers import topics
from producers.contract import VERSION, Check, ClockTick, Outcome
from streams import codec
from streams.contract import Verdict
from streams.core.detect import Detector
from streams.detect import DetectPart
from streams.group import LogMessage
from streams.policy import DetectPolicy
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


def judged(part: DetectPart, log: list[bytes], *, epoch: str, first_offset: int = 0) -> list[Verdict]:
    """Let the part handle a log from an offset on, and return its verdicts."""
    told = []
    for offset, value in enumerate(log, first_offset):
        message = LogMessage(
            epoch=epoch,
            topic=topics.CHECKS,
            partition=0,
            offset=offset,
            timestamp_us=START + 3_600_000_000,
            key=None,
            value=value,
        )
        told += [codec.decode(out.topic, out.value) for out in part.handle(message)]
    return [one for one in told if isinstance(one, Verdict)]


def verdict_of_the_bad_tick(*, next_offset: int) -> str:
    """Return what is told of BAD_TICK when ams delivers two minutes after the others, in messages from an offset on."""
    part = DetectPart(Detector(DetectPolicy(), expectations(*PLACES), partition=0, partitions=1), 0)
    known = [batch(location, tick) for tick in range(20) for location in PLACES]
    judged(part, [clock_event(0), *known, clock_event(19)], epoch="1")
    again = [batch(location, tick) for tick in range(18, 30) for location in ("fra", "nyc")]
    again += [batch("ams", tick) for tick in range(18, 30)]
    [told] = {
        one.verdict
        for one in judged(part, again, epoch="2", first_offset=next_offset)
        if one.tick_us == START + BAD_TICK * INTERVAL
    }
    return told


def test_in_a_log_that_begins_anew_all_locations_are_waited_for() -> None:
    """The first message of a log says that it is a new one; in a log that goes on who is late stays late."""
    assert verdict_of_the_bad_tick(next_offset=0) == "failing"
    assert verdict_of_the_bad_tick(next_offset=60) == "degraded"
