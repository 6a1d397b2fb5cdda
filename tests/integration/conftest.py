"""Fixtures: one installation a broker for all tests of a session, made anew when a test has worn it."""

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.integration.brokers import start_plain, start_secure
from tests.integration.cluster import Cluster
from tests.integration.deployment import Deployment, OneMachine
from tests.integration.local import Local

TANSU = pytest.param("tansu", id="tansu")
KAFKA = pytest.param("kafka", id="kafka", marks=pytest.mark.kafka)
SECURE_KIND = "kafka-sasl-ssl"
SECURE = pytest.param(SECURE_KIND, id=SECURE_KIND, marks=pytest.mark.kafka)


class Current:
    """The installation that runs now, if one does."""

    def __init__(self, kind: str, directory: Path) -> None:
        self._kind = kind
        self._directory = directory
        self._made = 0
        self._stack = ExitStack()
        self._deployment: Deployment | None = None

    def get(self) -> Deployment:
        """Return it; a new one if there is none or if it is worn."""
        if self._deployment is not None and not self._deployment.is_well():
            self.close()
        if self._deployment is None:
            self._made += 1
            self._deployment = self._open(self._directory / str(self._made))
        return self._deployment

    def _open(self, directory: Path) -> Deployment:
        local = self._stack.enter_context(Local())
        if self._kind == "tansu":
            deployment: Deployment = OneMachine(directory, local)
        else:
            start = start_plain if self._kind == "kafka" else start_secure
            kafka = start(directory / "broker")
            self._stack.callback(kafka.broker.stop)
            deployment = Cluster(directory, local, kafka)
        self._stack.callback(deployment.stop)
        deployment.start()
        return deployment

    def close(self) -> None:
        """End it."""
        self._deployment = None
        self._stack.close()


@pytest.fixture(scope="session", params=[TANSU, KAFKA, SECURE])
def current(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Current]:
    """One broker after the other; the tests of one run together."""
    one = Current(request.param, tmp_path_factory.mktemp(request.param))
    yield one
    one.close()


@pytest.fixture
def deployment(current: Current) -> Deployment:
    """An installation in which everything runs. A test breaks its own target and no other."""
    return current.get()


@pytest.fixture
def secure(deployment: Deployment) -> Cluster:
    """The one on Apache Kafka with SASL, TLS and ACLs. What asks for it does not run on the other brokers."""
    assert isinstance(deployment, Cluster)
    return deployment


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what asks for `secure` on another broker: there it is no test, so it is not skipped either."""
    others = [item for item in items if "secure" in getattr(item, "fixturenames", ()) and not _on(item, SECURE_KIND)]
    if others:
        items[:] = [item for item in items if item not in others]
        config.hook.pytest_deselected(items=others)


def _on(item: pytest.Item, kind: str) -> bool:
    callspec = getattr(item, "callspec", None)
    return callspec is not None and callspec.params.get("current") == kind


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Show the last lines of all processes under a test that failed."""
    report = yield
    deployment = getattr(item, "funcargs", {}).get("deployment")
    if report.failed and isinstance(deployment, Deployment):
        deployment.worn = True
        report.sections.append(("what the processes said last", deployment.last_words()))
    return report
