"""Why a group whose checks mostly succeed is degraded: they fail too often, or it was down again and again."""

from collections import Counter

from streams.contract import SERVICE, Reason
from streams.core.failures.flaps import FLAPPING
from streams.core.state import State
from streams.core.table import Rows
from streams.core.words import count, instant, names, span


def fails_often(state: State, group: int, tick_us: int) -> Reason:
    """Return the reason that checks fail more often than is normal."""
    groups = state.failures.groups
    failures, checks = int(groups.failures[group]), int(groups.checks[group])
    lanes = state.registry.lanes_of(group)
    failed = lanes[state.failures.lanes.fails[lanes] > 0]
    # It may last for a while after the last failure has left the window.
    where = _locations(state, failed if failed.size else lanes[state.ticks.lanes.active_us[lanes] <= tick_us])
    normal = state.failures.normal(group)
    return Reason(
        kind="failure_ratio",
        subject=SERVICE,
        text=f"{failures} of the last {checks} checks failed, normally {normal:.1%}, at {names(where)}",
        probe=state.registry.groups[group][1],
        since_us=int(groups.since_us[group]),
        locations=where,
        metric="failure_ratio",
        value=failures / max(checks, 1),
        baseline=normal,
        score=state.failures.score(group),
        failure=_failure(state, failed if failed.size else lanes),
    )


def flapping(state: State, group: int, tick_us: int) -> Reason:
    """Return the reason that a target was down several times within a day."""
    table = state.flaps.table
    times, since_us, last_us = int(table.count[group]), int(table.since_us[group]), int(table.begins_us[group, -1])
    normal = state.flaps.normal(group, tick_us)
    lanes = state.registry.lanes_of(group)
    # Not who has just joined: whether a location is known already depends on the order of arrival until it counts.
    heard = lanes[~state.ticks.lanes.silent[lanes] & (state.ticks.lanes.active_us[lanes] <= tick_us)]
    usual = f"normally {count(round(normal), 'time')} a week" if normal >= 1.5 else "normally once a week or less"
    return Reason(
        kind=FLAPPING,
        subject=SERVICE,
        text=f"was down {count(times, 'time')} within {span(last_us - since_us)}, last at {instant(last_us)}, {usual}",
        probe=state.registry.groups[group][1],
        since_us=since_us,
        locations=_locations(state, heard if heard.size else lanes),
        metric=FLAPPING,
        value=float(times),
        baseline=normal,
        failure=_failure(state, lanes),
    )


def _failure(state: State, lanes: Rows) -> str | None:
    """Return why the last failed checks of most of these lanes failed; None if none ever did."""
    found = Counter(reason for lane in lanes.tolist() if (reason := state.reasons.text(int(state.lanes.reason[lane]))))
    return min(found.items(), key=lambda item: (-item[1], item[0]))[0] if found else None


def _locations(state: State, lanes: Rows) -> list[str]:
    return sorted({state.registry.lanes[lane][2] for lane in lanes.tolist()})
