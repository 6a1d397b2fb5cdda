"""Recorded checks for the replay, made up: what happens is drawn, when it happens is fixed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

SECOND = 1_000_000
START_US = 1_790_000_000 * SECOND // (300 * SECOND) * (300 * SECOND)

Numbers = npt.NDArray[np.float64]
Shape = Callable[[Numbers], Numbers]
"""By tick: a factor on the latency, or the share of checks that fail."""


def constant(value: float) -> Shape:
    """The same at every tick."""
    return lambda ticks: np.full(ticks.shape, value)


def between(start: int, stop: int, value: float, otherwise: float = 0.0) -> Shape:
    """A value from tick `start` to before `stop`."""
    return lambda ticks: np.where((ticks >= start) & (ticks < stop), value, otherwise)


def ramp(start: int, stop: int, top: float) -> Shape:
    """From 1 to `top`, then 1 again."""
    return lambda ticks: np.where(
        (ticks >= start) & (ticks < stop), 1 + (top - 1) * (ticks - start) / (stop - start), 1.0
    )


ALWAYS = constant(1.0)
NEVER = constant(0.0)


def checks(
    target: str,
    *,
    locations: Sequence[str] = ("ams", "fra"),
    ticks: int,
    interval_s: int = 30,
    probe: str = "http",
    latency: Shape = ALWAYS,
    fails: Shape = NEVER,
    fails_at: Sequence[str] | None = None,
    metrics: dict[str, Shape] | None = None,
    address: str | None = None,
    seed: int = 1,
) -> pa.Table:
    """Return the checks of one target, ordered by time within each location.

    Args:
        target: Its name.
        locations: Where it is checked.
        ticks: How many checks from each.
        interval_s: Seconds between them.
        probe: The probe's name.
        latency: Factor on 35 ms.
        fails: Share of checks that fail.
        fails_at: The locations where they fail; all by default.
        metrics: Readings by name.
        address: Of the target.
        seed: Of the noise.
    """
    noise = np.random.default_rng(seed)
    tables = []
    number = np.arange(ticks, dtype=np.float64)
    for location in locations:
        duration = 35_000 * latency(number) * np.exp(noise.normal(0, 0.08, ticks))
        failed = noise.random(ticks) < fails(number)
        if fails_at is not None and location not in fails_at:
            failed[:] = False
        columns: dict[str, Any] = {
            "target": [target] * ticks,
            "location": [location] * ticks,
            "probe": [probe] * ticks,
            "scheduled_at_us": START_US + np.arange(ticks) * interval_s * SECOND,
            "outcome": np.where(failed, "failure", "success"),
            "reason": pa.array([("http_status" if one else None) for one in failed], pa.string()),
            "duration_us": duration.astype(np.int64),
            "phase_wait_us": (duration * 0.7).astype(np.int64),
            "address": [address or f"192.0.2.{sum(target.encode()) % 250}"] * ticks,
            "http_status": [(502 if one else 200) for one in failed],
        }
        for name, values in (metrics or {}).items():
            columns[f"metric_{name}"] = values(number)
        tables.append(pa.table(columns))
    return pa.concat_tables(tables)


def by_time(*tables: pa.Table) -> pa.Table:
    """Return all rows ordered by time."""
    together = pa.concat_tables(tables, promote_options="default")
    return together.sort_by([("scheduled_at_us", "ascending"), ("target", "ascending"), ("location", "ascending")])


def write(table: pa.Table, path: Path) -> Path:
    """Write a parquet or csv file."""
    if path.suffix == ".csv":
        pa.csv.write_csv(table, path)
    else:
        pa.parquet.write_table(table, path)
    return path
