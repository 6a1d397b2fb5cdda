"""A warning that no outage followed makes its series harder to warn of for some weeks.

Limits are made for noise without a memory. What warned falsely has one that the detector does not know: it will do the
same again, and a person who has seen it pass wants to hear only of what is clearly worse.
"""

from typing import Final, Protocol

import numpy as np

from streams.core.table import Floats, Ints, Rows
from streams.policy import DAY_US

WARY: Final = 1.5
"""Each false warning makes limits so many times as high, up to MOST_WARY; half of that is forgotten in HALF_LIFE_US."""

MOST_WARY: Final = 4.0
HALF_LIFE_US: Final = 7 * DAY_US


class Wary(Protocol):
    """A table whose limits rise after false warnings: by row, how many times as high they were as of a time."""

    wary: Floats
    wary_us: Ints


def wariness(table: Wary, rows: Rows, at_us: Ints) -> Floats:
    """Return how many times as high the limits of these rows are, at these times. Shape (n,)."""
    passed = (at_us - table.wary_us[rows]) / HALF_LIFE_US
    times: Floats = 1.0 + (table.wary[rows] - 1.0) * 0.5 ** np.maximum(passed, 0.0)
    return times


def warned_falsely(table: Wary, rows: Rows, at_us: Ints) -> None:
    """Raise the limits of these rows, each at most once: no outage followed their warnings. Shape (n,) each."""
    table.wary[rows], table.wary_us[rows] = np.minimum(WARY * wariness(table, rows, at_us), MOST_WARY), at_us
