"""The labelled sets as the detector sees them: readings in the order of time, all series of a set side by side.

What is scored is the detector of `streams.core.metrics.novelty` itself, with its one setting. It is given time and
value, and nothing else: no length, no limits, no interval, no label.
"""

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from streams.core.metrics.novelty import Novelty, PeakTable, score_of, together, told_once
from streams.core.table import Floats, Ints

SECOND_US: Final = 1_000_000
UNIVARIATE: Final = ("nab", "mscloud")
METRICS: Final = tuple(f"m{number}" for number in range(19))
TRAINING_ROWS: Final = 5760
"""JumpStarter: the first rows of a service are not labelled; they are learned and have no score."""


class Series(NamedTuple):
    """One series: unix seconds, and its values, shape (n,) or (n, n_metrics)."""

    name: str
    ts: Ints
    value: Floats


def read(folder: Path, name: str) -> list[Series]:
    """Return the series of a set of values.

    Raises:
        OSError: If the folder does not hold the set.
    """
    frame = pd.read_parquet(folder / f"{name}.parquet")
    columns: Any = list(METRICS) if name == "jumpstarter" else "value"
    return [
        Series(str(key), group["ts"].to_numpy(np.int64), group[columns].to_numpy(np.float64))
        for key, group in frame.groupby("series", sort=False)
    ]


def windows(folder: Path, name: str, series: list[Series]) -> dict[str, list[tuple[int, int]]]:
    """Return the labelled windows of each series as first and last row, as `score.py` reads them."""
    if name == "nab":
        rows = json.loads((folder / "nab_rows.json").read_text(encoding="utf-8"))
        return {each.name: [(int(first), int(last)) for first, last in rows[each.name]] for each in series}
    spans = json.loads((folder / f"{name}_windows.json").read_text(encoding="utf-8"))
    return {
        each.name: [
            (int(np.searchsorted(each.ts, first)), int(np.searchsorted(each.ts, last, "right")) - 1)
            for first, last in spans[each.name]
        ]
        for each in series
    }


def evidence(series: list[Series]) -> list[Floats]:
    """Return the evidence of each reading, of the same shape as its values: all series advance together."""
    columns = [each.value.reshape(each.ts.size, -1) for each in series]
    widths = np.array([each.shape[1] for each in columns])
    lengths = np.repeat([each.ts.size for each in series], widths)
    found = np.zeros((int(lengths.max(initial=0)), lengths.size))
    value, at_us = np.full(found.shape, np.nan), np.zeros(found.shape, dtype=np.int64)
    for each, column, first in zip(series, columns, np.cumsum(widths) - widths, strict=True):
        here = slice(int(first), int(first) + column.shape[1])
        value[: each.ts.size, here] = column
        at_us[: each.ts.size, here] = _rising(each.ts)[:, None] * SECOND_US
    detector = Novelty()
    detector.grow(lengths.size)
    for row in range(found.shape[0]):
        alive = np.flatnonzero(lengths > row)
        found[row, alive] = detector.evidence(alive, at_us[row, alive], value[row, alive])
    ends = np.cumsum(widths)
    return [
        found[: each.ts.size, end - column.shape[1] : end].reshape(each.value.shape)
        for each, column, end in zip(series, columns, ends, strict=True)
    ]


def scores(series: list[Series]) -> dict[str, Floats]:
    """Return the score of each row of each series, shape (n,). Several metrics of one series are judged together."""
    return {each.name: _told(each, found) for each, found in zip(series, evidence(series), strict=True)}


def frame_of(series: list[Series], scored: dict[str, Floats]) -> pd.DataFrame:
    """Return what `score.py` reads: series, ts, score."""
    return pd.DataFrame(
        {
            "series": np.repeat([each.name for each in series], [each.ts.size for each in series]),
            "ts": np.concatenate([each.ts for each in series]),
            "score": np.concatenate([scored[each.name] for each in series]),
        }
    )


def _told(series: Series, found: Floats) -> Floats:
    several = found.ndim == 2
    total = together(found) if several else found
    if several:
        total[:TRAINING_ROWS] = 0.0
    peaks, row = PeakTable(), np.zeros(1, dtype=np.intp)
    peaks.grow(1)
    at_us = _rising(series.ts) * SECOND_US
    told = np.array([told_once(peaks, row, at_us[[n]], total[[n]])[0] for n in range(total.size)])
    return score_of(told)


def _rising(ts: Ints) -> Ints:
    """Unix seconds that never fall: NAB repeats an hour when the clocks change."""
    rising: npt.NDArray[np.int64] = np.maximum.accumulate(ts)
    return rising
