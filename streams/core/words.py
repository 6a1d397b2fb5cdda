"""Numbers, times and names as a person says them."""

from collections.abc import Iterable
from datetime import UTC, datetime

MAX_NAMES = 3
"""More locations or targets than this are named by count: a line must stay a line."""


def instant(at_us: int) -> str:
    """Return `2026-11-22 10:00:05 UTC`; what no calendar holds is shown as its number."""
    try:
        return datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"{at_us} µs"


def span(duration_us: int) -> str:
    """Return a duration as a person says it: `40 s`, `95 min`, `7 h`, `9 days`."""
    seconds = max(duration_us, 0) / 1_000_000
    for unit, width, limit in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < limit:
            return f"{seconds / width:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def names(values: Iterable[str]) -> str:
    """Return `ams`, `ams and fra`, `ams, fra and nyc`, or a count of many."""
    ordered = sorted(set(values))
    if len(ordered) > MAX_NAMES:
        return f"{', '.join(ordered[:MAX_NAMES])} and {len(ordered) - MAX_NAMES} more"
    if len(ordered) < 2:
        return "".join(ordered)
    return f"{', '.join(ordered[:-1])} and {ordered[-1]}"


def count(number: int, one: str, many: str | None = None) -> str:
    """Return `1 target`, `3 targets`."""
    return f"{number} {one if number == 1 else many or one + 's'}"
