"""Metrics that are unlike themselves: a load of noon at night, a shape never seen, although the level is in its range.

The evidence of `novelty` is smoothed over about `warn_ticks` readings and calibrated to the budget by `calibration`.
From BACK of its limit on it is weighed and not learned, so that what is new stays new until it is over; after
`rebaseline_checks` it is the norm. It must also differ from what its hour of the day is normally by the least change
that a person would care for, and by clearly more than it mostly does: hours of a weekend differ from those of working
days by themselves. For series that come every SLOW_US or slower: it takes some 10 KB of each.
"""

from typing import Final

import numpy as np

from streams.core.calibration import Tails
from streams.core.metrics.novelty import Novelty, strength
from streams.core.metrics.views import HOURS
from streams.core.policies import Policies
from streams.core.table import Bools, Column, Floats, Ints, Rows, Table
from streams.core.watermark import NEVER
from streams.policy import DAY_US, HOUR_US, SECOND_US

SLOW_US: Final = 30 * SECOND_US
MOST: Final = 20.0
"""The evidence of one reading counts at most so much: a single wild one does not stay."""

SHARE: Final = 0.5
"""Of the budget of a series; the other half is its level's."""

BACK: Final = 0.5
"""Of the limit: under it a series is as usual again."""

APART: Final = 4.0
"""So many times as far from its hour's norm as it mostly is."""

APART_MEMORY: Final = 5_000.0
"""Readings over which that is remembered: days, so that the hours of all of them count."""

YOUNG: Final = 2.0
YOUNG_US: Final = 14 * DAY_US
"""Before a series has shown two whole weeks it may differ from its hours by so many times as much."""

PRIOR_MEAN: Final = 2.5
PRIOR_SCALE: Final = 0.7
"""Of the largest smoothed evidence in a block of two hours, measured on noise of several kinds."""


class UnusualTable(Table):
    """State by row.

    Attributes:
        evidence: Smoothed.
        normal: What was normal at this hour when it was read last; NaN before a day has passed.
        first_us: Its first reading.
        apart, compared: How far it mostly is from its hour's norm, and how many readings say so.
        beyond, within: Readings in a row beyond the limit, and well within it.
        flagged: It is unlike itself; away: readings in a row that were not learned.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "evidence": Column(np.float64, 0.0),
        "beyond": Column(np.int64, 0),
        "within": Column(np.int64, 0),
        "flagged": Column(np.bool_, 0),
        "away": Column(np.int64, 0),
        "normal": Column(np.float64, np.nan),
        "first_us": Column(np.int64, NEVER),
        "apart": Column(np.float64, 0.0),
        "compared": Column(np.int64, 0),
    }
    evidence: Floats
    beyond: Ints
    within: Ints
    flagged: Bools
    away: Ints
    normal: Floats
    first_us: Ints
    apart: Floats
    compared: Ints


class Unusual:
    """The part of the detector `metric_level` that looks at slow series; its tables are its part of a snapshot."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self.table = UnusualTable()
        self.novelty = Novelty()
        budget = SHARE * policies.distinct[0].false_warnings_per_series_week
        self.tails = Tails(mean=PRIOR_MEAN, scale=PRIOR_SCALE, budget=budget)

    @property
    def tables(self) -> dict[str, Table]:
        """The tables by name."""
        own: dict[str, Table] = {"unusual": self.table, "unusual_tail": self.tails.table}
        return own | {f"unusual_{name}": table for name, table in self.novelty.tables.items()}

    def grow(self, rows: int) -> None:
        """Make room for so many rows."""
        for table in self.tables.values():
            table.grow(rows)

    def accept(self, rows: Rows) -> None:
        """Let these series be as they are: they have a new norm."""
        self.table.flagged[rows] = False
        self.table.away[rows] = self.table.beyond[rows] = 0

    def score(self, row: int) -> float:
        """Return the evidence by its limit: beyond 1 a series is unlike itself."""
        limit = float(self.tails.table.limit[row])
        return float(self.table.evidence[row]) / limit if limit > 0.0 else 0.0

    def update(self, rows: Rows, groups: Rows, tick_us: Ints, value: Floats, least: Floats, upward: Bools) -> Bools:
        """Take in n readings, at most one a row; say which series are flagged now.

        Args:
            rows: Shape (n,), each at most once.
            groups: Of the same.
            tick_us: Of the readings.
            value: Finite.
            least: The least change that counts, in the metric's unit.
            upward: Only more of it counts.
        """
        table, get = self.table, self._policies.get
        warn_ticks = get("warn_ticks", groups)
        was = table.flagged[rows]
        normal = self.novelty.views.hours[rows, tick_us // HOUR_US % HOURS]
        weighed = self.novelty.weigh(rows, tick_us, value)
        found = np.minimum(strength(weighed), MOST)
        evidence = table.evidence[rows]
        evidence += 2.0 / (warn_ticks + 1.0) * (found - evidence)
        limit = self.tails.limit(rows)
        # Before a day has passed nothing is known of its hours; comparisons with NaN are false.
        apart = value - normal
        far = np.where(upward, apart, np.abs(apart)) >= np.maximum(least, self._usually_apart(rows, tick_us))
        beyond = np.where((evidence > limit) & far, table.beyond[rows] + 1, 0)
        within = np.where(evidence < BACK * limit, table.within[rows] + 1, 0)
        settled = table.away[rows] >= get("rebaseline_checks", groups)
        back = was & ((within >= warn_ticks) | settled)
        flagged: Bools = (was & ~back) | (~was & (beyond >= warn_ticks))
        away = flagged | ((evidence >= BACK * limit) & ~settled)
        self.novelty.take_in(weighed.of(~away))
        self._compare(rows[~away], np.abs(apart)[~away])
        table.evidence[rows], table.beyond[rows], table.within[rows] = evidence, beyond, within
        table.flagged[rows], table.normal[rows] = flagged, normal
        table.away[rows] = np.where(away, table.away[rows] + 1, 0)
        self._calibrate(rows, groups, tick_us, flagged, back)
        return flagged

    def _usually_apart(self, rows: Rows, tick_us: Ints) -> Floats:
        """Return how far from its hour's norm a series has to be, by what it mostly is. Shape (n,)."""
        table = self.table
        first_us = table.first_us[rows] = np.where(table.first_us[rows] == NEVER, tick_us, table.first_us[rows])
        young = 1.0 + (YOUNG - 1.0) * (tick_us - first_us < YOUNG_US)
        far: Floats = APART * young * table.apart[rows]
        return far

    def _compare(self, rows: Rows, apart: Floats) -> None:
        table, known = self.table, np.isfinite(apart)
        rows, apart = rows[known], apart[known]
        compared = table.compared[rows] + 1
        table.apart[rows] += np.maximum(1.0 / compared, 1.0 / APART_MEMORY) * (apart - table.apart[rows])
        table.compared[rows] = compared

    def _calibrate(self, rows: Rows, groups: Rows, tick_us: Ints, flagged: Bools, back: Bools) -> None:
        budget = SHARE * np.broadcast_to(self._policies.get("false_warnings_per_series_week", groups), rows.shape)
        self.tails.observe(rows, tick_us, self.table.evidence[rows], flagged, budget)
        if back.any():
            self.tails.release(rows[back], np.ones(int(back.sum()), dtype=np.bool_), budget[back])
