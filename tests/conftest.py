"""Fixtures that several folders of tests share. Real parts, each started once a session on a free port."""

import os
import signal
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from analytics.settings import StoreSettings
from forewarn.embedded.store_process import StoreProcess

# A shell that runs the tests in the background has them ignore SIGINT, and all processes that they start: the tests
# of Ctrl-C would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A slow machine is no failure: nothing in the tests is timed, and an example that takes long is still an example.
settings.register_profile("forewarn", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("forewarn")


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreSettings]:
    """The embedded store as a process of its own; its database `forewarn` is there and empty."""
    process = StoreProcess(tmp_path_factory.mktemp("store") / "store")
    yield process.start()
    process.stop()


@pytest.fixture
def fresh_database(store: StoreSettings) -> StoreSettings:
    """The same store with the name of a database that nobody has created yet."""
    return replace(store, database=f"test_{os.getpid()}_{uuid.uuid4().hex[:8]}")


class ByModuleOrBroker(LoadScopeScheduling):  # type: ignore[misc] # published without types
    """Of tests that run side by side, those of a module share a process, and all that need one broker."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        if "integration" in module and nodeid.endswith("]"):
            return nodeid.rpartition("[")[2]
        return module


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """See ByModuleOrBroker."""
    return ByModuleOrBroker(config, log)
