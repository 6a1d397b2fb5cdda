"""A warning that no outage followed makes its series harder to warn of for some weeks.

Limits are made for noise without a memory. What warned falsely has one that the detector does not know: it will do the
same again, and a person who has seen it pass wants to hear only of what is clearly worse.
"""

from typing import Final

import numpy as np

from streams.core.table import Floats, Ints
from streams.policy import DAY_US

WARY: Final = 1.5
"""Each false warning makes limits so many times as high, up to MOST_WARY; half of that is forgotten in HALF_LIFE_US."""

MOST_WARY: Final = 4.0
HALF_LIFE_US: Final = 7 * DAY_US


def wariness(wary: Floats, wary_us: Ints, at_us: Ints) -> Floats:
    """Return how many times as high limits are, given how many times they were at an earlier time. Shape (n,)."""
    left: Floats = 1.0 + (wary - 1.0) * 0.5 ** np.maximum((at_us - wary_us) / HALF_LIFE_US, 0.0)
    return left


def warier(wariness: Floats) -> Floats:
    """Return how many times as high limits are after one more false warning. Shape (n,)."""
    more: Floats = np.minimum(WARY * wariness, MOST_WARY)
    return more
