"""Whether the log stood still: nothing came into it for a while, not even what its readers write by the clock.

Then it was away, or everything was, and what it lacks comes now, from each in its own time: as after the start of a
log, nobody is late who delivers after the others.
"""

from typing import Final

from streams.policy import SECOND_US

STANDSTILL_US: Final = 20 * SECOND_US
"""So long nothing came: two clock events of a partition are lacking, and any number of checks."""


def stood_still(newest_us: int, logged_us: int) -> int:
    """Return for how long the log had stood still before a message, microseconds; 0 if it had not.

    Args:
        newest_us: The newest timestamp of the log so far; 0 or less: none is known.
        logged_us: That of the message; 0 if it has none.
    """
    gap_us = logged_us - newest_us
    return gap_us if newest_us > 0 and gap_us > STANDSTILL_US else 0
