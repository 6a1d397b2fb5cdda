"""Why a group is slow: what, how far from its normal, in which phase, where, for how long, how long it may last."""

import numpy as np

from streams.contract import SERVICE, Reason
from streams.core.latency.said import DRIFT, PHASE, SPREAD, Said, said, since
from streams.core.latency.spread import USUAL
from streams.core.state import State
from streams.core.words import names, span


def latency_text(duration_us: float) -> str:
    """Return a latency as a person says it: `0.8 ms`, `412 ms`, `3.2 s`."""
    if duration_us < 9_950:
        return f"{duration_us / 1e3:.1f} ms"
    if duration_us < 999_500:
        return f"{duration_us / 1e3:.0f} ms"
    return f"{duration_us / 1e6:.1f} s"


def slow(state: State, group: int, tick_us: int, reported: list[str]) -> Reason:
    """Return the one reason of all that latency says.

    Args:
        state: After the tick was closed.
        group: The group, slow in most of its locations.
        tick_us: The tick.
        reported: Locations that reported at it.
    """
    latency, registry = state.latency, state.registry
    lanes = [
        lane
        for lane in registry.lanes_of(group).tolist()
        if latency.episodes.off[lane] and registry.lanes[lane][2] in reported
    ]
    by_lane = {lane: said(latency, lane, group, tick_us) for lane in lanes}
    worst = by_lane[max(lanes, key=lambda lane: (_ratio(by_lane[lane]), registry.lanes[lane][2]))]
    since_us = min(since(each, tick_us) for each in by_lane.values())
    where = sorted({registry.lanes[lane][2] for lane in lanes})
    lasted_us = tick_us - since_us
    return Reason(
        kind=worst.detector,
        subject=SERVICE,
        text=f"{_what(worst)}{_left(worst)}, at {names(where)}, for {span(lasted_us)}",
        probe=registry.groups[group][1],
        since_us=since_us,
        locations=where,
        metric="latency",
        value=worst.value_us,
        baseline=worst.normal_us,
        limit=worst.limit_us,
        score=worst.score,
        phase=worst.phase,
        # Pages only what is seen for as long as it looks ahead: how a climb from its foot goes on nobody knows.
        severity="critical" if worst.left_upper_us is not None and worst.left_upper_us <= lasted_us else "warning",
        time_left_us=worst.left_us,
    )


def _what(worst: Said) -> str:
    if worst.detector == SPREAD and worst.share is not None:
        slow_text, usual_text = latency_text(worst.value_us), latency_text(worst.normal_us)
        return f"{worst.share:.0%} of checks are slow ({slow_text}), normally {USUAL:.0%} take over {usual_text}"
    numbers = f"{latency_text(worst.value_us)}, normally {latency_text(worst.normal_us)}"
    if worst.normal_us >= 1.0:
        numbers += f" ({worst.value_us / worst.normal_us:.1f}×)"
    if worst.detector == PHASE:
        return f"{worst.phase} phase {numbers}"
    climbs = " and climbing slowly" if worst.detector == DRIFT else ""
    in_phase = f", {worst.phase} phase" if worst.phase is not None else ""
    return f"latency {numbers}{climbs}{in_phase}"


def _left(worst: Said) -> str:
    if worst.left_us is None or worst.left_upper_us is None:
        return ""
    return f", {span(worst.left_us)} to {span(worst.left_upper_us)} until checks time out"


def _ratio(each: Said) -> float:
    # The middle of all checks tells more than their tail or one phase of it, whatever the ratio.
    return 0.0 if each.detector in (SPREAD, PHASE) else float(np.log(each.value_us / each.normal_us)) + 1e-9
