"""The SLA calculus against an oracle that counts second by second."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.report import percent_text, span_text
from analytics.sla import Interval, Period, Unknown, account, month_period

SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US
NAMES = {"H": "healthy", "D": "degraded", "F": "failing", "U": "unknown"}


def intervals_of(timeline: str, *, open_end: bool = False) -> list[Interval]:
    """Read a timeline, one letter a second from 0; a space is time without a verdict."""
    found: list[Interval] = []
    start = 0
    for i in range(1, len(timeline) + 1):
        if i == len(timeline) or timeline[i] != timeline[start]:
            if timeline[start] != " ":
                until_us = None if open_end and i == len(timeline) else i * SECOND_US
                found.append(Interval(verdict=NAMES[timeline[start]], from_us=start * SECOND_US, until_us=until_us))
            start = i
    return found


def spent(timeline: str, *, from_s: int, until_s: int, unknown: Unknown = "excluded") -> tuple[int, int, int, int]:
    """Return healthy, degraded, failing and unknown seconds."""
    period = Period(from_us=from_s * SECOND_US, until_us=until_s * SECOND_US)
    result = account(intervals_of(timeline), period, unknown=unknown)
    parts = (result.healthy_us, result.degraded_us, result.failing_us, result.unknown_us)
    assert sum(parts) == period.length_us
    return tuple(part // SECOND_US for part in parts)  # type: ignore[return-value] # four of them


def test_a_period_is_split_among_verdicts_and_gaps_are_unknown() -> None:
    """Time before the first verdict, between and after counts as unknown."""
    #             0123456789
    assert spent("  HHFF D U", from_s=0, until_s=12) == (2, 1, 2, 7)


def test_a_period_cuts_intervals_at_both_ends() -> None:
    """Only the part inside counts."""
    #             0123456789
    assert spent("HHHHFFFFHH", from_s=2, until_s=6) == (2, 0, 2, 0)


def test_an_open_interval_lasts_to_the_end_of_the_period() -> None:
    """A verdict that still holds holds to the end."""
    period = Period(from_us=0, until_us=10 * SECOND_US)
    result = account(intervals_of("HHF", open_end=True), period, unknown="excluded")
    assert result.failing_us == 8 * SECOND_US


@pytest.mark.parametrize(("unknown", "availability"), [("excluded", 4 / 6), ("up", 6 / 8), ("down", 4 / 8)])
def test_unknown_time_counts_as_the_policy_says(unknown: Unknown, availability: float) -> None:
    """Four up, two down, two unknown: excluded 4/6, up 6/8, down 4/8."""
    #                                  01234567
    result = account(intervals_of("HHDDFFUU"), Period(from_us=0, until_us=8 * SECOND_US), unknown=unknown)
    assert result.availability == pytest.approx(availability)


def test_a_month_nobody_measured_has_no_availability() -> None:
    """None, not 100 % and not 0 %."""
    assert account([], Period(from_us=0, until_us=HOUR_US), unknown="excluded").availability is None


def test_overlapping_intervals_are_refused() -> None:
    """A second would count twice."""
    overlapping = [
        Interval(verdict="healthy", from_us=0, until_us=20),
        Interval(verdict="failing", from_us=10, until_us=30),
    ]
    with pytest.raises(ValueError, match="overlap"):
        account(overlapping, Period(from_us=0, until_us=100), unknown="excluded")


@given(
    timeline=st.text(alphabet="HDFU ", min_size=0, max_size=40),
    from_s=st.integers(0, 45),
    length_s=st.integers(1, 45),
    unknown=st.sampled_from(["excluded", "up", "down"]),
)
def test_the_account_equals_counting_second_by_second(
    timeline: str, from_s: int, length_s: int, unknown: Unknown
) -> None:
    """For any timeline and any period."""
    period = Period(from_us=from_s * SECOND_US, until_us=(from_s + length_s) * SECOND_US)
    seconds = [timeline[s] if s < len(timeline) else " " for s in range(from_s, from_s + length_s)]
    up, down = sum(s in "HD" for s in seconds), seconds.count("F")
    blank = len(seconds) - up - down
    up, down = up + blank * (unknown == "up"), down + blank * (unknown == "down")
    result = account(intervals_of(timeline), period, unknown=unknown)
    assert result.healthy_us == seconds.count("H") * SECOND_US
    assert result.failing_us == seconds.count("F") * SECOND_US
    if up + down == 0:
        assert result.availability is None
    else:
        assert result.availability == pytest.approx(up / (up + down))


@pytest.mark.parametrize(
    ("month", "time_zone", "hours"),
    [
        ("2026-10", "UTC", 31 * 24),
        ("2026-10", "Europe/Berlin", 31 * 24 + 1),  # the clock goes back: one hour more
        ("2026-03", "Europe/Berlin", 31 * 24 - 1),  # and forth: one less
        ("2024-02", "Asia/Kolkata", 29 * 24),
        ("2026-12", "America/New_York", 31 * 24),
    ],
)
def test_a_month_has_the_hours_that_its_time_zone_gives_it(month: str, time_zone: str, hours: int) -> None:
    """Daylight-saving changes included."""
    assert month_period(month, time_zone).length_us == hours * HOUR_US


def test_months_follow_each_other_without_a_gap() -> None:
    """The end of one is the start of the next, over the year's end too."""
    assert month_period("2026-12", "Europe/Moscow").until_us == month_period("2027-01", "Europe/Moscow").from_us


def test_a_month_that_is_none_is_refused() -> None:
    """Month 13."""
    with pytest.raises(ValueError, match="2026-13"):
        month_period("2026-13", "UTC")


def test_percentages_are_never_rounded_up() -> None:
    """99.9999 % of a month is not all of it."""
    assert percent_text(0.999999) == "99.999 %"
    assert percent_text(1.0) == "100.000 %"
    assert percent_text(None) == "unknown"


def test_spans_show_their_two_largest_units() -> None:
    """A person reads days and hours, or minutes and seconds."""
    assert span_text(0) == "0 s"
    assert span_text(90 * SECOND_US) == "1 min 30 s"
    assert span_text(26 * HOUR_US + 61 * SECOND_US) == "1 d 2 h"
    assert span_text(None) == "–"
