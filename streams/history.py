"""A warm start: a detector whose snapshots are lost learns from stored checks what is normal, and publishes nothing.

A new form of the state (CODE), or a store and a local copy that are gone, leave a partition with an empty state at the
committed offsets: for an hour it would know no baseline, for a week no season. What was judged before lies in the
store. Only rows that the log will not bring again are taken, told by their position, so nothing is a redelivery
afterwards; where the log itself is read from its beginning there are none.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from streams.core.detect import Detector
from streams.group import Place
from streams.policy import DAY_US, SECOND_US

if TYPE_CHECKING:
    from producers.contract import CheckColumns
    from streams.contract import History

WARM_US: Final = 7 * DAY_US
"""A week: what a profile of the week needs."""

MOST_CHECKS: Final = 200_000
"""More would take a partition many seconds; of more, the oldest are left out."""

LEAST_US: Final = 3600 * SECOND_US
"""So much is always taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmed:
    """What a detector learned from.

    Attributes:
        first_us, last_us: Ticks of the first and the last check.
    """

    checks: int
    first_us: int
    last_us: int


def warm(
    detector: Detector, history: "History", place: Place, *, epoch: str, before_offset: int, now_us: int
) -> Warmed | None:
    """Let an empty detector learn from what is stored of its partition.

    Args:
        detector: Empty.
        history: Where checks are stored.
        place: Of the partition of `checks`.
        epoch: Of the log that is read now.
        before_offset: The log will bring the messages of this epoch from this offset on.
        now_us: Wall clock.

    Returns:
        None if nothing is stored.

    Raises:
        TransientError: The store is away.
    """
    learn_us = WARM_US
    while learn_us > LEAST_US:
        if history.count(place.partition, from_us=now_us - learn_us, epoch=epoch, before=before_offset) <= MOST_CHECKS:
            break
        learn_us //= 2
    return learn(
        detector, history.checks(place.partition, from_us=now_us - learn_us, epoch=epoch, before=before_offset)
    )


def learn(detector: Detector, pieces: "Iterable[CheckColumns]") -> Warmed | None:
    """Take in checks by time, with their own time as the clock; what the detector says is not published.

    Args:
        detector: Empty.
        pieces: None begins before the one before has ended. Of one piece everything arrives together: nobody waits
            for a slot.
    """
    checks = first_us = last_us = 0
    for columns in pieces:
        begins_us, ends_us = int(columns.scheduled_at_us.min()), int(columns.scheduled_at_us.max())
        if checks > 0:
            detector.clock(begins_us)
        first_us = begins_us if checks == 0 else first_us
        detector.apply(columns)
        checks, last_us = checks + len(columns), ends_us
    return Warmed(checks=checks, first_us=first_us, last_us=last_us) if checks else None
