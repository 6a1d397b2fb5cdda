"""When a broker that has grown is started anew."""

from forewarn.embedded.growth import WAITS_TOO_LONG_S, Growth, Progress

LIMIT = 100
CHECKS = ("checks.v1", 0)
ALERTS = ("alerts.v1", 0)


def progress(end: int, stored: int) -> Progress:
    """A log that ends there in one partition, and is stored up to there; of the other one nothing was written."""
    return Progress(ends={CHECKS: end, ALERTS: 0}, stored={CHECKS: stored})


def test_a_small_one_goes_on() -> None:
    """However much is stored."""
    assert not Growth(LIMIT).judge(LIMIT - 1, progress(10, 10), 0.0)


def test_a_large_one_waits_until_what_it_held_is_stored() -> None:
    """Not for what came since: while checks come there is always some."""
    growth = Growth(LIMIT)
    assert [growth.judge(LIMIT, progress(end, stored), 0.0) for end, stored in ((10, 9), (20, 9), (30, 10))] == [
        False,
        False,
        True,
    ]


def test_with_everything_stored_it_is_started_anew_at_once_and_judged_afresh_afterwards() -> None:
    """The next log is measured from its own beginning."""
    growth = Growth(LIMIT)
    assert growth.judge(LIMIT, progress(10, 10), 0.0)
    assert not growth.judge(LIMIT - 1, progress(1, 0), 1.0)
    assert not growth.judge(LIMIT, progress(5, 4), 2.0)
    assert growth.judge(LIMIT, progress(9, 5), 3.0)


def test_a_sink_that_does_not_keep_up_is_said_once() -> None:
    """It may be a store that is away: the broker grows meanwhile, and somebody should know why."""
    growth = Growth(LIMIT)
    growth.judge(LIMIT, progress(10, 9), 0.0)
    said = [growth.complaint(2**21, at_s) for at_s in (1.0, WAITS_TOO_LONG_S, WAITS_TOO_LONG_S + 10)]
    assert said == [None, "the broker has grown to 2 MB and cannot be restarted: the sink does not keep up", None]
