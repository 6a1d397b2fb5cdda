"""The dead-man's ping: over a real store to a real server, only while the whole chain works."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import structlog

from analytics.insert import Inserter
from analytics.rows import one_table, rows_of
from analytics.session import Session
from analytics.settings import StoreSettings, WatchdogSettings
from analytics.state import ClickHouseStateStore
from analytics.watchdog import CLOSED_WITHIN_US, KEPT_WITHIN_US, Seen, Watchdog, troubles
from producers.contract import Outcome
from streams.contract import Snapshot, TickSummary, payload_checksum
from tests.analytics.messages import NOW_US, SECOND_US, batch, place
from tests.servers import Answer, HttpServer

AGE_US = 120 * SECOND_US
SECRET = "8c7d3f1e-secret"
LOCATIONS = {"north": AGE_US, "south": AGE_US}
WELL = Seen(checks=dict.fromkeys(LOCATIONS, NOW_US), closed={0: NOW_US, 1: NOW_US}, kept_us=NOW_US)


def settings_of(url: str, **changes: Any) -> WatchdogSettings:
    """Return settings that want two locations."""
    return WatchdogSettings(ping_url=url, **{"locations": LOCATIONS, **changes})


def put(session: Session, message: Any) -> None:
    """Store one message as the sink does."""
    for rows in rows_of(message, place()):
        Inserter(session).insert(rows.table, one_table([rows.batch], rows.table.schema))


def close(session: Session, partition: int, *, through_us: int = NOW_US) -> None:
    """Store the summary that closes a partition up to a tick."""
    put(
        session,
        TickSummary(
            v=1,
            id=f"{partition}.{through_us}",
            partition=partition,
            slot_us=through_us - 10 * SECOND_US,
            width_us=10 * SECOND_US,
            closed_through_us=through_us,
            locations=[],
        ),
    )


def keep(database: StoreSettings, *, taken_at_us: int = NOW_US) -> None:
    """Store a snapshot of incidents."""
    state = ClickHouseStateStore(database)
    state.save(
        Snapshot(
            group="incidents",
            partition=0,
            positions=(("verdicts.v1", 0, "e", 1),),
            taken_at_us=taken_at_us,
            code="1",
            payload=b"x",
            checksum=payload_checksum(b"x"),
        )
    )
    state.close()


@pytest.fixture
def well(session: Session, database: StoreSettings) -> Session:
    """A store in which the whole chain has worked a moment ago."""
    for location in LOCATIONS:
        put(session, batch(["main/a"], location=location))
    for partition in range(2):
        close(session, partition)
    keep(database)
    return session


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    """What takes the pings."""
    async with HttpServer(Answer()) as running:
        yield running


async def look(database: StoreSettings, url: str, *, now_us: int = NOW_US) -> dict[str, str]:
    """Look once."""
    watchdog = Watchdog(database, settings_of(url), partitions=2)
    async with aiohttp.ClientSession() as client:
        return await watchdog.look(client, now_us=now_us)


@pytest.mark.usefixtures("well")
async def test_while_all_works_the_ping_goes_out(database: StoreSettings, server: HttpServer) -> None:
    """One GET of the whole address a look."""
    assert await look(database, f"{server.url}/ping/{SECRET}?create=1") == {}
    assert [request.path for request in server.requests] == [f"/ping/{SECRET}?create=1"]


@pytest.mark.usefixtures("well")
@pytest.mark.parametrize(
    ("later_us", "broken"),
    [
        (AGE_US, set()),
        (AGE_US + 1, {"location north", "location south"}),
        (KEPT_WITHIN_US + 1, {"location north", "location south", "incidents"}),
        (CLOSED_WITHIN_US, {"location north", "location south", "incidents", "summaries"}),
    ],
)
async def test_a_chain_that_stands_still_withholds_the_ping(
    database: StoreSettings, server: HttpServer, later_us: int, broken: set[str]
) -> None:
    """Each part has its time; what is as old as that counts no more."""
    assert (await look(database, server.url, now_us=NOW_US + later_us)).keys() == broken
    assert bool(server.requests) == (not broken)


async def test_an_empty_store_withholds_the_ping(database: StoreSettings, server: HttpServer) -> None:
    """Everything is missing, and each is named."""
    found = await look(database, server.url)
    assert found.keys() == {"location north", "location south", "summaries", "incidents"}
    assert found["summaries"].endswith("in partition 0, 1")
    assert server.requests == []


async def test_checks_that_were_missed_are_no_life_of_a_location(
    well: Session, database: StoreSettings, server: HttpServer
) -> None:
    """A producer that reports only that it could not check has stopped checking."""
    later_us = NOW_US + AGE_US + SECOND_US
    for location, outcome in (("north", Outcome.FAILURE), ("south", Outcome.MISSED)):
        plain = batch(["main/a"], tick_us=later_us, location=location)
        values = {name: getattr(plain, name) for name in plain.__struct_fields__}
        duration_us = None if outcome is Outcome.MISSED else 5
        put(well, type(plain)(**values | {"outcome": [outcome], "reason": ["x"], "duration_us": [duration_us]}))
    assert (await look(database, server.url, now_us=later_us)).keys() == {"location south"}


async def test_a_check_with_a_tick_to_come_is_no_life_either(
    well: Session, database: StoreSettings, server: HttpServer
) -> None:
    """A clock that is ahead must not make up for silence."""
    put(well, batch(["main/a"], tick_us=NOW_US + 2 * AGE_US, location="north"))
    found = await look(database, server.url, now_us=NOW_US + AGE_US + 1)
    assert "location north" in found


async def test_a_store_that_is_away_withholds_the_ping(server: HttpServer) -> None:
    """That is said with the store's own words."""
    found = await look(StoreSettings(url="http://127.0.0.1:1"), server.url)
    assert found == {"store": "the store at http://127.0.0.1:1 cannot be reached: connection refused"}
    assert server.requests == []


@pytest.mark.usefixtures("well")
async def test_a_ping_that_is_not_taken_is_said_without_its_address(
    database: StoreSettings, server: HttpServer
) -> None:
    """An error of the service, a redirect, nobody there."""
    for status in (500, 302):
        server.answer = Answer(status=status)
        assert await look(database, server.url) == {"ping": f"the ping was not taken: status {status}"}
    with structlog.testing.capture_logs() as logs:
        found = await look(database, f"http://127.0.0.1:1/{SECRET}")
    assert found == {"ping": "the ping was not taken: ClientConnectorError"}
    assert SECRET not in str(logs)
    assert SECRET not in repr(settings_of(f"http://h/{SECRET}"))


async def test_what_is_broken_is_said_once_and_so_is_its_end(database: StoreSettings, server: HttpServer) -> None:
    """A new trouble beside an old one is said, the old one not again."""
    watchdog = Watchdog(database, settings_of(server.url, locations={"north": AGE_US}), partitions=0)
    now_us = NOW_US + 3 * CLOSED_WITHIN_US
    session = Session(database)

    async def said(*, later_us: int = 0) -> list[str]:
        with structlog.testing.capture_logs() as logs:
            await watchdog.look(client, now_us=now_us + later_us)
        return [f"{entry['log_level']} {entry.get('broken', entry['event'])}" for entry in logs]

    async with aiohttp.ClientSession() as client:
        put(session, batch(["main/a"], tick_us=now_us))
        assert await said() == [f"error the incidents worker has kept no state within {KEPT_WITHIN_US // SECOND_US} s"]
        assert await said() == []
        no_check = f"error no check of location north that was scheduled within {AGE_US // SECOND_US} s is stored"
        assert await said(later_us=AGE_US + 1) == [no_check]
        assert await said(later_us=AGE_US + 1) == []
        keep(database, taken_at_us=now_us)
        assert await said() == ["info the dead-man's ping goes out again"]
        assert await said() == []
    assert len(server.requests) == 2
    session.close()


async def test_right_after_a_start_nothing_is_said_that_needs_time(database: StoreSettings, server: HttpServer) -> None:
    """The first ticks are closed minutes after the start: until then it only does not ping."""
    watchdog = Watchdog(database, settings_of(server.url), partitions=2)
    async with aiohttp.ClientSession() as client:
        with structlog.testing.capture_logs() as logs:
            assert await watchdog.look(client)
    assert logs == []


def test_each_location_and_partition_counts() -> None:
    """All that should report must; a location more does no harm."""
    settings = settings_of("http://h")
    assert troubles(WELL, settings, partitions=2, now_us=NOW_US) == {}
    assert troubles(WELL, settings, partitions=3, now_us=NOW_US).keys() == {"summaries"}
    one = Seen(checks={"north": NOW_US, "east": NOW_US}, closed=WELL.closed, kept_us=NOW_US)
    assert troubles(one, settings, partitions=2, now_us=NOW_US).keys() == {"location south"}
