"""A month of fifty targets in accelerated time: `python -m benchmarks.endurance [--days 30] [--quick]`.

A month cannot be run through the real processes: their clock is the wall clock. So the real *parts* run in this
process, with the time of the checks as their clock: a producer's spool on disk, the groups detect, incidents, alerts
and sink with their snapshots (local copies and store), and the embedded store as the process that it is. Not in it:
Faust, the broker and the probes (`benchmarks.one_machine` runs those). Every target slows down for an hour a week and
fails for some minutes each day, so deviations, incidents and alerts are made all the time.

After each simulated day: memory of both processes, open file descriptors, bytes on disk. `flat` says that a usual day
of the last third has no more memory, descriptors, spool or snapshots (within 5 %) than one of the middle third; the
store's rows grow, by design, until their time to live. The last line is JSON.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, Final

import psutil

from analytics.marks import ClickHouseMarks
from analytics.migrate import migrate
from analytics.settings import StoreSettings
from analytics.sink import Sink
from analytics.state import ClickHouseStateStore
from forewarn.embedded.store_process import StoreProcess
from producers import codec, topics
from producers.contract import VERSION, Check, ClockTick, FailureReason, Outcome
from producers.outbox import Outbox
from streams.alerts import AlertsGroup, AlertsPart
from streams.codec import encode
from streams.contract import Alert
from streams.core.incidents.incidents import CODE as INCIDENTS_CODE
from streams.core.incidents.incidents import Incidents
from streams.detect import DetectGroup
from streams.group import Assigned, Group, LogMessage, OutMessage, Place
from streams.incidents import IncidentsGroup, IncidentsPart
from streams.keeper import Rules
from streams.local_state import LocalStateStore
from streams.policy import (
    DAY_US,
    SECOND_US,
    AlertPolicy,
    Channel,
    DetectPolicy,
    Expectations,
    IncidentPolicy,
    ProbeExpectation,
)

TURNS: Final = count(1)
"""Of saving; see `Group.cut`."""

TARGETS: Final = 50
INTERVAL_US: Final = 30 * SECOND_US
KEEP_TICKS: Final = 40
GROWTH: Final = 1.05
EPOCH: Final = "endurance/1"
CHANNEL: Final = Channel(name="ops", webhook_url="http://127.0.0.1:9/")


class NothingAgain:
    """A LogRange that is never asked: nothing was committed before."""

    async def read(self, place: Place, first: int, last: int, *, epoch: str) -> AsyncIterator[LogMessage]:
        """See LogRange."""
        messages: Sequence[LogMessage] = ()
        assert first > last, f"{place} of {epoch}"
        for message in messages:
            yield message


@dataclass(frozen=True, kw_only=True)
class Day:
    """Figures after one simulated day, in MB but for counts."""

    day: int
    memory: float
    store_memory: float
    descriptors: int
    spool: float
    snapshots: float
    store_disk: float
    checks: int
    alerts: int
    seconds: float


class Month:
    """Everything in one process but the store."""

    def __init__(self, directory: Path, store: StoreSettings, outbox: Outbox) -> None:
        self.alerts = self.checks = 0
        self._marks = ClickHouseMarks(store)
        self._outbox = outbox
        self._next: dict[Place, int] = {}
        states, local = ClickHouseStateStore(store), LocalStateStore(directory / "snapshots")
        shared: dict[str, Any] = {"store": states, "local": local, "log_range": NothingAgain(), "marks": self._marks}
        names = [f"main/site-{number}" for number in range(TARGETS)]
        expected = ProbeExpectation(interval_us=INTERVAL_US, locations=("home",))
        config = Expectations(probes={(name, "http"): expected for name in names})

        def make(*_: object) -> IncidentsPart:
            return IncidentsPart(Incidents(IncidentPolicy(), config, partitions=1))

        rules = Rules(code=INCIDENTS_CODE, make=make, from_log=True, with_marks=True)
        self.groups: tuple[Group[Any], ...] = (
            DetectGroup(DetectPolicy(), config, partitions=1, **shared),
            IncidentsGroup("incidents", (topics.VERDICTS,), rules, **shared),
            AlertsGroup(AlertPolicy(channels=(CHANNEL,)), partitions=1, **shared),
            Sink(store, with_marks=True),
        )
        self._names = names
        self._rng = random.Random(7)

    async def begin(self) -> None:
        """Own everything."""
        for group in self.groups:
            places = [Assigned(place=Place(topic, 0), epoch=EPOCH, committed=None, end=0) for topic in group.topics]
            await group.assign(places)

    async def run_day(self, start_us: int) -> None:
        """Let a day pass."""
        for number in range(DAY_US // INTERVAL_US):
            at_us = start_us + number * INTERVAL_US
            batch = codec.pack([self._check(row, at_us) for row in range(TARGETS)], producer="home")
            self.checks += TARGETS
            (seq,) = self._outbox.append_many([(topics.CHECKS, 0, None, codec.encode(batch))])
            self._publish(topics.CHECKS, codec.encode(batch), at_us, headers=(self._outbox.header(seq),))
            clock = ClockTick(v=VERSION, partition=0, at_us=at_us + SECOND_US)
            self._publish(topics.CHECKS, codec.encode(clock), at_us)
            self._send_alerts(at_us)
            if number % KEEP_TICKS == KEEP_TICKS - 1:
                await self._keep()

    def _check(self, row: int, at_us: int) -> Check:
        minute, hour = at_us // (60 * SECOND_US) + row * 28, at_us // (3600 * SECOND_US) + row * 3
        fails, slow = minute % 1440 < 4, hour % 168 == 0
        duration_us = round(80_000 * self._rng.lognormvariate(0, 0.1) * (4 if slow else 1))
        return Check(
            target=self._names[row],
            probe="http",
            kind="http",
            location="home",
            scheduled_at_us=at_us,
            started_at_us=at_us + 1000,
            duration_us=duration_us,
            outcome=Outcome.FAILURE if fails else Outcome.SUCCESS,
            reason=FailureReason.HTTP_STATUS if fails else None,
            address="192.0.2.1",
            http_status=502 if fails else 200,
            phases={"wait": duration_us},
        )

    def _publish(self, topic: str, value: bytes, at_us: int, headers: tuple[tuple[str, bytes], ...] = ()) -> None:
        """Hand a message to every group that reads it, and what they say of it likewise."""
        place = Place(topic, 0)
        offset = self._next.get(place, 0)
        self._next[place] = offset + 1
        message = LogMessage(
            epoch=EPOCH, topic=topic, partition=0, offset=offset, timestamp_us=at_us, key=None, value=value,
            headers=headers,
        )  # fmt: skip
        outputs: list[OutMessage] = []
        for group in self.groups:
            if topic in group.topics:
                outputs += group.handle(message)
        for one in outputs:
            self._publish(one.topic, one.value, at_us)

    def _send_alerts(self, at_us: int) -> None:
        """Record what is due as delivered."""
        group = self.groups[2]
        assert isinstance(group, AlertsGroup)
        for part in group.parts.values():
            assert isinstance(part, AlertsPart)
            for due in part.alerting.due(CHANNEL, at_us):
                self.alerts += 1
                record = Alert(
                    v=VERSION, id=due.key, incident_id=due.incident.incident_id, kind=due.kind, number=due.number,
                    channel=due.channel, page=due.page, at_us=at_us, delivered=True, attempts=1, title=due.title,
                    text=due.text, stage=due.incident.kind,
                )  # fmt: skip
                self._publish(topics.ALERTS, encode(record), at_us)

    async def _keep(self) -> None:
        """Keep all states and rows, and let the spool forget what is safe."""
        for group in self.groups:
            turn = next(TURNS)
            while (cut := group.cut(turn)) is not None:
                await group.keep(cut)
        self._outbox.trim(self._marks.stored_marks(self._outbox.id))


def megabytes(paths: Iterator[Path]) -> float:
    """Return the size of these files."""
    total = 0
    for path in paths:
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # merged away meanwhile
    return round(total / 1e6, 2)


def measured(day: int, directory: Path, pids: Sequence[int], month: Month, seconds: float) -> Day:
    """Look at everything."""
    processes = [psutil.Process(pid) for pid in pids]
    return Day(
        day=day,
        memory=round(processes[0].memory_info().rss / 1e6, 1),
        store_memory=round(processes[1].memory_info().rss / 1e6, 1),
        descriptors=sum(process.num_fds() for process in processes),
        spool=megabytes((directory / "spool").rglob("*")),
        snapshots=megabytes((directory / "snapshots").rglob("*")),
        store_disk=megabytes((directory / "store").rglob("*")),
        checks=month.checks,
        alerts=month.alerts,
        seconds=round(seconds, 1),
    )


def grown(days: Sequence[Day]) -> list[str]:
    """Return what a usual day of the last third has more of than one of the middle third.

    The median: what leaks is more on every day, while one busy day says nothing (the store's engine makes threads when
    it merges much, keeps three descriptors of each, and lets them go when it likes).
    """
    third = len(days) // 3
    if third == 0:
        return []
    middle, last = days[third:-third] or days[:-third], days[-third:]
    names = ("memory", "store_memory", "descriptors", "spool", "snapshots")
    return [
        name
        for name in names
        if median(getattr(one, name) for one in last) > GROWTH * median(getattr(one, name) for one in middle) + 1
    ]


async def run(directory: Path, store: StoreProcess, days: int) -> list[Day]:
    """Let the days pass; print each."""
    settings = store.start()
    migrate(settings)
    (directory / "spool").mkdir()
    found: list[Day] = []
    assert store.pid is not None
    with Outbox(directory / "spool", outbox_id="home", max_bytes=512 * 1024 * 1024) as outbox:
        month = Month(directory, settings, outbox)
        await month.begin()
        start_us = (time.time_ns() // 1000 // DAY_US - days) * DAY_US
        for day in range(days):
            began_s = time.monotonic()
            await month.run_day(start_us + day * DAY_US)
            found.append(measured(day + 1, directory, (os.getpid(), store.pid), month, time.monotonic() - began_s))
            sys.stdout.write(f"{'  '.join(f'{name} {value}' for name, value in asdict(found[-1]).items())}\n")
            sys.stdout.flush()
    return found


def main() -> int:
    """Run and print; 1 if anything grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--quick", action="store_true", help="one day, under a minute; says nothing of growth")
    options = parser.parse_args()
    days = 1 if options.quick else options.days
    with tempfile.TemporaryDirectory() as directory:
        store = StoreProcess(Path(directory) / "store")
        try:
            found = asyncio.run(run(Path(directory), store, days))
        finally:
            store.stop()
    more = grown(found)
    result = {"benchmark": "endurance", "load": round(os.getloadavg()[0], 1), "days": days, "targets": TARGETS}
    flat = None if len(found) < 3 else not more
    sys.stdout.write(json.dumps({**result, "flat": flat, "grown": more, "rows": [asdict(one) for one in found]}) + "\n")
    return 1 if more else 0


if __name__ == "__main__":
    raise SystemExit(main())
