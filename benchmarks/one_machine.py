"""The one-machine mode, measured: start to first stored check, check to warning and to row, memory of all processes.

    python -m benchmarks.one_machine [--quick] [--targets 1000 --locations 2 --interval 30] [--calm]

It starts `forewarn up`'s installation in a temporary directory, with ten targets checked once a second on a local
HTTP server: half of them are well, half answer 500 for five intervals in every ten, so that verdicts are published all
the time. Then it reads the times from the store and the log:

- start_to_first_stored_s, start_to_first_verdict_s: from the start of the first process to a row that a query returns,
  and to the log's timestamp of the first verdict.
- check_to_verdict_s: from the end of the check that closed a tick to the log's timestamp of its verdict. Ticks of
  before the first verdict are left out: their messages wait for detection's start, which is the figure above.
- check_to_row_s: from the end of a check to the first moment at which a query, repeated ten times a second, returns
  its row.
- cpu_percent: CPU time of all processes together in percent of one core, in a second time of the same length in which
  nobody asks the store anything.
- disk_gb_a_day: what all processes together gave the disk to write in the same time (Linux's `write_bytes`: what is
  written again before it reached the disk counts once), for a day of that.
- cpu_percent_calm and disk_gb_a_day_calm, with `--calm`: the same once no target has failed for twelve intervals, so
  that nothing is published but what must be; no incident is opened, told or resolved.
- pss_mb: proportional set size of broker, store, nursery, workers and producers together, at the end; `up` itself is a
  terminal program of its own and here part of the benchmark.

Ends with one line of JSON.
"""

import argparse
import asyncio
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
from aiohttp import web
from kafka import KafkaConsumer, TopicPartition

from analytics.client import connect
from forewarn.config.config import load
from forewarn.up import Installation
from producers.errors import ForewarnError
from producers.log_client import connect as connect_log
from producers.topics import VERDICTS
from streams.codec import decode
from streams.contract import Verdict

READ_TIMEOUT_S = 30.0
CALM_INTERVALS = 12  # verdicts have settled by then; what flaps is resolved after twenty


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is watched.

    Attributes:
        targets: Each with one http probe.
        locations: Each with a producer of its own.
        interval_s: Between two checks of a target from a location.
    """

    targets: int = 10
    locations: int = 1
    interval_s: int = 1

    @property
    def checks_per_s(self) -> float:
        """Checks a second, all together."""
        return self.targets * self.locations / self.interval_s


@dataclass(frozen=True, slots=True)
class Site:
    """A local HTTP server.

    Attributes:
        port: Where it answers.
        calm: Set it, and nothing fails any more.
    """

    port: int
    calm: threading.Event


@contextmanager
def local_site(interval_s: int = 1) -> Iterator[Site]:
    """Serve `/ok` and `/flip` on a free port in a thread; `/flip` fails for five intervals in every ten."""
    loop = asyncio.new_event_loop()
    calm = threading.Event()
    ready: list[int] = []
    started = threading.Event()

    async def ok(_request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def flip(_request: web.Request) -> web.Response:
        fails = not calm.is_set() and time.time() // interval_s % 10 < 5
        return web.Response(status=500 if fails else 200, text="flip")

    async def begin() -> None:
        app = web.Application()
        app.router.add_get("/ok", ok)
        app.router.add_get("/flip", flip)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        ready.append(int(runner.addresses[0][1]))
        started.set()

    def run() -> None:
        loop.run_until_complete(begin())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    started.wait()
    yield Site(ready[0], calm)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def config_text(port: int, load: Load | None = None) -> str:
    """Return the config of a load on the local site."""
    load = Load() if load is None else load
    targets = "".join(
        f"""
  - name: t{i}
    interval: {load.interval_s}s
    timeout: 900ms
    probes:
      - http: {{url: "http://127.0.0.1:{port}/{"flip" if i % 2 else "ok"}"}}"""
        for i in range(load.targets)
    )
    locations = ", ".join(f"{{name: here{i}}}" for i in range(load.locations))
    return f"version: 1\nlocations: [{locations}]\ntargets:{targets}\n"


def first_stored(store: Any, began_s: float) -> float:
    """Wait for the first stored check; return the seconds from `began_s`."""
    while True:
        if store.query("SELECT count() FROM checks").result_rows[0][0]:
            return time.monotonic() - began_s
        time.sleep(0.05)


def row_delays(store: Any, seconds: float) -> list[float]:
    """Poll the store for new rows; return the seconds from each check's end to the poll that first saw it."""
    seen: set[tuple[Any, ...]] = set()
    delays: list[float] = []
    first = True
    deadline_s = time.monotonic() + seconds
    query = """
        SELECT target, location, toUnixTimestamp64Micro(scheduled_at),
               toUnixTimestamp64Micro(started_at) + ifNull(duration_us, 0)
        FROM checks WHERE started_at > now64(6) - INTERVAL 20 SECOND"""
    while time.monotonic() < deadline_s:
        rows = store.query(query).result_rows
        now_us = time.time_ns() // 1000
        for *check, done_us in rows:
            if (key := tuple(check)) not in seen:
                seen.add(key)
                if not first:
                    delays.append((now_us - done_us) / 1e6)
        first = False
        time.sleep(0.1)
    return delays


def verdict_delays(installation: Installation, store: Any) -> tuple[list[float], float]:
    """Return the seconds from the end of the check that closed a tick to its verdict, and when the first verdict was.

    Ticks of before the first verdict are left out.
    """
    rows = store.query(
        """SELECT target, toUnixTimestamp64Micro(scheduled_at),
                  max(toUnixTimestamp64Micro(started_at) + ifNull(duration_us, 0))
           FROM checks GROUP BY target, scheduled_at"""
    ).result_rows
    done_us = {(target, tick_us): end_us for target, tick_us, end_us in rows}
    published = list(verdicts_so_far(installation))
    if not published:
        raise ForewarnError("nothing was measured: no verdict came")
    first_s = min(at_s for at_s, _ in published)
    delays = [
        at_s - done_us[event.target, event.tick_us] / 1e6
        for at_s, event in published
        if (event.target, event.tick_us) in done_us and event.tick_us / 1e6 > first_s
    ]
    return delays, first_s


def verdicts_so_far(installation: Installation) -> Iterator[tuple[float, Verdict]]:
    """Yield the verdicts of the log up to now, each with the log's timestamp in seconds."""
    consumer = connect_log(
        KafkaConsumer,
        installation.log_settings(),
        group_id=None,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    place = TopicPartition(VERDICTS, 0)
    consumer.assign([place])
    # Verdicts go on while they are read, and Tansu's end offsets are not to be trusted: until now, then.
    now_ms, read_ms, deadline_s = time.time() * 1000, 0.0, time.monotonic() + READ_TIMEOUT_S
    while read_ms < now_ms and time.monotonic() < deadline_s:
        for record in consumer.poll(timeout_ms=1000).get(place, []):
            read_ms = record.timestamp
            event = decode(VERDICTS, record.value)
            if isinstance(event, Verdict):
                yield record.timestamp / 1e3, event
    consumer.close()


def pss_mb(pids: Sequence[int]) -> float:
    """Return the proportional set size of some processes together, megabytes."""
    return sum(psutil.Process(pid).memory_full_info().pss for pid in pids) / 1e6


class Used(NamedTuple):
    """What a process has used, or uses.

    Attributes:
        cpu_s: CPU time, seconds.
        written_bytes: Given to the disk.
    """

    cpu_s: float
    written_bytes: float


def used_so_far(pid: int) -> Used:
    """Return what a process has used since its start."""
    process: Any = psutil.Process(pid)
    spent = process.cpu_times()
    return Used(spent.user + spent.system, process.io_counters().write_bytes)


def used_a_second(pids: Mapping[str, int], seconds: float) -> dict[str, Used]:
    """Return what each process uses from now on for so long, a second."""
    before, began_s = {name: used_so_far(pid) for name, pid in pids.items()}, time.monotonic()
    time.sleep(seconds)
    passed_s = time.monotonic() - began_s
    after = {name: used_so_far(pid) for name, pid in pids.items()}
    return {
        name: Used(*((now - then) / passed_s for now, then in zip(after[name], before[name], strict=True)))
        for name in pids
    }


def of_all(used: Mapping[str, Used], suffix: str = "") -> dict[str, float]:
    """Return the figures of all processes together."""
    return {
        f"cpu_percent{suffix}": round(100 * sum(one.cpu_s for one in used.values()), 1),
        f"disk_gb_a_day{suffix}": round(sum(one.written_bytes for one in used.values()) * 86_400 / 1e9, 2),
    }


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return the count, median, 99th percentile and maximum."""
    if not values:
        raise ForewarnError("nothing was measured: no verdict or no row came")
    p50, p99 = np.percentile(values, (50, 99))
    return {"n": len(values), "p50": round(float(p50), 3), "p99": round(float(p99), 3), "max": round(max(values), 3)}


def measured(installation: Installation, seconds: float, calm_down: Callable[[], None] | None) -> dict[str, Any]:
    """Start an installation and return its figures; print what each process takes.

    Args:
        installation: Of a load on the local site.
        seconds: How long to look, for each figure that takes time.
        calm_down: Returns when nothing happens any more; None: that is not measured.
    """
    began_s, began_wall_s = time.monotonic(), time.time()
    installation.start()
    store = connect(installation.store_settings())
    figures: dict[str, Any] = {"start_to_first_stored_s": round(first_stored(store, began_s), 2)}
    pids = {name: pid for name, pid in installation.pids().items() if name != "up"}
    figures["check_to_row_s"] = summary(row_delays(store, seconds))
    used = used_a_second(pids, seconds)
    figures |= of_all(used)
    calm: Mapping[str, Used] = {}
    delays, first_s = verdict_delays(installation, store)
    figures["start_to_first_verdict_s"] = round(first_s - began_wall_s, 2)
    figures["check_to_verdict_s"] = summary(delays)
    if calm_down is not None:
        calm_down()
        calm = used_a_second(pids, seconds)
        figures |= of_all(calm, "_calm")
    sizes = {name: round(pss_mb([pid]), 1) for name, pid in pids.items()}
    figures["pss_mb"] = round(sum(sizes.values()), 1)
    for name, size in sorted(sizes.items()):
        shares = ", calm ".join(f"{100 * one[name].cpu_s:.1f}" for one in (used, calm) if one)
        disk = ", calm ".join(f"{one[name].written_bytes * 86_400 / 1e9:.2f}" for one in (used, calm) if one)
        print(f"{name:<16} {size:>8.1f} MB {shares:>16} % of a core {disk:>16} GB a day to disk")
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under a minute, with an interval of up to 12 s")
    parser.add_argument("--targets", type=int, default=10, help="how many targets")
    parser.add_argument("--locations", type=int, default=1, help="from how many locations each")
    parser.add_argument("--interval", type=int, default=1, help="seconds between two checks of a target")
    parser.add_argument("--calm", action="store_true", help="take the CPU of a time in which nothing fails, too")
    chosen = parser.parse_args()
    watched = Load(targets=chosen.targets, locations=chosen.locations, interval_s=chosen.interval)
    with tempfile.TemporaryDirectory() as directory, local_site(watched.interval_s) as site:
        config_file = Path(directory) / "forewarn.yaml"
        config_file.write_text(config_text(site.port, watched))

        def calm_down() -> None:
            site.calm.set()
            time.sleep(CALM_INTERVALS * watched.interval_s)

        installation = Installation(load(config_file), config_file, Path(directory) / "data")
        try:
            seconds = max(15.0 if chosen.quick else 180.0, 1.25 * watched.interval_s)
            figures = measured(installation, seconds, calm_down if chosen.calm else None)
        finally:
            began_s = time.monotonic()
            for said in installation.stop():
                print(said)
            ended_s = time.monotonic() - began_s
    figures |= {"end_s": round(ended_s, 2), "load_average": round(os.getloadavg()[0], 1)}
    print(json.dumps({"benchmark": "one_machine", "checks_per_s": round(watched.checks_per_s, 1), **figures}))


if __name__ == "__main__":
    main()
