"""Systems under test: the checks of an installation in, warnings out.

`forewarn` is the core, driven by the code that `forewarn replay` uses, with its defaults. The others are the rules
that people run today. All judge the same checks and are scored alike; a warning's time is the tick at which it is
raised.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.detection.noise import DAY_US, SECOND_US, Floats, Ints
from benchmarks.detection.render import ABSENT, REASONS, STATUS, TIMEOUT_US, Bools, Series
from benchmarks.detection.scenario import Scenario
from forewarn.replay.drive import Drive, Policies
from producers.contract import OUTCOME_FAILURE, OUTCOME_SUCCESS, PHASES, CheckColumns
from streams.contract import Incident
from streams.core.detect import Detector
from streams.policy import Expectations, ProbeExpectation

PIECE_US: Final = 6 * 3600 * SECOND_US
SLOTS: Final = 360
"""An hour of checks is taken at once: what comes out is the same as slot by slot, and comes sooner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """What a system said.

    Attributes:
        target: None: of a location, or of the installation.
        opened_at_us: When it was first said.
        warned_at_us: When it was said as an early warning; None: it never was one.
        page_at_us: When it first woke somebody.
        outage_at_us: When it was called an outage.
        resolved_at_us: When it was taken back; None: at the end it stood.
        kind: What it was at last.
        explained: Another target's incident explains this one: it is told with that, and is no message of its own.
        why: The detectors or rules that spoke, for the tables.
    """

    target: str | None
    location: str | None
    opened_at_us: int
    warned_at_us: int | None
    page_at_us: int | None
    outage_at_us: int | None
    resolved_at_us: int | None
    kind: str
    why: str
    cause: str = ""
    explained: bool = False


System = Callable[[Scenario], list[Alarm]]


def columns_of(scenario: Scenario, start_us: int, stop_us: int) -> CheckColumns | None:
    """Return the checks of all series from `start_us` to before `stop_us`, by time; None if there are none."""
    parts = [_Part.of(series, start_us, stop_us) for series in scenario.series]
    parts = [part for part in parts if part.tick_us.size]
    if not parts:
        return None
    tick_us = np.concatenate([part.tick_us for part in parts])
    order = np.argsort(tick_us, kind="stable")

    def texts(name: str) -> list[str]:
        values = np.concatenate([np.broadcast_to(getattr(part, name), part.tick_us.shape) for part in parts])
        found: list[str] = values[order].tolist()
        return found

    def floats(given: list[Floats | None]) -> Floats:
        filled = [np.full(part.tick_us.size, np.nan) if v is None else v for v, part in zip(given, parts, strict=True)]
        return np.concatenate(filled)[order].astype(np.float64)

    probe = texts("probe")
    reason = np.concatenate([part.reason for part in parts])[order]
    names = np.array([*REASONS, None], dtype=object)
    codes = np.array([STATUS if name == "http_status" else None for name in REASONS] + [None], dtype=object)
    metrics = sorted({metric for part in parts for metric in part.metrics})
    scheduled_us = tick_us[order]
    return CheckColumns(
        target=texts("target"),
        probe=probe,
        kind=probe,
        location=texts("location"),
        scheduled_at_us=scheduled_us,
        started_at_us=scheduled_us,
        duration_us=floats([part.duration_us for part in parts]),
        outcome=np.concatenate([part.outcome for part in parts])[order],
        reason=names[reason].tolist(),
        address=list(texts("address")),
        http_status=codes[reason].tolist(),
        phases={phase: floats([part.phases.get(phase) for part in parts]) for phase in PHASES},
        metrics={metric: floats([part.metrics.get(metric) for part in parts]) for metric in metrics},
        detail=[None] * scheduled_us.size,
        disturbed=np.zeros(scheduled_us.size, dtype=np.bool_),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Rows of one series, flat; texts are objects of numpy."""

    target: np.ndarray
    probe: np.ndarray
    address: np.ndarray
    location: np.ndarray
    tick_us: Ints
    duration_us: Floats
    outcome: np.ndarray
    reason: np.ndarray
    phases: Mapping[str, Floats]
    metrics: Mapping[str, Floats]

    @classmethod
    def of(cls, series: Series, start_us: int, stop_us: int) -> "_Part":
        start, stop = np.searchsorted(series.tick_us, (start_us, stop_us))
        there = series.outcome[start:stop] != ABSENT
        row, column = np.nonzero(there)
        return cls(
            target=np.array(series.target, dtype=object),
            probe=np.array(series.probe, dtype=object),
            address=np.array(series.address, dtype=object),
            location=np.array(series.locations, dtype=object)[column],
            tick_us=series.tick_us[start:stop][row],
            duration_us=series.duration_us[start:stop][there],
            outcome=series.outcome[start:stop][there],
            reason=series.reason[start:stop][there],
            phases={phase: values[start:stop][there] for phase, values in series.phases.items()},
            metrics={metric: values[start:stop][row] for metric, values in series.metrics.items()},
        )


def forewarn(scenario: Scenario) -> list[Alarm]:
    """The core with its defaults, as `forewarn replay` runs it without a config."""
    return _core(scenario, Expectations())


def configured(scenario: Scenario, ticked: Callable[[Detector, int], None] | None = None) -> list[Alarm]:
    """The core with its defaults, as it runs live: intervals, locations and timeouts are known from the config.

    Args:
        scenario: The installation.
        ticked: Is called hour by hour with the detector, which it may look at, and the time.
    """
    probes = {
        (series.target, series.probe): ProbeExpectation(
            interval_us=series.interval_us, locations=series.locations, timeout_us=int(TIMEOUT_US)
        )
        for series in scenario.series
    }
    return _core(scenario, Expectations(probes=probes), ticked)


def _core(
    scenario: Scenario, expectations: Expectations, ticked: Callable[[Detector, int], None] | None = None
) -> list[Alarm]:
    said: dict[str, list[Incident]] = {}
    drive = Drive(
        Policies(expectations=expectations),
        last_us=scenario.end_us,
        deviated=lambda _deviations: None,
        revised=lambda incident: said.setdefault(incident.incident_id, []).append(incident),
        slots=SLOTS,
        ticked=ticked,
    )
    for start_us in range(scenario.start_us, scenario.end_us, PIECE_US):
        columns = columns_of(scenario, start_us, min(start_us + PIECE_US, scenario.end_us))
        if columns is not None:
            drive.take(columns)
    drive.finish()
    return [_warning(revisions) for revisions in said.values()]


def _warning(revisions: list[Incident]) -> Alarm:
    # What is explained by another target's incident is told nobody until it stands for itself.
    told = [revision for revision in revisions if revision.caused_by is None]
    first, last = (told or revisions)[0], revisions[-1]
    paged = [revision.updated_at_us for revision in told if revision.page]
    return Alarm(
        target=last.target,
        location=last.location,
        opened_at_us=first.updated_at_us,
        warned_at_us=first.updated_at_us if first.kind == "early_warning" else None,
        page_at_us=paged[0] if paged else None,
        outage_at_us=last.outage_at_us,
        resolved_at_us=last.resolved_at_us,
        kind=last.kind,
        why="+".join(sorted({reason.kind for reason in first.reasons})) or last.kind,
        cause=first.cause,
        explained=not told,
    )


def three_failures(scenario: Scenario) -> list[Alarm]:
    """Three failures in a row at any location page, until a check succeeds there."""
    return [
        warning
        for series in _http(scenario)
        for column in range(len(series.locations))
        for warning in _alerts(
            series,
            _in_row(series.outcome[:, column] == OUTCOME_FAILURE, 3),
            page=True,
            why="three failures",
            outage=True,
        )
    ]


def static_threshold(scenario: Scenario) -> list[Alarm]:
    """Slower for five minutes than twice the first day's median or three seconds warns."""
    return _by_latency(scenario, _static)


def rolling_z(scenario: Scenario) -> list[Alarm]:
    """A recording rule as in Prometheus: the mean of five minutes is three deviations off the mean of a day."""
    return _by_latency(scenario, _rolling)


def _by_latency(scenario: Scenario, rule: Callable[[Series], Bools]) -> list[Alarm]:
    return [
        warning for series in _http(scenario) for warning in _alerts(series, rule(series), page=False, why="latency")
    ]


def _static(series: Series) -> Bools:
    smooth = _mean(_usual(series), series, 300)
    first_day = smooth[: max(int(DAY_US // series.interval_us), 2)]
    # What was red on its first day would have been set higher.
    limit = max(min(2.0 * float(np.nanmedian(first_day)), 3e6), 1.2 * float(np.nanmax(first_day)))
    return _in_row(smooth > limit, max(int(300 * SECOND_US // series.interval_us), 1))


def _rolling(series: Series) -> Bools:
    latency = _usual(series)
    smooth = _mean(latency, series, 300)
    day = _mean(latency, series, 86_400)
    deviation = np.sqrt(np.maximum(_mean(latency**2, series, 86_400) - day**2, 1.0))
    high = (smooth - day) / deviation > 3.0
    high[: int(6 * 3600 * SECOND_US // series.interval_us)] = False
    return _in_row(high, max(int(120 * SECOND_US // series.interval_us), 1))


def _usual(series: Series) -> Floats:
    """Return the mean latency of successful checks over locations, shape (n,); NaN where there is none."""
    good = series.outcome == OUTCOME_SUCCESS
    total = np.where(good, series.duration_us, 0.0).sum(axis=1, dtype=np.float64)
    return np.where(good.any(axis=1), total / np.maximum(good.sum(axis=1), 1), np.nan)


def _mean(values: Floats, series: Series, seconds: int) -> Floats:
    """Return the trailing mean, NaN left out."""
    width = max(int(seconds * SECOND_US // series.interval_us), 1)
    there = np.isfinite(values)
    total = np.cumsum(np.where(there, values, 0.0))
    count = np.cumsum(there).astype(np.float64)
    total[width:] -= total[:-width].copy()
    count[width:] -= count[:-width].copy()
    return np.where(count > 0, total / np.maximum(count, 1.0), np.nan)


def _in_row(bad: Bools, times: int) -> Bools:
    """Return where the last `times` were bad."""
    count = np.cumsum(bad, dtype=np.int64)
    count[times:] -= count[:-times].copy()
    return np.asarray(count >= times)


def _alerts(series: Series, high: Bools, *, page: bool, why: str, outage: bool = False) -> Iterator[Alarm]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], high, [False]]).astype(np.int8)))
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        at_us = int(series.tick_us[begin])
        yield Alarm(
            target=series.target,
            location=None,
            opened_at_us=at_us,
            warned_at_us=None if outage else at_us,
            page_at_us=at_us if page else None,
            outage_at_us=at_us if outage else None,
            resolved_at_us=int(series.tick_us[end]) if end < series.tick_us.size else None,
            kind="outage" if outage else "early_warning",
            why=why,
        )


def _http(scenario: Scenario) -> Iterator[Series]:
    return (series for series in scenario.series if series.probe == "http")


USUAL: Final = ("forewarn", "three failures", "static threshold", "rolling z")
"""What is run unless it is said otherwise."""

SYSTEMS: Final[Mapping[str, System]] = {
    "forewarn": forewarn,
    "configured": configured,
    "three failures": three_failures,
    "static threshold": static_threshold,
    "rolling z": rolling_z,
}
