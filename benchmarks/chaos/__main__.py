"""A recorded hour of 500 targets x 3 locations, and every part killed, stopped and cut off while it is played.

    python -m benchmarks.chaos [--quick] [--seed N] [--kills N] [--log tansu|kafka]
    python -m benchmarks.chaos --part cases   # full disks (needs root), damaged files, a wrong clock
    python -m benchmarks.chaos --part away [--seconds N] [--away broker]  # store, then broker, for an hour each
    python -m benchmarks.chaos --part fuzz    # messages that are nearly right

See docs/chaos.md. Prints what was done to whom, then each check with what is wrong; ends with one line of JSON, and
with exit code 1 if anything is wrong.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.chaos.away import PARTS, run_away
from benchmarks.chaos.cases import run_cases
from benchmarks.chaos.faults import plan
from benchmarks.chaos.fuzz import fuzz
from benchmarks.chaos.installations import LOCATIONS
from benchmarks.chaos.recording import record
from benchmarks.chaos.run import Plan, Result, Tell, run

SHOWN = 8


def tell(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run, print, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="about a minute: 40 targets, 20 ticks each second, 3 kills"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the recording and of the faults")
    parser.add_argument("--kills", type=int, help="how many parts are killed; half as many are stopped or cut off")
    parser.add_argument("--log", choices=("tansu", "kafka"), default="tansu")
    parser.add_argument("--targets", type=int, help="how many targets")
    parser.add_argument("--ticks", type=int, help="how many ticks the recording has")
    parser.add_argument("--interval", type=int, help="seconds between two ticks as they are played")
    parser.add_argument("--silence", type=float, help="seconds for which one producer is stopped so that it is noticed")
    parser.add_argument("--directory", type=Path, help="keep everything here")
    parser.add_argument("--part", choices=("play", "cases", "away", "fuzz"), default="play")
    parser.add_argument("--seconds", type=float, default=3600.0, help="of --part away")
    parser.add_argument("--away", choices=tuple(PARTS), help="of --part away: this alone, not one after the other")
    parser.add_argument("--messages", type=int, default=100_000, help="of --part fuzz")
    chosen = parser.parse_args()
    began_s = time.monotonic()

    def timed(line: str) -> None:
        tell(f"{time.monotonic() - began_s:7.1f} s  {line}")

    with tempfile.TemporaryDirectory(prefix="forewarn-chaos-") as made:
        directory = chosen.directory or Path(made)
        if chosen.part == "play":
            result = _play(chosen, directory, timed)
        elif chosen.part == "cases":
            result = run_cases(chosen.seed, directory, timed)
        elif chosen.part == "away":
            seconds, interval_s = (60.0, 2) if chosen.quick else (chosen.seconds, 10)
            parts = tuple(PARTS) if chosen.away is None else (chosen.away,)
            result = run_away(
                chosen.seed, parts, seconds, interval_s=interval_s, log=chosen.log, directory=directory, tell=timed
            )
        else:
            result = fuzz(chosen.seed, 3_000 if chosen.quick else chosen.messages, directory)
    _show(result)
    figures = {
        "benchmark": f"chaos {chosen.part}",
        "log": chosen.log,
        "seed": chosen.seed,
        "faults": dict(Counter(one.fault.how for one in result.done)),
        **result.counts,
        "wrong": {name: len(lines) for name, lines in result.wrong.items() if lines},
        "seconds": round(time.monotonic() - began_s),
        "load_average": round(os.getloadavg()[0], 1),
    }
    tell(json.dumps(figures))
    return 1 if figures["wrong"] else 0


def _play(chosen: argparse.Namespace, directory: Path, told: Tell) -> Result:
    targets, ticks, interval_s, kills = (40, 20, 1, 3) if chosen.quick else (500, 120, 10, 100)
    targets, ticks = chosen.targets or targets, chosen.ticks or ticks
    kills = kills if chosen.kills is None else chosen.kills
    recording = record(chosen.seed, targets=targets, locations=LOCATIONS, ticks=ticks)
    faults = plan(chosen.seed, kills=kills, locations=LOCATIONS, silence_s=chosen.silence)
    tell(f"{targets} targets x {len(LOCATIONS)} locations, {ticks} ticks, {recording.events}; {len(faults)} faults")
    planned = Plan(log=chosen.log, recording=recording, interval_s=chosen.interval or interval_s)
    return run(planned, faults, directory, told)


def _show(result: Result) -> None:
    """Print which part was hit how often, and every check."""
    hits = Counter((one.fault.name.partition(" ")[0], one.fault.how) for one in result.done)
    tell(f"{'part':<12}{'killed':>8}{'stopped':>9}{'cut off':>9}")
    for part in dict.fromkeys(part for part, _ in sorted(hits)):
        tell(f"{part:<12}{hits[part, 'kill']:>8}{hits[part, 'stop']:>9}{hits[part, 'cut']:>9}")
    for name, lines in result.wrong.items():
        tell(f"{name:<40} {'ok' if not lines else f'{len(lines)} WRONG'}")
        for line in lines[:SHOWN]:
            tell(f"    {line[:300]}")


if __name__ == "__main__":
    sys.exit(main())
