"""Faults injected into real noise, and traps: what the core warns of in time, and what it says without cause.

    python -m benchmarks.detection.faults --data DIR --seed N [--quick] [--months N] [--kinds ramp,network,...]
        [--systems forewarn,...] [--save DIR] [--examples N]

DIR holds `upptime_probes.parquet` and `mscloud.parquet`, from which the noise is taken. Each installation has some
dozens of targets that are watched for nine to fourteen days every 10, 30 or 60 s from one to five locations; almost
half of them suffer a fault that ends in an outage, a third are traps, the rest are well, and the installation has
traps of its own. See `noise.py`, `kinds.py`, `traps.py`, `warnable.py`, `scoring.py` for what exactly.

`forewarn` is the core without a config, as `forewarn replay` runs it; `--systems configured` tells it what a config
tells the live run: intervals, locations, timeouts.

`--kinds` names the faults and traps that befall anybody; without it all do. `--save` writes each installation as
`<name>.parquet`, which `forewarn replay` reads, and `<name>.json` with what really happened.

Ends with one line of JSON.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, replace
from math import ceil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from benchmarks.detection.kinds import KINDS
from benchmarks.detection.noise import read_material
from benchmarks.detection.report import summary, table
from benchmarks.detection.scenario import Plan, Scenario, scenarios
from benchmarks.detection.scoring import Score
from benchmarks.detection.systems import SYSTEMS, USUAL, columns_of
from benchmarks.detection.traps import SHARED_TRAPS, TRAPS
from producers.contract import OUTCOME_CODES

MONTHS = 400.0
QUICK_MONTHS = 8.0


def main() -> None:
    """Run the benchmark."""
    options = _parser().parse_args()
    names = options.systems.split(",") if options.systems else list(USUAL)
    months = options.months if options.months is not None else QUICK_MONTHS if options.quick else MONTHS
    plan = _plan(options.kinds, months, quick=options.quick)
    scores = {name: Score() for name in names}
    seconds = dict.fromkeys([*names, "making"], 0.0)
    began = time.process_time()
    material = read_material(options.folder)
    for scenario in scenarios(material, plan, seed=options.seed, months=months):
        seconds["making"] += time.process_time() - began
        if options.save is not None:
            save(scenario, options.save)
        for name in names:
            began = time.process_time()
            scores[name].add(scenario, SYSTEMS[name](scenario))
            seconds[name] += time.process_time() - began
        print(f"{scenario.name}: {len(scenario.targets)} targets, {_checks(scenario)} checks", file=sys.stderr)
        began = time.process_time()
    print(table(scores))
    for name in names:
        for example in scores[name].examples[: options.examples]:
            print(f"{name}: false: {example}")
    result = {"seed": options.seed, "cpu_s": {name: round(spent, 1) for name, spent in seconds.items()}}
    print(json.dumps(result | {"systems": summary(scores)}))


def save(scenario: Scenario, folder: Path) -> None:
    """Write an installation's checks as a file for `forewarn replay`, and the truth about it."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = columns_of(scenario, scenario.start_us, scenario.end_us)
    assert columns is not None
    outcomes = {code: name for name, code in OUTCOME_CODES.items()}
    named = {
        "target": columns.target,
        "probe": columns.probe,
        "location": columns.location,
        "scheduled_at_us": columns.scheduled_at_us,
        "outcome": [str(outcomes[code]) for code in columns.outcome.tolist()],
        "reason": columns.reason,
        "duration_us": columns.duration_us,
        "address": columns.address,
        "http_status": pa.array(columns.http_status, pa.int64()),
        **{f"phase_{phase}_us": values for phase, values in columns.phases.items()},
        **{f"metric_{metric}": values for metric, values in columns.metrics.items()},
    }
    pa.parquet.write_table(pa.table(named), folder / f"{scenario.name}.parquet", compression="zstd")
    faults = [asdict(fault) | {"kind": fault.kind.name, "warnable": fault.warnable} for fault in scenario.faults]
    truth = {"faults": faults, "traps": [asdict(trap) for trap in scenario.traps]}
    (folder / f"{scenario.name}.json").write_text(json.dumps(truth, indent=1))


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


def _checks(scenario: Scenario) -> int:
    return sum(series.outcome.size for series in scenario.series)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection.faults", description=__doc__)
    parser.add_argument("--data", dest="folder", type=Path, required=True, help="the folder of the recorded series")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="some target-months, in under a minute")
    parser.add_argument("--months", type=float, help=f"target-months ({MONTHS:.0f}; quick: {QUICK_MONTHS:.0f})")
    parser.add_argument("--kinds", help="faults and traps, by comma; none: all are well")
    parser.add_argument("--systems", help=f"some of {', '.join(SYSTEMS)}, by comma")
    parser.add_argument("--save", type=Path, help="write the installations there")
    parser.add_argument("--examples", type=int, default=0, help="so many false warnings are told")
    return parser


if __name__ == "__main__":
    main()
