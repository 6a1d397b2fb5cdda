"""Fixtures of the streams' tests: a log of one's own, and workers that are never left behind."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forewarn.embedded.broker import TansuBroker
from tests.streams.worker_process import TestLog, WorkerOptions, WorkerProcess

StartWorker = Callable[..., WorkerProcess]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[TansuBroker]:
    """An empty embedded broker."""
    one = TansuBroker(tmp_path / "broker")
    one.start()
    yield one
    one.stop()


@pytest.fixture
def log(broker: TansuBroker) -> Iterator[TestLog]:
    """Its topics, two partitions of checks."""
    one = TestLog(broker.bootstrap)
    yield one
    one.close()


@pytest.fixture
def start_worker(broker: TansuBroker, tmp_path: Path) -> Iterator[StartWorker]:
    """Start a worker of a group: the same name is the same data directory."""
    started: list[WorkerProcess] = []

    def start(group: str, *, name: str = "one", **options: object) -> WorkerProcess:
        told = WorkerOptions(
            group=group,
            bootstrap=broker.bootstrap,
            data_dir=str(tmp_path / f"{group}-{name}"),
            store_dir=str(tmp_path / "store"),
            **options,  # type: ignore[arg-type]  # a test's own keywords
        )
        process = WorkerProcess(told).start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.__exit__()
