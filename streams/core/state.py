"""The whole state of one partition: names, arrays, waiting checks, targets. Saved and loaded as one."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec
import numpy as np

from streams.core.failures.failures import Failures
from streams.core.failures.flaps import Flaps
from streams.core.forecasts.forecast import Forecasts, kind_of
from streams.core.latency.latency import Latency
from streams.core.metrics.metrics import Metrics
from streams.core.metrics.readings import Readings
from streams.core.pending import READING, ROW, Structured, Texts
from streams.core.policies import Policies
from streams.core.registry import Added, Registry
from streams.core.snapshot import Frozen, freeze, unpack
from streams.core.states import GroupStates, LaneStates
from streams.core.summaries import Summaries
from streams.core.table import Rows
from streams.core.ticks import Ticks
from streams.core.verdict import TargetState, Verdicts
from streams.core.waiting import Waiting
from streams.core.watermark import FOREVER, NEVER, LocationTable
from streams.policy import DetectPolicy, Expectations

CODE: Final = "detect-19"
"""Version of the state's form: a snapshot of another one is not loaded."""


class State:
    """Everything that a partition remembers.

    Attributes:
        waiting: Checks whose tick is open; readings: their metrics.
        details: What failed checks among these say of themselves, by uid.
        series: The number of each (lane, metric) that is forecast.
        metric_readings: The metrics whose level is judged, with numbers of their own.
        next_uid: Of the next check.
        clock_us, watermark_us: NEVER before the first.
        logged_us: The log's newest timestamp.
        behind_us: How far the clock is behind, because the log stood still.
    """

    def __init__(self, policy: DetectPolicy, expectations: Expectations, partition: int) -> None:
        self.policy = policy
        self.partition = partition
        self.policies = Policies(policy, expectations.detect)
        self.registry = Registry(expectations)
        self.locations = LocationTable()
        self.ticks = Ticks()
        self.groups = GroupStates()
        self.lanes = LaneStates()
        self.latency = Latency(self.policies)
        self.failures = Failures(self.policies)
        self.flaps = Flaps(self.policies)
        self.forecasts = Forecasts(self.policies)
        self.metrics_judged = Metrics(self.policies)
        self.metric_readings = Readings(self.metrics_judged.add)
        self.verdicts = Verdicts()
        self.summaries = Summaries(policy.slot_us, partition)
        self.reasons = Texts()
        self.addresses = Texts()
        self.series: dict[tuple[int, str], int] = {}
        self.metrics: list[str] = []
        self.waiting = Waiting()
        self.readings: Structured = np.zeros(0, dtype=READING)
        self.details: dict[int, str] = {}
        self.next_uid = 0
        self.clock_us = NEVER
        self.watermark_us = NEVER
        # How far time had come when the log began anew or stood still, while locations deliver again; FOREVER before
        # any clock event.
        self.gathers_since_us = NEVER
        self.logged_us = NEVER
        self.behind_us = 0

    def add(self, added: Added, born_us: int) -> None:
        """Make room for new groups and lanes.

        Args:
            added: Their numbers.
            born_us: When they were heard of.
        """
        registry = self.registry
        for group in added.groups:
            policy = self.policies.add(registry.groups[group][0])
            self.ticks.add_group(group, policy, registry.named[group])
        first = added.groups.start
        self.groups.grow(len(registry.groups))
        self.groups.born_us[first : len(registry.groups)] = born_us
        self.failures.groups.grow(len(registry.groups))
        self.flaps.table.grow(len(registry.groups))
        for table in (self.lanes, self.failures.lanes):
            table.grow(len(registry.lanes))
        self.latency.grow(len(registry.lanes), len(registry.groups))
        self.locations.grow(len(registry.locations))
        self.waiting.grow(len(registry.groups))
        for lane in added.lanes:
            group = int(registry.group_of[lane])
            self.ticks.add_lane(lane, group, expected=registry.is_named(lane))

    def expect(self, targets: Iterable[str], at_us: int) -> None:
        """Miss from `at_us` on what the config names of these targets and nobody has heard of yet."""
        self._add_missing(targets, at_us)
        born_us = self.groups.born_us[: self.groups.rows]
        born_us[born_us == NEVER] = at_us

    def await_all(self, targets: Iterable[str]) -> None:
        """Await every location that the config names for these targets; nobody has heard of anything yet."""
        self._add_missing(targets, NEVER)
        self.locations.awaited[: self.locations.rows] = True

    def series_of(self, lanes: Rows, metric: str) -> Rows:
        """Return the number of each (lane, metric), new ones if need be. Shape (n,)."""
        kind = kind_of(metric)
        assert kind is not None
        for lane in lanes.tolist():
            if (lane, metric) not in self.series:
                number = self.series[lane, metric] = len(self.metrics)
                self.metrics.append(metric)
                self.forecasts.add(number, lane, kind)
        return np.array([self.series[lane, metric] for lane in lanes.tolist()], dtype=np.intp)

    def active_forecasts(self, group: int) -> list[int]:
        """Return the series of a group whose forecast warns."""
        mine = set(self.registry.lanes_of(group).tolist())
        active = np.flatnonzero(self.forecasts.table.active[: len(self.metrics)])
        return [series for series in active.tolist() if int(self.forecasts.table.lane[series]) in mine]

    def freeze(self) -> Frozen:
        """Return everything but the config, as it is now."""
        meta = {
            "code": CODE,
            "names": self.registry.names(),
            "reasons": self.reasons.known,
            "addresses": self.addresses.known,
            "metrics": self.metrics,
            "metric_names": self.metric_readings.names,
            "numbers": [
                self.next_uid,
                self.clock_us,
                self.watermark_us,
                self.gathers_since_us,
                self.logged_us,
                self.behind_us,
                self.summaries.next_us,
                int(self.summaries.told),
                self.summaries.whole_from_us,
            ],
            "details": list(self.details.items()),
            "counts": [
                [slot_us, location, *both]
                for slot_us, counts in self.summaries.counts.items()
                for location, both in counts.items()
            ],
            "targets": self.verdicts.targets,
        }
        arrays = {
            **self.locations.arrays("location"),
            **self.ticks.groups.arrays("tick_group"),
            **self.ticks.lanes.arrays("tick_lane"),
            **self.groups.arrays("group"),
            **self.lanes.arrays("lane"),
            **self.latency.arrays(),
            **self.failures.groups.arrays("failure_group"),
            **self.failures.lanes.arrays("failure_lane"),
            **self.flaps.table.arrays("flap"),
            **self.forecasts.arrays(),
            **self.metrics_judged.arrays(),
            "rows": self.waiting.all().view(np.uint8),
            "readings": self.readings.view(np.uint8),
            "metric_readings": self.metric_readings.waiting.view(np.uint8),
        }
        return freeze(meta, arrays)

    def load(self, payload: bytes) -> None:
        """Take over a snapshot into an empty state.

        Raises:
            ValueError: If it is damaged or of another form.
        """
        meta, arrays = unpack(payload)
        if meta.get("code") != CODE:
            raise ValueError(f"snapshot: its form is {meta.get('code')!r}, not {CODE!r}")
        try:
            self._load(meta, arrays)
        except (KeyError, IndexError, TypeError, msgspec.ValidationError) as error:
            raise ValueError(f"snapshot: {error!r}") from error

    def _load(self, meta: dict[str, Any], arrays: dict[str, Any]) -> None:
        registry = self.registry
        registry.load(meta["names"])
        self.add(Added(range(len(registry.groups)), range(len(registry.lanes))), NEVER)
        groups, lanes = len(registry.groups), len(registry.lanes)
        self.locations.load("location", arrays, len(registry.locations))
        self.ticks.groups.load("tick_group", arrays, groups)
        self.ticks.lanes.load("tick_lane", arrays, lanes)
        self.groups.load("group", arrays, groups)
        self.lanes.load("lane", arrays, lanes)
        self.latency.load(arrays, lanes, groups)
        self.failures.groups.load("failure_group", arrays, groups)
        self.failures.lanes.load("failure_lane", arrays, lanes)
        self.flaps.table.load("flap", arrays, groups)
        self.metrics = [str(metric) for metric in meta["metrics"]]
        self.forecasts.load(arrays, len(self.metrics))
        self.metric_readings.load(meta["metric_names"], arrays["metric_readings"])
        self.metrics_judged.load(arrays, len(self.metric_readings.names))
        owners = self.forecasts.table.lane[: len(self.metrics)].tolist()
        self.series = {(lane, metric): n for n, (lane, metric) in enumerate(zip(owners, self.metrics, strict=True))}
        self.reasons, self.addresses = Texts(meta["reasons"]), Texts(meta["addresses"])
        self.waiting.put(arrays["rows"].view(ROW))
        self.readings = arrays["readings"].view(READING)
        self.next_uid, self.clock_us, self.watermark_us, *others = meta["numbers"]
        self.gathers_since_us, self.logged_us, self.behind_us, *of_summaries = others
        next_us, told, whole_from_us = of_summaries
        self.summaries.next_us, self.summaries.told, self.summaries.whole_from_us = next_us, bool(told), whole_from_us
        self.details = dict(meta["details"])
        for slot_us, location, reported, failed in meta["counts"]:
            self.summaries.counts.setdefault(slot_us, {})[location] = (reported, failed)
        self.verdicts.load(msgspec.convert(meta["targets"], dict[str, TargetState]))
        self._reconfigure()

    def _reconfigure(self) -> None:
        """Let the config that is in force now rule over what the snapshot was taken under."""
        registry, ticks = self.registry, self.ticks
        for group, expectation in enumerate(registry.named):
            was_named, interval_us = bool(ticks.groups.named[group]), int(ticks.groups.interval_us[group])
            ticks.configure(group, self.policies.of(group), expectation)
            if was_named != bool(ticks.groups.named[group]) or interval_us != ticks.groups.interval_us[group]:
                ticks.groups.due_us[group] = min(int(ticks.groups.due_us[group]), self.watermark_us)  # look again
            self._recount(group, was_named=was_named)
        # Missed from the next clock event on: how long nobody was here to hear of them says nothing.
        self._add_missing(registry.targets, NEVER)

    def _add_missing(self, targets: Iterable[str], born_us: int) -> None:
        registry = self.registry
        groups, lanes = len(registry.groups), len(registry.lanes)
        missing = list(registry.missing(targets))
        if missing:
            registry.add(missing)
            self.add(Added(range(groups, len(registry.groups)), range(lanes, len(registry.lanes))), born_us)

    def _recount(self, group: int, *, was_named: bool) -> None:
        """Count again which lanes a group waits for: what the config names anew at once, what it dropped no more."""
        registry, ticks = self.registry, self.ticks
        mine = registry.lanes_of(group)
        active_us, left_us, expected = ticks.lanes.active_us, ticks.lanes.left_us, ticks.lanes.expected
        named = registry.named[group] is not None
        for lane in mine.tolist():
            is_named, was_expected = registry.is_named(lane), bool(expected[lane])
            if not named or (is_named and not was_expected):
                active_us[lane] = NEVER
            elif not is_named and (was_expected or not was_named):
                active_us[lane], left_us[lane] = FOREVER, ticks.groups.closed_us[group]
            expected[lane] = is_named
        ticks.groups.counted_on[group] = int((active_us[mine] == NEVER).sum())
        waiting = active_us[mine]
        ticks.groups.activating[group] = bool(((waiting > NEVER) & (waiting < FOREVER)).any())
