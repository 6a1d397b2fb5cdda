"""The host probe: how full and how busy the machine is that the producer runs on.

Metrics, all ratios: `cpu_load_ratio` (load of one minute by cores; may exceed 1), `cpu_used_ratio` (since
this probe's last reading), `memory_used_ratio`, and per mount `disk_free_ratio:<mount>` (as `df` counts, for
unprivileged users) and `inode_free_ratio:<mount>` (where the file system counts inodes).
"""

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psutil

from producers.contract import FailureReason
from producers.probes.reading import Failed, Measurement, Reading, measure
from producers.settings import HostOptions

FIRST_SAMPLE_S: Final = 0.1
"""CPU use is a difference of two readings: the first one makes both, so far apart."""

GRACE_RATIO: Final = 0.1
"""The part of the deadline that is kept for reporting when a mount does not answer."""

_cpu_times: dict[HostOptions, tuple[float, float]] = {}
_under_way: dict[str, concurrent.futures.Future[dict[str, float] | str]] = {}


async def probe(options: HostOptions, deadline_s: float) -> Reading:
    """Read this machine once. What cannot be read is a failure `unavailable`; the rest is reported."""
    return await measure(lambda measurement: _read(options, measurement), deadline_s)


async def _read(options: HostOptions, measurement: Measurement) -> None:
    patience_s = measurement.remaining_s * (1 - GRACE_RATIO)
    mounts = [asyncio.create_task(_read_mount(mount, patience_s)) for mount in options.mounts]
    try:
        _note(measurement, _load_and_memory())
        _note(measurement, {"cpu_used_ratio": await _cpu_used(options, patience_s)})
        results = await asyncio.gather(*mounts)
    finally:
        for task in mounts:
            task.cancel()
    missing = []
    for result in results:
        if isinstance(result, str):
            missing.append(result)
        else:
            _note(measurement, result)
    if missing:
        raise Failed(FailureReason.UNAVAILABLE, "; ".join(missing))


def _note(measurement: Measurement, metrics: Mapping[str, float]) -> None:
    for name, value in metrics.items():
        measurement.read(name, value)


def _load_and_memory() -> dict[str, float]:
    memory = psutil.virtual_memory()
    return {
        "cpu_load_ratio": psutil.getloadavg()[0] / (psutil.cpu_count() or 1),
        "memory_used_ratio": 1 - memory.available / memory.total,
    }


async def _cpu_used(options: HostOptions, patience_s: float) -> float:
    """Return the part of all cores' time that was used since the last reading, NaN if no time has passed."""
    before = _cpu_times.get(options)
    if before is None:
        before = _busy_and_total()
        await asyncio.sleep(min(FIRST_SAMPLE_S, patience_s / 2))
    busy, total = _cpu_times[options] = _busy_and_total()
    passed = total - before[1]
    return min(max((busy - before[0]) / passed, 0.0), 1.0) if passed > 0 else float("nan")


def _busy_and_total() -> tuple[float, float]:
    """Return the seconds of all cores since boot. Guests' time is part of their host's user time."""
    times = psutil.cpu_times()
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total - times.idle - getattr(times, "iowait", 0.0), total


async def _read_mount(mount: str, patience_s: float) -> dict[str, float] | str:
    """Return the metrics of a mount, or in words why there are none."""
    try:
        async with asyncio.timeout(patience_s):
            return await asyncio.wrap_future(_reading_of(mount))
    except TimeoutError:
        return f"{mount} does not answer"


def _reading_of(mount: str) -> concurrent.futures.Future[dict[str, float] | str]:
    """Return the reading of a mount that is under way, or begin one.

    Each in a thread of its own, a daemon: when a network disk is away it may hang for ever, and then neither
    other mounts nor the end of the process wait for it, and later checks start no further thread.
    """
    under_way = _under_way.get(mount)
    if under_way is not None:
        return under_way
    answer: concurrent.futures.Future[dict[str, float] | str] = concurrent.futures.Future()
    answer.set_running_or_notify_cancel()  # running: who gives up waiting does not cancel it for others
    _under_way[mount] = answer
    threading.Thread(target=_answer, args=(mount, answer), name=f"mount {mount}", daemon=True).start()
    return answer


def _answer(mount: str, answer: concurrent.futures.Future[dict[str, float] | str]) -> None:
    try:
        result = _mount_ratios(mount)
    except OSError as error:
        result = f"{mount} cannot be read: {error.strerror}"
    finally:
        del _under_way[mount]
    answer.set_result(result)


def _mount_ratios(mount: str) -> dict[str, float] | str:
    # A directory whose disk is not mounted would answer with the numbers of the disk below it.
    if not Path(mount).is_mount():
        return f"{mount} is not mounted"
    usage = psutil.disk_usage(mount)
    if usage.used + usage.free == 0:
        return f"{mount} has no size"
    ratios = {f"disk_free_ratio:{mount}": usage.free / (usage.used + usage.free)}
    system = os.statvfs(mount)
    if system.f_files > 0:
        ratios[f"inode_free_ratio:{mount}"] = system.f_favail / system.f_files
    return ratios
