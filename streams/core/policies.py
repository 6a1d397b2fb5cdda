"""The policy's numbers as arrays over groups, so that overrides by target cost the hot path nothing."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from streams.core.table import Rows
from streams.policy import DetectPolicy


class Policies:
    """Which policy each group has. Derived from the config: no part of a snapshot."""

    def __init__(self, policy: DetectPolicy, overrides: Mapping[str, DetectPolicy]) -> None:
        distinct = dict.fromkeys([policy, *overrides.values()])
        self.distinct = tuple(distinct)
        numbers = {each: number for number, each in enumerate(distinct)}
        self._by_target = {target: numbers[each] for target, each in overrides.items()}
        self._of_group = np.zeros(0, dtype=np.intp)
        self._numbers: list[int] = []

    def add(self, target: str) -> DetectPolicy:
        """Give the next group the policy of its target, and return it."""
        number = self._by_target.get(target, 0)
        self._numbers.append(number)
        return self.distinct[number]

    def of(self, group: int) -> DetectPolicy:
        """Return the policy of one group."""
        return self.distinct[self._numbers[group]]

    def get(self, field: str, groups: Rows) -> Any:
        """Return a field of the policy for each of n groups: shape (n,), or a scalar where all have one policy."""
        if len(self.distinct) == 1:
            return getattr(self.distinct[0], field)
        if self._of_group.size != len(self._numbers):
            self._of_group = np.array(self._numbers, dtype=np.intp)
        values = np.array([getattr(policy, field) for policy in self.distinct])
        return values[self._of_group[groups]]

    def largest(self, field: str) -> int:
        """Return the largest value of a field over all policies."""
        return int(max(getattr(policy, field) for policy in self.distinct))
