"""Upptime: a score of a coming outage from what was seen before it, and its lift over chance.

Three things speak: latency that is new for its site (`streams.core.metrics.novelty`, of its logarithm), a site of the
same repository that went down within SIBLING_S, and how often the site itself went down in the last FLAP_S. Each is
seen at the site's own checks, from earlier rows alone. While a site is down nothing warns of anything: it is down.

The lift compares the outages that were warned of with those that the same alerts would have warned of at other times:
all alert times of a site shifted in a circle. Its interval is a bootstrap over repositories, because outages of one
repository come together.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
import pandas as pd

from benchmarks.detection.labelled_sets import Series, evidence
from streams.core.metrics.novelty import score_of
from streams.core.table import Floats, Ints

SIBLING_S: Final = 15 * 60
SIBLING: Final = 4.0
FLAP_S: Final = 7 * 86400
FLAP: Final = 1.0
"""How much siblings' outages, and the logarithm of its own, count beside the evidence of latency."""

LIVE_S: Final = 14 * 86400
HORIZON_S: Final = 6 * 3600
GRACE_S: Final = 3600
SHIFTS: Final = 40
DRAWS: Final = 1000


def scored(folder: Path) -> pd.DataFrame:
    """Return series, ts and score of the sites that are scored."""
    probes = pd.read_parquet(folder / "upptime_probes.parquet")
    names = json.loads((folder / "upptime_scored_series.json").read_text(encoding="utf-8"))
    downs = _began_down(probes)
    mine = probes[probes["series"].isin(names)]
    sites = [(str(key), group) for key, group in mine.groupby("series", sort=False)]
    latency = [Series(name, group["ts"].to_numpy(np.int64), _log_latency(group)) for name, group in sites]
    frames = []
    for (name, group), new in zip(sites, evidence(latency), strict=True):
        ts = group["ts"].to_numpy(np.int64)
        others = downs[(downs["repo"] == group["repo"].iloc[0]) & (downs["series"] != name)]["ts"]
        own = downs[downs["series"] == name]["ts"]
        total = new + SIBLING * (_lately(np.sort(others.to_numpy()), ts, SIBLING_S) > 0)
        total += FLAP * np.log1p(_lately(np.sort(own.to_numpy()), ts, FLAP_S))
        total[group["status"].to_numpy() == "down"] = 0.0
        frames.append(pd.DataFrame({"series": name, "ts": ts, "score": score_of(total)}))
    return pd.concat(frames, ignore_index=True)


def lift(folder: Path, scorer: ModuleType, frame: pd.DataFrame, threshold: float, column: str) -> dict[str, Any]:
    """Return the share of the outages of `column` that were warned of, by chance, and the lift with its interval."""
    outages = dict(tuple(pd.read_parquet(folder / "upptime_outages.parquet").groupby("series")))
    rng = np.random.default_rng(0)
    by_repo: dict[str, list[Floats]] = {}
    for key, group in frame.groupby("series", sort=False):
        name = str(key)
        by_repo.setdefault(name.partition("::")[0], []).append(
            _counts(scorer, group, outages.get(name), threshold, column, rng)
        )
    counts = np.array([np.sum(each, axis=0) for each in by_repo.values()])
    events, warned, chance = counts.sum(axis=0)
    draws = counts[rng.integers(0, len(counts), (DRAWS, len(counts)))].sum(axis=1)
    low, high = np.nanquantile(draws[:, 1] / np.where(draws[:, 2] > 0.0, draws[:, 2], np.nan), [0.025, 0.975])
    return {
        "events": int(events),
        "warned": float(warned / events) if events else None,
        "chance": float(chance / events) if events else None,
        "lift": float(warned / chance) if chance else None,
        "lift_95": [float(low), float(high)],
    }


def _counts(
    scorer: ModuleType,
    group: pd.DataFrame,
    outages: pd.DataFrame | None,
    threshold: float,
    column: str,
    rng: np.random.Generator,
) -> Floats:
    """Events, warned, warned by chance, of one site."""
    if outages is None or not outages[column].any():
        return np.zeros(3)
    ts, told = group["ts"].to_numpy(), group["score"].to_numpy() >= threshold
    chosen = outages[outages[column]]
    site: Mapping[str, Any] = {
        "ts": ts,
        "events": list(zip(chosen["start"], chosen["end"], strict=True)),
        "dead": [],
        "live_from": ts[0] + LIVE_S,
    }

    def warned(on: Any) -> float:
        result = scorer.operational([{**site, "on": on}], 3600.0, float(HORIZON_S), float(GRACE_S))
        return float(result["warned_before_start"] or 0.0) * float(result["events"])

    events = sum(start >= site["live_from"] for start in chosen["start"])
    shifts = rng.integers(1, max(2, told.size), SHIFTS)
    return np.array([events, warned(told), np.mean([warned(np.roll(told, int(shift))) for shift in shifts])])


def _began_down(probes: pd.DataFrame) -> pd.DataFrame:
    """The rows at which a site went down."""
    down = probes["status"] == "down"
    before = down.groupby(probes["series"]).shift(1, fill_value=False)
    return probes[down & ~before.astype(bool)]


def _log_latency(group: pd.DataFrame) -> Floats:
    latency = group["latency_ms"].to_numpy(np.float64)
    answered = (group["status"].to_numpy() != "down") & (latency > 0.0)
    return np.where(answered, np.log(np.maximum(latency, 1.0)), np.nan)


def _lately(sorted_ts: Ints, ts: Ints, window_s: int) -> Ints:
    """How many things happened in the time before, up to this very second."""
    count: Ints = np.searchsorted(sorted_ts, ts, "right") - np.searchsorted(sorted_ts, ts - window_s, "right")
    return count
