"""What detection hands out after each message."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from streams.contract import Deviation, TickSummary, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What one message caused, in the order in which it is to be published.

    Attributes:
        deviations: Series that left their norm or came back.
        verdicts: Verdicts and summaries. The verdicts of a tick come before the summary that says it is closed.
        late: Checks that came after their tick was closed: they change nothing here.
        redelivered: Checks that had been counted before.
    """

    deviations: list[Deviation] = field(default_factory=list)
    verdicts: list[Verdict | TickSummary] = field(default_factory=list)
    late: int = 0
    redelivered: int = 0


def together(parts: Sequence[Outputs]) -> Outputs:
    """Return what several messages caused, in their order."""
    return Outputs(
        deviations=[one for part in parts for one in part.deviations],
        verdicts=[one for part in parts for one in part.verdicts],
        late=sum(part.late for part in parts),
        redelivered=sum(part.redelivered for part in parts),
    )
