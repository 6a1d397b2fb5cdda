"""Why a target was or was not flagged at a time: its stored checks once more through the same detection.

The checks of the days before are replayed as `forewarn replay` does, so that baselines are as they were; in the window
that is shown each series is looked at after every slot. A replay begins with empty baselines at its first check, so
where a live run knew more than is stored, numbers may differ a little: what was really published is shown beside.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from forewarn.replay.drive import Drive, Policies
from producers.contract import OUTCOME_FAILURE, OUTCOME_SUCCESS, CheckColumns
from streams.contract import Deviation, Incident, Verdict
from streams.core.detect import Detector
from streams.core.series import SeriesView

Key = tuple[str, str | None, str]
"""Probe, location, metric."""


@dataclass(slots=True)
class SeriesStory:
    """One series in the window.

    Attributes:
        seen: What was measured, (tick, value), in the metric's unit; failures: ticks of failed checks.
        views: How it was judged, (time, view).
    """

    seen: list[tuple[int, float]] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    views: list[tuple[int, SeriesView]] = field(default_factory=list)

    def at(self, at_us: int) -> SeriesView | None:
        """Return how it was judged at a time."""
        before = [view for when_us, view in self.views if when_us <= at_us]
        return before[-1] if before else None


@dataclass(slots=True, kw_only=True)
class Story:
    """What a replay of one target shows.

    Attributes:
        checks: How many were replayed, from `since_us` on.
        deviations, verdicts, incidents: Of the window.
        verdict: The last one at or before the time that is asked for.
    """

    target: str
    at_us: int
    from_us: int
    until_us: int
    checks: int = 0
    since_us: int | None = None
    series: dict[Key, SeriesStory] = field(default_factory=lambda: defaultdict(SeriesStory))
    deviations: list[Deviation] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    verdict: Verdict | None = None
    incidents: dict[str, Incident] = field(default_factory=dict)

    def look(self, detector: Detector, at_us: int) -> None:
        """Note where each series is."""
        if self.from_us <= at_us <= self.until_us:
            for view in detector.series(at_us):
                if view.target == self.target:
                    self.series[view.probe, view.location, view.metric].views.append((at_us, view))

    def add_deviations(self, deviations: list[Deviation]) -> None:
        """Keep those of the window."""
        self.deviations += [one for one in deviations if self.from_us <= one.tick_us <= self.until_us]

    def add_incident(self, incident: Incident) -> None:
        """Keep the newest revision of each that was open in the window."""
        if incident.resolved_at_us is None or incident.resolved_at_us >= self.from_us:
            self.incidents[incident.incident_id] = incident
        else:
            self.incidents.pop(incident.incident_id, None)

    def add_verdict(self, verdict: Verdict) -> None:
        """Keep those of the window, and the last one before the time that is asked for."""
        if verdict.target != self.target:
            return
        if verdict.tick_us <= self.at_us:
            self.verdict = verdict
        if self.from_us <= verdict.tick_us <= self.until_us:
            self.verdicts.append(verdict)

    def measure(self, columns: CheckColumns) -> None:
        """Note what was measured in the window."""
        self.checks += len(columns)
        if self.since_us is None:
            self.since_us = int(columns.scheduled_at_us[0])
        for row in np.flatnonzero(columns.scheduled_at_us >= self.from_us).tolist():
            tick_us = int(columns.scheduled_at_us[row])
            probe, location = columns.probe[row], columns.location[row]
            latency = self.series[probe, location, "latency"]
            if columns.outcome[row] == OUTCOME_FAILURE:
                latency.failures.append(tick_us)
            elif columns.outcome[row] == OUTCOME_SUCCESS:
                latency.seen.append((tick_us, float(columns.duration_us[row])))
            for metric, values in columns.metrics.items():
                if np.isfinite(values[row]):
                    self.series[probe, location, metric].seen.append((tick_us, float(values[row])))


def tell(
    target: str, pieces: Iterable[CheckColumns], policies: Policies, *, at_us: int, from_us: int, until_us: int
) -> Story:
    """Replay the checks of one target.

    Args:
        target: Whose they are.
        pieces: By time, from well before `from_us` on.
        policies: How to judge.
        at_us: The time that is asked for.
        from_us: Begin of the window that is shown.
        until_us: Its end.
    """
    story = Story(target=target, at_us=at_us, from_us=from_us, until_us=until_us)
    drive = Drive(
        policies,
        last_us=until_us,
        deviated=story.add_deviations,
        revised=story.add_incident,
        judged=story.add_verdict,
        ticked=story.look,
    )
    for columns in pieces:
        story.measure(columns)
        drive.take(columns)
    drive.finish()
    return story
