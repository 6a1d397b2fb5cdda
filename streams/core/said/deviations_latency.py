"""Deviations of latency: one as a detector flags a lane, one as the lane is back, one as a new level is the norm."""

import numpy as np

from streams.contract import VERSION, Deviation, derived_id
from streams.core.latency.latency import LatencyChanges
from streams.core.latency.said import (
    DRIFT,
    LEVEL,
    PHASE,
    SPREAD,
    TOGETHER,
    Said,
    of_drift,
    of_level,
    of_phase,
    of_spread,
    of_together,
    since,
)
from streams.core.state import State
from streams.core.table import Floats, Rows


def of_latency(state: State, changes: LatencyChanges) -> list[Deviation]:
    """Return the deviations of one round.

    Args:
        state: After the round.
        changes: Of the round.
    """
    found: list[Deviation] = []
    by_detector = (
        (LEVEL, changes.level),
        (DRIFT, changes.drift),
        (TOGETHER, changes.together),
        (SPREAD, changes.spread),
        (PHASE, changes.phase),
    )
    for detector, change in by_detector:
        if change is None:
            continue
        for places, active in ((change.left, True), (change.back, False)):
            found += [_changed(state, changes, place, detector, active=active) for place in places.tolist()]
    for rebased in (changes.level, changes.drift):
        if rebased is not None:
            found += _rebased(state, changes, rebased.rebased, rebased.before)
    return found


def _said(state: State, lane: int, tick_us: int, detector: str) -> Said:
    if detector == DRIFT:
        return of_drift(state.latency, lane, tick_us)
    if detector == TOGETHER:
        return of_together(state.latency, lane, int(state.registry.group_of[lane]), tick_us)
    if detector == SPREAD:
        return of_spread(state.latency, lane, tick_us)
    if detector == PHASE:
        return of_phase(state.latency, lane)
    return of_level(state.latency, lane, int(state.registry.group_of[lane]), tick_us)


def _changed(state: State, changes: LatencyChanges, place: int, detector: str, *, active: bool) -> Deviation:
    lane, tick_us = int(changes.lanes[place]), int(changes.at_us[place])
    said = _said(state, lane, tick_us, detector)
    target, probe, location = state.registry.lanes[lane]
    # The level's id is older than the other detectors.
    named = () if detector == LEVEL else (detector,)
    return Deviation(
        v=VERSION,
        id=derived_id("deviation", target, probe, location, "latency", tick_us, str(active), *named),
        target=target,
        probe=probe,
        location=location,
        metric="latency",
        detector=detector,
        tick_us=tick_us,
        since_us=since(said, tick_us),
        active=active,
        score=said.score,
        value=said.value_us,
        baseline=said.normal_us,
        limit=said.limit_us,
        phase=said.phase,
    )


def _rebased(state: State, changes: LatencyChanges, places: Rows, before: Floats) -> list[Deviation]:
    """The level stayed where it went: it is the norm from now on. `baseline` is what was normal before."""
    found = []
    for place, normal in zip(places.tolist(), before.tolist(), strict=True):
        lane, tick_us = int(changes.lanes[place]), int(changes.at_us[place])
        target, probe, location = state.registry.lanes[lane]
        began_us = int(state.latency.episodes.began_us[lane])
        found.append(
            Deviation(
                v=VERSION,
                id=derived_id("deviation", target, probe, location, "latency", tick_us, "rebaselined"),
                target=target,
                probe=probe,
                location=location,
                metric="latency",
                detector="rebaseline",
                tick_us=tick_us,
                since_us=min(began_us, tick_us) if began_us > 0 else tick_us,
                active=False,
                score=0.0,
                value=float(np.exp(state.latency.levels.table.centre[lane])),
                baseline=float(np.exp(normal)),
            )
        )
    return found
