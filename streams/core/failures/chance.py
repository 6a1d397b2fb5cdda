"""What comes by chance: exact tails, how many failures in a row, and what sums of failures may reach."""

import math
from functools import lru_cache
from typing import Final

import numpy as np

from streams.core.table import Floats, Ints
from streams.policy import WEEK_US

RARE: Final = 1e-6
"""Failures in a row that come by chance so rarely are the target's own: a hundred targets start a run some ten
thousand times in hours of loss, and one target that loses a check in fifty five thousand times a month."""

SURE: Final = 0.99

RISEN: Final = np.array([0.03, 0.12, 0.4])
"""Ratios of failing checks that are looked for, from the slow to the quick."""

TIMES: Final = np.array([3.0, 5.0, 8.0])
"""They are at least so many times what is normal."""

MOST_RISEN: Final = 0.8


def rare_run(share: float, again: float = 0.0) -> int:
    """Return so many failures in a row that chance makes them less often than RARE, at least 1.

    Args:
        share: Of checks, or of ticks, that fail by themselves.
        again: The share of them of which the next one fails too; independent ones if that is less than `share`.
    """
    share = min(max(share, RARE), SURE)
    again = min(max(share, again), SURE)
    # The ninth power of a tenth must not need a tenth run by the last digit of a logarithm.
    return 1 + max(math.ceil(math.log(RARE / share) / math.log(again) - 1e-9), 0)


def steps(normal: Floats, seen: Ints, interval_us: Ints, budget: Floats) -> tuple[tuple[Floats, Floats], Floats]:
    """Return what a tick with failures and one without add to each sum, and the limits; shapes (n, RISEN.size).

    A sum exceeds h by chance once in exp(h) / (risen E) ticks, where E is the mean of exp(-excess) over h, if failures
    had risen: the chance of the path is its chance then, by the likelihood ratio. A step is large, and what a sum
    exceeds h by is anything up to one step, so E is about 1 / step.

    Args:
        normal: Ratio of failing checks that is normal, shape (n,).
        seen: Checks of such a tick, shape (n,).
        interval_us: Between ticks, shape (n,).
        budget: False alarms a week that each sum may make, shape (n,).
    """
    checks = np.maximum(seen, 1)[:, None]
    usual = 1.0 - (1.0 - normal[:, None]) ** checks
    risen = np.minimum(np.maximum(RISEN, TIMES * normal[:, None]), MOST_RISEN)
    risen = np.maximum(risen, normal[:, None])
    risen = 1.0 - (1.0 - risen) ** checks
    with_failures = np.log(risen / usual)
    without = np.log((1.0 - risen) / (1.0 - usual))
    a_week = WEEK_US / np.maximum(interval_us, 1)[:, None]
    limit = np.log(np.maximum(risen * a_week / np.maximum(with_failures, 1.0), 1.0)) - np.log(budget)[:, None]
    return (with_failures, without), np.maximum(limit, 3.0)


@lru_cache(maxsize=65_536)
def tail(failures: int, trials: int, ratio: float) -> float:
    """Return the probability of at least `failures` failures in `trials` trials that each fail with `ratio`.

    Exact: a sum of positive terms, the largest first taken out, so that nothing cancels.
    """
    if failures <= 0:
        return 1.0
    if failures > trials:
        return 0.0
    log_odds = math.log(ratio) - math.log1p(-ratio)
    log_all = trials * math.log1p(-ratio)
    logs = [
        math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * log_odds + log_all
        for k in range(failures, trials + 1)
    ]
    largest = max(logs)
    return min(1.0, math.exp(largest) * math.fsum(math.exp(each - largest) for each in logs))


def poisson_tail(least: int, mean: float) -> float:
    """Return the probability of at least `least` events where `mean` are expected; a sum of positive terms."""
    if least <= 0:
        return 1.0
    term = math.exp(least * math.log(mean) - math.lgamma(least + 1) - mean) if mean > 0.0 else 0.0
    total, number = term, least
    while term > 1e-17 * total and number < least + 1000:
        number += 1
        term *= mean / number
        total += term
    return min(total, 1.0)
