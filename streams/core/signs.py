"""What one tick of a target says of one subject."""

import enum
from dataclasses import dataclass

from streams.contract import Reason


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
