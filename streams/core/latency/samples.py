"""The latencies of one round as detectors see them."""

from typing import NamedTuple

from streams.core.table import Bools, Floats, Ints, Rows


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
