"""The trivial detector that every peer gets: an EWMA of the latency, a flag where a check is three times as slow."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

ALPHA: Final = 0.05
TIMES: Final = 3.0


class Ewma:
    """By target, a message at a time. Targets of a message are distinct, as those of a packed message are."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._mean = np.zeros(1024)

    def update(self, targets: Sequence[str], duration_us: "np.ndarray[Any, np.dtype[np.float64]]") -> int:
        """Take in the checks of a message; return how many are flagged."""
        numbers = self._numbers
        for target in [target for target in targets if target not in numbers]:
            numbers[target] = len(numbers)
        if len(numbers) > self._mean.size:
            self._mean = np.concatenate([self._mean, np.zeros(max(self._mean.size, len(numbers)))])
        at = np.fromiter(map(numbers.__getitem__, targets), np.intp, len(targets))
        known, seen = ~np.isnan(duration_us), self._mean[at]
        flagged = known & (seen > 0) & (duration_us > TIMES * seen)
        learned = np.where(seen > 0, seen + ALPHA * (duration_us - seen), duration_us)
        self._mean[at] = np.where(known, learned, seen)
        return int(flagged.sum())
