"""The embedded store's end as a crash makes it."""

import os
import signal

from forewarn.embedded.store_process import StoreProcess


def crash(process: StoreProcess) -> None:
    """Kill a store with signal 9; it has ended afterwards and may be started again."""
    pid = process.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    process.stop()
