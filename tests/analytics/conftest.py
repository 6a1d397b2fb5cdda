"""Fixtures of the store's tests: one migrated database, empty at the start of each test."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from analytics.client import connect
from analytics.migrate import migrate
from analytics.session import Session
from analytics.settings import StoreSettings

FILLED = "SELECT name FROM system.tables WHERE database = currentDatabase() AND total_rows > 0 AND name != 'migrations'"


@pytest.fixture(scope="session")
def migrated(store: StoreSettings) -> Iterator[StoreSettings]:
    """A database with all tables and views."""
    settings = replace(store, database=f"test_{os.getpid()}_analytics")
    migrate(settings)
    yield settings
    with contextlib.closing(connect(settings)) as client:
        client.command(f"DROP DATABASE {settings.database}")


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
