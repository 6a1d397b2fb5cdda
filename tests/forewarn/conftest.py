"""What tests of the embedded store share."""

import pytest

from analytics.client import connect
from analytics.settings import StoreSettings


@pytest.fixture
def database(fresh_database: StoreSettings) -> StoreSettings:
    """A database of its own, created."""
    client = connect(fresh_database, use_database=False)
    client.command(f"CREATE DATABASE {fresh_database.database}")
    client.close()
    return fresh_database
