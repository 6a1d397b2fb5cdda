"""Checks through detection and incidents, with the checks' own time as the clock. No files: columns in, results out."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np

from forewarn.replay.input import part
from producers.contract import CheckColumns
from streams.contract import Deviation, Incident, TickSummary, Verdict
from streams.core.detect import Detector
from streams.core.incidents.incidents import Incidents
from streams.core.outputs import Outputs
from streams.policy import DAY_US, DetectPolicy, Expectations, IncidentPolicy

WHOLE_GAP_US: Final = 7 * DAY_US
"""A gap in the rows is gone through slot by slot for so long; of a longer one the rest is passed in one step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """How a replay judges; the defaults are those of a live run without a config."""

    detect: DetectPolicy = field(default_factory=DetectPolicy)
    incidents: IncidentPolicy = field(default_factory=IncidentPolicy)
    expectations: Expectations = field(default_factory=Expectations)


class Drive:
    """One run under way.

    Attributes:
        late: Checks that came after their tick was closed.
        redelivered: Checks that repeat another one.
    """

    def __init__(
        self,
        policies: Policies,
        *,
        last_us: int,
        deviated: Callable[[list[Deviation]], None],
        revised: Callable[[Incident], None],
        slots: int = 1,
        judged: Callable[[Verdict], None] | None = None,
        ticked: Callable[[Detector, int], None] | None = None,
    ) -> None:
        """Begin.

        Args:
            policies: How to judge.
            last_us: The last check's tick: nothing is said about later times.
            deviated: Gets the deviations.
            revised: Gets each revision of an incident.
            slots: How many slots of time are taken at once; more of them are quicker, and what comes out is the same.
            judged: Gets the verdicts.
            ticked: Is called after each step of time, with the detector, which it may look at, and the time.
        """
        self.late = self.redelivered = 0
        self._last_us = last_us
        self._deviated = deviated
        self._revised = revised
        self._judged, self._ticked = judged, ticked
        overrides = policies.expectations.detect.values()
        self._step_us = policies.detect.slot_us * slots
        self._patience_us = max(policy.max_lateness_us for policy in (policies.detect, *overrides))
        self._detector = Detector(policies.detect, policies.expectations, partition=0)
        self._incidents = Incidents(
            policies.incidents, policies.expectations, partitions=1, settle_ticks=policies.detect.settle_ticks
        )
        self._clock_us: int | None = None

    def take(self, columns: CheckColumns) -> None:
        """Take in checks, ordered by time."""
        steps = columns.scheduled_at_us // self._step_us
        starts = [0, *(np.flatnonzero(np.diff(steps)) + 1).tolist(), len(columns)]
        for start, stop in pairwise(starts):
            self._tick_through(int(steps[start]) * self._step_us)
            self._publish(self._detector.apply(part(columns, start, stop)))

    def finish(self) -> None:
        """Close what is open. Nothing is said about the time after the last check."""
        if self._clock_us is not None:
            # The watermark trails the clock by the longest lateness, and a tick waits for its own lateness.
            self._tick_through(self._last_us + 2 * self._patience_us + 2 * self._step_us)
        self._keep(self._incidents.finish())

    def _tick_through(self, at_us: int) -> None:
        """Say each slot boundary that has passed, as the owner of a partition does."""
        if self._clock_us is None:
            self._clock_us = at_us
        whole_us = self._clock_us + WHOLE_GAP_US
        while self._clock_us + self._step_us <= at_us:
            # By then all has been said about the gap; the slots before the next row matter again.
            beyond_us = at_us - self._patience_us - self._step_us
            if self._clock_us >= whole_us and beyond_us > self._clock_us:
                self._clock_us = beyond_us // self._step_us * self._step_us
            else:
                self._clock_us += self._step_us
            self._publish(self._detector.clock(self._clock_us))
            if self._ticked is not None:
                self._ticked(self._detector, self._clock_us)

    def _publish(self, outputs: Outputs) -> None:
        self.late += outputs.late
        self.redelivered += outputs.redelivered
        self._deviated([one for one in outputs.deviations if one.tick_us <= self._last_us])
        for message in outputs.verdicts:
            if isinstance(message, TickSummary):
                through_us = min(message.closed_through_us, self._last_us)
                self._keep(self._incidents.apply(msgspec.structs.replace(message, closed_through_us=through_us)))
            elif message.tick_us <= self._last_us:
                if self._judged is not None:
                    self._judged(message)
                self._keep(self._incidents.apply(message))

    def _keep(self, revisions: Iterable[Incident]) -> None:
        for incident in revisions:
            self._revised(incident)
