"""What the hour of the day and of the week add to a series' log latency, and what they have excused before.

Three profiles a lane. `day` (24 bins) and `week` (168 bins, for series checked no more often than every 30 s) are
means of what a block of checks lay above the series' slow level: shrunk towards nothing by one visit (an empirical
Bayes mean), forgotten after some FORGOTTEN visits, and interpolated between the middles of bins. Each is used only
while it predicts the next block clearly better than its absence did (a prequential comparison, Dawid 1984); a
night that is as any hour costs nothing then. `upper` is what episodes at this hour that passed without a failure
(the nightly backup) have reached: up to it a series is not said to have left its level, in that hour and its
neighbours. It fades when it is not reached again.

An anomaly must poison neither: blocks of a series that is off its level wait in `pending`, to be learned
if the episode passes without a failure and forgotten otherwise.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streams.core.table import Bools, Column, Floats, Ints, Rows, Table
from streams.policy import HOUR_US

HOURS: Final = 24
WEEK_HOURS: Final = 168
MONDAY_US: Final = 4 * 24 * HOUR_US
"""1970-01-05 was a Monday: the first bin of a week."""

FORGOTTEN: Final = 14.0
"""Visits of a bin after which the older ones weigh no more than a new one each."""

PAYS: Final = 0.8
PAYS_NO_MORE: Final = 0.95
"""A profile is used from this share of the squared error on, and until that one."""

LEAST_HOURS: Final = 24.0
"""Hours of comparison before a profile is used: of predictions from a day that was seen before."""

LOSS_RATE: Final = 1.0 / 168.0
CLIP: Final = 2.5
"""No block counts as more than this in log latency (12 times)."""

FADES: Final = 0.95
"""What is left of an excuse at each visit that does not reach it."""

SLOW_US: Final = 30 * 1_000_000
"""Series with at least this interval have a profile of the week."""

Small = npt.NDArray[np.float32]


class SeasonTable(Table):
    """State by lane.

    Attributes:
        day, day_seen: Mean above the slow level by hour of day, and how often the bin was visited.
        upper: What innocent episodes have reached by hour of day; 0 none. excuses: It is not 0 everywhere.
        pending: What the episode that lasts has reached by hour of day; nan where it was not.
        losses: Mean squared error of blocks: with no profile, with the day, with day and week.
        hours: Compared so far, in hours: day, week.
        uses_day, uses_week: The profile pays.
        week: Row in `WeekTable`, -1 none.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "day": Column(np.float32, 0.0, (HOURS,)),
        "day_seen": Column(np.float32, 0.0, (HOURS,)),
        "upper": Column(np.float32, 0.0, (HOURS,)),
        "excuses": Column(np.bool_, 0),
        "pending": Column(np.float32, np.nan, (HOURS,)),
        "losses": Column(np.float64, 0.0, (3,)),
        "hours": Column(np.float64, 0.0, (2,)),
        "uses_day": Column(np.bool_, 0),
        "uses_week": Column(np.bool_, 0),
        "week": Column(np.int64, -1),
    }
    day: Small
    day_seen: Small
    upper: Small
    excuses: Bools
    pending: Small
    losses: Floats
    hours: Floats
    uses_day: Bools
    uses_week: Bools
    week: Ints


class WeekTable(Table):
    """The same by hour of the week, above the day's profile; only slow series have a row."""

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "week": Column(np.float32, 0.0, (WEEK_HOURS,)),
        "week_seen": Column(np.float32, 0.0, (WEEK_HOURS,)),
    }
    week: Small
    week_seen: Small


class Between(NamedTuple):
    """Where times lie between the middles of two bins. Shape (n,) each."""

    first: Rows
    second: Rows
    share: Floats


class Seasons:
    """The profiles of all lanes.

    Attributes:
        table, weeks: Its parts of the snapshot.
    """

    def __init__(self) -> None:
        self.table = SeasonTable()
        self.weeks = WeekTable()

    def add_week(self, lane: int) -> None:
        """Give a slow series a profile of the week."""
        if self.table.week[lane] < 0:
            self.table.week[lane] = self.weeks.rows
            self.weeks.grow(self.weeks.rows + 1)

    def offset(self, lanes: Rows, at_us: Ints) -> Floats:
        """Return what the time adds to log latency: 0 where no profile pays. Shape (n,)."""
        table = self.table
        used = table.uses_day[lanes]
        offset = np.zeros(lanes.size)
        if used.any():
            lane = lanes[used]
            day = _interpolated(table.day, lane, _between(at_us[used], HOURS))
            week = table.uses_week[lane]
            if week.any():
                rows = table.week[lane[week]]
                day[week] += _interpolated(self.weeks.week, rows, _between(at_us[used][week], WEEK_HOURS))
            offset[used] = day
        return offset

    def excuse(self, lanes: Rows, at_us: Ints) -> Floats:
        """Return what was reached at this hour, or the ones beside it, by episodes that meant nothing. Shape (n,)."""
        upper, excuses = self.table.upper, self.table.excuses[lanes]
        excuse = np.zeros(lanes.size)
        if excuses.any():
            lane, hour = lanes[excuses], _bin(at_us[excuses], HOURS)
            most = np.maximum(upper[lane, hour], upper[lane, (hour + 1) % HOURS])
            excuse[excuses] = np.maximum(most, upper[lane, (hour - 1) % HOURS])
        return excuse

    def learn(self, lanes: Rows, at_us: Ints, above: Floats, share: Floats, flagged: Bools) -> None:
        """Take in blocks of checks that ended.

        Args:
            lanes: Shape (n,), each at most once.
            at_us: The middle of each block.
            above: Mean log latency less the slow level, finite.
            share: Of an hour that the block lasted.
            flagged: The series is off its level: nothing is learned but by `note`.
        """
        kept = ~flagged
        lanes, at_us, above, share = lanes[kept], at_us[kept], np.clip(above[kept], -CLIP, CLIP), share[kept]
        if lanes.size:
            hour = _bin(at_us, HOURS)
            self._compare(lanes, at_us, above, share)
            self._mean(lanes, at_us, above, share)
            upper = self.table.upper[lanes, hour]
            self.table.upper[lanes, hour] = np.maximum(upper * FADES**share, np.minimum(upper, above))

    def note(self, lanes: Rows, at_us: Ints, above: Floats) -> None:
        """Note how far series that are off their level lie above it now, until `release` says what that meant."""
        hour, above = _bin(at_us, HOURS), np.clip(above, 0.0, CLIP)
        self.table.pending[lanes, hour] = np.fmax(self.table.pending[lanes, hour], above)

    def release(self, lanes: Rows, innocent: Bools) -> None:
        """End the episodes of these lanes: what was innocent excuses its hours from now on, and is learned."""
        table = self.table
        pending = table.pending[lanes]
        there = ~np.isnan(pending) & innocent[:, None]
        reached = np.where(there, pending, 0.0)
        table.upper[lanes] = np.maximum(table.upper[lanes], reached)
        table.excuses[lanes] |= (reached > 0.0).any(axis=1)
        seen = table.day_seen[lanes] + there
        step = (reached - table.day[lanes]) / (np.minimum(seen, FORGOTTEN) + 1.0)
        table.day[lanes] += np.where(there, step, 0.0).astype(np.float32)
        table.day_seen[lanes] = seen
        table.pending[lanes] = np.nan

    def _compare(self, lanes: Rows, at_us: Ints, above: Floats, share: Floats) -> None:
        """Score what each profile would have said of these blocks, where it has seen the hour before."""
        table = self.table
        seen = table.day_seen[lanes, _bin(at_us, HOURS)] >= 1.0
        if not seen.any():
            return
        lane, at_us, above, share = lanes[seen], at_us[seen], above[seen], share[seen]
        day = above - _interpolated(table.day, lane, _between(at_us, HOURS))
        week = day.copy()
        row = table.week[lane]
        knows = (row >= 0) & (self.weeks.week_seen[row, _bin(at_us, WEEK_HOURS)] >= 1.0)
        if knows.any():
            week[knows] -= _interpolated(self.weeks.week, row[knows], _between(at_us[knows], WEEK_HOURS))
        hours = table.hours[lane]
        hours += np.stack([share, np.where(knows, share, 0.0)], axis=1)
        rate = np.maximum(LOSS_RATE * share, share / hours[:, 0])[:, None]
        losses = table.losses[lane]
        losses += rate * (np.stack([above, day, week], axis=1) ** 2 - losses)
        table.losses[lane], table.hours[lane] = losses, hours
        table.uses_day[lane] = _pays(table.uses_day[lane], losses[:, 1], losses[:, 0], hours[:, 0])
        pays = _pays(table.uses_week[lane], losses[:, 2], losses[:, 1], hours[:, 1])
        table.uses_week[lane] = pays & table.uses_day[lane]

    def _mean(self, lanes: Rows, at_us: Ints, above: Floats, share: Floats) -> None:
        hour = _bin(at_us, HOURS)
        _learn(self.table.day, self.table.day_seen, lanes, hour, above, share)
        row = self.table.week[lanes]
        slow = row >= 0
        if slow.any():
            rest = above[slow] - self.table.day[lanes[slow], hour[slow]]
            _learn(self.weeks.week, self.weeks.week_seen, row[slow], _bin(at_us[slow], WEEK_HOURS), rest, share[slow])


def _learn(bins: Small, seen: Small, rows: Rows, place: Rows, value: Floats, share: Floats) -> None:
    """Move a bin towards a value: the mean of its visits and one more that was 0."""
    visits = np.minimum(seen[rows, place] + share, FORGOTTEN)
    moved = bins[rows, place] + (value - bins[rows, place]) * share / (visits + 1.0)
    bins[rows, place] = moved
    seen[rows, place] = visits


def _pays(used: Bools, loss: Floats, without: Floats, hours: Floats) -> Bools:
    limit = np.where(used, PAYS_NO_MORE, PAYS)
    pays: Bools = (hours >= LEAST_HOURS) & (loss < limit * without)
    return pays


def _bin(at_us: Ints, bins: int) -> Rows:
    return ((at_us - MONDAY_US) // HOUR_US % bins).astype(np.intp)


def _between(at_us: Ints, bins: int) -> Between:
    since = at_us - MONDAY_US - HOUR_US // 2
    first = (since // HOUR_US % bins).astype(np.intp)
    return Between(first, (first + 1) % bins, since % HOUR_US / HOUR_US)


def _interpolated(bins: Small, rows: Any, between: Between) -> Floats:
    left, right = bins[rows, between.first], bins[rows, between.second]
    value: Floats = left + (right.astype(np.float64) - left) * between.share
    return value
