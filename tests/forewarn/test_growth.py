"""When a broker that has grown is started anew."""

from analytics import sink
from forewarn.embedded.growth import READERS, WAITS_TOO_LONG_S, Growth, Progress
from producers import topics
from streams import detect, incidents

LIMIT = 100
CHECKS = ("checks.v1", 0)
ALERTS = ("alerts.v1", 0)


def progress(end: int, stored: int, *, judged: int = 1000) -> Progress:
    """A log that ends there in one partition, and is stored and judged up to there; the other one is empty."""
    done = {"sink": {CHECKS: stored, ALERTS: 0}, "detect": {CHECKS: min(judged, end)}}
    return Progress(ends={CHECKS: end, ALERTS: 0}, done=done)


def test_a_small_one_goes_on() -> None:
    """However much is stored."""
    assert not Growth(LIMIT).judge(LIMIT - 1, progress(10, 10), 0.0)


def test_a_large_one_waits_until_what_it_held_is_stored() -> None:
    """Not for the little that came since: while checks come there is always some."""
    growth = Growth(LIMIT)
    looks = ((100, 90), (105, 99), (110, 100))
    assert [growth.judge(LIMIT, progress(end, stored), 0.0) for end, stored in looks] == [False, False, True]


def test_a_backlog_that_came_since_is_waited_for_too() -> None:
    """Of a flood the broker is found too large in its middle: what comes then would all come again."""
    growth = Growth(LIMIT)
    looks = ((100, 50), (300, 100), (301, 200), (302, 300))
    assert [growth.judge(LIMIT, progress(end, end, judged=judged), 0.0) for end, judged in looks] == [
        False,
        False,
        False,
        True,
    ]


def test_where_checks_come_too_quickly_it_is_restarted_all_the_same() -> None:
    """What is not committed yet is always a large part of such a log: it must not grow for ever."""
    growth = Growth(LIMIT)
    looks = ((100, 60), (140, 100), (180, 140), (220, 180), (260, 220))
    assert [growth.judge(LIMIT, progress(end, stored), 0.0) for end, stored in looks] == [False] * 4 + [True]


def test_a_large_one_waits_for_who_judges_too() -> None:
    """With a backlog the new log would be as large: it is published again until it is in a kept state."""
    growth = Growth(LIMIT)
    assert not growth.judge(LIMIT, progress(10, 10, judged=9), 0.0)
    assert growth.complaint(2**21, WAITS_TOO_LONG_S) is not None
    assert growth.behind == ["detect"]
    assert growth.judge(LIMIT, progress(11, 10, judged=10), 1.0)


def test_one_that_does_not_answer_is_no_reason_to_restart_and_is_told() -> None:
    """It may be that somebody is not done: nobody knows. Once it answers it is judged as ever."""
    growth = Growth(LIMIT)
    growth.unanswered(0.0)
    assert growth.complaint(2**21, WAITS_TOO_LONG_S - 1.0) is None
    said = growth.complaint(2**21, WAITS_TOO_LONG_S)
    assert said == "the broker has grown to 2 MB and is not restarted: it does not say how far anybody is"
    assert not growth.judge(LIMIT, progress(10, 9), WAITS_TOO_LONG_S)
    assert growth.judge(LIMIT, progress(10, 10), WAITS_TOO_LONG_S)


def test_the_readers_are_those_of_the_groups() -> None:
    """Whoever reads a topic is waited for."""
    assert {
        sink.GROUP: sink.Sink.topics,
        detect.GROUP: (topics.CHECKS,),
        incidents.GROUP: (topics.VERDICTS,),
    } == READERS


def test_with_everything_stored_it_is_started_anew_at_once_and_judged_afresh_afterwards() -> None:
    """The next log is measured from its own beginning."""
    growth = Growth(LIMIT)
    assert growth.judge(LIMIT, progress(10, 10), 0.0)
    assert not growth.judge(LIMIT - 1, progress(1, 0), 1.0)
    assert not growth.judge(LIMIT, progress(50, 49), 2.0)
    assert growth.judge(LIMIT, progress(55, 50), 3.0)


def test_a_sink_that_does_not_keep_up_is_said_once() -> None:
    """It may be a store that is away: the broker grows meanwhile, and somebody should know why."""
    growth = Growth(LIMIT)
    growth.judge(LIMIT, progress(10, 9), 0.0)
    said = [growth.complaint(2**21, at_s) for at_s in (1.0, WAITS_TOO_LONG_S, WAITS_TOO_LONG_S + 10)]
    assert said == [None, "the broker has grown to 2 MB and is not restarted: sink cannot keep up", None]
