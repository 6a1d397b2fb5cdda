"""What one tick of a target says of one subject."""

import enum
from dataclasses import dataclass
from typing import Final

from streams.contract import Reason
from streams.core.failures.flaps import FLAPPING

PARTIAL_FAILURE: Final = "partial_failure"
LATENCY: Final = "latency"
PRESENT: Final = frozenset({PARTIAL_FAILURE, "failing"})
"""Kinds of reasons that speak of this very tick and remember nothing."""


class Sign(enum.Enum):
    """What one tick of a target says of one subject."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    PARTIAL = "partial"  # nothing but failures under the quorum
    FAILING = "failing"
    UNKNOWN = "unknown"  # nobody saw it, or only a location that is itself in trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A tick of a target, as seen for one subject.

    Attributes:
        since_us: The first abnormal tick, back-dated; the tick itself where nothing is abnormal.
        interval_us: Between two ticks.
        reasons: Of this subject alone, most telling first.
        locations: Where it is seen.
    """

    tick_us: int
    sign: Sign
    since_us: int
    interval_us: int
    reasons: tuple[Reason, ...] = ()
    locations: tuple[str, ...] = ()


def counts_failures(reason: Reason) -> bool:
    """Say whether a reason rests on failed checks: such a reason may be a location's and not the target's."""
    return (
        reason.kind in (PARTIAL_FAILURE, "failing", FLAPPING)
        or reason.metric == "failure_ratio"
        or reason.failure is not None
    )


def place_of(finding: Finding) -> str | None:
    """Return the one location at which a target is slow, or fails now and then; None if that is not all.

    What is seen from one location alone may be a matter of that location's network.
    """
    if finding.sign not in (Sign.DEGRADED, Sign.PARTIAL) or len(finding.locations) != 1:
        return None
    if not all(reason.metric == LATENCY or counts_failures(reason) for reason in finding.reasons):
        return None
    return finding.locations[0]
