"""Deviations as they are published: one as a series leaves its norm, one as it is back. Latency has its own file."""

from streams.contract import VERSION, Deviation, derived_id
from streams.core.failures.flaps import FLAPPING
from streams.core.forecasts.forecast import MEMORY
from streams.core.nearer import UNKNOWN_US
from streams.core.state import State
from streams.core.watermark import NEVER


def of_failures(state: State, group: int, tick_us: int, *, active: bool) -> Deviation:
    """Return the deviation of a group's failure ratio."""
    groups = state.failures.groups
    target, probe = state.registry.groups[group]
    return Deviation(
        v=VERSION,
        id=derived_id("deviation", target, probe, None, "failure_ratio", tick_us, str(active)),
        target=target,
        probe=probe,
        location=None,
        metric="failure_ratio",
        detector="failure_ratio",
        tick_us=tick_us,
        since_us=int(groups.since_us[group]),
        active=active,
        score=state.failures.score(group),
        value=float(groups.failures[group] / max(groups.checks[group], 1)),
        baseline=state.failures.normal(group),
    )


def of_flaps(state: State, group: int, tick_us: int, *, active: bool) -> Deviation:
    """Return the deviation of a group that was down several times, or was not for long; its value is how often."""
    table = state.flaps.table
    target, probe = state.registry.groups[group]
    return Deviation(
        v=VERSION,
        id=derived_id("deviation", target, probe, None, FLAPPING, tick_us, str(active)),
        target=target,
        probe=probe,
        location=None,
        metric=FLAPPING,
        detector=FLAPPING,
        tick_us=tick_us,
        since_us=int(table.since_us[group]),
        active=active,
        score=float(table.count[group]),
        value=float(table.count[group]),
        baseline=state.flaps.normal(group, tick_us),
    )


def of_forecast(state: State, series: int, tick_us: int) -> Deviation:
    """Return the deviation of a forecast that begins or ends to warn."""
    table = state.forecasts.table
    active = bool(table.active[series])
    target, probe, location = state.registry.lanes[int(table.lane[series])]
    metric = state.metrics[series]
    left_us, upper_us = int(table.left_us[series]), int(table.left_upper_us[series])
    return Deviation(
        v=VERSION,
        id=derived_id("deviation", target, probe, location, metric, tick_us, str(active)),
        target=target,
        probe=probe,
        location=location,
        metric=metric,
        detector="forecast",
        tick_us=tick_us,
        since_us=_since(int(table.since_us[series]), tick_us),
        active=active,
        score=float(table.score[series]),
        value=float(table.last[series]),
        limit=1.0 if table.kind[series] == MEMORY else 0.0,
        time_left_us=None if left_us == UNKNOWN_US else left_us,
        time_left_upper_us=None if upper_us == UNKNOWN_US else upper_us,
    )


def _since(since_us: int, tick_us: int) -> int:
    return tick_us if since_us == NEVER else since_us
