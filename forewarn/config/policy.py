"""The part of the config's shape that says how is judged: DetectPolicy and IncidentPolicy, durations instead of `_us`.

The defaults are the contracts' own (`streams.policy`), not repeated here; a test holds that no field is missing.
"""

from dataclasses import replace
from typing import Annotated, Any, Final, TypeVar

from pydantic import Field

from forewarn.config.probes import Section
from forewarn.config.text import duration_text
from forewarn.config.types import Duration, Interval
from streams.policy import DetectPolicy, IncidentPolicy

_DETECT: Final = DetectPolicy()
_INCIDENT: Final = IncidentPolicy()
_Policy = TypeVar("_Policy", DetectPolicy, IncidentPolicy)

_Count = Annotated[int, Field(ge=1, le=1_000_000)]
_Few = Annotated[int, Field(ge=1, le=1_000)]


def _duration(default_us: int) -> Any:
    """Return a field whose default is shown as a duration in the schema."""
    return Field(default=default_us, json_schema_extra={"default": duration_text(default_us)})


class TargetDetection(Section):
    """How the series of a target are judged; at the top, of all targets."""

    warm_up_checks: Annotated[int, Field(ge=1, le=10_000)] = _DETECT.warm_up_checks
    """A baseline says nothing before so many healthy checks. Each takes eight bytes of every series' memory."""
    baseline_half_life_checks: Annotated[float, Field(gt=0, le=1e6)] = _DETECT.baseline_half_life_checks
    """How quickly a baseline follows: after so many checks the older ones weigh half."""
    warn_score: Annotated[float, Field(gt=0, le=100)] = _DETECT.warn_score
    """Robust standard deviations from which a level counts as left."""
    warn_ticks: _Few = _DETECT.warn_ticks
    """So many ticks in a row before a series is flagged."""
    clear_score: Annotated[float, Field(ge=0, le=100)] = _DETECT.clear_score
    """Below it, for warn_ticks ticks, a flagged series is back. Less than warn_score."""
    min_latency_ratio: Annotated[float, Field(ge=1, le=1000)] = _DETECT.min_latency_ratio
    """A latency must also be this many times its baseline: a tight spread alone warns nobody."""
    rebaseline_checks: _Count = _DETECT.rebaseline_checks
    """After so many flagged checks in a row without a failure the new level is the norm."""
    failure_window_ticks: _Few = _DETECT.failure_window_ticks
    """Ticks that a failure ratio tells of, and of which it ends; at most 63."""
    expected_failure_ratio: Annotated[float, Field(gt=0, lt=1)] = _DETECT.expected_failure_ratio
    """The least ratio of failing checks that is normal; the higher, the longer a run of failures that pages."""
    horizon: Duration = _duration(_DETECT.horizon_us)
    """A forecast (disk, inodes) warns when less than this may be left."""
    certificate_horizon: Duration = _duration(_DETECT.certificate_horizon_us)
    """The same for the end of a certificate."""
    max_lateness: Duration = _duration(_DETECT.max_lateness_us)
    """A tick waits for late checks for two intervals, at most this long."""
    min_silence: Duration = _duration(_DETECT.min_silence_us)
    """A location is silent after two intervals without a check, at least this long."""
    stop_grace: Duration = _duration(_DETECT.stop_grace_us)
    """The same after a producer was stopped in order."""
    false_warnings_per_series_week: Annotated[float, Field(gt=0, le=100)] = _DETECT.false_warnings_per_series_week
    """How many false warnings a series may give in a week; the detectors' thresholds are calibrated to it."""
    settle_ticks: _Few = _DETECT.settle_ticks
    """Verdicts are published for so many ticks after a change; raised to the thresholds of `incidents` by itself."""


class Detection(TargetDetection):
    """How all targets are judged; a target's own `detection` overrides single keys."""

    slot: Interval = _duration(_DETECT.slot_us)
    """Width of the summaries in which ticks are closed. The same for all targets."""


class TargetIncidents(Section):
    """When incidents of a target open, escalate, resolve, and page; at the top, of all targets."""

    failure_ticks: _Few = _INCIDENT.failure_ticks
    """Failing ticks in a row that make an outage."""
    success_ticks: _Few = _INCIDENT.success_ticks
    """Healthy ticks in a row that resolve."""
    warning_ticks: _Few = _INCIDENT.warning_ticks
    """Ticks in a row with a reason that open an early warning (detectors have their own patience)."""
    partial_failure_ticks: _Few = _INCIDENT.partial_failure_ticks
    """Ticks in a row with failures in a minority of locations that open an early warning."""
    flap_ticks: _Few = _INCIDENT.flap_ticks
    """What opens within so many intervals after the last incident ended is flapping: it pages at once, and is resolved
    only when the target has been well for as long."""
    page_after: Duration = _duration(_INCIDENT.page_after_us)
    """An outage is told at once and pages when it has lasted so long (or five intervals, if that is less): a restart
    wakes nobody."""
    page_time_left: Duration = _duration(_INCIDENT.page_time_left_us)
    """An early warning pages when less than this may be left."""
    page_signals: Annotated[int, Field(ge=0, le=10)] = _INCIDENT.page_signals
    """An early warning pages when so many independent signals (latency, failures, metrics) agree; 0: never for that.
    Default: what `policy.false_pages_per_month` allows, which is 2 but in very large installations."""


class Incidents(TargetIncidents):
    """When incidents open, escalate, resolve, and page; a target's own `incidents` overrides single keys."""

    trouble_targets: _Few = _INCIDENT.trouble_targets
    """A location is in trouble when so many targets fail together from it ..."""
    trouble_addresses: _Few = _INCIDENT.trouble_addresses
    """... on at least so many addresses."""


class Budgets(Section):
    """How much noise the installation may make. The core divides it over everything that is watched."""

    false_warnings_per_week: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """False early warnings that the whole installation may give in a week, divided over its series (target, probe,
    location, metric). Default: `detection.false_warnings_per_series_week` for each series."""
    false_pages_per_month: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    """False pages that early warnings may cause in a month; says how many signals must agree before one pages."""


_DURATIONS: Final = frozenset(
    (
        "horizon",
        "certificate_horizon",
        "max_lateness",
        "min_silence",
        "stop_grace",
        "slot",
        "page_time_left",
        "page_after",
    )
)


def override(policy: _Policy, section: TargetDetection | TargetIncidents | None) -> _Policy:
    """Return `policy` with the keys that are written in `section`."""
    if section is None:
        return policy
    written = {f"{key}_us" if key in _DURATIONS else key: getattr(section, key) for key in section.model_fields_set}
    return replace(policy, **written)


def settled(policy: DetectPolicy, incidents: IncidentPolicy) -> DetectPolicy:
    """Return `policy` with settle_ticks raised to the thresholds that count on the ticks after a change."""
    needed = max(
        *(policy.settle_ticks, incidents.failure_ticks, incidents.success_ticks),
        *(incidents.warning_ticks, incidents.partial_failure_ticks),
    )
    return replace(policy, settle_ticks=needed)
