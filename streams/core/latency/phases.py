"""Which phase of a check has slowed: also one so small that the whole hardly shows it (a name server, a handshake).

Each phase of each lane has its own robust centre and spread of log time, and a smoothed, clipped score against a
calibrated limit. A phase is flagged when it is also at least LEAST_RATIO times its norm, and slower by LEAST_US and by
LEAST_PART of the whole check: the network's noise of a phase of a millisecond is nobody's fault.

Source:
    EWMA control charts (Roberts 1959), on the robust scores of `baseline`; the limit: see `calibration`.
"""

from typing import Final, NamedTuple

import numpy as np

from producers.contract import PHASES
from streams.core.calibration import Tails
from streams.core.latency import baseline
from streams.core.latency.samples import Samples
from streams.core.policies import Policies
from streams.core.table import Bools, Column, Floats, Ints, Rows, Table, any_of, put, take
from streams.core.watermark import NEVER
from streams.policy import DAY_US

N: Final = len(PHASES)
PACE: Final = 0.2
"""Smoothing over about nine checks."""

SAID_PACE: Final = 0.5
"""For what is said: over about three."""

CLIP: Final = 8.0
BUDGET_SHARE: Final = 0.25
PRIOR_MEAN: Final = 0.9
PRIOR_SCALE: Final = 0.22
LEAST_LIMIT: Final = 2.5
LEAST_RATIO: Final = 2.0
LEAST_US: Final = 10_000.0
LEAST_PART: Final = 0.1
HOT_CHECKS: Final = 3
"""At least, and no fewer than are a trend: a network in trouble is slow before it loses checks."""

COOL_CHECKS: Final = 20
CLEAR: Final = 0.5
SUSPICIOUS_RATE: Final = 0.25
YOUNG: Final = 240.0
"""Before so many checks nothing is said."""

UNSEEN_US: Final = DAY_US // 4
"""The limit of what was seen for so long is the double, for twice as long half further, and so on: a day swings."""


class PhaseTable(Table):
    """State by lane, by phase.

    Attributes:
        seen: Checks.
        centre, spread: Of log time (jitter added, so that a phase that takes no time has one too).
        now: Microseconds, quick.
        score: Smoothed.
        hot, cool: Checks in a row above the limit, under the clearing part of it.
        off: Which phases are flagged.
        flagged, since_us: Any is, since that tick; rising_us: since when one is suspicious.
        away: Checks since it was flagged.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "seen": Column(np.float64, 0.0),
        "centre": Column(np.float64, 0.0, (N,)),
        "spread": Column(np.float64, 1.0, (N,)),
        "now": Column(np.float64, 0.0, (N,)),
        "score": Column(np.float64, 0.0, (N,)),
        "hot": Column(np.int16, 0, (N,)),
        "cool": Column(np.int16, 0, (N,)),
        "off": Column(np.bool_, 0, (N,)),
        "flagged": Column(np.bool_, 0),
        "since_us": Column(np.int64, NEVER),
        "rising_us": Column(np.int64, NEVER),
        "away": Column(np.int64, 0),
    }
    seen: Floats
    centre: Floats
    spread: Floats
    now: Floats
    score: Floats
    hot: Ints
    cool: Ints
    off: Bools
    flagged: Bools
    since_us: Ints
    rising_us: Ints
    away: Ints


class PhaseChanges(NamedTuple):
    """Places of series with a phase that was flagged, and of those that have none any more."""

    left: Rows
    back: Rows


class Phases:
    """The detector `latency_phase`."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self.table = PhaseTable()
        budget = BUDGET_SHARE * policies.distinct[0].false_warnings_per_series_week / N
        self.tails = Tails(mean=PRIOR_MEAN, scale=PRIOR_SCALE, budget=budget, width=N)

    def grow(self, lanes: int) -> None:
        """Make room for so many lanes."""
        self.table.grow(lanes)
        self.tails.table.grow(lanes)

    def normal_us(self, lane: int) -> Floats:
        """Return what each phase of a lane normally takes, microseconds. Shape (5,)."""
        normal: Floats = np.maximum(np.exp(self.table.centre[lane]) - baseline.JITTER_US, 0.0)
        return normal

    def grown(self, lane: int, by_us: float) -> str | None:
        """Return the phase that grew most, if it explains at least half of what the check grew by."""
        grown = self.table.now[lane] - self.normal_us(lane)
        most = int(grown.argmax())
        return PHASES[most] if grown[most] > 0.0 and grown[most] >= 0.5 * by_us else None

    def said(self, lane: int) -> tuple[str, float, float, float]:
        """Return (phase, microseconds now, normally, score) of the phase that grew most among those flagged, or all."""
        off, normal = self.table.off[lane], self.normal_us(lane)
        counts = off if off.any() else np.ones(N, dtype=np.bool_)
        most = int(np.where(counts, self.table.now[lane] - normal, -np.inf).argmax())
        return PHASES[most], float(self.table.now[lane, most]), float(normal[most]), float(self.table.score[lane, most])

    def failed(self, lanes: Rows) -> None:
        """These series fail for good: what was slow before that is over, and must show anew after it."""
        table = self.table
        table.score[lanes], table.hot[lanes], table.cool[lanes], table.off[lanes] = 0.0, 0, 0, False
        table.now[lanes] = np.maximum(np.exp(table.centre[lanes]) - baseline.JITTER_US, 0.0)

    def update(self, samples: Samples, *, learn: Bools) -> PhaseChanges | None:
        """Judge the phases of checks.

        Args:
            samples: The round.
            learn: Whose norm may be learned from: the series is not off its level. Shape (n,).

        Returns:
            What changed; None if nothing did.
        """
        table, lanes = self.table, samples.lanes
        x = np.log(samples.phases + baseline.JITTER_US)
        seen = table.seen[lanes]
        centre, spread = take(table.centre, lanes), take(table.spread, lanes)
        fresh = seen == 0.0
        if fresh.any():
            centre[fresh], spread[fresh] = x[fresh], 4.0 * baseline.SPREAD_FLOOR
        slower = x - centre
        usual = np.maximum(samples.offset, samples.excuse)
        if usual.any():  # what the hour explains of the whole check it explains of any phase
            slower = np.minimum(slower, np.maximum(slower - usual[:, None], 0.0))
        raw = slower / spread
        score = take(table.score, lanes)
        score += PACE * (np.minimum(np.maximum(raw, -CLIP), CLIP) - score)
        now = take(table.now, lanes)
        now += SAID_PACE * (samples.phases - now)

        unseen = UNSEEN_US / (np.maximum(seen, 1.0) * samples.interval_us)
        limit = np.maximum(self.tails.limit(lanes), LEAST_LIMIT) * (1.0 + unseen)[:, None]
        clear, high = CLEAR * limit, score > limit
        some = any_of(high)
        if some.any():
            high[some] &= (seen[some] >= YOUNG)[:, None] & _is_slow(now[some], centre[some])
        was_hot, was = take(table.hot, lanes), take(table.off, lanes)
        hot = (was_hot + 1) * high
        cool = (take(table.cool, lanes) + 1) * (score < clear)
        off = was
        if hot.any() or was.any():
            patience = np.maximum(samples.lasting(), HOT_CHECKS)[:, None]
            off = (was | (hot >= patience)) & ~(was & (cool >= COOL_CHECKS))
        suspicious = score > clear
        share = np.where(suspicious, SUSPICIOUS_RATE, 1.0)
        if off.any() or not learn.all():
            share *= learn[:, None] & ~off
        slow = 1.0 - 0.5 ** (1.0 / self._policies.get("baseline_half_life_checks", samples.groups))
        rate = share * np.maximum(slow, 1.0 / (seen + 1.0))[:, None]
        centre, spread = baseline.learn(centre, spread, raw, rate)
        put(table.centre, lanes, centre)
        put(table.spread, lanes, spread)
        put(table.score, lanes, score)
        put(table.now, lanes, now)
        put(table.cool, lanes, np.minimum(cool, 100))
        if hot.any() or was_hot.any():
            put(table.hot, lanes, np.minimum(hot, 100))
        if off.any() or was.any():
            put(table.off, lanes, off)
        table.seen[lanes] = seen + 1.0
        self._observe(samples, score, off | was, learn & (seen >= YOUNG))
        return self._changes(lanes, samples, any_of(off), any_of(suspicious))

    def release(self, lanes: Rows, groups: Rows, innocent: Bools) -> None:
        """End the episodes of these lanes: the innocent are learned by the limits. Shape (k,) each."""
        budget = self._policies.get("false_warnings_per_series_week", groups)
        self.tails.release(lanes, innocent, BUDGET_SHARE * budget / N)

    def _observe(self, samples: Samples, score: Floats, held: Bools, kept: Bools) -> None:
        lanes, at_us, groups = samples.lanes, samples.at_us, samples.groups
        if not kept.all():
            lanes, at_us, groups, score, held = lanes[kept], at_us[kept], groups[kept], score[kept], held[kept]
        budget = self._policies.get("false_warnings_per_series_week", groups)
        self.tails.observe(lanes, at_us, score, held, BUDGET_SHARE * budget / N)

    def _changes(self, lanes: Rows, samples: Samples, flagged: Bools, suspicious: Bools) -> PhaseChanges | None:
        table = self.table
        rising_us = table.rising_us[lanes]
        rising_us = np.where(suspicious, np.where(rising_us == NEVER, samples.at_us, rising_us), NEVER)
        was = table.flagged[lanes]
        left, back = flagged & ~was, was & ~flagged
        table.rising_us[lanes], table.flagged[lanes] = rising_us, flagged
        away = np.where(flagged, table.away[lanes] + 1, 0)
        longest = self._policies.get("rebaseline_checks", samples.groups)
        done = away >= longest
        if done.any():
            # What lasts so long is how it is now: its norm is learned from here.
            lane = lanes[done]
            table.centre[lane] = np.log(table.now[lane] + baseline.JITTER_US)
            table.off[lane], table.flagged[lane], table.score[lane] = False, False, 0.0
            away, back = np.where(done, 0, away), back | done
        table.away[lanes] = away
        table.since_us[lanes[left]] = rising_us[left]
        if not (left.any() or back.any()):
            return None
        return PhaseChanges(np.flatnonzero(left), np.flatnonzero(back))


def _is_slow(now: Floats, centre: Floats) -> Bools:
    """Say of each phase of some lanes whether it is slower than normal by enough to matter. Shapes (k, 5)."""
    normal = np.exp(centre) - baseline.JITTER_US
    enough = np.maximum(LEAST_US, LEAST_PART * normal.sum(axis=1))[:, None]
    is_slow: Bools = (now - normal >= enough) & (now >= LEAST_RATIO * normal)
    return is_slow
