"""What the month's benchmark calls grown: what leaks, and not one busy day."""

from dataclasses import replace

import pytest

from benchmarks.endurance import Day, grown

DAY = Day(
    day=1,
    memory=230.0,
    store_memory=430.0,
    descriptors=480,
    spool=5.0,
    snapshots=0.45,
    store_disk=100.0,
    checks=144_000,
    alerts=100,
    seconds=30.0,
)
MONTH = [replace(DAY, day=day) for day in range(1, 31)]


def test_a_month_of_equal_days_has_grown_in_nothing() -> None:
    """Nor has one with a busy day, or one that begins small; too few days say nothing."""
    busy = [replace(day, descriptors=600, store_memory=900.0) if day.day == 24 else day for day in MONTH]
    young = [replace(day, descriptors=90 * min(day.day, 6)) for day in MONTH]
    assert grown(MONTH) == grown(busy) == grown(young) == grown(MONTH[:2]) == []


@pytest.mark.parametrize(
    ("name", "a_day"), [("memory", 2.0), ("store_memory", 4.0), ("descriptors", 6), ("spool", 0.3), ("snapshots", 0.2)]
)
def test_what_leaks_a_little_each_day_has_grown(name: str, a_day: float) -> None:
    """About a hundredth of it each day; of what is small a megabyte in the end."""
    leaking = [replace(day, **{name: getattr(day, name) + a_day * day.day}) for day in MONTH]
    assert grown(leaking) == [name]
