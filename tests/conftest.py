"""Fixtures that several folders of tests share. Real parts, each started once a session on a free port."""

import os
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest

from analytics.settings import StoreSettings
from tests.store_process import StoreProcess


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreSettings]:
    """The embedded store as a process of its own; its database `forewarn` is there and empty."""
    process = StoreProcess(tmp_path_factory.mktemp("store"))
    yield process.start()
    process.stop()


@pytest.fixture
def fresh_database(store: StoreSettings) -> StoreSettings:
    """The same store with the name of a database that nobody has created yet."""
    return replace(store, database=f"test_{os.getpid()}_{uuid.uuid4().hex[:8]}")
