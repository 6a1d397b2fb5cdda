"""The labelled sets: the detector's scores of real series look at nothing but the past."""

import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.detection.labelled import load_scorer
from benchmarks.detection.labelled_folds import cross_validated
from benchmarks.detection.labelled_sets import UNIVARIATE, Series, read, scores, windows

FOLDER = Path(os.environ.get("FOREWARN_LABELLED_DATA", Path(__file__).parents[3] / "shared" / "data" / "early-warning"))
pytestmark = [
    pytest.mark.labelled_data,
    pytest.mark.skipif(
        not (FOLDER / "score.py").is_file(),
        reason=f"no labelled data in {FOLDER}: set FOREWARN_LABELLED_DATA to their folder",
    ),
]
FEW = 6


def shortest(name: str) -> list[Series]:
    """Return a few short series of a set."""
    return sorted(read(FOLDER, name), key=lambda each: each.ts.size)[:FEW]


@pytest.mark.parametrize("name", UNIVARIATE)
@pytest.mark.parametrize("share", [0.3, 0.77])
def test_scores_of_a_cut_file_are_the_beginning_of_the_scores_of_the_whole(name: str, share: float) -> None:
    """Every series is cut somewhere: what comes later, and how much, changes nothing before."""
    series = shortest(name)
    cut = [
        Series(each.name, each.ts[: int(share * each.ts.size)], each.value[: int(share * each.ts.size)])
        for each in series
    ]
    whole, part = scores(series), scores(cut)
    for each in cut:
        assert np.array_equal(whole[each.name][: each.ts.size], part[each.name])


@pytest.mark.parametrize("name", UNIVARIATE)
def test_our_points_are_those_of_the_scorer(name: str) -> None:
    """Folds add up points by series; for one fold of all files they are what `score.py` says."""
    scorer, series = load_scorer(FOLDER), shortest(name)
    scored, labelled = scores(series), windows(FOLDER, name, series)
    whole = {each.name: (each.ts.size, labelled[each.name]) for each in series}
    best, _ = scorer.nab_total(whole, scored, "standard")
    folds = cross_validated(scorer, labelled, scored, repeats=2)
    assert folds.files_low <= best <= folds.files_high
    assert folds.mean <= best + 1e-9
