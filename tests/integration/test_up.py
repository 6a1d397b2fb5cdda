"""`forewarn up` as a user has it: one process to start, one to end, and what was stored is there again."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Final

import psutil
import pytest

from analytics.settings import StoreSettings
from forewarn.errors import ExitCode
from forewarn.places import open_store
from forewarn.runtime import FILE_NAME
from tests.integration.config import INTERVAL_US, config_text
from tests.integration.deployment import command_line, forewarn
from tests.integration.local import Local
from tests.integration.reading import Row, query
from tests.integration.waiting import wait_for

pytestmark = pytest.mark.timeout(300)

END_S: Final = 30.0
MADE: Final = "SELECT name FROM system.tables WHERE database = currentDatabase() AND name = 'checks'"


@contextmanager
def running_up(config: Path, data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Run it for the time of the block, and wait for its store and broker to be known."""
    with (data_dir.parent / "up.log").open("a") as said:
        process = subprocess.Popen(
            command_line("up", config=config, data_dir=data_dir),
            stdout=said,
            stderr=said,
            stdin=subprocess.DEVNULL,
            text=True,
        )
    try:
        wait_for("runtime.json", (data_dir / FILE_NAME).exists)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=END_S)


def wait_for_checks(store: StoreSettings, *, more_than: int) -> list[Row]:
    """Return the stored ticks, ascending, once there are more than so many."""

    def look() -> list[Row]:
        if not query(store, MADE):
            return []
        rows = query(store, "SELECT scheduled_at, reason FROM checks ORDER BY scheduled_at")
        return rows if len(rows) > more_than else []

    return wait_for(f"more than {more_than} checks", look)


def end(process: subprocess.Popen[str]) -> float:
    """Ask it to end; return the seconds that this took."""
    began_s = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=END_S) == ExitCode.OK
    return time.monotonic() - began_s


def test_up_ends_in_order_and_begins_again_with_what_was_stored(tmp_path: Path) -> None:
    """SIGTERM: exit 0, nobody is left. At the next start everything is there, and each tick is accounted for."""
    config, data_dir = tmp_path / "forewarn.yaml", tmp_path / "data"
    with Local() as local:
        config.write_text(config_text(site=local.site.port, hook=local.hook.port, targets=("flow",), at=("ams",)))
        with running_up(config, data_dir) as up, open_store(config, data_dir) as store:
            before = wait_for_checks(store, more_than=3)
            assert_second_is_refused(config, data_dir, up.pid)
            children = children_of(up.pid)
            assert len(children) >= 7  # broker, store, four workers, a producer; where it forks, a nursery
            seconds = end(up)
        sys.stderr.write(f"\nforewarn up ended in {seconds:.1f} s\n")
        assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []
        assert not (data_dir / FILE_NAME).exists()
        with running_up(config, data_dir), open_store(config, data_dir) as store:

            def accounted_for() -> list[Row]:
                rows = wait_for_checks(store, more_than=len(before) + 3)
                ticks = [row["scheduled_at"] for row in rows]
                whole = all(after - earlier == INTERVAL_US for earlier, after in pairwise(ticks))
                # Before the second run has told of the stopped time, all is whole too.
                missed = "stopped" in {row["reason"] for row in rows}
                return rows if whole and missed and ticks[0] == before[0]["scheduled_at"] else []

            wait_for("every tick since the very first, those of the stopped time as missed", accounted_for)


def assert_second_is_refused(config: Path, data_dir: Path, owner: int) -> None:
    """Assert that another instance on the same data directory says one line, names the owner, and ends with 4."""
    done = forewarn("up", config=config, data_dir=data_dir)
    assert done.returncode == ExitCode.REFUSED
    assert done.stderr == f"forewarn: the data directory {data_dir} is in use by process {owner}\n"
    assert (data_dir / FILE_NAME).exists(), "the refused one must not take the running one's away"


def children_of(pid: int) -> list[int]:
    """Return the process ids of all that it started, and of all that these started."""
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]
