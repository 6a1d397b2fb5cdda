"""From the end of a check to the log's timestamp of the verdict that it changes, while so many checks a second flow.

Messages are made before and sent when their time comes: every 200 ms, as a producer packs. One target in 500 fails at
every other check, so its verdict changes each time; these are timed. What was sent in the first seconds is left out:
detectors that saw nothing for a minute have other things to say then.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from benchmarks.throughput import bench
from benchmarks.throughput.load import FAILS, MINUTE_US, PARTITIONS, Load, Numbers
from producers.codec import encode
from producers.contract import MAX_BATCH_CHECKS, CheckBatch, Outcome
from producers.log_client import connect, kafka_options
from producers.topics import CHECKS, VERDICTS
from streams.codec import decode
from streams.contract import Verdict

PACK_US: Final = 200_000
LEFT_OUT_US: Final = 4_000_000
MAKING_US: Final = (4_000, 12)
"""A message and a check, at most: so long before they are sent messages begin to be made."""

DRAIN_S: Final = 20.0

Done = dict[tuple[str, int], int]
"""When a check ended by (target, tick), microseconds."""


class Delays(NamedTuple):
    """Seconds from check to verdict; `verdicts` were timed, `missing` did not come within DRAIN_S."""

    checks_per_s: float
    p50_s: float
    p99_s: float
    max_s: float
    verdicts: int
    missing: int
    load_average: float


class Planned(NamedTuple):
    """A message and when it is sent."""

    at_us: int
    partition: int
    value: bytes


def load_of(series: int) -> Load:
    """Return an installation whose last known checks are so young that nobody waits for one before the first."""
    now_us = time.time_ns() // 1000
    return Load(series=series, per_check=1, ticks=0, until_us=now_us + 9 * MINUTE_US, interval_us=10 * MINUTE_US)


def measure(load: Load, checks_per_s: float, seconds: float) -> Delays:
    """Run detect and sink at this rate, all partitions together."""
    with bench.site() as site:
        job = site.job(load, warm=True)
        site.fill((partition, b"{}") for partition in range(PARTITIONS))  # no checks: the gates are asked for
        with bench.workers(site, job, ("detect", "sink")) as told:
            bench.wait(told, lambda: all(one.ready for one in told), bench.START_S)
            bench.gate_of(job).touch()
            done: Done = {}
            plan = _plan(load, checks_per_s, seconds, done)
            return _timed(site, plan, done, checks_per_s)


def _plan(load: Load, checks_per_s: float, seconds: float, done: Done) -> Sequence[Planned]:
    """Make the messages of the time that begins when they are made, and note when their flipping checks end."""
    windows = int((LEFT_OUT_US / 1e6 + seconds) * 1e6 / PACK_US)
    rng, partitions = np.random.default_rng(2), load.partitions()
    checks = round(windows * PACK_US / 1e6 * checks_per_s)
    messages = windows * len(partitions) + checks // MAX_BATCH_CHECKS
    start_us = time.time_ns() // 1000 + messages * MAKING_US[0] + checks * MAKING_US[1]
    found = []
    for window in range(windows):
        end_us = start_us + (window + 1) * PACK_US
        for partition, numbers in partitions.items():
            share = checks_per_s * PACK_US / 1e6 * numbers.size / len(load.targets)
            turns = np.arange(round(window * share), round((window + 1) * share))
            for start in range(0, turns.size, MAX_BATCH_CHECKS):
                part = turns[start : start + MAX_BATCH_CHECKS]
                batch = _batch(load, numbers[part % numbers.size], part // numbers.size, end_us, rng)
                if window * PACK_US >= LEFT_OUT_US:
                    _note(batch, done)
                found.append(Planned(end_us, partition, encode(batch)))
    if time.time_ns() // 1000 > start_us:
        raise SystemExit("this machine is too busy to make the messages in time: nothing can be timed")
    return found


def _batch(load: Load, numbers: Numbers, turn: Numbers, end_us: int, rng: np.random.Generator) -> CheckBatch:
    """Return checks that ended within the last PACK_US; flipping targets fail at every other turn."""
    batch = load.batch(numbers, np.zeros(numbers.size, dtype=np.int64), rng)
    ended_us = end_us - np.sort(rng.integers(0, PACK_US, numbers.size))[::-1]
    ticks_us = ended_us - np.array(batch.duration_us, dtype=np.int64)
    bad = ((numbers % round(1 / FAILS) == 0) & (turn % 2 == 1)).tolist()
    return msgspec.structs.replace(
        batch,
        scheduled_at_us=ticks_us.tolist(),
        started_at_us=ticks_us.tolist(),
        outcome=[Outcome.FAILURE if one else Outcome.SUCCESS for one in bad],
        reason=["http_status" if one else None for one in bad],
        http_status=[502 if one else 200 for one in bad],
    )


def _note(batch: CheckBatch, done: Done) -> None:
    for target, tick_us, duration_us, outcome in zip(
        batch.target, batch.scheduled_at_us, batch.duration_us, batch.outcome, strict=True
    ):
        if outcome is Outcome.FAILURE:
            done[target, tick_us] = tick_us + (duration_us or 0)


def _timed(site: bench.Site, plan: Sequence[Planned], done: Done, checks_per_s: float) -> Delays:
    found: dict[tuple[str, int], float] = {}
    ended = threading.Event()
    listener = threading.Thread(target=_listen, args=(site, done, found, ended), daemon=True)
    listener.start()
    producer = KafkaProducer(**kafka_options(site.log), compression_type="lz4", linger_ms=0, acks="all")
    for at_us, partition, value in plan:
        pause_s = (at_us - time.time_ns() // 1000) / 1e6
        if pause_s > 0:
            time.sleep(pause_s)
        producer.send(CHECKS, value=value, partition=partition)
    producer.flush()
    producer.close()
    deadline = time.monotonic() + DRAIN_S
    while len(found) < len(done) and time.monotonic() < deadline:
        time.sleep(0.1)
    load_average = bench.load_average()
    ended.set()
    listener.join()
    delays = np.array(list(found.values())) if found else np.array([np.nan])
    p50, p99 = np.quantile(delays, (0.5, 0.99))
    return Delays(
        checks_per_s=checks_per_s,
        p50_s=float(p50),
        p99_s=float(p99),
        max_s=float(delays.max()),
        verdicts=len(found),
        missing=len(done) - len(found),
        load_average=load_average,
    )


def _listen(site: bench.Site, done: Done, found: dict[tuple[str, int], float], ended: threading.Event) -> None:
    consumer = connect(KafkaConsumer, site.log, auto_offset_reset="earliest", enable_auto_commit=False)
    consumer.assign([TopicPartition(VERDICTS, 0)])
    consumer.seek_to_beginning()
    while not ended.is_set():
        for verdict, at_us in _verdicts(consumer):
            key = (verdict.target, verdict.tick_us)
            if key in done and key not in found:
                found[key] = (at_us - done[key]) / 1e6
    consumer.close()


def _verdicts(consumer: Any) -> Iterator[tuple[Verdict, int]]:
    for records in consumer.poll(timeout_ms=200).values():
        for record in records:
            verdict = decode(VERDICTS, record.value)
            if isinstance(verdict, Verdict):
                yield verdict, record.timestamp * 1000
