"""How a series is looked at: its value, its smoothed size, its difference from what just was, from its hour, its day.

Each view turns one reading into one number; `evidence` judges each alone. Hours and days are told by the time of the
reading, so gaps, other intervals and several readings a slot are nothing special.
"""

from typing import Final

import numpy as np

from streams.core.table import Column, Floats, Ints, Rows, Table
from streams.core.watermark import NEVER
from streams.policy import DAY_US, HOUR_US, SECOND_US

VIEWS: Final = ("value", "size", "step", "hour", "day")
LEVELS: Final = 2
"""The first ones have a level of their own; the others are differences from a reference, and rest at 0."""

SPAN: Final = 20
"""Readings over which the size is smoothed, and that a step is measured against."""

SIZED: Final = 50
"""Readings that are not 0 and give a series its scale."""

HOUR_DAYS: Final = 7
"""How many days the mean of an hour of the day remembers."""

HOURS: Final = 24
SLOTS: Final = 288
SLOT_US: Final = 300 * SECOND_US


class ViewTable(Table):
    """State by series.

    Attributes:
        seen: Readings so far.
        scale, sized: Mean magnitude of the first SIZED readings that are not 0, and how many these are.
        recent: The value, smoothed; size: the size, smoothed.
        hours, hour_days: Mean by hour of the day, and of how many days.
        hour, hour_mean, hour_count: Number of the hour that runs, since 1970; mean and number of its readings.
        slots: Mean of the last day that had readings in each slot of the day.
        slot: Number of the slot that runs, counted since 1970; slot_count: its readings.
        slot_before: What `slots` held there the day before.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "seen": Column(np.int64, 0),
        "scale": Column(np.float64, 0.0),
        "sized": Column(np.int64, 0),
        "recent": Column(np.float64, 0.0),
        "size": Column(np.float64, 0.0),
        "hours": Column(np.float64, np.nan, (HOURS,)),
        "hour_days": Column(np.int64, 0, (HOURS,)),
        "hour": Column(np.int64, NEVER),
        "hour_mean": Column(np.float64, 0.0),
        "hour_count": Column(np.int64, 0),
        "slots": Column(np.float64, np.nan, (SLOTS,)),
        "slot": Column(np.int64, NEVER),
        "slot_count": Column(np.int64, 0),
        "slot_before": Column(np.float64, np.nan),
    }
    seen: Ints
    scale: Floats
    sized: Ints
    recent: Floats
    size: Floats
    hours: Floats
    hour_days: Ints
    hour: Ints
    hour_mean: Floats
    hour_count: Ints
    slots: Floats
    slot: Ints
    slot_count: Ints
    slot_before: Floats


def look(table: ViewTable, series: Rows, at_us: Ints, value: Floats) -> Floats:
    """Return the views of n readings, and take them in.

    Args:
        table: Of all series.
        series: Shape (n,), each at most once.
        at_us: Of the readings.
        value: Finite.

    Returns:
        Shape (n, 5), in the order of VIEWS; NaN where there is nothing to compare with yet.
    """
    found = np.empty((series.size, len(VIEWS)))
    seen = table.seen[series]
    table.seen[series] = seen + 1
    found[:, 0] = value
    found[:, 1] = _size(table, series, seen, value)
    recent = table.recent[series]
    found[:, 2] = np.where(seen == 0, np.nan, value - recent)
    table.recent[series] = np.where(seen == 0, value, recent + 2.0 / (SPAN + 1.0) * (value - recent))
    found[:, 3] = _hour(table, series, at_us, value)
    found[:, 4] = _day(table, series, at_us, value)
    return found


def _size(table: ViewTable, series: Rows, seen: Ints, value: Floats) -> Floats:
    """The smoothed logarithm of large values, which is linear near 0 (asinh), by the series' own scale."""
    magnitude, sized = np.abs(value), table.sized[series]
    grows = (magnitude > 0.0) & (sized < SIZED)
    sized = sized + grows
    scale = table.scale[series]
    scale = np.where(grows, scale + (magnitude - scale) / np.maximum(sized, 1), scale)
    table.sized[series], table.scale[series] = sized, scale
    now = np.arcsinh(value / np.where(scale > 0.0, scale, 1.0))
    size = table.size[series]
    size = np.where(seen == 0, now, size + 2.0 / (SPAN + 1.0) * (now - size))
    table.size[series] = size
    # While the scale still changes, sizes cannot be compared.
    return np.where(seen < SIZED, np.nan, size)


def _hour(table: ViewTable, series: Rows, at_us: Ints, value: Floats) -> Floats:
    number, before = at_us // HOUR_US, table.hour[series]
    over = (number != before) & (before != NEVER)
    if over.any():
        _end_hour(table, series[over], before[over] % HOURS)
    mean, count = table.hour_mean[series], np.where(number != before, 1, table.hour_count[series] + 1)
    table.hour_mean[series] = np.where(count == 1, value, mean + (value - mean) / count)
    table.hour[series], table.hour_count[series] = number, count
    return value - table.hours[series, number % HOURS]


def _end_hour(table: ViewTable, series: Rows, hour: Ints) -> None:
    days = np.minimum(table.hour_days[series, hour] + 1, HOUR_DAYS)
    mean, now = table.hours[series, hour], table.hour_mean[series]
    table.hours[series, hour] = np.where(days == 1, now, mean + (now - mean) / days)
    table.hour_days[series, hour] = days


def _day(table: ViewTable, series: Rows, at_us: Ints, value: Floats) -> Floats:
    number = at_us // SLOT_US
    place = number % SLOTS
    fresh = number != table.slot[series]
    held = table.slots[series, place]
    # What is older than a day and a half is not the day before.
    before = np.where(fresh, held, table.slot_before[series])
    count = np.where(fresh, 1, table.slot_count[series] + 1)
    table.slots[series, place] = np.where(fresh, value, held + (value - held) / count)
    table.slot[series], table.slot_count[series], table.slot_before[series] = number, count, before
    return value - before


assert SLOTS * SLOT_US == DAY_US
