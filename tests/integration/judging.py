"""The proof: the pure core, run over the stored checks, comes to the verdicts and incidents that are stored.

Nothing of the live run is used but the config and the rows of `checks`: no log, no offsets, no clock events of the
live workers. The rows' own time is the clock, as in `forewarn replay`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from forewarn.config.config import Config
from producers.contract import OUTCOME_CODES, PHASES, CheckColumns
from streams.contract import Deviation, Incident, TickSummary, Verdict
from streams.core.detect import Detector
from streams.core.incidents.incidents import Incidents
from streams.core.outputs import Outputs
from tests.integration.reading import Row

STEPS: Final = ("kind", "severity", "page", "began_at", "opened_at", "outage_at", "resolved_at")
"""What of an incident follows from the checks alone. Not its revision: a worker that died publishes some again."""

TAIL_US: Final = 60_000_000
"""The clock goes on for so long after the last row, so that every tick is closed."""


@dataclass(kw_only=True)
class Judged:
    """What the core says.

    Attributes:
        deviations: By id.
        verdicts: By id.
        incidents: The last revision by incident id.
    """

    deviations: dict[str, Deviation] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    incidents: dict[str, Incident] = field(default_factory=dict)

    def changes(self) -> dict[str, tuple[Any, ...]]:
        """Return each change of a verdict by its id, in the form of `stored_changes`."""
        return {
            one.id: (one.target, one.tick_us, one.verdict, one.previous, tuple(one.failed))
            for one in self.verdicts.values()
            if one.changed
        }

    def steps(self) -> dict[str, tuple[Any, ...]]:
        """Return each incident in its last state by its id, in the form of `stored_steps`."""
        names = [f"{name}_us" if name.endswith("_at") else name for name in STEPS]
        return {
            one.incident_id: (one.target or one.location, *(getattr(one, name) for name in names))
            for one in self.incidents.values()
        }


def stored_changes(rows: Iterable[Row]) -> dict[str, tuple[Any, ...]]:
    """Return each change of a verdict by its id, from rows of `verdicts`.

    The ticks without a change that are published for a while after each change are left out: a worker that died
    publishes them again from its last state, the same ones or fewer.
    """
    return {
        row["id"]: (row["target"], row["tick_at"], row["verdict"], row["previous"], tuple(row["failed"]))
        for row in rows
        if row["changed"]
    }


def stored_steps(rows: Iterable[Row]) -> dict[str, tuple[Any, ...]]:
    """Return each incident in its last state by its id, from rows of `incidents`."""
    return {row["incident_id"]: (row["target"] or row["location"], *(row[name] for name in STEPS)) for row in rows}


def judge(config: Config, rows: Sequence[Row]) -> Judged:
    """Run the core over rows of `checks`.

    Args:
        config: Of the live run.
        rows: In any order.
    """
    expectations = config.expectations()
    detector = Detector(config.detect_policy, expectations, partition=0)
    incidents = Incidents(
        config.incident_policy, expectations, partitions=1, settle_ticks=config.detect_policy.settle_ticks
    )
    judged = Judged()

    def take(outputs: Outputs) -> None:
        judged.deviations.update((one.id, one) for one in outputs.deviations)
        for message in outputs.verdicts:
            if not isinstance(message, TickSummary):
                judged.verdicts[message.id] = message
            for incident in incidents.apply(message):
                judged.incidents[incident.incident_id] = incident

    slot_us = config.detect_policy.slot_us
    by_slot: dict[int, list[Row]] = {}
    for row in rows:
        by_slot.setdefault(row["scheduled_at"] // slot_us * slot_us, []).append(row)
    for at_us in range(min(by_slot), max(by_slot) + TAIL_US, slot_us):
        take(detector.clock(at_us))
        if at_us in by_slot:
            take(detector.apply(_columns(by_slot[at_us])))
    return judged


def _columns(rows: Sequence[Row]) -> CheckColumns:
    def numbers(name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.array([np.nan if row[name] is None else row[name] for row in rows], dtype=np.float64)

    return CheckColumns(
        target=[row["target"] for row in rows],
        probe=[row["probe"] for row in rows],
        kind=[row["kind"] for row in rows],
        location=[row["location"] for row in rows],
        scheduled_at_us=np.array([row["scheduled_at"] for row in rows], dtype=np.int64),
        started_at_us=np.array([row["started_at"] for row in rows], dtype=np.int64),
        duration_us=numbers("duration_us"),
        outcome=np.array([OUTCOME_CODES[row["outcome"]] for row in rows], dtype=np.uint8),
        reason=[row["reason"] for row in rows],
        address=[row["address"] for row in rows],
        http_status=[row["http_status"] for row in rows],
        phases={phase: numbers(f"phase_{phase}_us") for phase in PHASES},
        metrics=_metrics([row["metrics"] for row in rows]),
        detail=[row["detail"] for row in rows],
        disturbed=np.array([row["disturbed"] for row in rows], dtype=np.bool_),
    )


def _metrics(readings: Sequence[Mapping[str, float]]) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    names = sorted({name for reading in readings for name in reading})
    return {name: np.array([reading.get(name, np.nan) for reading in readings], dtype=np.float64) for name in names}
