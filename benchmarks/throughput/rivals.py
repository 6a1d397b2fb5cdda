"""Runs the peers' programs (`peers/`) and ours over the same topic, each with a broker and a store of its own."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from benchmarks.throughput import bench
from benchmarks.throughput.load import Load
from benchmarks.throughput.single import events
from forewarn.embedded.broker import free_port
from producers.topics import CHECKS

PROCESSES: Final = 2
MODULES: Final = {
    "confluent-kafka loop": "confluent_loop",
    "Quix Streams": "quix",
    "Bytewax": "bytewax_flow",
}

Messages = Callable[[], Iterator[tuple[int, bytes]]]


def ours(load: Load, messages: Messages) -> bench.Spent:
    """Run the trivial detector and our sink, a process each, over packed messages."""
    with bench.site() as site:
        site.fill(messages())
        return bench.run_workers(site, site.job(load, warm=False), ("ewma", "sink"), load.checks)


def peer(name: str, python: str, load: Load, messages: Messages, *, packed: bool) -> bench.Spent:
    """Run a peer over packed messages or single events: detector and rows in each of two processes."""
    with bench.site() as site:
        filled = messages() if packed else events(messages(), now_us=time.time_ns() // 1000)
        site.fill(filled)
        gate, job = site.directory / "gate", site.directory / "peer.json"
        job.write_text(json.dumps(_job(site, gate, packed=packed)))
        spent = bench.run(site, _commands(name, python), gate, load.checks, shared=True, environment=_environment(job))
        stored = site.stored()
        if stored != load.checks:
            raise SystemExit(f"{name} stored {stored} of {load.checks} rows")
        return spent


def _job(site: bench.Site, gate: Path, *, packed: bool) -> Mapping[str, object]:
    return {
        "packed": packed,
        "topic": CHECKS,
        "bootstrap": site.broker.bootstrap,
        "group": "peer",
        "gate": str(gate),
        "store_url": site.store.settings.url,
        "store_token": site.store.settings.token,
    }


def _environment(job: Path) -> Mapping[str, str]:
    return {"JOB": str(job), "PYTHONPATH": str(bench.REPOSITORY)}


def _commands(name: str, python: str) -> dict[str, tuple[str, ...]]:
    module = f"benchmarks.throughput.peers.{MODULES[name]}"
    numbers = range(PROCESSES)
    if name != "Bytewax":
        return {f"peer {number}": (python, "-m", module) for number in numbers}
    addresses = ";".join(f"127.0.0.1:{free_port()}" for _ in numbers)
    flow = ("-m", "bytewax.run", f"{module}:flow")
    return {f"peer {number}": (python, *flow, "-i", str(number), "-a", addresses) for number in numbers}
