"""A child of the one-machine mode does not outlive its parent.

An installation that is killed with -9 cannot end its children. Left alone they would go on probing and alerting, and
hold the data directory against the next start; so each of them looks after its parent and ends in order without it.
"""

import os
import signal
import threading
import time
from typing import Final

PARENT: Final = "FOREWARN_PARENT_PID"
"""Environment variable that an installation gives to the processes that it starts."""

LOOK_EVERY_S: Final = 1.0


def follow_parent() -> None:
    """End this process with SIGTERM once the parent that PARENT names is gone; without PARENT do nothing."""
    parent = os.environ.get(PARENT)
    if parent is not None:
        threading.Thread(target=_watch, args=(int(parent),), name="leash", daemon=True).start()


def _watch(parent: int) -> None:
    # Of an orphan the parent is another process: init, or a reaper near to it.
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)
