"""Latency that has left its level: one baseline a lane, scored at every check, flagged with patience.

A score is (log latency - centre) / spread, clipped, so that no single check decides anything; it is smoothed over
about `warn_ticks` checks. A series is flagged when the smoothed score is above `warn_score`, and the smoothed level
at least `min_latency_ratio` times the centre, for `warn_ticks` checks in a row, or for more of them where single wild
checks are common enough to make such a row by chance (ROW_P); it is back when the score is under
`clear_score` as long. While it is flagged nothing is learned, and while it is suspicious (above `clear_score`) only
a quarter as much: a ramp is flagged, not learned. What stays flagged for `rebaseline_checks` without a failure and
has come to rest is the new norm.

Source:
    EWMA control charts (Roberts 1959), on the robust scores of `baseline`.
"""

import math
from typing import Any, Final, NamedTuple

import numpy as np

from producers.contract import PHASES
from streams.core import baseline
from streams.core.policies import Policies
from streams.core.table import Bools, Column, Floats, Ints, Rows, Table
from streams.core.watermark import NEVER

CLIP: Final = 6.0
"""A check's score counts at most so much: three wild ones in a row are not a level."""

ROW_P: Final = 3e-6
"""Probability of a row of wild checks by chance, if each is as likely as it was so far and the first comes for free."""

SUSPICIOUS_RATE: Final = 0.25
REST_RATE: Final = 1.0 / 120.0
"""How quickly the candidate of a new norm follows, once it has more checks than that."""

LOG_ROW_P: Final = math.log(ROW_P)


class LevelTable(Table):
    """State by lane.

    Attributes:
        learned: Healthy checks that the baseline knows; before warm-up they are in `samples`.
        centre, spread: Of log microseconds.
        score: Smoothed; level: smoothed log microseconds.
        rising_us: Since when the score is above clear_score; NEVER if it is not.
        wild: How often single checks score above the warning, learned slowly.
        hot, cool: Checks in a row above the warning, under the clearing score.
        flagged, since_us: It has left its level, since that tick.
        away: Checks in a row off the level; rest, rest_spread: centre and spread of these.
        phase_normal, phase_now: Microseconds by phase, slow and quick.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "learned": Column(np.int64, 0),
        "centre": Column(np.float64, np.nan),
        "spread": Column(np.float64, np.nan),
        "score": Column(np.float64, 0.0),
        "level": Column(np.float64, np.nan),
        "rising_us": Column(np.int64, NEVER),
        "wild": Column(np.float64, 0.0),
        "hot": Column(np.int64, 0),
        "cool": Column(np.int64, 0),
        "flagged": Column(np.bool_, 0),
        "since_us": Column(np.int64, NEVER),
        "away": Column(np.int64, 0),
        "rest": Column(np.float64, np.nan),
        "rest_spread": Column(np.float64, 0.0),
        "phase_normal": Column(np.float64, 0.0, (len(PHASES),)),
        "phase_now": Column(np.float64, 0.0, (len(PHASES),)),
    }
    learned: Ints
    centre: Floats
    spread: Floats
    score: Floats
    level: Floats
    rising_us: Ints
    wild: Floats
    hot: Ints
    cool: Ints
    flagged: Bools
    since_us: Ints
    away: Ints
    rest: Floats
    rest_spread: Floats
    phase_normal: Floats
    phase_now: Floats
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

    def failed(self, lanes: Rows) -> None:
        """Checks failed: a level that comes with failures never becomes the norm."""
        self.table.away[lanes] = 0

    def update(
        self, lanes: Rows, groups: Rows, tick_us: Ints, duration_us: Floats, phases: Floats
    ) -> LevelChanges | None:
        """Take in successful, undisturbed checks, at most one a lane.

        Args:
            lanes: Shape (n,), each at most once.
            groups: Of the same.
            tick_us: Of the checks, shape (n,).
            duration_us: Finite, >= 0, shape (n,).
            phases: Microseconds, 0 where not reached, shape (n, 5).

        Returns:
            What changed; None if nothing did.
        """
        x = np.log(np.maximum(duration_us, 1.0))
        warm_up = self._policies.get("warm_up_checks", groups)
        warm = self.table.learned[lanes] >= warm_up
        if not warm.all():
            cold = ~warm
            needed = warm_up if np.isscalar(warm_up) else warm_up[cold]
            self._warm_up(lanes[cold], x[cold], phases[cold], needed)
            kept = np.flatnonzero(warm)
            if kept.size == 0:
                return None
            changes = self._judge(lanes[kept], groups[kept], tick_us[kept], x[kept], phases[kept])
            if changes is None:
                return None
            left, back, rebased, before = changes
            return LevelChanges(kept[left], kept[back], kept[rebased], before)
        return self._judge(lanes, groups, tick_us, x, phases)

    def phase(self, lane: int) -> str | None:
        """Return the phase that grew most, if it explains at least half of what the check grew by."""
        table = self.table
        grown = table.phase_now[lane] - table.phase_normal[lane]
        most = int(grown.argmax())
        total = float(np.exp(table.level[lane]) - np.exp(table.centre[lane]))
        return PHASES[most] if grown[most] > 0.0 and grown[most] >= 0.5 * total else None

    def _warm_up(self, lanes: Rows, x: Floats, phases: Floats, needed: Any) -> None:
        table = self.table
        learned = table.learned[lanes]
        table.samples[lanes, learned] = x
        table.learned[lanes] = learned + 1
        share = (1.0 / (learned + 1.0))[:, None]
        table.phase_normal[lanes] += share * (phases - table.phase_normal[lanes])
        table.phase_now[lanes] = table.phase_normal[lanes]
        done = learned + 1 >= needed
        for count in np.unique(learned[done] + 1):
            ready = lanes[done & (learned + 1 == count)]
            centre, spread = baseline.warm(table.samples[ready, :count])
            table.centre[ready], table.spread[ready] = centre, spread
            table.level[ready] = centre

    def _judge(self, lanes: Rows, groups: Rows, tick_us: Ints, x: Floats, phases: Floats) -> LevelChanges | None:
        table, get = self.table, self._policies.get
        warn_ticks, clear_score = get("warn_ticks", groups), get("clear_score", groups)
        warn_score = get("warn_score", groups)
        pace = 2.0 / (warn_ticks + 1.0)
        centre, spread = table.centre[lanes], table.spread[lanes]
        raw = (x - centre) / spread
        score = table.score[lanes]
        score += pace * (np.minimum(np.maximum(raw, -CLIP), CLIP) - score)
        level = table.level[lanes]
        level += pace * (x - level)

        suspicious = score > clear_score
        rising_us = table.rising_us[lanes]
        rising_us = np.where(suspicious, np.where(rising_us == NEVER, tick_us, rising_us), NEVER)
        is_hot = (score > warn_score) & (level - centre >= np.log(get("min_latency_ratio", groups)))
        hot = np.where(is_hot, table.hot[lanes] + 1, 0)
        cool = np.where(score < clear_score, table.cool[lanes] + 1, 0)
        was = table.flagged[lanes]
        wild = table.wild[lanes]
        patience = np.maximum(warn_ticks, np.ceil(LOG_ROW_P / np.log(np.clip(wild, 1e-6, 0.5))) - 1.0)
        left = ~was & (hot >= patience)
        back = was & (cool >= warn_ticks)
        flagged = (was | left) & ~back

        half_life = get("baseline_half_life_checks", groups)
        learned = table.learned[lanes]
        slow = 1.0 - 0.5 ** (1.0 / half_life)
        share = np.where(flagged, 0.0, np.where(suspicious, SUSPICIOUS_RATE, 1.0))
        table.wild[lanes] = wild + slow * share * ((raw > warn_score) - wild)
        rate = share * np.maximum(slow, 1.0 / (learned + 1.0))
        table.centre[lanes], table.spread[lanes] = baseline.learn(centre, spread, raw, rate)
        table.learned[lanes] = learned + ~flagged
        table.score[lanes], table.level[lanes] = score, level
        table.rising_us[lanes], table.hot[lanes], table.cool[lanes] = rising_us, hot, cool
        table.flagged[lanes] = flagged
        self._phases(lanes, phases, np.broadcast_to(pace, rate.shape), rate)
        off = flagged | (score < -warn_score)
        rebased, before = self._rest(lanes, groups, x, off)
        if left.any():
            table.since_us[lanes[left]] = rising_us[left]
        if rebased.size == 0 and not (left.any() or back.any()):
            return None
        return LevelChanges(np.flatnonzero(left), np.flatnonzero(back), rebased, before)

    def _phases(self, lanes: Rows, phases: Floats, pace: Floats, rate: Floats) -> None:
        table = self.table
        now, normal = table.phase_now[lanes], table.phase_normal[lanes]
        now += pace[:, None] * (phases - now)
        # A single slow phase counts at most four times its norm, so that one check leaves no mark.
        clipped = np.minimum(phases, 4.0 * normal + baseline.JITTER_US)
        normal += rate[:, None] * (clipped - normal)
        table.phase_now[lanes], table.phase_normal[lanes] = now, normal

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
        table.phase_normal[lane] = table.phase_now[lane]
        return places[done], before
