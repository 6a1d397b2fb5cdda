"""How many failures in a row are no chance any more, where some checks are lost all the time."""

from math import ceil, log
from typing import Final

CHANCE: Final = 1e-6
"""Failures in a row that come by chance so rarely are the target's own: a hundred targets start a run some ten
thousand times in hours of loss, and one target that loses a check in fifty five thousand times a month."""

MOST: Final = 0.99


def rare_run(share: float) -> int:
    """Return so many failures in a row that chance makes them less often than CHANCE, at least 1.

    Args:
        share: Of checks, or of ticks, that fail by themselves.
    """
    return ceil(log(CHANCE) / log(min(max(share, CHANCE), MOST)))
