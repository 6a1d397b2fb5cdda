"""What a tick of a (target, probe) is, by how many of the locations that reported saw it fail."""

from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from streams.contract import VerdictName
from streams.core.table import Bools, Ints

HEALTHY: Final = 0
UNKNOWN: Final = 1
DEGRADED: Final = 2
FAILING: Final = 3

NAMES: Final[tuple[VerdictName, ...]] = ("healthy", "unknown", "degraded", "failing")
"""Verdicts from best to worst: the code of a verdict is its place. Unknown never passes for healthy."""


Count = TypeVar("Count", int, Ints)


def majority(reported: Count) -> Count:
    """Return how many of so many reporting locations are a quorum: more than half; of two both, of one that one."""
    return reported // 2 + 1


def judge(*, reported: Ints, failed: Ints, deviates: Bools) -> npt.NDArray[np.int8]:
    """Return the verdict's code of n ticks.

    Args:
        reported: Locations that reported (missed checks do not), shape (n,).
        failed: Those whose check failed, shape (n,).
        deviates: A detector says that the target has left its norm, shape (n,).
    """
    code = np.where((failed > 0) | deviates, DEGRADED, HEALTHY)
    code = np.where(failed >= majority(reported), FAILING, code)
    return np.where(reported == 0, UNKNOWN, code).astype(np.int8)
