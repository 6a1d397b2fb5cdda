"""Arithmetic of ticks, and which of them are decided already."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from producers.contract import (
    MAX_BATCH_CHECKS,
    VERSION,
    CheckBatch,
    MissedReason,
    Outcome,
)
from producers.settings import Probe, Target
from producers.topics import partition_of

MAX_BACKLOG_US: Final = 24 * 3600 * 1_000_000
"""Ticks that were missed longer ago than this are not reported one by one."""

_MILLISECOND_US: Final = 1000


def tick_offset_us(target: str, probe: str, interval_us: int) -> int:
    """Return where in the interval a series has its ticks: the same at all locations, spread over the series.

    Args:
        target: `customer/name`.
        probe: Its name.
        interval_us: > 0.
    """
    digest = hashlib.blake2b(f"{target}\x1f{probe}".encode(), digest_size=8).digest()
    offset_us = int.from_bytes(digest, "big") % interval_us
    return offset_us - offset_us % _MILLISECOND_US


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One probe of one target: a tick at each k * interval + offset."""

    target: Target
    probe: Probe
    offset_us: int

    @property
    def key(self) -> tuple[str, str]:
        """(target, probe name)."""
        return self.target.id, self.probe.name

    def tick_at_or_before(self, at_us: int) -> int:
        """Return the newest tick that is not after `at_us`."""
        return at_us - (at_us - self.offset_us) % self.probe.interval_us

    def tick_after(self, at_us: int) -> int:
        """Return the first tick after `at_us`."""
        return self.tick_at_or_before(at_us) + self.probe.interval_us


def series_at(location: str, targets: Sequence[Target]) -> list[Series]:
    """Return what runs at a location."""
    return [
        Series(target=target, probe=probe, offset_us=tick_offset_us(target.id, probe.name, probe.interval_us))
        for target in targets
        for probe in target.probes
        if location in probe.locations
    ]


class Ledger:
    """The last tick of each series that lies in the spool. What is at or below it is never run again.

    It is changed only after the checks are on the disk, and it is the spool's checkpoint.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], int] = {}

    def last(self, key: tuple[str, str]) -> int | None:
        """Return the last tick of (target, probe), None if there never was one."""
        return self._last.get(key)

    def note(self, batch: CheckBatch) -> None:
        """Take note of a batch that is in the spool."""
        last = self._last
        for target, probe, tick_us in zip(batch.target, batch.probe, batch.scheduled_at_us, strict=True):
            key = (target, probe)
            if tick_us > last.get(key, 0):
                last[key] = tick_us

    def forget(self, key: tuple[str, str], *, after_us: int) -> None:
        """Let the ticks of a series after `after_us` be run: they were of a clock that was wrong."""
        if self._last.get(key, 0) > after_us:
            self._last[key] = after_us

    def dump(self) -> bytes:
        """Return it as bytes."""
        return msgspec.msgpack.encode([(*key, tick_us) for key, tick_us in list(self._last.items())])

    def load(self, blob: bytes) -> None:
        """Take over what `dump` gave; empty bytes are an empty ledger.

        Raises:
            ValueError: They are something else.
        """
        if blob:
            rows = msgspec.msgpack.decode(blob, type=list[tuple[str, str, int]])
            self._last.update({(target, probe): tick_us for target, probe, tick_us in rows})


def missed_while_stopped(
    series: Sequence[Series], ledger: Ledger, *, producer: str, location: str, partitions: int, now_us: int
) -> Iterator[tuple[int, CheckBatch]]:
    """Yield (partition, batch) of all ticks between each series' last one and now, at most MAX_BACKLOG_US of them.

    A series without a last tick is new and has missed nothing. A batch is of one partition; the ticks of a
    series ascend.
    """
    by_partition: dict[int, list[Series]] = {}
    for one in series:
        by_partition.setdefault(partition_of(one.target.id, partitions), []).append(one)
    for partition, members in sorted(by_partition.items()):
        rows: list[tuple[Series, int]] = []
        for one in members:
            last_us = ledger.last(one.key)
            if last_us is None:
                continue
            first_us = one.tick_after(max(last_us, now_us - MAX_BACKLOG_US))
            for tick_us in range(first_us, one.tick_at_or_before(now_us) + 1, one.probe.interval_us):
                rows.append((one, tick_us))
                if len(rows) == MAX_BATCH_CHECKS:
                    yield partition, _missed_batch(rows, producer=producer, location=location, now_us=now_us)
                    rows = []
        if rows:
            yield partition, _missed_batch(rows, producer=producer, location=location, now_us=now_us)


def _missed_batch(rows: Sequence[tuple[Series, int]], *, producer: str, location: str, now_us: int) -> CheckBatch:
    count = len(rows)
    return CheckBatch(
        v=VERSION,
        producer=producer,
        location=location,
        target=[one.target.id for one, _ in rows],
        probe=[one.probe.name for one, _ in rows],
        kind=[one.probe.kind for one, _ in rows],
        scheduled_at_us=[tick_us for _, tick_us in rows],
        # Now, not the tick: should the check have been run after all, that one began earlier and wins.
        started_at_us=[now_us] * count,
        duration_us=[None] * count,
        outcome=[Outcome.MISSED] * count,
        reason=[MissedReason.STOPPED] * count,
        address=[None] * count,
        http_status=[None] * count,
    )
