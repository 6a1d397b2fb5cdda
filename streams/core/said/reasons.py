"""Why a group is what it is, for a machine and, in one sentence, for a person."""

from collections import Counter
from collections.abc import Mapping, Sequence

from streams.contract import SERVICE, Reason
from streams.core.forecasts.forecast import CERTIFICATE, MEMORY
from streams.core.nearer import UNKNOWN_US
from streams.core.pending import NO_TEXT
from streams.core.said.reasons_failures import fails_often, flapping
from streams.core.said.reasons_latency import slow
from streams.core.said.reasons_metric import metrics_off
from streams.core.state import State
from streams.core.states import FAILS, FAILS_IN_PART, FAILS_OFTEN, FLAPS, METRIC_OFF, MISSED, PART_SILENT, SLOW
from streams.core.table import Rows
from streams.core.words import count, instant, names, span
from streams.policy import DAY_US


def reasons_of(
    state: State,
    group: int,
    tick_us: int,
    reported: list[str],
    forecasts: Sequence[int],
    details: Mapping[int, str],
) -> list[Reason]:
    """Return all reasons of a group at a closed tick, most telling first.

    Args:
        state: After the tick was closed.
        group: The group.
        tick_us: The tick.
        reported: Locations that reported at it.
        forecasts: Series of this group that warn.
        details: What the failed checks of this tick say of themselves, by lane.
    """
    kinds = int(state.groups.kinds[group])
    found: list[Reason] = []
    if not kinds and not forecasts:  # as most verdicts are that are told while something settles
        return found
    lanes = state.registry.lanes_of(group)
    if kinds & (FAILS | FAILS_IN_PART):
        found.append(_failing(state, group, lanes, len(reported), details, whole=bool(kinds & FAILS)))
    if kinds & SLOW:
        found.append(slow(state, group, tick_us, reported))
    if kinds & FAILS_OFTEN:
        found.append(fails_often(state, group, tick_us))
    if kinds & FLAPS:
        found.append(flapping(state, group, tick_us))
    if kinds & METRIC_OFF:
        found += metrics_off(state, group, tick_us, reported)
    if kinds & MISSED:
        found.append(_missed(state, group, lanes, tick_us))
    by_metric: dict[str, list[int]] = {}
    for series in forecasts:
        by_metric.setdefault(state.metrics[series], []).append(series)
    found += [_forecast(state, group, by_metric[metric]) for metric in sorted(by_metric)]
    if kinds & PART_SILENT:
        silent = lanes[state.ticks.lanes.silent[lanes]]
        since_us = int(state.ticks.lanes.absent_us[silent].min())
        found.append(silence(state, group, silent, since_us, whole=False))
    return found


def silence(state: State, group: int, lanes: Rows, since_us: int, *, whole: bool) -> Reason:
    """Return the reason that locations are silent: of all of them, or of some, which is for information only."""
    where = _locations(state, lanes)
    return Reason(
        kind="silence",
        subject=SERVICE,
        text=f"no checks from {names(where)} since {instant(since_us)}",
        probe=state.registry.groups[group][1],
        since_us=since_us,
        severity="warning" if whole else "info",
        locations=where,
    )


def _failing(
    state: State, group: int, lanes: Rows, reported: int, details: Mapping[int, str], *, whole: bool
) -> Reason:
    failing = lanes[state.lanes.failing[lanes]]
    since_us = int(state.lanes.since_us[failing].min())
    causes = Counter(_cause(state, lane) for lane in failing.tolist())
    most = min(causes.items(), key=lambda item: (-item[1], item[0]))[0]
    where = _locations(state, failing)
    head = "failing: " if whole else "checks fail: "
    first = next(lane for lane in failing.tolist() if _cause(state, lane) == most)
    at, of = (int(failing.size), reported) if whole else (1, 1)
    quorum = f"{failing.size} of {count(reported, 'location')}"
    text = f"{head}{most} at {names(where)} ({quorum}), since {instant(since_us)}"
    return Reason(
        kind="failing" if whole else "partial_failure",
        subject=SERVICE,
        text=f"{text}: {details[first]}" if first in details else text,
        probe=state.registry.groups[group][1],
        since_us=since_us,
        severity="critical" if whole else "warning",
        locations=where,
        baseline=state.failures.normal(group),
        limit=state.failures.run(group, at, of),
        failure=state.reasons.text(int(state.lanes.reason[first])) or "unknown",
    )


def _cause(state: State, lane: int) -> str:
    reason = state.reasons.text(int(state.lanes.reason[lane])) or "failure"
    status = int(state.lanes.status[lane])
    return f"{reason} {status}" if reason == "http_status" and status != NO_TEXT else reason


def _missed(state: State, group: int, lanes: Rows, tick_us: int) -> Reason:
    here = lanes[state.ticks.lanes.last_us[lanes] == tick_us]
    where = _locations(state, here)
    return Reason(
        kind="missed",
        subject=SERVICE,
        text=f"no check could be run at {names(where)}" if where else "no location that counts has reported",
        probe=state.registry.groups[group][1],
        since_us=tick_us,
        locations=where,
    )


def _forecast(state: State, group: int, series: list[int]) -> Reason:
    """One metric, seen from one or more locations: the shortest time left speaks."""
    table = state.forecasts.table
    where = sorted({state.registry.lanes[int(table.lane[each])][2] for each in series})
    known = [each for each in series if table.left_us[each] != UNKNOWN_US] or series
    least = min(known, key=lambda each: (int(table.left_us[each]), state.registry.lanes[int(table.lane[each])]))
    metric, value = state.metrics[least], float(table.last[least])
    left_us, upper_us = int(table.left_us[least]), int(table.left_upper_us[least])
    if table.kind[least] == CERTIFICATE:
        text = f"certificate has {value:.1f} days left, seen at {names(where)}"
    else:
        until = f"{span(left_us)} to {span(upper_us)}" if upper_us != UNKNOWN_US else f"{span(left_us)} or more"
        rises = table.kind[least] == MEMORY
        moves = f"{'rises' if rises else 'falls'}, {until} left"
        if left_us == UNKNOWN_US:
            moves = f"{'rose' if rises else 'fell'} lately"
        text = f"{metric} is {value:.1%} and {moves}, at {names(where)}"
    return Reason(
        kind="forecast",
        subject=metric,
        text=text,
        probe=state.registry.groups[group][1],
        since_us=min(int(table.since_us[each]) for each in series),
        severity="critical" if 0 <= left_us < DAY_US else "warning",
        locations=where,
        metric=metric,
        value=value,
        limit=1.0 if table.kind[least] == MEMORY else 0.0,
        score=float(table.score[least]),
        time_left_us=None if left_us == UNKNOWN_US else left_us,
    )


def _locations(state: State, lanes: Rows) -> list[str]:
    return sorted({state.registry.lanes[lane][2] for lane in lanes.tolist()})
