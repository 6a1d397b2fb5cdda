"""Rollups of checks by the hour: which are touched by an insert, and computing them when their hour is over.

A sink notes each (target, hour) that its inserts touch before it commits, in memory and in the store, and computes
closed hours in batches beside the flow. README.md says why not in the insert and not by a view.
"""

import asyncio
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
from clickhouse_connect.driver.client import Client

from analytics import rollup_sql
from analytics.buffer import Hour, Touched
from analytics.errors import StoreRefusedError, StoreUnavailableError
from analytics.insert import DAY_US, Inserter
from analytics.rollup_sql import HOUR_US
from analytics.session import Session
from analytics.settings import StoreSettings
from analytics.tables import HOURS_TOUCHED
from producers.away import Away
from producers.contract import CheckBatch
from producers.telemetry import ROLLUPS, ROLLUPS_WAITING, STORE_ERRORS, logger
from streams.blocking import in_thread

CLOSED_AFTER_US: Final = 150 * 1_000_000
"""An hour is computed so long after its end: the longest lateness has passed by then, and what is later is rare."""

LOOK_S: Final = 30.0
TARGETS_A_BATCH: Final = 2_000

_OPEN: Final = f"""
SELECT checks_partition, toUnixTimestamp64Micro(hour_at), target, toUnixTimestamp64Micro(touched_at)
FROM {HOURS_TOUCHED.name} FINAL WHERE done = 0 AND checks_partition IN %(partitions)s
"""  # noqa: S608 - the table's name is a constant

_log = logger(__name__)


def note_touched(touched: Touched, partition: int, batch: CheckBatch) -> None:
    """Add a batch's targets and hours to `touched`."""
    if not batch.target:
        return
    first, last = min(batch.scheduled_at_us) // HOUR_US, max(batch.scheduled_at_us) // HOUR_US
    if first == last:  # nearly always: a message holds what was done within a moment
        touched.setdefault(Hour(partition, first * HOUR_US), set()).update(batch.target)
        return
    for target, tick_us in zip(batch.target, batch.scheduled_at_us, strict=True):
        touched.setdefault(Hour(partition, tick_us // HOUR_US * HOUR_US), set()).add(target)


@dataclass(frozen=True, slots=True)
class Mark:
    """One row of HOURS_TOUCHED: an insert touched a target's hour."""

    hour: Hour
    target: str
    touched_us: int


class OpenMarks:
    """The marks whose rollups are to be computed, as far as this process made or loaded them. Safe between threads.

    The store has each mark before it is here, and a mark leaves this place before its rollup is computed. So whoever
    stores rows and finds a mark here is sure that a computation after those rows is still to come.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_hour: dict[Hour, dict[str, list[int]]] = {}
        self._order: tuple[int, list[tuple[str, Hour]]] = (0, [])  # of an hour, what `take` takes next: the last first

    def without(self, touched: Touched) -> list[tuple[Hour, list[str]]]:
        """Return what has no mark yet."""
        with self._lock:
            found = [(hour, targets - self._by_hour.get(hour, {}).keys()) for hour, targets in touched.items()]
        return [(hour, sorted(targets)) for hour, targets in found if targets]

    def add(self, marks: Collection[Mark]) -> None:
        """Take marks that the store has."""
        with self._lock:
            for mark in marks:
                self._by_hour.setdefault(mark.hour, {}).setdefault(mark.target, []).append(mark.touched_us)

    def hours(self, until_us: int) -> dict[int, int]:
        """Return how many target-hours wait by the start of their hour, of hours that begin before `until_us`."""
        with self._lock:
            counts: dict[int, int] = {}
            for hour, targets in self._by_hour.items():
                if hour.from_us < until_us:
                    counts[hour.from_us] = counts.get(hour.from_us, 0) + len(targets)
        return counts

    def take(self, from_us: int, most: int) -> list[Mark]:
        """Remove and return the marks of the next `most` targets of an hour, in the order of the store's key.

        What is added meanwhile comes after all that was there.
        """
        with self._lock:
            known_us, order = self._order
            if known_us != from_us or not order:
                hours = [hour for hour in self._by_hour if hour.from_us == from_us]
                order = sorted(((target, hour) for hour in hours for target in self._by_hour[hour]), reverse=True)
                self._order = (from_us, order)
            chosen = order[-most:]
            del order[-most:]
            return [mark for target, hour in reversed(chosen) for mark in self._removed(hour, target)]

    def _removed(self, hour: Hour, target: str) -> list[Mark]:
        targets = self._by_hour[hour]
        marks = [Mark(hour, target, at_us) for at_us in targets.pop(target)]
        if not targets:
            del self._by_hour[hour]
        return marks


class Rollups:
    """A sink's part in rollups. `keep_touched` is called by what stores, `run` beside it."""

    def __init__(self, store: StoreSettings) -> None:
        self._settings = store
        self._session = Session(store)  # of its own: a rollup must not make an insert wait
        self._inserter = Inserter(self._session)
        self._marks = OpenMarks()
        self._partitions: tuple[int, ...] = ()
        self._loaded = False
        self._last_us = 0

    def own(self, partitions: Collection[int]) -> None:
        """Answer for these partitions of `checks` from now on, and for no others."""
        self._marks = OpenMarks()
        self._partitions = tuple(sorted(partitions))
        self._loaded = not self._partitions

    def mark(self, touched: Touched, inserter: Inserter) -> None:
        """Note in the store what was touched, if it is not noted yet. After the rows and before the commit. Blocking.

        Raises:
            StoreUnavailableError, StoreRefusedError: It is not noted: nothing may be committed.
        """
        marks = self._marks
        self._last_us = now_us = max(time.time_ns() // 1000, self._last_us + 1)
        fresh = [Mark(hour, target, now_us) for hour, targets in marks.without(touched) for target in targets]
        if fresh:
            inserter.insert(HOURS_TOUCHED, _rows(fresh, done=0))
            marks.add(fresh)

    async def run(self) -> None:
        """Compute what is due, until cancelled. A store that is away or refuses is waited for."""
        away = Away(_log, "rollups wait for the store", "the store is back: rollups go on")
        while True:
            pause_s = LOOK_S
            try:
                took_s = await in_thread(self.step)
                pause_s = LOOK_S if took_s is None else took_s  # half of the time at most: the flow goes first
            except (StoreUnavailableError, StoreRefusedError) as error:
                STORE_ERRORS.labels("rollups").inc()
                away.failed(error)
            else:
                away.worked()
            await asyncio.sleep(pause_s)

    def step(self, *, now_us: int | None = None) -> float | None:
        """Compute one batch of the oldest hour that is due. Blocking.

        Returns:
            How many seconds that took; None if nothing is due.

        Raises:
            StoreUnavailableError, StoreRefusedError: Nothing is lost: what was taken is marked again.
        """
        began_s = time.monotonic()
        now_us = time.time_ns() // 1000 if now_us is None else now_us
        marks = self._marks
        if not self._loaded:
            marks.add(self._load())
            if marks is self._marks:
                self._loaded = True
        waiting = marks.hours(now_us - CLOSED_AFTER_US - HOUR_US + 1)
        ROLLUPS_WAITING.set(sum(waiting.values()))
        if not waiting:
            return None
        hour_us = min(waiting)
        taken = marks.take(hour_us, TARGETS_A_BATCH)
        try:
            self._compute(hour_us, taken, now_us)
        except BaseException:
            marks.add(taken)
            raise
        ROLLUPS.inc(len(taken))
        return time.monotonic() - began_s

    def _compute(self, hour_us: int, taken: Sequence[Mark], now_us: int) -> None:
        if hour_us >= oldest_whole_hour(self._settings, now_us):
            with self._session.client() as client:
                compute(client, hour_us, hour_us + HOUR_US, sorted({mark.target for mark in taken}))
        else:
            _log.warning("checks of an hour that is not kept whole any more: its rollup stays", hour_us=hour_us)
        self._inserter.insert(HOURS_TOUCHED, _rows(taken, done=1))

    def _load(self) -> list[Mark]:
        partitions = self._partitions
        if not partitions:
            return []
        with self._session.client() as client:
            rows = client.query(_OPEN, parameters={"partitions": partitions}).result_rows
        return [Mark(Hour(partition, from_us), target, at_us) for partition, from_us, target, at_us in rows]


def compute(client: Client, from_us: int, until_us: int, targets: Sequence[str]) -> None:
    """Compute the rollups of some targets in a time of whole hours, whatever was computed before. Blocking.

    Raises:
        clickhouse_connect.driver.exceptions.Error: As the caller's session translates it.
    """
    parameters = {"from": from_us, "until": until_us, "targets": tuple(targets)}
    client.command(rollup_sql.INSERT, parameters=parameters, settings=rollup_sql.SETTINGS)


def oldest_whole_hour(store: StoreSettings, now_us: int) -> int:
    """Return the first hour whose checks are all kept: an older one would be computed from what the TTL left."""
    kept_from_us = now_us - store.checks_ttl_days * DAY_US
    return -(-kept_from_us // HOUR_US) * HOUR_US


def _rows(marks: Sequence[Mark], *, done: int) -> pa.Table:
    columns = {
        "checks_partition": [mark.hour.partition for mark in marks],
        "hour_at": [mark.hour.from_us for mark in marks],
        "target": [mark.target for mark in marks],
        "touched_at": [mark.touched_us for mark in marks],
        "done": [done] * len(marks),
    }
    schema = HOURS_TOUCHED.schema
    return pa.Table.from_arrays([pa.array(columns[field.name], field.type) for field in schema], schema=schema)
