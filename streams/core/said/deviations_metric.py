"""Deviations of named metrics as they are published."""

from streams.contract import VERSION, Deviation, derived_id
from streams.core.metrics.level import MetricChanges
from streams.core.metrics.readings import Reading
from streams.core.state import State
from streams.core.watermark import NEVER


def of_metrics(state: State, readings: Reading, changes: MetricChanges) -> list[Deviation]:
    """Return the deviations of one round's metrics.

    Args:
        state: After the round.
        readings: What was judged.
        changes: Places in these.
    """
    found = [
        _metric(state, readings, place, active=active)
        for places, active in ((changes.left, True), (changes.back, False))
        for place in places.tolist()
    ]
    for place, before in zip(changes.rebased.tolist(), changes.before.tolist(), strict=True):
        found.append(_metric(state, readings, place, active=False, before=before))
    return found


def _metric(state: State, readings: Reading, place: int, *, active: bool, before: float | None = None) -> Deviation:
    """A metric left its norm or is back. With `before`, its new level is the norm, and that was the old one."""
    series, tick_us = int(readings.series[place]), int(readings.tick_us[place])
    since_us = int(state.metrics_judged.table.since_us[series])
    lane, metric = state.metric_readings.names[series]
    target, probe, location = state.registry.lanes[lane]
    said, rebased = state.metrics_judged.said(series), before is not None
    return Deviation(
        v=VERSION,
        id=derived_id("deviation", target, probe, location, metric, tick_us, "rebaselined" if rebased else str(active)),
        target=target,
        probe=probe,
        location=location,
        metric=metric,
        detector="rebaseline" if rebased else "metric_level",
        tick_us=tick_us,
        since_us=tick_us if since_us == NEVER else since_us,
        active=active,
        score=0.0 if rebased else said.score,
        value=said.value,
        baseline=before if before is not None else said.baseline,
        limit=None if rebased else said.limit,
    )
