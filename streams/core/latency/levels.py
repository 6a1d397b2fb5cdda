"""Latency that has left its level: one baseline a lane, scored at every check.

What is judged is the median of the last MEDIAN checks, less what the hour adds: two wild checks among five say nothing,
three do. A score is (that median - centre) / spread. A series is flagged when the score is above its limit, and the
median at least `min_latency_ratio` times the centre; where single wild checks are so common that three of five would
come by chance (ROW_P), for as many checks in a row as make it unlikely. The limit is calibrated on the score itself
(`calibration`), so that it means the same number of false warnings on quiet, wild and wandering series; it starts at
`warn_score`. The series is back when the score stayed under the clearing part of the limit for `warn_ticks` checks, or
for longer if it was flagged for long. While it is flagged nothing is learned, and while it is suspicious only a
quarter as much: a ramp is flagged, not learned. What stays flagged for `rebaseline_checks` without a failure and has
come to rest is the new norm.

Source:
    Running medians (Tukey 1977) on the robust scores of `baseline`; the limit: see `calibration`.
"""

import math
from typing import Any, Final, NamedTuple

import numpy as np

from streams.core.calibration import PRIOR_BLOCKS, Tails
from streams.core.latency import baseline
from streams.core.latency.samples import Samples
from streams.core.policies import Policies
from streams.core.table import Bools, Column, Floats, Ints, Rows, Table, put, take
from streams.core.watermark import NEVER

MEDIAN: Final = 5

BUDGET_SHARE: Final = 0.2
"""Of a series' false warnings: this detector's part."""

WARN_SCORE: Final = 4.0
"""The limit before anything was learned; another `warn_score` in the policy moves limits in proportion."""

UNSEEN: Final = 0.4
"""A limit that few blocks have taught is up to so much further, of twice as many as were supposed half of that.
Before the first block it is the one that was supposed, which is wide by itself."""

WANDER_CLIP: Final = 3.0
PRIOR_MEAN: Final = 1.2
PRIOR_SCALE: Final = 0.17

ROW_P: Final = 3e-6
"""Probability of a row of wild checks by chance, if each is as likely as it was so far."""

RARE_P: Final = 1.25e-6
"""Probability of three wild checks among five under which they do not come by chance."""

LONGEST_ROW: Final = 15.0
GROWN_UP: Final = 480.0
PRIOR_RUNS: Final = 6.0
RUN_MEMORY: Final = 0.98
"""What is left of older runs of wild checks when one more ends."""

WANDERS: Final = 6.0
"""The limit is at least so many standard deviations of the score: known long before its tail is."""

PRIOR_WANDER: Final = 0.3
"""Variance of the score of independent checks: the median of five of them."""

PRIOR_WILD: Final = 0.2
"""So many of the first checks count as wild unseen."""

SUSPICIOUS_RATE: Final = 0.25
REST_RATE: Final = 1.0 / 120.0
"""How quickly the candidate of a new norm follows, once it has more checks than that."""

REMAINS: Final = 8
MOST_COOL: Final = 120
"""Back needs one calm check for so many that it was flagged, at most this many."""

LOG_ROW_P: Final = math.log(ROW_P)


class LevelTable(Table):
    """State by lane. Everything in log microseconds less what the hour adds.

    Attributes:
        learned: Healthy checks that the baseline knows; before warm-up they are in `samples`.
        centre, spread: Of the level.
        recent: The last checks, newest last.
        level: Their median; score: how far it is from the centre.
        rising_us: Since when the score is suspicious; NEVER if it is not.
        wander: Mean square of the score, from its lower half only: what climbs does not widen it.
        wild: How often single checks score above the warning, learned slowly.
        run: Wild checks in a row; runs: how many followed another one, and how many such rows ended, forgotten slowly.
        hot, cool: Checks in a row above the limit, under the clearing score.
        flagged, since_us: It has left its level, since that tick.
        away: Checks in a row off the level; rest, rest_spread: centre and spread of these.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "learned": Column(np.int64, 0),
        "centre": Column(np.float64, np.nan),
        "spread": Column(np.float64, np.nan),
        "recent": Column(np.float64, np.nan, (MEDIAN,)),
        "score": Column(np.float64, 0.0),
        "level": Column(np.float64, np.nan),
        "rising_us": Column(np.int64, NEVER),
        "wild": Column(np.float64, 0.0),
        "wander": Column(np.float64, PRIOR_WANDER),
        "run": Column(np.int64, 0),
        "runs": Column(np.float64, 0.0, (2,)),
        "hot": Column(np.int64, 0),
        "cool": Column(np.int64, 0),
        "flagged": Column(np.bool_, 0),
        "since_us": Column(np.int64, NEVER),
        "away": Column(np.int64, 0),
        "rest": Column(np.float64, np.nan),
        "rest_spread": Column(np.float64, 0.0),
    }
    learned: Ints
    centre: Floats
    spread: Floats
    recent: Floats
    score: Floats
    level: Floats
    rising_us: Ints
    wild: Floats
    wander: Floats
    run: Ints
    runs: Floats
    hot: Ints
    cool: Ints
    flagged: Bools
    since_us: Ints
    away: Ints
    rest: Floats
    rest_spread: Floats
    samples: Floats

    def __init__(self, warm_up: int) -> None:
        self._samples = Column(np.float64, np.nan, (warm_up,))
        super().__init__()

    def columns(self) -> dict[str, Column]:
        """Return the columns; there is room for the longest warm-up."""
        return {**self.COLUMNS, "samples": self._samples}


class LevelChanges(NamedTuple):
    """What one round changed, as places in the arrays that were given.

    Attributes:
        left, back: Series that were flagged, and that are no longer.
        rebased: Series whose new level became the norm; `before` is the centre that they had.
    """

    left: Rows
    back: Rows
    rebased: Rows
    before: Floats


class Levels:
    """The detector `latency_level`."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self.table = LevelTable(policies.largest("warm_up_checks"))
        budget = BUDGET_SHARE * policies.distinct[0].false_warnings_per_series_week
        self.tails = Tails(mean=PRIOR_MEAN, scale=PRIOR_SCALE, budget=budget)

    def grow(self, lanes: int) -> None:
        """Make room for so many lanes."""
        self.table.grow(lanes)
        self.tails.table.grow(lanes)

    def failed(self, lanes: Rows) -> None:
        """Checks failed: a level that comes with failures never becomes the norm."""
        self.table.away[lanes] = 0

    def limit(self, lanes: Rows, groups: Rows) -> Floats:
        """Return the score from which these series are flagged. Shape (n,)."""
        limit: Floats = self._seen_limit(lanes, groups) * self._widened(lanes)
        return limit

    def _widened(self, lanes: Rows) -> Floats:
        """Return by how much limits are further for what was not seen yet. Shape (n,)."""
        blocks = self.tails.table.blocks[lanes]
        widened: Floats = 1.0 + np.where(blocks > PRIOR_BLOCKS, UNSEEN * PRIOR_BLOCKS / blocks, 0.0)
        return widened

    def _seen_limit(self, lanes: Rows, groups: Rows) -> Floats:
        """Return the same by what was seen so far: from a part of it on a check is suspicious. Shape (n,)."""
        limit: Floats = np.maximum(self.tails.limit(lanes), WANDERS * np.sqrt(self.table.wander[lanes]))
        factor: Floats = self._policies.get("warn_score", groups) / WARN_SCORE
        return limit * factor

    def warm(self, samples: Samples) -> Bools:
        """Say which of these series know what is normal; the others learn it. Shape (n,)."""
        warm_up = self._policies.get("warm_up_checks", samples.groups)
        warm: Bools = self.table.learned[samples.lanes] >= warm_up
        if not warm.all():
            cold = ~warm
            needed = warm_up if np.isscalar(warm_up) else warm_up[cold]
            self._warm_up(samples.lanes[cold], samples.log_us[cold], needed)
        return warm

    def update(self, samples: Samples, held: Bools) -> LevelChanges | None:
        """Judge checks of series that are warm.

        Args:
            samples: The round.
            held: Another detector says that the series has left its level: nothing is learned, and it may become the
                norm, as if it were flagged here. Shape (n,).

        Returns:
            What changed; None if nothing did.
        """
        table, get = self.table, self._policies.get
        lanes, groups = samples.lanes, samples.groups
        warn_ticks = get("warn_ticks", groups)
        centre, spread = table.centre[lanes], table.spread[lanes]
        residual = samples.log_us - samples.offset
        raw = (residual - centre) / spread
        recent = take(table.recent, lanes)
        recent[:, :-1] = recent[:, 1:]
        recent[:, -1] = residual
        level = median_of_five(recent)
        excuse = np.maximum(samples.excuse - np.maximum(samples.offset, 0.0), 0.0)
        excess = level - centre - excuse
        score = np.where(level > centre, np.maximum(excess, 0.0), level - centre) / spread
        seen_limit = self._seen_limit(lanes, groups)
        limit = seen_limit * self._widened(lanes)
        clear = seen_limit * (get("clear_score", groups) / get("warn_score", groups))

        suspicious = score > clear
        rising_us = table.rising_us[lanes]
        rising_us = np.where(suspicious, np.where(rising_us == NEVER, samples.at_us, rising_us), NEVER)
        is_hot = (score > limit) & (excess >= np.log(get("min_latency_ratio", groups)))
        hot = np.where(is_hot, table.hot[lanes] + 1, 0)
        cool = np.where(score < clear, table.cool[lanes] + 1, 0)
        was = table.flagged[lanes]
        runs = self._follow_runs(lanes, raw - excuse / spread, was)
        left = ~was & (hot >= np.maximum(np.maximum(warn_ticks - 2, samples.lasting()), 1))
        if left.any():
            left[left] = hot[left] >= _row(runs[left], table.wild[lanes[left]])
        back = was & (cool >= warn_ticks + np.minimum(table.away[lanes] // REMAINS, MOST_COOL))
        flagged = (was | left) & ~back

        off = flagged | held
        self._learn(lanes, groups, raw, score, off=off, suspicious=suspicious)
        put(table.recent, lanes, recent)
        table.score[lanes], table.level[lanes] = score, level
        table.rising_us[lanes], table.hot[lanes], table.cool[lanes] = rising_us, hot, cool
        table.flagged[lanes] = flagged
        if left.any():
            table.since_us[lanes[left]] = rising_us[left]
        budget = BUDGET_SHARE * get("false_warnings_per_series_week", groups)
        self.tails.observe(lanes, samples.at_us, score, off | was, budget)
        rebased, before = self._rest(lanes, groups, residual, off | (score < -get("warn_score", groups)))
        if rebased.size == 0 and not (left.any() or back.any()):
            return None
        return LevelChanges(np.flatnonzero(left), np.flatnonzero(back), rebased, before)

    def release(self, lanes: Rows, groups: Rows, innocent: Bools) -> None:
        """End the episodes of these lanes: the innocent are learned by the limit. Shape (k,) each."""
        budget = self._policies.get("false_warnings_per_series_week", groups)
        self.tails.release(lanes, innocent, BUDGET_SHARE * budget)

    def _learn(self, lanes: Rows, groups: Rows, raw: Floats, score: Floats, *, off: Bools, suspicious: Bools) -> None:
        """Take checks into what is normal: nothing of series that are off it, little of what is suspicious."""
        table = self.table
        learned, wild = table.learned[lanes], table.wild[lanes]
        slow = 1.0 - 0.5 ** (1.0 / self._policies.get("baseline_half_life_checks", groups))
        share = np.where(off, 0.0, np.where(suspicious, SUSPICIOUS_RATE, 1.0))
        rate = share * np.maximum(slow, 1.0 / (learned + 1.0))
        below = np.maximum(np.minimum(score, 0.0), -WANDER_CLIP)
        table.wander[lanes] += rate * (2.0 * below * below - table.wander[lanes])
        # A row of high checks is no lot of wild ones.
        table.wild[lanes] = wild + np.where(suspicious, 0.0, rate) * ((raw > WARN_SCORE) - wild)
        table.centre[lanes], table.spread[lanes] = baseline.learn(table.centre[lanes], table.spread[lanes], raw, rate)
        table.learned[lanes] = learned + ~off

    def _follow_runs(self, lanes: Rows, raw: Floats, flagged: Bools) -> Floats:
        """Count wild checks in a row; return what is known of how often one follows another, as in `runs`."""
        table = self.table
        is_wild, run, runs = (raw > WARN_SCORE) & ~flagged, table.run[lanes], take(table.runs, lanes)
        ended = (run > 0) & ~is_wild & ~flagged
        if ended.any():
            # Of a young series a run may as well be its first fault.
            weight = np.minimum(table.learned[lanes[ended]] / GROWN_UP, 1.0)
            runs[ended] = RUN_MEMORY * runs[ended] + np.stack([weight * (run[ended] - 1.0), weight], axis=1)
            put(table.runs, lanes, runs)
        table.run[lanes] = np.where(is_wild, np.minimum(run + 1, 1000), 0)
        return runs

    def _warm_up(self, lanes: Rows, log_us: Floats, needed: Any) -> None:
        table = self.table
        learned = table.learned[lanes]
        table.samples[lanes, learned] = log_us
        table.learned[lanes] = learned + 1
        done = learned + 1 >= needed
        for count in np.unique(learned[done] + 1):
            ready = lanes[done & (learned + 1 == count)]
            samples = table.samples[ready, :count]
            centre, spread = baseline.warm(samples)
            table.centre[ready], table.spread[ready], table.level[ready] = centre, spread, centre
            wild = np.sum(samples - centre[:, None] > WARN_SCORE * spread[:, None], axis=1)
            table.wild[ready] = (wild + PRIOR_WILD) / count
            table.recent[ready] = centre[:, None]

    def _rest(self, lanes: Rows, groups: Rows, x: Floats, off: Bools) -> tuple[Rows, Floats]:
        """Follow the level of series that are off theirs; return those for which it has become the norm."""
        table = self.table
        away = table.away[lanes]
        if not (off.any() or away.any()):
            return np.zeros(0, dtype=np.intp), np.zeros(0)
        away = np.where(off, away + 1, 0)
        table.away[lanes] = away
        places = np.flatnonzero(off)
        lane, x, away = lanes[places], x[places], away[places]
        rate = np.maximum(1.0 / away, REST_RATE)
        rest = np.where(away == 1, x, table.rest[lane])
        spread = np.where(away == 1, 0.0, table.rest_spread[lane])
        error = x - rest
        rest = rest + rate * error
        spread = spread + rate * (1.2533 * np.abs(error) - spread)
        table.rest[lane], table.rest_spread[lane] = rest, spread
        # At rest, by the old spread (the new one would call a climb its noise): what climbs is no norm, ever.
        still = np.abs(table.level[lane] - rest) < 2.0 * table.spread[lane]
        spread = np.maximum(spread, baseline.floor(rest))
        longest = self._policies.get("rebaseline_checks", groups[places])
        done = np.flatnonzero((away >= longest) & still)
        lane = lane[done]
        before = table.centre[lane]
        table.centre[lane], table.spread[lane] = rest[done], spread[done]
        table.score[lane], table.rising_us[lane], table.away[lane] = 0.0, NEVER, 0
        table.hot[lane], table.cool[lane], table.flagged[lane] = 0, 0, False
        return places[done], before


def _row(runs: Floats, wild: Floats) -> Floats:
    """Return how many high medians in a row are no chance. Shape (k,).

    Three wild checks in a row keep the median high for three checks, and so on; three among five for one. How likely
    another wild check follows one is learned from runs of them that ended.
    """
    wild = np.clip(wild, 1e-6, 0.5)
    again = np.clip((runs[:, 0] + PRIOR_RUNS * wild) / (runs.sum(axis=1) + PRIOR_RUNS), wild, 0.9)
    row = np.ceil(1.0 + (LOG_ROW_P - np.log(wild)) / np.log(again))
    return np.where(10.0 * wild * again * again < RARE_P, 1.0, np.minimum(row, LONGEST_ROW))


def median_of_five(values: Floats) -> Floats:
    """Return the median of each row. Shape (n, 5) to (n,)."""
    a, b, c, d, e = values.T
    # The middle one is among what is neither the least of two pairs' greater ones nor the greatest of the lesser.
    low, high = np.maximum(np.minimum(a, b), np.minimum(c, d)), np.minimum(np.maximum(a, b), np.maximum(c, d))
    middle: Floats = np.maximum(np.minimum(low, high), np.minimum(np.maximum(low, high), e))
    return middle
