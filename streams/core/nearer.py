"""When a time left is told again: at marks, so that who was warned of days hears of the last hour."""

from typing import Final

import numpy as np

from streams.core.table import Bools, Ints
from streams.policy import HOUR_US

NEARER: Final = 1.5
"""What warns is told again whenever the time left falls under a mark: an hour times or by any power of this. A disk
that is warned of for days must be told when its last hour comes."""

UNKNOWN_US: Final = -1


def nearer(left_us: Ints, told_us: Ints) -> Bools:
    """Say which times left are known, and were never told, or have fallen under a mark since. Shape (n,).

    Args:
        left_us: Time left, microseconds; UNKNOWN_US where there is none.
        told_us: What was told last; UNKNOWN_US: nothing.
    """
    near: Bools = (left_us != UNKNOWN_US) & ((told_us == UNKNOWN_US) | (_mark(left_us) < _mark(told_us)))
    return near


def _mark(left_us: Ints) -> Ints:
    """Return the number of the last mark that lies over a time left, 0 for the hour; shape (n,)."""
    hours = np.maximum(left_us, HOUR_US // 60) / HOUR_US
    # A hair is what logarithms of marks themselves are off by: an hour left is not under an hour.
    marks: Ints = np.floor(np.log(hours) / np.log(NEARER) + 1e-9).astype(np.int64)
    return marks
