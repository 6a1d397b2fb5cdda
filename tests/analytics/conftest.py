"""Fixtures of the store's tests: one migrated database, empty at the start of each test."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
from clickhouse_connect.driver.client import Client

from analytics.client import connect
from analytics.migrate import migrate
from analytics.session import Session
from analytics.settings import StoreSettings

FILLED = "SELECT name FROM system.tables WHERE database = currentDatabase() AND total_rows > 0 AND name != 'migrations'"


@contextlib.contextmanager
def _database(settings: StoreSettings) -> Iterator[StoreSettings]:
    """A database with all tables and views, for the time of the block."""
    migrate(settings)
    yield settings
    with contextlib.closing(connect(settings)) as client:
        client.command(f"DROP DATABASE {settings.database}")


@pytest.fixture(scope="session")
def migrated(store: StoreSettings) -> Iterator[StoreSettings]:
    """A database for most tests."""
    with _database(replace(store, database=f"test_{os.getpid()}_analytics")) as settings:
        yield settings


def _lasting(store: StoreSettings) -> StoreSettings:
    name = f"test_{os.getpid()}_lasting"
    return replace(store, database=name, checks_ttl_days=20_000, summaries_ttl_days=20_000)


@pytest.fixture(scope="session")
def lasting_session(store: StoreSettings) -> Iterator[Session]:
    """A session on a database that keeps rows of any age: examples in files grow older than a TTL."""
    with _database(_lasting(store)) as settings:
        session = Session(settings)
        yield session
        session.close()


@pytest.fixture
def database(migrated: StoreSettings) -> StoreSettings:
    """The same with no rows."""
    with contextlib.closing(connect(migrated)) as client:
        for (name,) in client.query(FILLED).result_rows:
            client.command(f"TRUNCATE TABLE {name}")
    return migrated


@pytest.fixture
def session(database: StoreSettings) -> Iterator[Session]:
    """A session on that database."""
    session = Session(database)
    yield session
    session.close()


@pytest.fixture
def client(database: StoreSettings) -> Iterator[Client]:
    """A client of the empty database."""
    with contextlib.closing(connect(database)) as client:
        yield client
