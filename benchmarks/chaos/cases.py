"""Single troubles, each made to happen for real while a recording is played: disks, damage, and a wrong clock."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from analytics.client import connect
from benchmarks.chaos.faults import Done, Fault
from benchmarks.chaos.installations import DETECTS, LOCATIONS, Chaos
from benchmarks.chaos.recording import record
from benchmarks.chaos.run import Expected, Plan, Result, Stage, Tell, finish, on_stage
from tests.integration.reading import query
from tests.integration.waiting import wait_for

FULL_S: Final = 6.0
"""How long a disk is full after that was noticed."""

WRONG_S: Final = 3600
"""How far the clock is stepped."""

WRONG_FOR_S: Final = 8.0
SPOOL_MB: Final = 2
STORE_MB: Final = 160
FULL, TORN, WRONG = LOCATIONS
"""Whose spool's disk is full, whose spool's tail is damaged, whose clock is wrong."""

NOT_KEPT: Final = "rows missing after insert"
"""On a full disk the embedded store has confirmed rows that it did not keep; the sink looks, and inserts them again."""

STORED_DAMAGED: Final = "a snapshot in the store is damaged"
TORN_TAIL: Final = "cut an unfinished append off"
SPOOL_FULL: Final = "the spool cannot be written: checks wait in memory"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One trouble.

    Attributes:
        happen: Lets it happen and end; returns the producers' faults that it amounts to.
    """

    name: str
    happen: Callable[[Stage], list[Done]]


def run_cases(seed: int, directory: Path, tell: Tell) -> Result:
    """Let all of them happen, one after the other, to one installation on Tansu."""
    plan = Plan(log="tansu", recording=record(seed, targets=20, locations=LOCATIONS, ticks=90), interval_s=2)
    done: list[Done] = []
    with ExitStack() as disks:

        def prepare(deployment: Chaos) -> None:
            data_dir = deployment.directory / "installation"
            disks.enter_context(small_disk(data_dir / "spool" / FULL, megabytes=SPOOL_MB))
            disks.enter_context(small_disk(data_dir / "store", megabytes=STORE_MB))

        with on_stage(plan, directory, tell, prepare) as stage:
            for case in CASES:
                began_s = time.monotonic()
                done += case.happen(stage)
                tell(f"{case.name}: {time.monotonic() - began_s:.1f} s")
                time.sleep(2.0)
            wrong_clock = [one for one in done if one.fault.name == f"producer {WRONG}"]
            expected = Expected(
                is_excused=lambda location, tick: (
                    location == WRONG
                    and any(one.from_us <= tick <= one.until_us + 2 * stage.play.interval_us for one in wrong_clock)
                ),
                refusals=frozenset({"far_future"}),
                said=(SPOOL_FULL, STORED_DAMAGED, NOT_KEPT),
            )
            result = finish(stage, done, expected)
    result.wrong["each trouble left its trace"] = [name for name, count in _traces(stage, result).items() if not count]
    return result


def _traces(stage: Stage, result: Result) -> dict[str, int]:
    """Return how often each trouble was noticed: what nobody noticed has perhaps not happened."""
    said = "".join(stage.deployment.outputs().values())
    return {
        "a full spool": said.count(SPOOL_FULL),
        "a store that takes nothing": said.count("rows wait for the store"),
        "a damaged copy of a snapshot": said.count("a snapshot is damaged"),
        "a damaged snapshot in the store": said.count(STORED_DAMAGED),
        "a torn tail": stage.deployment.output(f"producer {TORN}").count(TORN_TAIL),
        "checks of a wrong clock": result.counts["dead_letters"],
    }


@contextmanager
def small_disk(directory: Path, *, megabytes: int) -> Iterator[None]:
    """Mount a small disk in memory for the time of the block. Needs root."""
    directory.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(directory)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


@contextmanager
def full(directory: Path) -> Iterator[None]:
    """Fill the disk under a directory for the time of the block."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    try:
        yield
    finally:
        filler.unlink()


def _spool_full(stage: Stage) -> list[Done]:
    deployment = stage.deployment
    name = f"producer {FULL}"
    with full(deployment.directory / "installation" / "spool" / FULL):
        wait_for("a spool that says that it is full", lambda: SPOOL_FULL in deployment.output(name))
        time.sleep(FULL_S)
    wait_for("a spool that is written again", lambda: "the spool can be written again" in deployment.output(name))
    return []


def _store_full(stage: Stage) -> list[Done]:
    deployment = stage.deployment

    def newest_us() -> int:
        return int(query(deployment.store, "SELECT max(stored_at) AS at FROM checks_log")[0]["at"])

    with full(deployment.directory / "installation" / "store"):
        wait_for("a sink that waits", lambda: "rows wait for the store" in deployment.output("sink"))
        time.sleep(FULL_S)
        full_us = newest_us()
    wait_for("rows in the store", lambda: newest_us() > full_us)
    return []


def _torn_tail(stage: Stage) -> list[Done]:
    deployment = stage.deployment
    name = f"producer {TORN}"
    from_us = time.time_ns() // 1000
    with deployment.unattended():
        pid = deployment.pids()[name]
        os.kill(pid, signal.SIGKILL)
        newest = max((deployment.directory / "installation" / "spool" / TORN).glob("*.outbox"))
        with newest.open("ab") as file:
            file.write(newest.read_bytes()[-300:-20] + os.urandom(50))
    _wait_for_another(deployment, name, pid)
    fault = Fault(at=0.0, name=name, how="kill", seconds=0.0)
    return [Done(fault=fault, from_us=from_us, until_us=time.time_ns() // 1000)]


def _wait_for_another(deployment: Chaos, name: str, pid: int) -> None:
    wait_for(f"{name} runs again", lambda: deployment.pids().get(name, pid) != pid)


def _snapshots_damaged(stage: Stage) -> list[Done]:
    """The newest of each partition, in the store and in every worker's own copy, while all detect workers are dead."""
    deployment = stage.deployment
    with deployment.unattended():
        pids = {name: deployment.pids()[name] for name in DETECTS}
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
        for folder in deployment.directory.glob("*/workers/detect/snapshots/detect/*"):
            newest = max(folder.glob("*.snapshot"), default=None)
            if newest is not None:
                content = newest.read_bytes()
                newest.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with contextlib.closing(connect(deployment.store)) as client:
            client.command(
                "ALTER TABLE snapshots_log UPDATE payload = concat('x', payload) WHERE group_name = 'detect'"
                " AND (log_partition, number) IN (SELECT log_partition, max(number) FROM snapshots_log"
                " WHERE group_name = 'detect' GROUP BY log_partition)",
                settings={"mutations_sync": 1},
            )
    for name, pid in pids.items():
        _wait_for_another(deployment, name, pid)
    return []


def _clock_stepped(stage: Stage) -> list[Done]:
    """An hour forth, and back."""
    file = stage.deployment.directory / "installation" / f"clock-{WRONG}"
    from_us = time.time_ns() // 1000
    file.write_text(str(WRONG_S))
    time.sleep(WRONG_FOR_S)
    file.unlink()
    fault = Fault(at=0.0, name=f"producer {WRONG}", how="stop", seconds=WRONG_FOR_S)
    return [Done(fault=fault, from_us=from_us, until_us=time.time_ns() // 1000)]


CASES: Final = (
    Case(name="disk full at the spool", happen=_spool_full),
    Case(name="disk full at the store", happen=_store_full),
    Case(name="corrupt spool tail", happen=_torn_tail),
    Case(name="corrupt snapshots", happen=_snapshots_damaged),
    Case(name="a clock stepped an hour forth and back", happen=_clock_stepped),
)
