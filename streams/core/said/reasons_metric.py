"""What is said of named metrics that have left their norm: one reason a metric, with both numbers."""

import math

from streams.contract import SERVICE, Reason
from streams.core.state import State
from streams.core.words import names, span


def metrics_off(state: State, group: int, tick_us: int, reported: list[str]) -> list[Reason]:
    """Return a reason for each metric of a group that is off at any location that reported, by name.

    Args:
        state: After the tick was closed.
        group: The group.
        tick_us: The tick.
        reported: Locations that reported at it.
    """
    mine = {lane for lane in state.registry.lanes_of(group).tolist() if state.registry.lanes[lane][2] in reported}
    off = state.metrics_judged.table.off[: state.metrics_judged.table.rows]
    by_metric: dict[str, list[int]] = {}
    for series in off.nonzero()[0].tolist():
        lane, metric = state.metric_readings.names[series]
        if lane in mine:
            by_metric.setdefault(metric, []).append(series)
    return [_reason(state, group, metric, by_metric[metric], tick_us) for metric in sorted(by_metric)]


def metric_text(metric: str, value: float) -> str:
    """Return a metric's value as a person says it: ratios in percent, others with three digits."""
    if metric.partition(":")[0].endswith("_ratio"):
        return f"{value:.0%}" if abs(value) >= 0.1 else f"{value:.1%}"
    size = abs(value)
    if size >= 1e15 or 0.0 < size < 1e-3:
        return f"{value:.2e}"
    digits = 0 if size >= 100 else 2 - math.floor(math.log10(size)) if size > 0.0 else 0
    return f"{value:,.{digits}f}"


def _reason(state: State, group: int, metric: str, series: list[int], tick_us: int) -> Reason:
    judged, registry = state.metrics_judged, state.registry

    def location(each: int) -> str:
        return registry.lanes[state.metric_readings.names[each][0]][2]

    said = max((judged.said(each) for each in series), key=lambda each: (each.score, each.value))
    since_us = min(int(judged.table.since_us[each]) for each in series)
    where = sorted(location(each) for each in series)
    limit = " at this hour" if said.limit is None else f" (limit {metric_text(metric, said.limit)})"
    text = (
        f"{metric} {metric_text(metric, said.value)}, normally {metric_text(metric, said.baseline)}{limit},"
        f" at {names(where)}, for {span(tick_us - since_us)}"
    )
    return Reason(
        kind="metric_level",
        subject=SERVICE,
        text=text,
        probe=registry.groups[group][1],
        since_us=since_us,
        locations=where,
        metric=metric,
        value=said.value,
        baseline=said.baseline,
        limit=said.limit,
        score=said.score,
    )
