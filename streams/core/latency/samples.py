"""The latencies of one round as detectors see them."""

from typing import Final, NamedTuple

import numpy as np

from streams.core.table import Bools, Floats, Ints, Rows
from streams.policy import SECOND_US

LEAST_HOT_US: Final = 120 * SECOND_US
MOST_HOT_CHECKS: Final = 8
"""What is slow for so long, but for no more checks than that, is a trend; half a minute is none."""


class Samples(NamedTuple):
    """Successful, undisturbed checks, at most one a lane. Shape (n,) each, but `phases`.

    Attributes:
        lanes, groups: Whose.
        at_us: Their ticks; interval_us: of their groups.
        log_us: Log of the duration in microseconds.
        offset: What the hour adds to it; excuse: what innocent episodes at this hour have reached above normal.
        phases: Microseconds, 0 where not reached, shape (n, 5).
    """

    lanes: Rows
    groups: Rows
    at_us: Ints
    interval_us: Ints
    log_us: Floats
    offset: Floats
    excuse: Floats
    phases: Floats

    def lasting(self) -> Ints:
        """Return how many checks in a row must be slow before that is a trend. Shape (n,)."""
        return np.minimum(LEAST_HOT_US // self.interval_us, MOST_HOT_CHECKS)

    def take(self, kept: Bools) -> "Samples":
        """Return those that are kept."""
        return Samples(
            lanes=self.lanes[kept],
            groups=self.groups[kept],
            at_us=self.at_us[kept],
            interval_us=self.interval_us[kept],
            log_us=self.log_us[kept],
            offset=self.offset[kept],
            excuse=self.excuse[kept],
            phases=self.phases[kept],
        )
