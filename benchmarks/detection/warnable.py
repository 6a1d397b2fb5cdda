"""Whether a fault could be seen before its outage: measured against a clean twin made with the same draws.

The rule (printed with the results): a fault is warnable if, in a window of WIDTHS_MIN minutes that lies between its
onset and AHEAD_US (and AHEAD_TICKS ticks) before its outage, one statistic of the faulty target exceeds the largest
value that its clean twin shows in any window of that width over the whole time, and the twin's value in the same
window by at least SPREADS robust spreads of such windows. The statistics: the median and the 90th percentile of the
latency of successful checks over all locations, the median of the time for dns and connect, and the number of failing
checks, which must be LEAST_FAILURES more than the twin's; of a reading that runs out (free disk, days of a certificate)
that it lies clearly (MARGINS) under the twin's least and its own before the onset. No knowledge of the fault's shape
is used, and no statistic that a detector could not take. Windows in which the installation has trouble of its own
(a location's network, a gap, a wrong clock) count on neither side.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.detection.noise import SECOND_US, Floats
from benchmarks.detection.render import Series
from producers.contract import OUTCOME_FAILURE, OUTCOME_SUCCESS

WIDTHS_MIN: Final = (10, 60, 360)
AHEAD_US: Final = 300 * SECOND_US
AHEAD_TICKS: Final = 3
SPREADS: Final = 3.0
LEAST_FAILURES: Final = 3
OUTAGE_TICKS: Final = 3
MARGINS: Final = {"disk_free_ratio": 0.01, "tls_days_left": 0.25}

RULE: Final = (
    f"warnable: in a window of {', '.join(map(str, WIDTHS_MIN))} minutes between the onset and 5 minutes (and "
    f"{AHEAD_TICKS} ticks) before the outage, the median or 90th percentile of latency, the median time for dns or "
    "connect, or the number of failing checks exceeds all that the clean twin, made of the same draws, shows in "
    f"windows of that width at any time, and what it shows in the same window by {SPREADS:.0f} robust spreads "
    f"(failures: by {LEAST_FAILURES}); or a reading that runs out lies clearly under the twin's least. "
    f"The outage begins with the first of {OUTAGE_TICKS} ticks in a row that fail at a majority of locations."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visible:
    """What showed a fault first.

    Attributes:
        at_us: The end of the first window in which it was seen.
    """

    statistic: str
    at_us: int


def outage_start(faulty: Series, twin: Series, onset_us: int) -> int | None:
    """Return the first failing tick of the outage: of OUTAGE_TICKS in a row, at or after the onset.

    Where the twin fails too it is not the fault that fails. An outage that nobody sees (a gap in the checks) is none.
    """
    failing = faulty.failing() & ~twin.failing()
    run = failing.copy()
    for back in range(1, OUTAGE_TICKS):
        run[:-back] &= failing[back:]
        run[-back:] = False
    places = np.flatnonzero(run & (faulty.tick_us >= onset_us))
    return int(faulty.tick_us[places[0]]) if places.size else None


def visible(
    faulty: Sequence[Series],
    twin: Sequence[Series],
    onset_us: int,
    outage_us: int,
    excused: Sequence[tuple[int, int]],
) -> Visible | None:
    """Return what showed the fault in time, None if nothing did.

    Args:
        faulty: The series of the target.
        twin: The same without the fault.
        excused: When the installation had trouble of its own: windows that touch such a time are not looked at, be
            it the twin's or the faulty target's.
    """
    found: list[Visible] = []
    ahead_us = max(AHEAD_US, AHEAD_TICKS * faulty[0].interval_us)
    until_us = outage_us - ahead_us
    for width_min in WIDTHS_MIN:
        width = max(width_min * 60 * SECOND_US // faulty[0].interval_us, 1)
        # Windows are counted back from the latest that is in time.
        stop = int(np.searchsorted(faulty[0].tick_us, until_us))
        phase = stop % width
        for (name, seen, at_us), (_name, usual, _at_us) in zip(
            _statistics(faulty[0], width, phase), _statistics(twin[0], width, phase), strict=True
        ):
            # A window may begin before the onset: that only thins it out.
            calm = np.ones(at_us.size, dtype=np.bool_)
            for start_us, end_us in excused:
                calm &= (at_us <= start_us) | (at_us - width * faulty[0].interval_us >= end_us)
            least = float(LEAST_FAILURES) if name == "failures" else SPREADS * _spread(usual[calm])
            most = np.nanmax(usual[calm], initial=0.0)
            in_time = calm & (at_us > onset_us) & (at_us <= until_us)
            beyond = in_time & (seen > most) & (seen - usual >= least)
            if beyond.any():
                found.append(Visible(statistic=name, at_us=int(at_us[np.argmax(beyond)])))
    found += _readings(faulty, twin, onset_us, until_us)
    return min(found, key=lambda one: one.at_us, default=None)


def _statistics(series: Series, width: int, phase: int) -> Iterator[tuple[str, Floats, Floats]]:
    """Yield name, values by window, and the windows' ends."""
    count = (series.tick_us.size - phase) // width
    cut = slice(phase, phase + count * width)
    ends = series.tick_us[cut].reshape(count, width)[:, -1].astype(np.float64) + series.interval_us
    good = (series.outcome == OUTCOME_SUCCESS)[cut].reshape(count, -1)
    failed = (series.outcome == OUTCOME_FAILURE)[cut].reshape(count, -1).sum(axis=1)
    yield "failures", failed.astype(np.float64), ends
    latency = np.where(good, series.duration_us[cut].reshape(count, -1), np.nan)
    median, p90 = quantiles(latency, (0.5, 0.9))
    yield "median", median, ends
    yield "p90", p90, ends
    for phase_name in ("dns", "connect"):
        values = np.where(good, series.phases[phase_name][cut].reshape(count, -1), np.nan)
        yield phase_name, quantiles(values, (0.5,))[0], ends


def quantiles(values: npt.NDArray[np.floating], shares: Sequence[float]) -> list[Floats]:
    """Return quantiles of each row without its NaN, linear between neighbours; NaN of a row that has nothing else.

    numpy's own `nanquantile` goes row by row, which is a hundred times as slow.

    Args:
        values: Shape (n, m).
        shares: From 0 to 1.
    """
    there = np.isfinite(values).sum(axis=1)
    ordered = np.sort(values, axis=1)  # NaN last
    rows = np.arange(values.shape[0])
    last = np.maximum(there - 1, 0)
    found = []
    for share in shares:
        place = share * last
        low = place.astype(np.int64)
        high = np.minimum(low + 1, last)
        below, above = ordered[rows, low].astype(np.float64), ordered[rows, high].astype(np.float64)
        found.append(np.asarray(below + (place - low) * (above - below)))
    return found


def _spread(values: Floats) -> float:
    return float(1.4826 * np.nanmedian(np.abs(values - np.nanmedian(values)))) if values.size else 0.0


def _readings(faulty: Sequence[Series], twin: Sequence[Series], onset_us: int, until_us: int) -> Iterator[Visible]:
    for one, clean in zip(faulty, twin, strict=True):
        in_time = (one.tick_us >= onset_us) & (one.tick_us <= until_us)
        for metric, values in one.metrics.items():
            margin = MARGINS.get(metric.partition(":")[0])
            if margin is None:
                continue
            usual = [float(clean.metrics[metric].min())] if metric in clean.metrics else []
            usual += values[one.tick_us < onset_us].tolist()
            under = in_time & (values <= min(usual, default=np.inf) - margin)
            if under.any():
                yield Visible(statistic=metric, at_us=int(one.tick_us[np.argmax(under)]))
