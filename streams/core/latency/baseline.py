"""What is normal for a series of log latency: a robust centre and spread that learn slowly and forgive outliers.

Source:
    Huber (1964), M-estimates of location and scale, in their recursive form with a constant rate, as in
    Cipra (1992), robust exponential smoothing. Warm-up by median and MAD (Iglewicz & Hoaglin 1993).
"""

import math
from typing import Final

import numpy as np

from streams.core.table import Floats

HUBER: Final = 1.5
"""An innovation counts at most so many spreads: a ramp pulls the centre no faster than HUBER * rate a check."""

# The mean of min(|Z|, HUBER) of a normal Z: divided by it, the recursion rests at the standard deviation.
_MEAN_CLIPPED: Final = math.sqrt(2 / math.pi) * (1 - math.exp(-(HUBER**2) / 2)) + HUBER * math.erfc(
    HUBER / math.sqrt(2)
)

MAD_TO_SIGMA: Final = 1.4826
SPREAD_FLOOR: Final = 0.05
"""Least spread of log latency: nobody is warned of 5 %."""

JITTER_US: Final = 2_000.0
"""What a clock, a scheduler and a busy machine add to any latency: it widens the spread of very short ones."""


def floor(centre: Floats) -> Floats:
    """Return the least spread of series around `centre` (log of microseconds), same shape."""
    return np.maximum(SPREAD_FLOOR, np.log(1.0 + JITTER_US / np.exp(np.clip(centre, 0.0, 50.0))))


def warm(samples: Floats) -> tuple[Floats, Floats]:
    """Return the first centre and spread.

    Args:
        samples: Log latencies of healthy checks, shape (n_series, n_checks), finite.

    Returns:
        Two arrays of shape (n_series,). The spread is widened by what so few samples may have missed.
    """
    centre = np.median(samples, axis=1)
    mad = np.median(np.abs(samples - centre[:, None]), axis=1)
    widened = MAD_TO_SIGMA * mad * (1.0 + 0.5 / math.sqrt(samples.shape[1]))
    return centre, np.maximum(widened, floor(centre))


def learn(centre: Floats, spread: Floats, score: Floats, rate: Floats) -> tuple[Floats, Floats]:
    """Return centre and spread after one more check each.

    Args:
        centre: Log of microseconds, shape (n,).
        spread: Of the same, > 0, shape (n,).
        score: (log latency - centre) / spread, shape (n,).
        rate: Weight of this check, 0 to learn nothing from it, shape (n,).
    """
    clipped = np.clip(score, -HUBER, HUBER)
    moved = centre + rate * clipped * spread
    scaled = spread * (1.0 + rate * (np.abs(clipped) / _MEAN_CLIPPED - 1.0))
    return moved, np.maximum(scaled, floor(moved))
