"""Certificates: warned of when a renewal is overdue, or when little time is left and no renewal was ever seen.

The time left is exact. A certificate that was renewed before usually is at about the same time left: a renewal is
overdue when clearly less is left than at any of the last renewals. If only one was seen, or they were far apart (a
person's work), the policy's horizon warns as well where the certificate lives long enough for it. A renewal ends it.
"""

from typing import Final

import numpy as np

from streams.core.policies import Policies
from streams.core.table import Bools, Column, Floats, Ints, Rows, Table
from streams.policy import DAY_US

LOWS: Final = 8
RENEWAL_DAYS: Final = 1.0
"""A rise of so many days is a renewal."""

LEAST_SLACK_DAYS: Final = 0.25
SLACK: Final = 0.1
"""Overdue is a renewal when so much less is left than at the last ones; in parts of that, and at least."""

REGULAR: Final = 0.25
"""Two renewals or more that differ by no more than this part are a machine's."""

LONG_LIVED: Final = 2.0
"""A certificate that lives for more than so many horizons must not come under the horizon unless it always does."""

HYSTERESIS_DAYS: Final = 0.25


class RenewalTable(Table):
    """State by certificate (a series of `tls_days_left`).

    Attributes:
        last: Days left at the newest reading; nan before the first.
        lows: Days left right before renewals, newest last, nan where none was seen.
        most: Days left right after the last renewal.
        limit: Days under which it warns; nan until it is worked out.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "last": Column(np.float64, np.nan),
        "lows": Column(np.float64, np.nan, (LOWS,)),
        "most": Column(np.float64, np.nan),
        "limit": Column(np.float64, np.nan),
    }
    last: Floats
    lows: Floats
    most: Floats
    limit: Floats


class Renewals:
    """Judges the readings of certificates."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self.table = RenewalTable()

    def update(self, rows: Rows, groups: Rows, days: Floats, was: Bools) -> tuple[Bools, Floats]:
        """Take in one reading of each.

        Args:
            rows: Of the table, shape (n,), each at most once.
            groups: Whose, shape (n,).
            days: Left, finite, shape (n,).
            was: It warned before, shape (n,).

        Returns:
            Which warn, and the days left under which they do; shape (n,) each.
        """
        table = self.table
        renewed = days - table.last[rows] > RENEWAL_DAYS
        if renewed.any():
            row = rows[renewed]
            table.lows[row] = np.concatenate([table.lows[row, 1:], table.last[row, None]], axis=1)
            table.most[row] = days[renewed]
            table.limit[row] = np.nan
        table.last[rows] = days
        for place in np.flatnonzero(np.isnan(table.limit[rows])):
            horizon_us = self._policies.of(int(groups[place])).certificate_horizon_us
            table.limit[rows[place]] = self._limit(int(rows[place]), horizon_us / DAY_US)
        limit = table.limit[rows]
        return days < np.where(was & ~renewed, limit + HYSTERESIS_DAYS, limit), limit

    def reconfigure(self) -> None:
        """The policy has changed: work the limits out anew."""
        self.table.limit[: self.table.rows] = np.nan

    def _limit(self, row: int, horizon_days: float) -> float:
        lows = self.table.lows[row]
        lows = lows[~np.isnan(lows)]
        if lows.size == 0:
            return horizon_days
        usual, least, furthest = float(np.median(lows)), float(lows.min()), float(lows.max())
        slack = max(LEAST_SLACK_DAYS, SLACK * usual, 0.5 * (furthest - least))
        overdue = max(least - slack, 0.0)
        if lows.size > 1 and furthest - least <= REGULAR * usual:
            return overdue
        if self.table.most[row] > LONG_LIVED * horizon_days:
            return horizon_days
        return min(overdue, horizon_days)


def time_left_us(days: Floats) -> Ints:
    """Return days as microseconds, never under 0."""
    left_us: Ints = (np.clip(days, 0.0, 1e6) * DAY_US).astype(np.int64)
    return left_us
