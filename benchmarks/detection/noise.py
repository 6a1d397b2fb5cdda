"""Latency as healthy services really have it, for probing far denser than anybody publishes.

What is real: the marginal distribution of log-latency residuals of a site (Upptime, heavy tails included), the shape
of a week (Microsoft's request rates and latencies, by hour of the week), and the slow wandering of a latency over a
day (Microsoft's hourly latencies, bootstrapped in blocks of a day). What is modelled: how residuals hang together
within minutes, since Upptime looks at a site every quarter of an hour at best. There they are as good as independent
(lag-one correlation 0.04 in the mean over 99 sites), so a Gaussian process with a quick part of up to five minutes, a
small slow part and a white rest is mapped through the site's own quantiles. Locations share a part of it: what the
service does is seen from everywhere.

The prober of Upptime moves between regions, which widens its residuals. A prober that stays where it is sees less,
so residuals are scaled by a factor that is drawn for each target.

Source:
    Künsch (1989), the block bootstrap; Cario & Nelson (1997), any marginal from a Gaussian process (NORTA).
"""

from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Rng = np.random.Generator

SECOND_US: Final = 1_000_000
HOUR_US: Final = 3600 * SECOND_US
DAY_US: Final = 24 * HOUR_US
WEEK_HOURS: Final = 168
LEAST_PROBES: Final = 400
"""Of a site, so that its tail is its own."""

LONGEST_US: Final = 5e6
"""A healthy answer takes no longer. Upptime's longest are of hosts that sleep until somebody comes; under dense
probing they would not."""

NORMALS: Final = np.linspace(-4.5, 4.5, 361)
QUANTILES: Final = np.array([NormalDist().cdf(float(z)) for z in NORMALS])


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What is taken from the recorded series.

    Attributes:
        sites: Of each site, log-latency residuals at the quantiles QUANTILES, median 0. Shape (n_sites, 361).
        typical_us: Each site's median latency.
        weeks: Shapes by hour of the week (UTC, from Monday), median 0, from the 5th to the 95th percentile 1.
        days: Blocks of 24 hourly residuals, robust spread 1. Shape (n_blocks, 24).
    """

    sites: Floats
    typical_us: Floats
    weeks: Floats
    days: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How one target behaves when it is well; drawn once.

    Attributes:
        base_us: Its usual latency.
        quantiles: Of its residuals, at the normals NORMALS.
        amplitude: Of the week's shape, in log latency.
        wander: Of the day's blocks, in log latency.
        slow, quick: Shares of the residual's variance; slow_s, quick_s: their time constants.
        shared: Share of the residual's variance that all locations see.
        lost: Probability that a single check is lost, at each location.
        offsets: Of each location, in log latency.
    """

    base_us: float
    quantiles: Floats
    week: Floats
    amplitude: float
    wander: float
    slow: float
    slow_s: float
    quick: float
    quick_s: float
    shared: float
    lost: float
    offsets: Floats


@dataclass(slots=True, kw_only=True)
class Noise:
    """The draws of one target: the same for a faulty target and for its clean twin.

    Attributes:
        tick_us: Shape (n,).
        course: Log latency that all locations share, shape (n, 1): usual level, week, wandering.
        offsets: Shape (1, L).
        residual: Shape (n, L).
        chance: Uniform, shape (n, L): decides which checks the service fails; path_chance: which the network loses.
        jitter: Normal, shape (n, L): of the small phases.
        lost: Shape (n, L).
    """

    tick_us: Ints
    course: Floats
    offsets: Floats
    residual: Floats
    chance: Floats
    path_chance: Floats
    jitter: Floats
    lost: npt.NDArray[np.bool_]


def read_material(folder: Path) -> Material:
    """Read the recorded series.

    Args:
        folder: Holds `upptime_probes.parquet` and `mscloud.parquet`.
    """
    sites, typical = _sites(pd.read_parquet(folder / "upptime_probes.parquet"))
    cloud = pd.read_parquet(folder / "mscloud.parquet")
    weeks, days = [], []
    for name, rows in sorted(cloud.groupby("series")):
        if not str(name).startswith(("data-ingress", "mongodb", "middle-tier")):
            continue
        clean = rows[(rows["label"] == 0) & (rows["value"] > 0)]
        hourly = np.log(clean["value"]).groupby(clean["ts"] // 3600).median()
        week = _week(hourly)
        if np.isfinite(week).all():
            weeks.append(week)
            if str(name).startswith("middle-tier"):
                days += _days(hourly, week)
    return Material(sites=sites, typical_us=typical, weeks=np.array(weeks), days=np.array(days))


def _sites(probes: pd.DataFrame) -> tuple[Floats, Floats]:
    up = probes[(probes["status"] == "up") & (probes["latency_ms"] > 0)]
    found, typical = [], []
    for _name, rows in sorted(up.groupby("series")):
        if len(rows) < LEAST_PROBES:
            continue
        log = np.log(rows["latency_ms"])
        residual = (log - log.rolling(49, center=True, min_periods=10).median()).dropna().to_numpy()
        spread = 1.4826 * np.median(np.abs(residual))
        # Coarser than that are sites whose answer takes a few milliseconds, in whole ones.
        if spread > 0.02:
            found.append(np.quantile(residual, QUANTILES))
            typical.append(float(np.exp(log.median())) * 1e3)
    return np.array(found), np.array(typical)


def _week(hourly: "pd.Series[float]") -> Floats:
    """Return the shape of a week: the median by hour, unix weeks shifted so that 0 is Monday 00:00 UTC."""
    hours = (hourly.index.to_numpy() + 3 * 24) % WEEK_HOURS  # the epoch was a Thursday
    values = hourly.to_numpy()
    shape = np.array(
        [np.median(values[hours == hour]) if (hours == hour).any() else np.nan for hour in range(WEEK_HOURS)]
    )
    shape -= np.median(shape)
    low, high = np.quantile(shape, [0.05, 0.95])
    return shape / (high - low) if high > low else np.full(WEEK_HOURS, np.nan)


def _days(hourly: "pd.Series[float]", week: Floats) -> list[Floats]:
    hours = hourly.index.to_numpy()
    low, high = np.quantile(hourly, [0.05, 0.95])
    residual = hourly.to_numpy() - week[(hours + 3 * 24) % WEEK_HOURS] * (high - low)
    residual -= np.median(residual)
    spread = 1.4826 * np.median(np.abs(residual))
    if spread == 0:
        return []
    residual = np.clip(residual / spread, -4.0, 4.0)
    return [
        residual[start : start + 24]
        for start in range(0, len(residual) - 23, 12)
        if hours[start + 23] - hours[start] == 23
    ]


def draw_habits(rng: Rng, material: Material, *, locations: int) -> Habits:
    """Draw how a target behaves."""
    site = int(rng.integers(len(material.sites)))
    seasonal = rng.random() < 0.5
    return Habits(
        base_us=float(np.clip(material.typical_us[site] * rng.lognormal(0.0, 0.4), 15e3, 1.5e6)),
        quantiles=material.sites[site] * rng.uniform(0.3, 1.0),
        week=material.weeks[rng.integers(len(material.weeks))],
        amplitude=float(rng.uniform(0.05, 0.45) if seasonal else rng.uniform(0.0, 0.05)),
        wander=float(rng.uniform(0.0, 0.06)),
        slow=float(rng.uniform(0.0, 0.1)),
        slow_s=float(rng.uniform(1200, 10_800)),
        quick=float(rng.uniform(0.0, 0.45)),
        quick_s=float(rng.uniform(20, 300)),
        shared=float(rng.uniform(0.1, 0.7)),
        lost=float(10 ** rng.uniform(-4.3, -2.8)),
        offsets=rng.normal(0.0, 0.3, locations),
    )


def draw_noise(rng: Rng, material: Material, habits: Habits, tick_us: Ints) -> Noise:
    """Draw a target's healthy life at these ticks, evenly spaced."""
    n, locations = tick_us.size, habits.offsets.size
    step_s = (tick_us[1] - tick_us[0]) / SECOND_US
    common = _process(rng, habits, n, 1, step_s)
    own = _process(rng, habits, n, locations, step_s)
    normal = np.sqrt(habits.shared) * common + np.sqrt(1.0 - habits.shared) * own
    longest = np.log(LONGEST_US / habits.base_us) - habits.offsets
    residual = np.minimum(np.interp(normal, NORMALS, habits.quantiles), longest)
    course = np.log(habits.base_us) + habits.amplitude * week_at(habits.week, tick_us)
    course += habits.wander * _wandering(rng, material, tick_us)
    lost = rng.random((n, locations)) < habits.lost
    # Now and then a lost check takes its neighbour along, never two.
    lost[1:] |= lost[:-1] & (rng.random((n - 1, locations)) < 0.1)
    lost[2:] &= ~(lost[1:-1] & lost[:-2])
    return Noise(
        tick_us=tick_us,
        course=course[:, None],
        offsets=habits.offsets[None, :],
        residual=residual,
        chance=rng.random((n, locations)),
        path_chance=rng.random((n, locations)),
        jitter=rng.normal(0.0, 1.0, (n, locations)),
        lost=lost,
    )


def week_at(week: Floats, tick_us: Ints) -> Floats:
    """Return a week's shape at these times, linear between hours."""
    hours = (tick_us + 3 * DAY_US) / HOUR_US % WEEK_HOURS
    return np.asarray(np.interp(hours, np.arange(WEEK_HOURS + 1), np.append(week, week[0])))


def _wandering(rng: Rng, material: Material, tick_us: Ints) -> Floats:
    hours = (tick_us - tick_us[0]) / HOUR_US
    blocks = material.days[rng.integers(len(material.days), size=int(hours[-1] // 24) + 2)].reshape(-1)
    return np.asarray(np.interp(hours, np.arange(blocks.size), blocks))


def _process(rng: Rng, habits: Habits, n: int, locations: int, step_s: float) -> Floats:
    white = np.sqrt(1.0 - habits.slow - habits.quick) * rng.normal(0.0, 1.0, (n, locations))
    quick = np.sqrt(habits.quick) * autoregressive(rng, n, locations, np.exp(-step_s / habits.quick_s))
    return np.asarray(
        white + quick + np.sqrt(habits.slow) * autoregressive(rng, n, locations, np.exp(-step_s / habits.slow_s))
    )


def autoregressive(rng: Rng, n: int, columns: int, phi: float) -> Floats:
    """Return stationary AR(1) noise of variance 1, shape (n, columns), by its transfer function."""
    size = 1 << (n - 1).bit_length()
    omega = 2 * np.pi * np.fft.rfftfreq(size)
    gain = np.sqrt(1 - phi**2) / (1 - phi * np.exp(-1j * omega))
    white = rng.normal(0.0, 1.0, (size, columns))
    return np.fft.irfft(np.fft.rfft(white, axis=0) * gain[:, None], n=size, axis=0)[:n]
