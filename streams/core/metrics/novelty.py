"""The detector `novelty`: is a reading unlike anything that its series has shown? One setting for all series.

A reading is looked at in five ways (`views`), each is weighed against what it was before (`evidence`), and the
strongest and the mean of the five are added: one view that breaks its range is enough, several that agree count more.
Within REFRACTORY_US only what is stronger than all before has a score: an anomaly is told once, and again if a
stronger one follows.

Nothing is fitted to a kind of series: no length, no limits and no interval are known in advance.

Source:
    Range novelty and conformal tails are strong simple methods on the Numenta benchmark (Lavin & Ahmad 2015); several
    p-values that depend on each other are combined by their extremes and means (Vovk & Wang 2020, Combining p-values
    via averaging).
"""

from typing import Final

import numpy as np

from streams.core.metrics.evidence import EvidenceTable, Weighed, take_in, weigh
from streams.core.metrics.views import LEVELS, VIEWS, ViewTable, look
from streams.core.table import Column, Floats, Ints, Rows, Table
from streams.core.watermark import NEVER
from streams.policy import DAY_US

REFRACTORY_US: Final = DAY_US
HUGE: Final = 1e100
"""Larger values count as this, so that no difference overflows."""


class PeakTable(Table):
    """State by series: the strongest evidence of late, and when it was seen."""

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "peak": Column(np.float64, 0.0),
        "peak_us": Column(np.int64, NEVER),
    }
    peak: Floats
    peak_us: Ints


class Novelty:
    """Scores readings of many series; its tables are its part of a snapshot."""

    def __init__(self) -> None:
        self.views = ViewTable()
        self.weights = EvidenceTable(len(VIEWS))
        self.peaks = PeakTable()

    @property
    def tables(self) -> dict[str, Table]:
        """The tables by name."""
        return {"views": self.views, "weights": self.weights, "peaks": self.peaks}

    def grow(self, series: int) -> None:
        """Make room for so many series."""
        for table in self.tables.values():
            table.grow(series)

    def update(self, series: Rows, at_us: Ints, value: Floats) -> Floats:
        """Score n readings, and take them in.

        Args:
            series: Shape (n,), each at most once.
            at_us: Of the readings, rising in each series.
            value: NaN and infinities are not readings: their score is 0, and they leave no trace.

        Returns:
            Shape (n,), 0 to 1; 0 for what is nothing new.
        """
        return score_of(told_once(self.peaks, series, at_us, self.evidence(series, at_us, value)))

    def evidence(self, series: Rows, at_us: Ints, value: Floats) -> Floats:
        """Return the evidence of n readings, and take them in; it is not yet told once. See `update`."""
        total = np.zeros(series.size)
        there = np.flatnonzero(np.isfinite(value))
        if there.size:
            weighed = self.weigh(series[there], at_us[there], value[there])
            total[there] = strength(weighed)
            self.take_in(weighed)
        return total

    def weigh(self, series: Rows, at_us: Ints, value: Floats) -> Weighed:
        """Weigh n finite readings, for `take_in`: what is never taken in stays new. See `update`."""
        views = look(self.views, series, at_us, np.clip(value, -HUGE, HUGE))
        return weigh(self.weights, series, views, levels=LEVELS)

    def take_in(self, weighed: Weighed) -> None:
        """Learn readings that were weighed."""
        take_in(self.weights, weighed, levels=LEVELS)


def strength(weighed: Weighed) -> Floats:
    """Return the evidence of each reading, shape (n,): the strongest view, and the mean of all."""
    total: Floats = weighed.evidence.max(axis=1) + weighed.evidence.mean(axis=1)
    return total


def told_once(peaks: PeakTable, series: Rows, at_us: Ints, evidence: Floats) -> Floats:
    """Return the evidence that is stronger than all in the REFRACTORY_US before, 0 for other. Shape (n,)."""
    peak, peak_us = peaks.peak[series], peaks.peak_us[series]
    new = (evidence > peak) | (at_us > peak_us + REFRACTORY_US)
    peaks.peak[series] = np.where(new, evidence, peak)
    peaks.peak_us[series] = np.where(new, at_us, peak_us)
    told: Floats = np.where(new, evidence, 0.0)
    return told


def together(evidence: Floats) -> Floats:
    """Return the evidence of what many series describe together: the mean of the strongest quarter of them.

    Args:
        evidence: Not yet told once, shape (n, n_series).
    """
    strongest = -(-evidence.shape[1] // 4)
    mean: Floats = np.partition(evidence, -strongest, axis=1)[:, -strongest:].mean(axis=1)
    return mean


def score_of(evidence: Floats) -> Floats:
    """Return evidence as a score from 0 to 1."""
    score: Floats = -np.expm1(-evidence)
    return score
