"""Cross-validation by file: how much of a figure is the choice of its threshold.

A repetition shuffles the series into folds; the threshold of a fold is the best one of all other folds, by
`score.py`'s own rule, and the raw points of all folds make one figure. The spread over files says how much another
choice of files would change it: series are drawn with replacement and scored at the threshold of the whole set.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Final, NamedTuple

import numpy as np

from streams.core.table import Floats

FOLDS: Final = 5
PROFILE: Final = "standard"
DRAWS: Final = 500

Windows = Mapping[str, list[tuple[int, int]]]


class Folds(NamedTuple):
    """Mean and standard deviation over repetitions, and the 5 % and 95 % quantiles over draws of files."""

    mean: float
    spread: float
    files_low: float
    files_high: float


class Points(NamedTuple):
    """Raw points of one series at a threshold, what silence would give, and the windows that it has."""

    raw: float
    null: float
    windows: int


def cross_validated(
    scorer: ModuleType, windows: Windows, scored: Mapping[str, Floats], *, repeats: int, seed: int = 0
) -> Folds:
    """Return the figure under repeated folds by series.

    Args:
        scorer: The module `score.py`.
        windows: First and last row of each labelled window by series.
        scored: Scores by series.
        repeats: How often the series are shuffled.
        seed: Of the shuffles.
    """
    names, rng = sorted(windows), np.random.default_rng(seed)
    figures = []
    for _ in range(repeats):
        order = [names[place] for place in rng.permutation(len(names))]
        parts = []
        for fold in range(FOLDS):
            held = order[fold::FOLDS]
            rest = [name for name in order if name not in held]
            if held and any(windows[name] for name in rest):
                threshold = _best(scorer, windows, scored, rest)
                parts += [_points(scorer, windows[name], scored[name], threshold) for name in held]
        figures.append(_figure(parts))
    threshold = _best(scorer, windows, scored, names)
    whole = [_points(scorer, windows[name], scored[name], threshold) for name in names]
    draws = [_figure([whole[place] for place in rng.integers(0, len(whole), len(whole))]) for _ in range(DRAWS)]
    low, high = np.nanquantile(draws, [0.05, 0.95])
    return Folds(float(np.mean(figures)), float(np.std(figures)), float(low), float(high))


def _best(scorer: ModuleType, windows: Windows, scored: Mapping[str, Floats], names: list[str]) -> float:
    series = {name: (len(scored[name]), windows[name]) for name in names}
    return float(scorer.nab_total(series, {name: scored[name] for name in names}, PROFILE)[1])


def _points(scorer: ModuleType, windows: list[tuple[int, int]], score: Floats, threshold: float) -> Points:
    """The rule of `score.nab_total` for one series: the best alert of each window, every alert outside."""
    tp, fp, fn = scorer.PROFILES[PROFILE]
    reward, window = scorer.nab_rows(len(score), windows)
    told = score >= threshold
    raw = fp * float(reward[told & (window == -1)].sum())
    live = [number for number in range(len(windows)) if bool((window == number).any())]
    for number in live:
        here = told & (window == number)
        raw += tp * float(reward[here].max()) if here.any() else -fn
    return Points(raw, -fn * len(live), len(windows))


def _figure(parts: list[Points]) -> float:
    raw, null = sum(part.raw for part in parts), sum(part.null for part in parts)
    best = sum(part.windows for part in parts)
    return 100.0 * (raw - null) / (best - null) if best > null else float("nan")
