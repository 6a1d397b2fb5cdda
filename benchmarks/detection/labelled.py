"""The detector of the core on labelled sets: how much of what people call abnormal it finds, and when.

    python -m benchmarks.detection.labelled --data DIR --sets nab,mscloud,jumpstarter,upptime --thresholds FILE
        [--choose] [--quick] [--save DIR] [--plot FILE]

DIR holds the sets and their scorer, `score.py`, which does the counting. With `--choose` the thresholds are those that
are best on DIR, and are written to FILE; without it FILE is used as it is. `--quick` takes the first series of each
set, to see that all works: its figures say nothing. `--save` keeps the scores as `<set>.parquet`, `--plot` writes the
figures as SVG.

The last line is JSON: by set `score.py`'s own keys, with `folds` (see `labelled_folds`) where series were
cross-validated, and `lift` by kind of outage for upptime.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pandas as pd

from benchmarks.detection import labelled_outages, labelled_plot
from benchmarks.detection.labelled_folds import cross_validated
from benchmarks.detection.labelled_sets import Series, frame_of, read, scores, windows

SETS: Final = ("nab", "mscloud", "jumpstarter", "upptime")
REPEATS: Final = 20
QUICK_SERIES: Final = 4
SHOWN: Final = (
    ("nab_standard", "NAB standard"),
    ("windows_hit", "windows hit"),
    ("warned_before_start", "warned"),
    ("warned_before_start_chance", "by chance"),
    ("false_alerts_per_series_week", "false a series-week"),
)


def main() -> None:
    """Run the benchmark."""
    options = _parser().parse_args()
    chosen = [name for name in options.sets.split(",") if name]
    unknown = sorted(set(chosen) - set(SETS))
    if unknown:
        raise SystemExit(f"no such set: {', '.join(unknown)}; there are {', '.join(SETS)}")
    if not (options.data / "score.py").is_file():
        raise SystemExit(f"{options.data} does not hold score.py and the labelled sets")
    if not options.choose and not options.thresholds.is_file():
        raise SystemExit(f"{options.thresholds} is not there: choose thresholds first (--choose)")
    thresholds = {}
    if options.thresholds.is_file():
        thresholds = json.loads(options.thresholds.read_text(encoding="utf-8"))
    results = {}
    for name in chosen:
        began = time.process_time()
        results[name] = _run(options, name, thresholds)
        results[name]["seconds"] = round(time.process_time() - began, 1)
        print(_line(name, results[name]), flush=True)
    if options.choose:
        options.thresholds.write_text(json.dumps(thresholds, indent=1) + "\n", encoding="utf-8")
    if options.plot is not None:
        labelled_plot.save(results, options.plot)
    print(json.dumps(results))


def load_scorer(folder: Path) -> ModuleType:
    """Return `score.py` of a folder as a module; it stays where it is."""
    spec = importlib.util.spec_from_file_location("labelled_scorer", folder / "score.py")
    assert spec is not None
    assert spec.loader is not None
    scorer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scorer)
    return scorer


def _run(options: argparse.Namespace, name: str, thresholds: dict[str, Any]) -> dict[str, Any]:
    folder: Path = options.data
    scorer = load_scorer(folder)
    if name == "upptime":
        frame = labelled_outages.scored(folder)
        result = _scored(options, name, frame, thresholds)
        result["lift"] = {
            column: labelled_outages.lift(folder, scorer, frame, result["threshold"], column)
            for column in ("target", "target6")
        }
        return result
    series = read(folder, name)
    if options.quick:
        series = sorted(series, key=_length)[:QUICK_SERIES]
    scored = scores(series)
    result = _scored(options, name, frame_of(series, scored), thresholds)
    if not options.quick:
        folds = cross_validated(scorer, windows(folder, name, series), scored, repeats=REPEATS)
        result["folds"] = folds._asdict()
    return result


def _scored(options: argparse.Namespace, name: str, frame: pd.DataFrame, thresholds: dict[str, Any]) -> dict[str, Any]:
    """Let `score.py` count, with thresholds from the file or chosen by it."""
    if options.save is not None:
        options.save.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(options.save / f"{name}.parquet")
    with tempfile.TemporaryDirectory(prefix="forewarn-labelled-") as directory:
        told, chosen, out = (Path(directory) / each for each in ("told.parquet", "chosen.json", "out.json"))
        frame.to_parquet(told)
        if options.choose:
            how = ["--thr", "auto", "--save-thr", str(chosen)]
        elif name in thresholds:
            how = ["--thr", str(options.thresholds)]
        else:
            raise SystemExit(f"{options.thresholds} has no threshold of {name}")
        command = [sys.executable, str(options.data / "score.py"), "--set", name, "--data", str(options.data)]
        command += ["--pred", str(told), "--json", str(out), *how]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"score.py failed on {name}: {done.stderr.strip()[-500:]}")
        if options.choose:
            thresholds.update(json.loads(chosen.read_text(encoding="utf-8")))
        result: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return result


def _length(series: Series) -> int:
    return series.ts.size


def _line(name: str, result: dict[str, Any]) -> str:
    parts = [f"{label} {result[key]:.3g}" for key, label in SHOWN if isinstance(result.get(key), (int, float))]
    if "folds" in result:
        folds = result["folds"]
        parts.append(
            f"cross-validated {folds['mean']:.1f} ± {folds['spread']:.1f}"
            f" (other files: {folds['files_low']:.0f} to {folds['files_high']:.0f})"
        )
    for column, found in result.get("lift", {}).items():
        if found["lift"] is not None:
            low, high = found["lift_95"]
            parts.append(f"{column}: lift {found['lift']:.2f} ({low:.2f} to {high:.2f}) of {found['events']}")
    return f"{name:12} " + ", ".join(parts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the sets")
    parser.add_argument("--sets", default=",".join(SETS), help="comma-separated")
    parser.add_argument("--thresholds", type=Path, required=True, help="the file of thresholds")
    parser.add_argument("--choose", action="store_true", help="choose the thresholds here and write the file")
    parser.add_argument("--quick", action="store_true", help="a few series of each set, under a minute")
    parser.add_argument("--save", type=Path, help="keep the scores here")
    parser.add_argument("--plot", type=Path, help="write a picture of the figures here (SVG)")
    return parser


if __name__ == "__main__":
    main()
