"""A sink as a process of its own, to be killed and stopped."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

from analytics import sink
from analytics.settings import StoreSettings
from producers import telemetry
from producers.settings import LogSettings
from streams.settings import WorkerSettings

REPOSITORY = Path(__file__).parents[2]


class SinkProcess:
    """A started sink; what it says is in `log_file`."""

    def __init__(self, bootstrap: str, store: StoreSettings, directory: Path, *, partitions: int) -> None:
        self.log_file = directory.with_suffix(".log")
        self.process: subprocess.Popen[bytes] | None = None
        self._told = json.dumps(
            {
                "bootstrap": bootstrap,
                "partitions": partitions,
                "url": store.url,
                "token": store.token,
                "database": store.database,
                "data_dir": str(directory),
            }
        )

    def start(self) -> Self:
        """Start it; returns at once."""
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.analytics.sink_process", self._told],
                cwd=REPOSITORY,
                stdout=log,
                stderr=log,
            )
        return self

    def kill(self) -> None:
        """End it as a crash does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def terminate(self, *, within_s: float = 20.0) -> int:
        """End it in order; return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=within_s)

    def log(self) -> str:
        """Return what it said so far."""
        return self.log_file.read_text()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()


def main(told: str) -> None:
    """Run one sink in this process."""
    telemetry.configure_logging(json=True)
    one = json.loads(told)
    log = LogSettings(bootstrap=(one["bootstrap"],), partitions=one["partitions"], forgetful=True)
    store = StoreSettings(url=one["url"], token=one["token"], database=one["database"])
    sink.run(log, store, WorkerSettings(data_dir=Path(one["data_dir"]), observe_port=0, session_timeout_s=4.0))


if __name__ == "__main__":
    main(sys.argv[1])
