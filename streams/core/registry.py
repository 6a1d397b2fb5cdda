"""Names and numbers: targets, groups (target x probe), lanes (target x probe x location), locations.

Numbers are given in the order of arrival, so nothing that is published may depend on them: outputs are ordered by
name.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from producers.contract import CheckColumns
from streams.core.table import Rows
from streams.policy import Expectations, ProbeExpectation


class Added(NamedTuple):
    """What is new: numbers of groups and lanes, from the first new one on."""

    groups: range
    lanes: range


class Members(NamedTuple):
    """The lanes of groups: those of group g are `lanes[start[g]:start[g + 1]]`, ordered by location."""

    lanes: Rows
    start: Rows


class Registry:
    """Gives numbers to names, and knows which lanes a group has.

    Attributes:
        groups: (target, probe) by group.
        lanes: (target, probe, location) by lane.
        named: By group, what the config says of it; None if it is learned.
        timeout_us: By group, from which duration its checks fail; inf if that is not known.
    """

    def __init__(self, expectations: Expectations) -> None:
        self._probes: dict[str, list[tuple[str, ProbeExpectation]]] = {}
        for (target, probe), expectation in sorted(expectations.probes.items()):
            self._probes.setdefault(target, []).append((probe, expectation))
        self.locations: list[str] = []
        self.targets: list[str] = []
        self.groups: list[tuple[str, str]] = []
        self.named: list[ProbeExpectation | None] = []
        self.lanes: list[tuple[str, str, str]] = []
        self._location_numbers: dict[str, int] = {}
        self._target_numbers: dict[str, int] = {}
        self._group_numbers: dict[tuple[str, str], int] = {}
        self._lanes_of: dict[tuple[str, str], dict[str, int]] = {}  # by (probe, location), then by target
        self._groups_of: dict[str, list[int]] = {}
        self._group_of: list[int] = []
        self._location_of: list[int] = []
        self._target_of: list[int] = []
        self._refresh()

    def number(self, columns: CheckColumns) -> tuple[Rows, Added]:
        """Return the lane of each of n checks, shape (n,), and what was new.

        The first check of a target brings all its probes and locations that the config names: they are missed
        from then on.
        """
        groups, lanes = len(self.groups), len(self.lanes)
        try:
            rows = self._numbers_of(columns)
        except KeyError:
            self.add(list(zip(columns.target, columns.probe, columns.location, strict=True)))
            rows = self._numbers_of(columns)
        return rows, Added(range(groups, len(self.groups)), range(lanes, len(self.lanes)))

    def known(self, columns: CheckColumns) -> Rows | None:
        """Return the lane of each of n checks, shape (n,); None if one of them is new."""
        try:
            return self._numbers_of(columns)
        except KeyError:
            return None

    def _numbers_of(self, columns: CheckColumns) -> Rows:
        """Return the lane of each check; a KeyError if one is not there yet."""
        target, probe, location = columns.target, columns.probe, columns.location
        if location.count(location[0]) == len(target) == probe.count(probe[0]):  # nearly always: of one message
            numbers = self._lanes_of[probe[0], location[0]]
            return np.fromiter(map(numbers.__getitem__, target), np.intp, len(target))
        tables = map(self._lanes_of.__getitem__, zip(probe, location, strict=True))
        each = (table[name] for table, name in zip(tables, target, strict=True))
        return np.fromiter(each, np.intp, len(target))

    def _has_lane(self, key: tuple[str, str, str]) -> bool:
        target, probe, location = key
        return target in self._lanes_of.get((probe, location), ())

    def location(self, name: str) -> int:
        """Return the number of a location, a new one if need be."""
        number = self._location_numbers.get(name)
        if number is None:
            number = self._location_numbers[name] = len(self.locations)
            self.locations.append(name)
        return number

    def lanes_of(self, group: int) -> Rows:
        """Return the lanes of one group, ordered by location."""
        members = self.members
        return members.lanes[members.start[group] : members.start[group + 1]]

    def groups_of(self, target: str) -> Rows:
        """Return the groups of a target."""
        return np.array(self._groups_of[target], dtype=np.intp)

    def is_named(self, lane: int) -> bool:
        """Say whether the config says that this lane should report."""
        expectation = self.named[self._group_of[lane]]
        return expectation is not None and self.lanes[lane][2] in expectation.locations

    def names(self) -> dict[str, Any]:
        """Return all names in the order of their numbers, for a snapshot."""
        return {"locations": self.locations, "groups": self.groups, "lanes": self.lanes}

    def load(self, names: dict[str, Any]) -> None:
        """Take over the names of a snapshot into an empty registry.

        Raises:
            ValueError: If they do not fit together.
        """
        try:
            for location in names["locations"]:
                self.location(str(location))
            for target, probe in names["groups"]:
                self._add_group(str(target), str(probe))
            for target, probe, location in names["lanes"]:
                self._add_lane_row((str(target), str(probe), str(location)))
        except (KeyError, TypeError) as error:
            raise ValueError(f"snapshot: names do not fit together: {error!r}") from error
        self._refresh()

    def expected(self) -> Iterable[str]:
        """Return the targets that the config names, ordered by name, known or not."""
        return self._probes.keys()

    def missing(self, targets: Iterable[str]) -> Iterable[tuple[str, str, str]]:
        """Yield lanes that the config names for these targets and that are not there yet."""
        for target in targets:
            for probe, expectation in self._probes.get(target, ()):
                for location in expectation.locations:
                    if not self._has_lane((target, probe, location)):
                        yield target, probe, location

    def add(self, lanes: Sequence[tuple[str, str, str]]) -> None:
        """Add lanes that are not there yet."""
        for key in lanes:
            if not self._has_lane(key):
                self._add_lane(key)
        self._refresh()

    def _add_lane(self, key: tuple[str, str, str]) -> None:
        target, probe, _ = key
        if target not in self._target_numbers:
            for named, expectation in self._probes.get(target, ()):
                self._add_group(target, named)
                for location in sorted(expectation.locations):
                    self._add_lane_row((target, named, location))
        if (target, probe) not in self._group_numbers:
            self._add_group(target, probe)
        if not self._has_lane(key):
            self._add_lane_row(key)

    def _add_group(self, target: str, probe: str) -> None:
        if target not in self._target_numbers:
            self._target_numbers[target] = len(self.targets)
            self.targets.append(target)
        self._group_numbers[target, probe] = len(self.groups)
        self._groups_of.setdefault(target, []).append(len(self.groups))
        self.groups.append((target, probe))
        self._target_of.append(self._target_numbers[target])
        self.named.append(dict(self._probes.get(target, ())).get(probe))

    def _add_lane_row(self, key: tuple[str, str, str]) -> None:
        target, probe, location = key
        self._lanes_of.setdefault((probe, location), {})[target] = len(self.lanes)
        self.lanes.append(key)
        self._group_of.append(self._group_numbers[target, probe])
        self._location_of.append(self.location(location))

    def _refresh(self) -> None:
        self.group_of = np.array(self._group_of, dtype=np.intp)
        self.location_of = np.array(self._location_of, dtype=np.intp)
        self.target_of = np.array(self._target_of, dtype=np.intp)
        timeouts = (None if named is None else named.timeout_us for named in self.named)
        self.timeout_us = np.array([np.inf if each is None else each for each in timeouts], dtype=np.float64)
        rank = np.empty(len(self.locations), dtype=np.intp)
        rank[np.argsort(np.array(self.locations, dtype=str), kind="stable")] = np.arange(len(self.locations))
        lanes = np.lexsort((rank[self.location_of], self.group_of)).astype(np.intp)
        start = np.searchsorted(self.group_of[lanes], np.arange(len(self.groups) + 1)).astype(np.intp)
        self.members = Members(lanes, start)
