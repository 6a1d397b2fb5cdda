"""Thousands of seeded stories in which everything fails: `python -m benchmarks.simulation`.

The protocols of detect and sink run against a simulated log, store, disks and clocks (`tests/simulation`). Prints how
many stories did not end as an undisturbed run, and in how many each deliberate mistake is found. `--seed N` tells one
story whole, `--bug NAME` with a mistake in it.
"""

import argparse
import json
import sys
import time

from tests.simulation.members import Bug
from tests.simulation.world import run

SEEDS = 10_000
SEEDS_A_BUG = 1_000


def failing(seeds: int, bug: Bug | None = None) -> tuple[list[int], int]:
    """Return the seeds that end wrong, and the number of faults in all."""
    found, faults = [], 0
    for seed in range(seeds):
        outcome = run(seed, bug)
        faults += outcome.faults
        if outcome.wrong:
            found.append(seed)
    return found, faults


def main() -> None:
    """Run, print, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--seed", type=int, help="tell this story")
    parser.add_argument("--bug", choices=[bug.name.lower() for bug in Bug], help="with --seed: the mistake in it")
    args = parser.parse_args()
    if args.seed is not None:
        outcome = run(args.seed, None if args.bug is None else Bug[args.bug.upper()])
        sys.stdout.write("\n".join([*outcome.story, "; ".join(outcome.wrong) or "all is well"]) + "\n")
        return
    seeds, seeds_a_bug = (200, 50) if args.quick else (args.seeds, SEEDS_A_BUG)
    began = time.monotonic()
    wrong, faults = failing(seeds)
    seconds = time.monotonic() - began
    sys.stdout.write(f"{seeds} stories with {faults} faults in {seconds:.0f} s; wrong: {wrong or 'none'}\n")
    found = {}
    for bug in Bug:
        caught, _ = failing(seeds_a_bug, bug)
        found[bug.name.lower()] = len(caught)
        sys.stdout.write(
            f"{bug.value}: found in {len(caught)} of {seeds_a_bug}, first in {min(caught, default=None)}\n"
        )
    result = {"benchmark": "simulation", "seeds": seeds, "faults": faults, "wrong": wrong, "seeds_a_bug": seeds_a_bug}
    sys.stdout.write(json.dumps({**result, "found": found}) + "\n")


if __name__ == "__main__":
    main()
