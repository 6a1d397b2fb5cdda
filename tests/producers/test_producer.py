"""The whole producer: real sockets, a real broker, a spool that outlives it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from producers.codec import decode
from producers.contract import (
    CheckBatch,
    CheckMessage,
    MissedReason,
    Outcome,
    ProducerHealth,
    ProducerStopped,
)
from producers.errors import ForewarnError, OutboxLockedError
from producers.outbox import Outbox
from producers.producer import run_producer
from producers.publisher import MAX_WAITING_CHECKS, Publisher, restore_ledger
from producers.settings import LogSettings, Probe, ProducerSettings, Target, TcpOptions
from producers.ticks import Ledger
from producers.topics import partition_of
from tests.producers.brokers import PARTITIONS, closed_port, read_all, running_broker, settings_of
from tests.producers.test_sender import Marks

INTERVAL_US = 400_000


@asynccontextmanager
async def tcp_server() -> AsyncIterator[int]:
    """Accept connections on a port."""

    async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def settings(tmp_path: Path, port: int, *, targets: int = 6) -> ProducerSettings:
    """Return a producer of paris that connects to a port."""
    probe = Probe(
        name="tcp",
        kind="tcp",
        interval_us=INTERVAL_US,
        timeout_us=350_000,
        locations=("paris",),
        options=TcpOptions(host="127.0.0.1", port=port),
    )
    return ProducerSettings(
        name="paris-1",
        location="paris",
        targets=tuple(Target(id=f"main/t{number}", probes=(probe,)) for number in range(targets)),
        spool_dir=tmp_path / "spool",
        pack_us=50_000,
    )


@asynccontextmanager
async def running(producer: ProducerSettings, log: LogSettings) -> AsyncIterator[None]:
    """Run a producer for the time of the block and end it in order."""
    stop = asyncio.Event()
    task = asyncio.create_task(run_producer(producer, log, marks=Marks(), stop=stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def until(enough: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it has happened, generously."""
    async with asyncio.timeout(30):
        while not await enough():  # noqa: ASYNC110 - looked at from outside
            await asyncio.sleep(0.05)


def in_spool(producer: ProducerSettings) -> list[tuple[int, CheckMessage]]:
    """Return (partition, message) of what lies in a spool that nobody owns."""
    with Outbox(producer.spool_dir, outbox_id=producer.name, max_bytes=1 << 30) as outbox:
        return [(one.partition, decode(one.value, log_timestamp_us=1 << 60)) for one in outbox.pending()]


def ticks_of(messages: list[CheckMessage]) -> dict[str, list[int]]:
    """Return the ticks of each target in the order of messages."""
    ticks: dict[str, list[int]] = {}
    for message in messages:
        if isinstance(message, CheckBatch):
            for name, tick_us in zip(message.target, message.scheduled_at_us, strict=True):
                ticks.setdefault(name, []).append(tick_us)
    return ticks


async def test_checks_arrive_at_the_partition_of_their_target_each_tick_once(tmp_path: Path) -> None:
    """And at the end the producer says goodbye to every partition, after its last check."""
    with running_broker(tmp_path / "broker") as broker:
        async with tcp_server() as port:
            producer = settings(tmp_path, port)
            async with running(producer, settings_of(broker, forgetful=True)):
                await asyncio.sleep(2.5)
        found = await asyncio.to_thread(read_all, broker)
    messages = [decode(one.value, log_timestamp_us=one.timestamp_ms * 1000) for one in found]
    ticks = ticks_of(messages)
    assert sorted(ticks) == sorted(target.id for target in producer.targets)
    for name, seen in ticks.items():
        assert len(seen) >= 4
        assert seen == list(range(seen[0], seen[-1] + 1, INTERVAL_US)), name
    for one, message in zip(found, messages, strict=True):
        if isinstance(message, CheckBatch):
            assert {partition_of(name, PARTITIONS) for name in message.target} == {one.partition}
            assert Outcome.SUCCESS in message.outcome
    for partition in range(PARTITIONS):
        last = [message for one, message in zip(found, messages, strict=True) if one.partition == partition][-1]
        assert isinstance(last, ProducerStopped)
        assert (last.producer, last.location) == ("paris-1", "paris")
    health = [
        (one.partition, message)
        for one, message in zip(found, messages, strict=True)
        if isinstance(message, ProducerHealth)
    ]
    assert [partition for partition, _ in health] == [partition_of("paris-1", PARTITIONS)]


async def test_with_the_broker_away_it_goes_on_into_the_spool_and_a_restart_tells_what_it_missed(
    tmp_path: Path,
) -> None:
    """Nothing is lost over a stop: run, missed while stopped, run again, with no tick twice and none left out."""
    away = LogSettings(bootstrap=(f"127.0.0.1:{closed_port()}",), partitions=PARTITIONS, forgetful=True)
    async with tcp_server() as port:
        producer = settings(tmp_path, port)
        async with running(producer, away):
            await asyncio.sleep(1.5)
        before = in_spool(producer)
        assert len(ticks_of([message for _, message in before])) == 6
        await asyncio.sleep(1.5)
        with running_broker(tmp_path / "broker") as broker:
            async with running(producer, settings_of(broker, forgetful=True)):
                await asyncio.sleep(2.5)
            found = await asyncio.to_thread(read_all, broker)
    messages = [decode(one.value, log_timestamp_us=one.timestamp_ms * 1000) for one in found]
    reasons: dict[str | None, int] = {}
    for message in messages:
        if isinstance(message, CheckBatch):
            for reason in message.reason:
                reasons[reason] = reasons.get(reason, 0) + 1
    assert set(reasons) <= {None, MissedReason.STOPPED, MissedReason.OVERLOAD}
    assert reasons[MissedReason.STOPPED] >= 6 * 3
    for name, seen in ticks_of(messages).items():
        assert seen == list(range(seen[0], seen[-1] + 1, INTERVAL_US)), name


async def test_health_is_served_and_is_not_ok_when_nothing_is_acknowledged(tmp_path: Path) -> None:
    """200 with a broker; the metrics name the location."""
    with running_broker(tmp_path / "broker") as broker:
        async with tcp_server() as port:
            observe = closed_port()
            producer = replace(settings(tmp_path, port), observe_port=observe)
            async with running(producer, settings_of(broker, forgetful=True)), httpx.AsyncClient() as client:
                url = f"http://127.0.0.1:{observe}"

                async def acknowledged() -> bool:
                    try:
                        answer = await client.get(f"{url}/healthz")
                    except httpx.ConnectError:
                        return False
                    return answer.status_code == 200 and int(answer.json()["checks"]) > 0

                await until(acknowledged)
                text = (await client.get(f"{url}/metrics")).text
    assert 'forewarn_checks_total{location="paris",outcome="success"}' in text
    assert "forewarn_spool_bytes" in text
    assert "main/t0" not in text


async def test_a_location_that_runs_nothing_and_a_spool_in_use_are_refused(tmp_path: Path) -> None:
    """One clear line each, before anything runs."""
    log = LogSettings(bootstrap=("127.0.0.1:1",), partitions=PARTITIONS)
    producer = settings(tmp_path, 1)
    with pytest.raises(ForewarnError, match="'berlin'"):
        await run_producer(replace(producer, location="berlin"), log, marks=None, stop=asyncio.Event())
    with Outbox(producer.spool_dir, outbox_id=producer.name, max_bytes=1 << 20), pytest.raises(OutboxLockedError):
        await run_producer(producer, log, marks=None, stop=asyncio.Event())


async def test_an_observation_port_that_is_taken_is_one_clear_line(tmp_path: Path) -> None:
    """And the spool is free again afterwards."""
    async with tcp_server() as port:
        producer = replace(settings(tmp_path, port), observe_port=port)
        log = LogSettings(bootstrap=("127.0.0.1:1",), partitions=PARTITIONS)
        with pytest.raises(ForewarnError, match=f"127.0.0.1:{port}"):
            await run_producer(producer, log, marks=None, stop=asyncio.Event())
    Outbox(producer.spool_dir, outbox_id=producer.name, max_bytes=1 << 20).close()


def spooler(outbox: Outbox, ledger: Ledger) -> Publisher:
    """Return a publisher of paris."""
    return Publisher(outbox, producer="paris-1", partitions=PARTITIONS, pack_us=20_000, ledger=ledger)


def test_the_ledger_of_a_spool_knows_every_tick_in_it_over_many_segments(tmp_path: Path) -> None:
    """From the newest checkpoint and what follows it, whatever was trimmed."""
    from tests.producers.test_scheduler import batch  # noqa: PLC0415 - its way to make a batch

    with Outbox(tmp_path, outbox_id="paris-1", max_bytes=1 << 20) as outbox:
        ledger = Ledger()
        publisher = spooler(outbox, ledger)
        for number in range(200):
            names = [1_800_000_000_000_000 + number * 1_000_000 + row for row in range(400)]
            publisher.append_batches([(0, batch(f"main/t{number % 7}", *names))])
        assert len(list(tmp_path.glob("*.outbox"))) > 2
        kept = {name: ledger.last((name, "tcp")) for name in (f"main/t{number}" for number in range(7))}
    with Outbox(tmp_path, outbox_id="paris-1", max_bytes=1 << 20) as again:
        found = restore_ledger(again)
        assert {name: found.last((name, "tcp")) for name in kept} == kept


def test_a_disk_that_takes_nothing_keeps_checks_in_memory_up_to_a_bound(tmp_path: Path) -> None:
    """They are written when it is back; what memory has no room for is counted."""
    from tests.producers.test_codec import iter_checks  # noqa: PLC0415 - its checks

    check = next(iter_checks())
    directory = tmp_path / "spool"
    outbox = Outbox(directory, outbox_id="paris-1", max_bytes=1 << 24)
    publisher = spooler(outbox, Ledger())
    moved = tmp_path / "away"
    directory.rename(moved)  # no new file can be made there now
    publisher.start()
    publisher.put(check)
    deadline = time.monotonic() + 20
    while publisher.failing is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "cannot write" in str(publisher.failing)
    for _ in range(MAX_WAITING_CHECKS + 5):
        publisher.put(check)
    assert publisher.lost >= 5
    moved.rename(directory)
    assert publisher.stop(timeout_s=30)
    assert publisher.failing is None
    count = 0
    for record in outbox.pending():
        message = decode(record.value, log_timestamp_us=1 << 60)
        assert isinstance(message, CheckBatch)
        count += len(message.target)
    assert count == MAX_WAITING_CHECKS + 6 - publisher.lost
    outbox.close()
