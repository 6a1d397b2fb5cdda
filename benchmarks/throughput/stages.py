"""What each stage of the way costs, one by one and in this process: CPU microseconds a check.

The messages of one partition go through the same functions that the workers call: decode and columns, the detector
(warm), the encoding of what it found, Arrow columns, insert and proof, rollups. `store` is what the store's own process
spends on the inserts. `detect, 8 at once` is what detection would cost if a worker that is behind handed over eight
messages of a partition together (joining them included): what it says depends on the checks and not on how they are
cut into messages.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import count, islice
from typing import Any, Final, TypeVar

import psutil

from analytics.sink import Sink
from benchmarks.throughput.bench import Site
from benchmarks.throughput.load import LOCATION, PARTITIONS, Known, Load
from producers import codec
from producers.contract import CheckBatch, CheckColumns
from producers.topics import CHECKS
from streams import codec as events
from streams.core.detect import Detector
from streams.group import LogMessage
from streams.history import learn
from streams.policy import DetectPolicy

TURNS: Final = count(1)
"""Of saving; see `Group.cut`."""

PARTITION: Final = 0
MOST_MESSAGES: Final = 400
AT_ONCE: Final = 8
_T = TypeVar("_T")


class Clock:
    """CPU seconds by stage."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def take(self, stage: str, action: Callable[[], _T]) -> _T:
        """Do it and count its time."""
        began = time.process_time()
        result = action()
        self.spent[stage] = self.spent.get(stage, 0.0) + time.process_time() - began
        return result


def measure(site: Site, load: Load) -> dict[str, float]:
    """Return CPU microseconds a check by stage."""
    detector, other = _warm(load), _warm(load)
    ours = (value for partition, value in load.messages() if partition == PARTITION)
    messages = list(islice(ours, MOST_MESSAGES))
    clock, checks = Clock(), 0
    together: list[CheckColumns] = []
    now_us = time.time_ns() // 1000
    for value in messages:
        batch = clock.take("decode", lambda value=value: codec.decode(value, log_timestamp_us=now_us))  # type: ignore[misc]
        assert isinstance(batch, CheckBatch)
        columns = clock.take("columns", lambda batch=batch: codec.columns(batch))  # type: ignore[misc]
        outputs = clock.take("detect", lambda columns=columns: detector.apply(columns))  # type: ignore[misc]
        found = [*outputs.deviations, *outputs.verdicts]
        clock.take("encode", lambda found=found: [events.encode(one) for one in found])  # type: ignore[misc]
        checks += len(columns)
        together.append(columns)
        if len(together) == AT_ONCE or value is messages[-1]:
            clock.take(f"detect, {AT_ONCE} at once", lambda parts=together: other.apply(*parts))  # type: ignore[misc]
            together = []
    asyncio.run(_store(site, messages, clock))
    return {stage: spent * 1e6 / checks for stage, spent in clock.spent.items()}


def _warm(load: Load) -> Detector:
    detector = Detector(DetectPolicy(), load.expectations(), partition=PARTITION, partitions=PARTITIONS)
    learn(detector, Known(load).checks(PARTITION, from_us=0, epoch="", before=0))
    return detector


async def _store(site: Site, messages: Sequence[bytes], clock: Clock) -> None:
    sink = Sink(site.store.settings, with_marks=True)
    assert site.store.pid is not None
    store = psutil.Process(site.store.pid)
    before = _cpu_s(store)
    rest = enumerate(messages)
    while chunk := list(islice(rest, 100)):  # what comes within a second or so
        clock.take("decode and rows (sink)", lambda chunk=chunk: _hand_over(sink, chunk))  # type: ignore[misc]
        cut = sink.cut(next(TURNS))
        assert cut is not None
        began = time.process_time()
        if not await sink.keep(cut):
            raise SystemExit("the store did not take the rows")
        clock.spent["insert and proof"] = clock.spent.get("insert and proof", 0.0) + time.process_time() - began
    clock.spent["store: insert"] = _cpu_s(store) - before
    before = _cpu_s(store)
    site.rollups()
    clock.spent["store: rollups"] = _cpu_s(store) - before


def _hand_over(sink: Sink, chunk: Sequence[tuple[int, bytes]]) -> None:
    for offset, value in chunk:
        sink.handle(
            LogMessage(
                epoch="stages",
                topic=CHECKS,
                partition=PARTITION,
                offset=offset,
                timestamp_us=time.time_ns() // 1000,
                key=None,
                value=value,
                headers=(("outbox", f"{LOCATION}:{offset + 1}".encode()),),
            )
        )


def _cpu_s(process: "psutil.Process") -> float:
    times: Any = process.cpu_times()
    return float(times.user + times.system)
