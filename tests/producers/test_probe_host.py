"""The host probe on the machine that runs the tests."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from producers.contract import Outcome
from producers.probes import host
from producers.settings import HostOptions
from tests.producers.probing import check


async def test_reads_load_memory_and_the_root_disk() -> None:
    """All are ratios of this machine; a duration is there, phases and an address are not."""
    seen = await check(HostOptions())
    assert (seen.outcome, seen.detail, seen.address, seen.phases) == (Outcome.SUCCESS, None, None, {})
    assert {"cpu_load_ratio", "cpu_used_ratio", "memory_used_ratio", "disk_free_ratio:/"} <= set(seen.metrics)
    assert seen.metrics["cpu_load_ratio"] >= 0
    for name in set(seen.metrics) - {"cpu_load_ratio"}:
        assert 0 <= seen.metrics[name] <= 1, name
    assert 0 < seen.metrics["memory_used_ratio"] < 1
    assert seen.duration_us is not None


async def test_inodes_are_read_where_the_file_system_counts_them() -> None:
    """The ratio is that of statvfs."""
    seen = await check(HostOptions())
    system = os.statvfs("/")
    if system.f_files == 0:
        assert "inode_free_ratio:/" not in seen.metrics
    else:
        assert seen.metrics["inode_free_ratio:/"] == pytest.approx(system.f_favail / system.f_files, abs=0.01)


async def test_a_missing_mount_is_unavailable_and_the_rest_is_reported(tmp_path: Path) -> None:
    """A directory whose disk is not mounted is no mount: its numbers would be those of the disk below it."""
    gone = tmp_path / "gone"
    seen = await check(HostOptions(mounts=(str(gone), "/", str(tmp_path))))
    assert (seen.outcome, seen.reason) == (Outcome.FAILURE, "unavailable")
    assert seen.detail == f"{gone} is not mounted; {tmp_path} is not mounted"
    assert {"cpu_used_ratio", "memory_used_ratio", "disk_free_ratio:/"} <= set(seen.metrics)
    assert f"disk_free_ratio:{tmp_path}" not in seen.metrics


async def test_cpu_use_is_that_since_the_last_check() -> None:
    """A core that is kept busy between two checks is seen by the second one."""
    options = HostOptions(mounts=("/",))
    await check(options)
    before = os.times()
    while os.times().user + os.times().system - before.user - before.system < 0.3:
        sum(range(10_000))
    passed = os.times().elapsed - before.elapsed
    seen = await check(options)
    cores = os.cpu_count() or 1
    assert seen.metrics["cpu_used_ratio"] > 0.3 / passed / cores / 3


async def test_a_mount_that_hangs_is_told_and_holds_up_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A network disk that is away blocks whoever touches it: one thread waits, however often it is checked."""
    back = threading.Event()
    read = host._mount_ratios

    def hang(mount: str) -> dict[str, float] | str:
        if mount == "/away":
            back.wait()
        return read(mount)

    # The one thing that no test can do for real without root: a file system that does not answer.
    monkeypatch.setattr(host, "_mount_ratios", hang)
    threads = threading.active_count()
    try:
        for _ in range(3):
            seen = await check(HostOptions(mounts=("/away", "/")), deadline_s=2.0)
            assert (seen.reason, seen.detail) == ("unavailable", "/away does not answer")
            assert "disk_free_ratio:/" in seen.metrics
        assert threading.active_count() <= threads + 1
    finally:
        back.set()
    for _ in range(1000):
        if "/away" not in host._under_way:
            break
        await asyncio.sleep(0.01)
    seen = await check(HostOptions(mounts=("/away", "/")))
    assert seen.detail == "/away is not mounted"
