"""A look at the series of a partition, for `forewarn explain`: what is normal, where each is, how far from its limit.

Reads the state and changes nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from streams.core.latency.said import LEVEL, PHASE, of_level, said
from streams.core.nearer import UNKNOWN_US
from streams.core.state import State


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesView:
    """One series at one time. Values have the metric's unit; latency is in microseconds.

    Attributes:
        location: None for what is judged over all locations.
        detector: That which speaks: of latency the one that flags it, else the level.
        learned, needed: Checks that the baseline knows, and needs before it says anything.
        value: Where the series is, smoothed as its detector does; None during the warm-up, like the rest.
        normal, lower, upper: Its centre and the band outside of which it is flagged; None: open to that side.
        score, limit: How far it is from normal and from where on it is flagged, in the detector's unit; None where
            the detector says only one of them.
        flagged: Whether it is, since `since_us`.
        time_left_us: Of a forecast: the least time until its limit, None if it does not run out.
    """

    target: str
    probe: str
    location: str | None
    metric: str
    detector: str
    learned: int
    needed: int
    value: float | None = None
    normal: float | None = None
    lower: float | None = None
    upper: float | None = None
    score: float | None = None
    limit: float | None = None
    flagged: bool = False
    since_us: int | None = None
    time_left_us: int | None = None


def series_of(state: State, at_us: int) -> list[SeriesView]:
    """Return all series of a partition: latency by lane, failures by group, metrics, forecasts.

    Args:
        state: Of the partition.
        at_us: The time, for what is normal at this hour.
    """
    return [*_latencies(state, at_us), *_failures(state), *_metrics(state), *_forecasts(state)]


def _latencies(state: State, at_us: int) -> Iterator[SeriesView]:
    table = state.latency.levels.table
    for lane, (target, probe, location) in enumerate(state.registry.lanes):
        group = int(state.registry.group_of[lane])
        needed, learned = state.policies.of(group).warm_up_checks, int(table.learned[lane])
        if learned == 0:
            continue  # not judged by its latency: a host probe, or nothing came yet
        if learned < needed or not np.isfinite(table.level[lane]):
            yield SeriesView(
                target=target,
                probe=probe,
                location=location,
                metric="latency",
                detector=LEVEL,
                learned=learned,
                needed=needed,
            )
            continue
        told = said(state.latency, lane, group, at_us)
        level = of_level(state.latency, lane, group, at_us)
        limit = float(state.latency.levels.limit(np.array([lane]), np.array([group]))[0])
        flagged = bool(state.latency.episodes.off[lane])
        yield SeriesView(
            target=target,
            probe=probe,
            location=location,
            metric="latency",
            detector=told.detector,
            learned=learned,
            needed=needed,
            value=level.value_us if told.detector == PHASE else told.value_us,
            normal=level.normal_us,
            upper=level.limit_us,
            score=told.score,
            limit=limit if told.detector == LEVEL else None,
            flagged=flagged,
            since_us=told.since_us if flagged else None,
        )


def _failures(state: State) -> Iterator[SeriesView]:
    groups = state.failures.groups
    for group, (target, probe) in enumerate(state.registry.groups):
        checks = int(groups.checks[group])
        if checks == 0:
            continue
        flagged = bool(groups.flagged[group])
        yield SeriesView(
            target=target,
            probe=probe,
            location=None,
            metric="failure_ratio",
            detector="failure_ratio",
            learned=checks,
            needed=1,
            value=int(groups.failures[group]) / checks,
            normal=state.failures.normal(group),
            score=state.failures.score(group),
            flagged=flagged,
            since_us=int(groups.since_us[group]) if flagged else None,
        )


def _metrics(state: State) -> Iterator[SeriesView]:
    judged, table = state.metrics_judged, state.metrics_judged.levels.table
    for series, (lane, metric) in enumerate(state.metric_readings.names):
        target, probe, location = state.registry.lanes[lane]
        needed = state.policies.of(int(state.registry.group_of[lane])).warm_up_checks
        learned = int(table.learned[series])
        warm = learned >= needed and bool(np.isfinite(table.level[series]))
        flagged, said = bool(judged.table.off[series]), judged.said(series)
        yield SeriesView(
            target=target,
            probe=probe,
            location=location,
            metric=metric,
            detector="metric_level",
            learned=learned,
            needed=needed,
            value=float(table.level[series]) if warm else None,
            normal=said.baseline if warm else None,
            lower=_finite(float(table.lower[series])) if warm else None,
            upper=_finite(float(table.upper[series])) if warm else None,
            score=said.score if warm else None,
            limit=1.0 if warm else None,
            flagged=flagged,
            since_us=int(judged.table.since_us[series]) if flagged else None,
        )


def _forecasts(state: State) -> Iterator[SeriesView]:
    table = state.forecasts.table
    for series, metric in enumerate(state.metrics):
        target, probe, location = state.registry.lanes[int(table.lane[series])]
        left_us, flagged = int(table.left_us[series]), bool(table.active[series])
        if not np.isfinite(table.last[series]):
            continue
        yield SeriesView(
            target=target,
            probe=probe,
            location=location,
            metric=metric,
            detector="forecast",
            learned=1,
            needed=1,
            value=float(table.last[series]),
            flagged=flagged,
            since_us=int(table.since_us[series]) if flagged else None,
            time_left_us=None if left_us == UNKNOWN_US else left_us,
        )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
