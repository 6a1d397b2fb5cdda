"""What is said of the latency of a lane, by the detector that found it: how slow, how slow normally, since when."""

from typing import Final, NamedTuple

import numpy as np

from streams.core.latency.climb import left
from streams.core.latency.latency import Latency
from streams.core.watermark import NEVER

LEVEL: Final = "latency_level"
DRIFT: Final = "latency_drift"
TOGETHER: Final = "latency_together"
SPREAD: Final = "latency_spread"
PHASE: Final = "latency_phase"


class Said(NamedTuple):
    """One lane's latency at one tick.

    Attributes:
        detector: LEVEL, DRIFT, TOGETHER, SPREAD or PHASE.
        value_us, normal_us: Now and normally at this hour: of the whole check, or of the phase if that is PHASE; of
            SPREAD the latency of slow checks, and the one from which a check is slow.
        limit_us: From which it is flagged; None if that is no latency.
        score: How far from normal, in units of the detector.
        since_us: NEVER if nothing is flagged.
        phase: The phase that explains it.
        left_us, left_upper_us: Bounds of the time until checks fail; None if it does not climb for sure.
        share: Of SPREAD: the share of slow checks.
    """

    detector: str
    value_us: float
    normal_us: float
    limit_us: float | None
    score: float
    since_us: int
    phase: str | None
    share: float | None = None
    left_us: int | None = None
    left_upper_us: int | None = None


def said(latency: Latency, lane: int, group: int, tick_us: int) -> Said:
    """Return what the most telling detector that flags a lane says, the level's if none does, and the time left."""
    found = _found(latency, lane, group, tick_us)
    bounds = left(latency.climbs, lane, tick_us)
    return found if bounds is None else found._replace(left_us=bounds[0], left_upper_us=bounds[1])


def _found(latency: Latency, lane: int, group: int, tick_us: int) -> Said:
    if not latency.levels.table.flagged[lane]:
        if latency.drifts.table.flagged[lane]:
            return of_drift(latency, lane, tick_us)
        if latency.together.lanes.member[lane]:
            return of_together(latency, lane, group, tick_us)
        if latency.spreads.table.flagged[lane]:
            return of_spread(latency, lane, tick_us)
        if latency.phases.table.flagged[lane]:
            return of_phase(latency, lane)
    return of_level(latency, lane, group, tick_us)


def of_level(latency: Latency, lane: int, group: int, tick_us: int) -> Said:
    """Return what the level says."""
    table, hour = latency.levels.table, _hour(latency, lane, tick_us)
    centre, level = float(table.centre[lane]), float(table.level[lane])
    limit = float(latency.levels.limit(np.array([lane]), np.array([group]))[0])
    value_us, normal_us = float(np.exp(level + hour)), float(np.exp(centre + hour))
    phase = latency.phases.grown(lane, value_us - normal_us)
    limit_us = float(np.exp(centre + hour + limit * table.spread[lane]))
    return Said(LEVEL, value_us, normal_us, limit_us, float(table.score[lane]), int(table.since_us[lane]), phase)


def of_drift(latency: Latency, lane: int, tick_us: int) -> Said:
    """Return what the drift says."""
    now, normal, limit = latency.drifts.said(lane)
    hour = _hour(latency, lane, tick_us)
    value_us, normal_us = float(np.exp(now + hour)), float(np.exp(normal + hour))
    phase = latency.phases.grown(lane, value_us - normal_us)
    score = (now - normal) / float(latency.levels.table.spread[lane])
    since_us = int(latency.drifts.table.since_us[lane])
    return Said(DRIFT, value_us, normal_us, float(np.exp(limit + hour)), score, since_us, phase)


def of_together(latency: Latency, lane: int, group: int, tick_us: int) -> Said:
    """Return what the locations of a lane's group see together."""
    level = of_level(latency, lane, group, tick_us)
    limit = float(latency.together.limit(np.array([group]))[0])
    return level._replace(
        detector=TOGETHER,
        limit_us=float(level.normal_us * np.exp(limit * latency.levels.table.spread[lane])),
        score=float(latency.together.lanes.score[lane]),
        since_us=int(latency.together.groups.since_us[group]),
    )


def of_spread(latency: Latency, lane: int, tick_us: int) -> Said:
    """Return what the tail says."""
    table = latency.spreads.table
    centre = float(latency.levels.table.centre[lane]) + _hour(latency, lane, tick_us)
    usual, tail = float(table.usual[lane]), float(table.tail[lane])
    value_us, normal_us = float(np.exp(centre + max(tail, usual))), float(np.exp(centre + usual))
    score, since_us = latency.spreads.score(lane, tick_us), int(table.since_us[lane])
    return Said(SPREAD, value_us, normal_us, None, score, since_us, None, float(table.share[lane]))


def of_phase(latency: Latency, lane: int) -> Said:
    """Return what the phases say, of the one that is flagged or was last."""
    phase, value_us, normal_us, score = latency.phases.said(lane)
    return Said(PHASE, value_us, normal_us, None, score, int(latency.phases.table.since_us[lane]), phase)


def since(said_: Said, tick_us: int) -> int:
    """Return since when it lasts: this tick if that is not known."""
    return tick_us if said_.since_us == NEVER else said_.since_us


def _hour(latency: Latency, lane: int, tick_us: int) -> float:
    return float(latency.seasons.offset(np.array([lane]), np.array([tick_us]))[0])
