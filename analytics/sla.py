"""The SLA calculus: time-weighted availability from verdict intervals. Pure: no clock, no store.

A figure of it is always shown with its policy: which period in which time zone, what unknown time counts as.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal
from zoneinfo import ZoneInfo

Unknown = Literal["excluded", "up", "down"]
MIN_SILENCE_US: Final = 60_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A target had one verdict from `from_us` up to, not including, `until_us`; None: it still has it."""

    verdict: str
    from_us: int
    until_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """From `from_us` up to, not including, `until_us`, microseconds UTC."""

    from_us: int
    until_us: int

    @property
    def length_us(self) -> int:
        """How long it is."""
        return self.until_us - self.from_us


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """How a period was spent; the four parts add up to it exactly.

    Attributes:
        availability: 0..1 under the policy; None if nothing is known that counts.
    """

    healthy_us: int
    degraded_us: int
    failing_us: int
    unknown_us: int
    availability: float | None


def month_period(month: str, time_zone: str) -> Period:
    """Return a calendar month in a time zone, daylight-saving changes included.

    Args:
        month: `YYYY-MM`.
        time_zone: IANA name.

    Raises:
        ValueError: It is not a month, or not one of the years 2000 to 2199.
    """
    try:
        first = datetime.strptime(month, "%Y-%m")  # noqa: DTZ007 - the zone is put on below
    except ValueError:
        raise ValueError(f"{month!r} is not a month; expected YYYY-MM") from None
    if not 2000 <= first.year <= 2199:
        raise ValueError(f"{month!r} is not in the years 2000 to 2199")
    following = (
        first.replace(year=first.year + 1, month=1) if first.month == 12 else first.replace(month=first.month + 1)
    )
    zone = ZoneInfo(time_zone)
    return Period(from_us=_us(first.replace(tzinfo=zone)), until_us=_us(following.replace(tzinfo=zone)))


def _us(moment: datetime) -> int:
    since = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000


def known_part(interval: Interval, last_check_us: int | None, step_us: int) -> Interval:
    """Return an interval that still lasts, ended where its target was measured last; others as they are.

    Where everything was switched off nobody published `unknown`: a verdict holds only as long as somebody looks.

    Args:
        last_check_us: Tick of the target's newest check that was run; None: of none that is kept.
        step_us: The interval between checks; silence is max(two of them, 60 s), as in detection.
    """
    if interval.until_us is not None:
        return interval
    grace_us = max(2 * step_us, MIN_SILENCE_US)
    until_us = interval.from_us if last_check_us is None else max(interval.from_us, last_check_us + grace_us)
    return replace(interval, until_us=until_us)


def account(intervals: Sequence[Interval], period: Period, *, unknown: Unknown) -> Account:
    """Return how a target spent a period.

    Args:
        intervals: Its verdicts, in order, not overlapping. Time that none of them covers is unknown.
        period: A month, cut at now if it is not over.
        unknown: What unknown time counts as.

    Raises:
        ValueError: Intervals overlap or are out of order.
    """
    spent = dict.fromkeys(("healthy", "degraded", "failing", "unknown"), 0)
    covered_until_us = period.from_us
    last_until_us: int | None = None
    for interval in intervals:
        if last_until_us is not None and interval.from_us < last_until_us:
            raise ValueError(f"verdict intervals overlap at {interval.from_us}")
        until_us = period.until_us if interval.until_us is None else interval.until_us
        last_until_us = max(until_us, interval.from_us)
        from_us, until_us = max(interval.from_us, period.from_us), min(until_us, period.until_us)
        if until_us <= from_us:
            continue
        spent["unknown"] += from_us - covered_until_us
        spent[interval.verdict] += until_us - from_us
        covered_until_us = until_us
    spent["unknown"] += max(0, period.until_us - covered_until_us)
    return Account(
        healthy_us=spent["healthy"],
        degraded_us=spent["degraded"],
        failing_us=spent["failing"],
        unknown_us=spent["unknown"],
        availability=_availability(spent, unknown),
    )


def _availability(spent: dict[str, int], unknown: Unknown) -> float | None:
    up_us = spent["healthy"] + spent["degraded"] + (spent["unknown"] if unknown == "up" else 0)
    down_us = spent["failing"] + (spent["unknown"] if unknown == "down" else 0)
    counted_us = up_us + down_us
    return None if counted_us == 0 else up_us / counted_us
