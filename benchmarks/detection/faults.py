"""Faults injected into real noise, and traps: what the core warns of in time, and what it says without cause.

    python -m benchmarks.detection.faults --data DIR --seed N [--quick] [--months N] [--kinds ramp,network,...]
        [--systems forewarn,...] [--save DIR] [--examples N] [--jobs N]
        [--page FILE] [--plot FILE]

DIR holds `upptime_probes.parquet` and `mscloud.parquet`, from which the noise is taken. Each installation has some
dozens of targets that are watched for nine to fourteen days every 10, 30 or 60 s from one to five locations; almost
half of them suffer a fault that ends in an outage, a third are traps, the rest are well, and the installation has
traps of its own. See `noise.py`, `kinds.py`, `traps.py`, `warnable.py`, `scoring.py` for what exactly.

`forewarn` is the core without a config, as `forewarn replay` runs it; `--systems configured` tells it what a config
tells the live run: intervals, locations, timeouts.

`--page` writes the figures into a page of the documentation, `--plot` draws them. The first of the systems is the one
that they are about.

`--kinds` names the faults and traps that befall anybody; without it all do. `--save` writes each installation as
`<name>.parquet`, which `forewarn replay` reads, and `<name>.json` with what really happened.

Ends with one line of JSON.
"""

import argparse
import json
import shlex
from dataclasses import replace
from math import ceil
from pathlib import Path

from benchmarks.detection.faults_page import write
from benchmarks.detection.faults_plot import recall
from benchmarks.detection.faults_run import Task, run
from benchmarks.detection.kinds import KINDS
from benchmarks.detection.report import summary, table
from benchmarks.detection.scenario import Plan
from benchmarks.detection.systems import SYSTEMS, USUAL
from benchmarks.detection.traps import SHARED_TRAPS, TRAPS

MONTHS = 400.0
QUICK_MONTHS = 8.0


def main() -> None:
    """Run the benchmark."""
    options = _parser().parse_args()
    names = tuple(options.systems.split(",")) if options.systems else USUAL
    if unknown := set(names) - SYSTEMS.keys():
        raise SystemExit(f"--systems: {', '.join(sorted(unknown))}: expected some of {', '.join(SYSTEMS)}")
    months = options.months if options.months is not None else QUICK_MONTHS if options.quick else MONTHS
    plan = _plan(options.kinds, months, quick=options.quick)
    task = Task(folder=options.folder, plan=plan, seed=options.seed, systems=names, save_to=options.save)
    result = run(task, months=months, jobs=options.jobs)
    print(table(result.scores))
    if options.page is not None:
        write(result.scores, options.page, _command(options.seed, months, names))
    if options.plot is not None:
        recall(result.scores, options.plot)
    for name in names:
        for example in result.scores[name].examples[: options.examples]:
            print(f"{name}: {example}")
    cpu_s = {name: round(spent, 1) for name, spent in result.cpu_s.items()}
    print(json.dumps({"seed": options.seed, "cpu_s": cpu_s, "systems": summary(result.scores)}))


def _command(seed: int, months: float, names: tuple[str, ...]) -> str:
    systems = shlex.quote(",".join(names))
    return f"python -m benchmarks.detection.faults --data DIR --seed {seed} --months {months:g} --systems {systems}"


def _plan(kinds: str | None, months: float, *, quick: bool) -> Plan:
    wanted = None if kinds is None else set(kinds.split(","))
    known = {kind.name for kind in (*KINDS, *TRAPS, *SHARED_TRAPS)}
    if wanted is not None and (unknown := wanted - known - {"none"}):
        raise SystemExit(f"--kinds: {', '.join(sorted(unknown))}: expected some of {', '.join(sorted(known))}, or none")
    plan = Plan(
        kinds=tuple(kind for kind in KINDS if wanted is None or kind.name in wanted),
        traps=tuple(kind for kind in TRAPS if wanted is None or kind.name in wanted),
        shared=tuple(kind for kind in SHARED_TRAPS if wanted is None or kind.name in wanted),
    )
    if quick:
        return replace(plan, targets=40, days=(6.0, 6.5), intervals=((0.0, 0.0, 1.0),), shared_times=1)
    # One installation costs nearly the same whatever its size, so there are few large ones.
    return replace(plan, targets=min(plan.targets, max(20, ceil(months * 30 / plan.days[0]))))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection.faults", description=__doc__)
    parser.add_argument("--data", dest="folder", type=Path, required=True, help="the folder of the recorded series")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="some target-months, in one to three minutes")
    parser.add_argument("--months", type=float, help=f"target-months ({MONTHS:.0f}; quick: {QUICK_MONTHS:.0f})")
    parser.add_argument("--kinds", help="faults and traps, by comma; none: all are well")
    parser.add_argument("--systems", help=f"some of {', '.join(SYSTEMS)}, by comma")
    parser.add_argument("--save", type=Path, help="write the installations there")
    parser.add_argument("--page", type=Path, help="write the figures into this page, between its marks")
    parser.add_argument("--plot", type=Path, help="draw what is warned of by kind there, as SVG")
    parser.add_argument("--jobs", type=int, default=1, help="processes; the figures are the same")
    parser.add_argument(
        "--examples", type=int, default=0, help="so many misses, false warnings and traps that told too much"
    )
    return parser


if __name__ == "__main__":
    main()
