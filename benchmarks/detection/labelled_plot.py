"""A picture of the figures on labelled sets: each set's points, with what other files would have given."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

PUBLISHED: Final = {
    "ARTime": 74.9,
    "Numenta HTM": 70.1,
    "CAD OSE": 69.9,
    "earthgecko Skyline": 58.2,
    "KNN-CAD": 58.0,
    "random cut forest": 51.7,
    "Twitter ADVec": 47.1,
    "windowed Gaussian": 39.7,
}
"""NAB, standard profile, the whole set with the threshold that is best on it; ours is on the part that is given."""


def save(results: Mapping[str, Any], path: Path) -> None:
    """Write the points of the sets that have folds as SVG."""
    figure = Figure(figsize=(7.5, 4.0))
    axes = figure.add_subplot()
    ours = {name: result for name, result in results.items() if "folds" in result}
    names = [*PUBLISHED, *(f"forewarn, {name}" for name in ours)][::-1]
    axes.barh(list(PUBLISHED), list(PUBLISHED.values()), color="#b8c4ce", label="published, NAB")
    for name, result in ours.items():
        folds, label = result["folds"], f"forewarn, {name}"
        reach = [[folds["mean"] - folds["files_low"]], [folds["files_high"] - folds["mean"]]]
        axes.barh(label, folds["mean"], color="#2a6f97")
        axes.errorbar(folds["mean"], label, xerr=reach, color="#012a4a", capsize=3)
    axes.set_yticks(range(len(names)), names[::-1])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("points by NAB's standard profile; cross-validated, whiskers: other files (90 %)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None})
