"""Children of the one-machine mode end when their parent is gone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from forewarn.embedded.broker import TansuBroker
from forewarn.leash import PARENT

DEADLINE_S = 30.0

# A parent that starts a child on the leash, says its number, and waits to be killed.
_PARENT = f"""
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], env={{**os.environ, {PARENT!r}: str(os.getpid())}})
print(child.pid, flush=True)
time.sleep(60)
"""
_CHILD = """
import pathlib, signal, sys, time
from forewarn.leash import follow_parent
def end(*_):
    pathlib.Path("ended").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
follow_parent()
pathlib.Path("ready").touch()
time.sleep(60)
"""


def wait_for(path: Path) -> None:
    """Wait until a file is there."""
    deadline = time.monotonic() + DEADLINE_S
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.05)


def test_a_child_ends_in_order_when_its_parent_is_killed(tmp_path: Path) -> None:
    """It gets SIGTERM, as from its parent."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, _CHILD], cwd=tmp_path, env=environment)
    wait_for(tmp_path / "ready")
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(tmp_path / "ended")


def test_the_next_broker_ends_the_one_that_a_killed_installation_left(tmp_path: Path) -> None:
    """Two objects on one directory: the second finds the first one's process and ends it."""
    left, following = TansuBroker(tmp_path), TansuBroker(tmp_path)
    left.start()
    try:
        following.start()
        assert not left.running
        assert following.running
    finally:
        left.kill()
        following.stop()


def test_a_process_that_only_has_the_old_number_is_left_alone(tmp_path: Path) -> None:
    """The number of a broker that is gone may be anybody's now: ours, for example."""
    (tmp_path / "broker.pid").write_text(f"{os.getpid()} tansu-0123456789abcdef\n")
    broker = TansuBroker(tmp_path)
    broker.start()
    broker.stop()
    assert not broker.running  # and this process still runs to say so
