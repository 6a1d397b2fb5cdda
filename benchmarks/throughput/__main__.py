"""Checks a second from the topic to stored verdicts, rows and rollups, on one machine, beside peers in the same run.

    python -m benchmarks.throughput [--quick] [--only stages,flow,peers,latency] [--peers PYTHON]

- **flow**: a topic full of packed checks; the groups detect and sink as they are, a process each, the embedded broker
  and store. Detectors are warm (they learned 70 checks of each series before). Counted from the moment at which both
  may begin until both have the last check: judged, and stored and proved. Rollups of all hours are computed after it
  and timed apart; `with rollups` is checks by both times together, as if nothing ran beside.
- **stages**: each function of that way alone, CPU microseconds a check.
- **peers**: the same topic, the same trivial detector (an EWMA), the same rows into the same store: two processes each
  of a bare confluent-kafka loop, Quix Streams and Bytewax, which insert once a second and commit; ours are that
  detector and the sink with its proof of every row. Then the same with one event a message, as their own guides have
  it. `--peers` names the Python of an environment with `benchmarks/throughput/peers/requirements.txt`; without it this
  part is left out.
- **latency**: from the end of a check to the verdict in the log, at 10, 50 and 90 % of what flow reached with 100,000
  series.

About half an hour on two quiet cores, of which the peers take ten minutes; `--quick` takes about a minute of CPU (1,000
series, no peers). The last line is JSON.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from analytics.lean_arrow import leave_pandas_out
from benchmarks.throughput import bench, latency, rivals, stages
from benchmarks.throughput.load import MINUTE_US, Load

PARTS: Final = ("stages", "flow", "peers", "latency")
CHECKS: Final = {1_000: 200_000, 10_000: 600_000, 100_000: 2_000_000}
"""How many are fed, by series."""

SERIES_A_CHECK: Final = (1, 3, 7)
INTERVAL_US: Final = 5 * MINUTE_US
"""Targets are silent after two of it: no run takes so long that the clock finds all of them silent at its end."""

STAGE_TICKS: Final = 12
SINGLE_CHECKS: Final = 500_000
SHARES: Final = (0.1, 0.5, 0.9)
TIMED_SERIES: Final = 10_000

QUICK_SERIES: Final = 1_000
QUICK_CHECKS: Final = 20_000
QUICK_RATE: Final = 1_000.0
"""Checks a second at which --quick times warnings, whatever flow reached: its few checks say little of that."""

Figures = dict[str, Any]


def load_of(series: int, per_check: int, checks: int) -> Load:
    """Return an installation and so many checks of it, the last ones a minute old."""
    ticks = max(1, checks * per_check // series)
    until_us = time.time_ns() // 1000 - 2 * MINUTE_US + INTERVAL_US
    return Load(series=series, per_check=per_check, ticks=ticks, until_us=until_us, interval_us=INTERVAL_US)


def flow(load: Load) -> Figures:
    """Run detect and sink over a full topic; then compute the rollups."""
    with bench.site() as site:
        site.fill(load.messages())
        spent = bench.run_workers(site, site.job(load, warm=True), ("detect", "sink"), load.checks)
        stored = site.stored()
        if stored != load.checks:
            raise SystemExit(f"{stored} of {load.checks} rows are in the store")
        hours, rollups_s = site.rollups()
    found = _figures(spent) | {"series": load.series, "series_a_check": load.per_check}
    return found | {
        "rollups": hours,
        "rollups_s": round(rollups_s, 2),
        "checks_per_s_with_rollups": round(load.checks / (max(spent.seconds.values()) + rollups_s)),
    }


def _figures(spent: bench.Spent) -> Figures:
    return {
        "checks": spent.checks,
        "checks_per_s": round(spent.checks_per_s),
        "by_worker_per_s": {name: round(spent.checks / seconds) for name, seconds in spent.seconds.items()},
        "cpu_us_a_check": {name: round(used * 1e6 / spent.checks, 2) for name, used in spent.cpu_s.items()},
        "peak_mb": spent.peak_mb,
        "load_average": spent.load_average,
    }


def print_flow(found: Figures) -> None:
    """Print a row."""
    cpu = ", ".join(f"{name} {used:g}" for name, used in found["cpu_us_a_check"].items())
    peak = ", ".join(f"{name} {size}" for name, size in found["peak_mb"].items())
    print(
        f"flow    {found['series']:>7} series, {found['series_a_check']} a check: {found['checks_per_s']:>8} checks/s"
        f" ({found['checks_per_s_with_rollups']} with rollups); by worker {found['by_worker_per_s']};"
        f" CPU µs a check: {cpu}; peak MB: {peak}; load {found['load_average']}",
        flush=True,
    )


def run_stages(load: Load) -> Figures:
    """Measure each function alone."""
    with bench.site() as site:
        found = {stage: round(spent, 3) for stage, spent in stages.measure(site, load).items()}
    print(f"stages  {load.series} series, {load.per_check} a check, load {bench.load_average()}: CPU µs a check")
    for stage, spent in found.items():
        print(f"        {stage:24} {spent:8.2f}")
    return {"series": load.series, "series_a_check": load.per_check, "us_a_check": found}


def run_peers(python: str, load: Load, single: Load) -> list[Figures]:
    """Run ours and every peer over packed messages, then every peer over single events."""
    found = []
    tables = (("packed", load, ("ours", *rivals.MODULES)), ("one event a message", single, tuple(rivals.MODULES)))
    for table, fed, names in tables:
        messages = list(fed.messages())

        def again(messages: Sequence[tuple[int, bytes]] = messages) -> Iterator[tuple[int, bytes]]:
            return iter(messages)

        for name in names:
            if name == "ours":
                spent = rivals.ours(fed, again)
            else:
                spent = rivals.peer(name, python, fed, again, packed=table == "packed")
            one = {"table": table, "name": name, **_figures(spent)}
            print(
                f"peers   {table:20} {name:22} {one['checks_per_s']:>8} checks/s, load {one['load_average']}",
                flush=True,
            )
            found.append(one)
    return found


def run_latency(rates: Sequence[tuple[str, float]], series: int, seconds: float) -> list[Figures]:
    """Time warnings at these rates."""
    found = []
    for name, rate in rates:
        delays = latency.measure(latency.load_of(series), rate, seconds)
        print(
            f"latency {name} ({rate:.0f} checks/s): p50 {delays.p50_s:.3f} s, p99 {delays.p99_s:.3f} s,"
            f" max {delays.max_s:.3f} s of {delays.verdicts} verdicts ({delays.missing} missing);"
            f" load {delays.load_average}",
            flush=True,
        )
        found.append({"name": name} | {key: _rounded(value) for key, value in delays._asdict().items()})
    return found


def _rounded(value: float) -> float | None:
    return round(value, 4) if value == value else None  # noqa: PLR0124 - NaN: nothing came


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1,000 series, under a minute, no peers")
    parser.add_argument("--only", default=",".join(PARTS), help="comma-separated parts")
    parser.add_argument("--peers", metavar="PYTHON", help="the Python of the peers' environment")
    parser.add_argument("--series", default=",".join(map(str, CHECKS)), help="comma-separated, for flow")
    parser.add_argument("--series-a-check", default=",".join(map(str, SERIES_A_CHECK)), help="the same")
    parser.add_argument("--checks", type=int, help="how many are fed in each run of flow and peers")
    parser.add_argument("--rate", type=float, help="checks a second that count as all, for latency without flow")
    return parser.parse_args()


def main() -> None:
    """Measure and print; the last line is JSON."""
    chosen = options()
    parts = set(chosen.only.split(","))
    if not parts <= set(PARTS):
        sys.exit(f"--only knows {', '.join(PARTS)}")
    leave_pandas_out()
    found: Figures = {"benchmark": "throughput", "quick": chosen.quick}
    if chosen.quick:
        _quick(parts, found)
    else:
        _full(chosen, parts, found)
    print(json.dumps(found))


def _quick(parts: set[str], found: Figures) -> None:
    small = load_of(QUICK_SERIES, 1, QUICK_CHECKS)
    if "stages" in parts:
        found["stages"] = [run_stages(small)]
    if "flow" in parts:
        found["flow"] = [flow(small)]
        print_flow(found["flow"][0])
    if "latency" in parts:
        found["latency"] = run_latency([("at an easy pace", QUICK_RATE)], QUICK_SERIES, 5.0)


def _full(chosen: argparse.Namespace, parts: set[str], found: Figures) -> None:
    largest = max(CHECKS)
    if "stages" in parts:
        found["stages"] = [run_stages(load_of(largest, k, STAGE_TICKS * largest // k)) for k in SERIES_A_CHECK]
    if "flow" in parts:
        found["flow"] = []
        for series in map(int, chosen.series.split(",")):
            for per_check in map(int, chosen.series_a_check.split(",")):
                found["flow"].append(flow(load_of(series, per_check, chosen.checks or CHECKS[series])))
                print_flow(found["flow"][-1])
    if "peers" in parts and chosen.peers:
        packed = load_of(largest, 1, chosen.checks or CHECKS[largest])
        single = load_of(largest, 1, min(chosen.checks or SINGLE_CHECKS, SINGLE_CHECKS))
        found["peers"] = run_peers(chosen.peers, packed, single)
    if "latency" in parts:
        whole = chosen.rate or max((one["checks_per_s"] for one in found.get("flow", ())), default=None)
        if whole is None:
            sys.exit("latency without flow needs --rate")
        rates = [(f"{share:.0%} of {whole:.0f}", share * whole) for share in SHARES]
        found["latency"] = run_latency(rates, TIMED_SERIES, 20.0)


if __name__ == "__main__":
    main()
