"""The log as a client sees it, on a real broker: topics, epochs, and errors within seconds."""

import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

from forewarn.embedded.broker import TansuBroker
from producers.errors import ForewarnError, LogRefusedError, LogUnavailableError
from producers.log import create_topics, open_admin, read_epochs
from producers.log_client import connect, kafka_options
from producers.settings import LogSettings
from producers.topics import ALL_TOPICS, CHECKS
from tests.producers.brokers import PARTITIONS, closed_port, replace_by_empty, running_broker, settings_of


def test_topics_are_made_once_with_their_partitions(tmp_path: Path) -> None:
    """`checks` with those of the config, the others with one; a second call changes nothing."""
    with running_broker(tmp_path) as broker:
        log = settings_of(broker, forgetful=True)
        create_topics(log)
        with open_admin(log) as admin:
            found = {topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics(list(ALL_TOPICS))}
        assert found == {topic: PARTITIONS if topic == CHECKS else 1 for topic in ALL_TOPICS}


def test_another_number_of_partitions_is_refused(tmp_path: Path) -> None:
    """Targets would change their partition, and with it their order."""
    with running_broker(tmp_path) as broker:
        log = replace(settings_of(broker, forgetful=False), partitions=PARTITIONS + 1)
        with pytest.raises(LogRefusedError, match=r"checks\.v1 has 3 partitions, the config says 4"):
            create_topics(log)


def test_topics_that_an_embedded_broker_made_by_itself_are_made_anew(tmp_path: Path) -> None:
    """A client that asks too early gets a topic of four partitions there; ours has what the config says."""
    broker = TansuBroker(tmp_path)
    broker.start()
    try:
        log = settings_of(broker, forgetful=True)
        early = connect(KafkaProducer, log, allow_auto_create_topics=False)
        assert len(early.partitions_for(CHECKS)) != PARTITIONS
        early.close()
        create_topics(log)
        with open_admin(log) as admin:
            (found,) = admin.describe_topics([CHECKS])
        assert len(found["partitions"]) == PARTITIONS
    finally:
        broker.stop()


def test_an_epoch_stays_while_the_log_lives_and_changes_with_it(tmp_path: Path) -> None:
    """Same log, same epoch; an empty one under the same address is another."""
    with running_broker(tmp_path) as broker:
        log = settings_of(broker, forgetful=True)
        first = read_epochs(log, ALL_TOPICS)
        assert read_epochs(log, ALL_TOPICS) == first
        assert all(epoch.startswith(f"{broker.epoch}/") for epoch in first.values())
        assert len(set(first.values())) == len(ALL_TOPICS)
        replace_by_empty(broker)
        second = read_epochs(log, ALL_TOPICS)
        assert all(second[topic] != first[topic] for topic in ALL_TOPICS)


def test_a_topic_that_is_not_there_is_named_and_not_made(tmp_path: Path) -> None:
    """Asking does not create it with a wrong number of partitions."""
    with running_broker(tmp_path) as broker:
        log = settings_of(broker, forgetful=True)
        for _ in range(2):
            with pytest.raises(LogUnavailableError, match="elsewhere is not there"):
                read_epochs(log, [CHECKS, "elsewhere"])


@pytest.mark.parametrize("client", [KafkaProducer, KafkaConsumer, KafkaAdminClient])
def test_a_refused_connection_is_one_line_with_the_address(client: type) -> None:
    """Whatever the client is for."""
    port = closed_port()
    with pytest.raises(LogUnavailableError, match=rf"cannot reach the broker at 127\.0\.0\.1:{port} \(.+\)$"):
        connect(client, LogSettings(bootstrap=(f"127.0.0.1:{port}",)))


def test_a_name_that_does_not_resolve_is_one_line() -> None:
    """Neither a traceback nor silence."""
    with pytest.raises(LogUnavailableError, match=r"no-such-host\.invalid:9092"):
        read_epochs(LogSettings(bootstrap=("no-such-host.invalid:9092",)), [CHECKS])


def test_a_broker_that_never_answers_is_an_error_and_leaves_no_thread() -> None:
    """It accepts the connection and says nothing."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        before = set(threading.enumerate())
        with pytest.raises(LogUnavailableError, match="does not answer"):
            read_epochs(LogSettings(bootstrap=(f"127.0.0.1:{silent.getsockname()[1]}",)), [CHECKS])
        deadline = time.monotonic() + 10
        while set(threading.enumerate()) - before and time.monotonic() < deadline:
            time.sleep(0.05)
        assert set(threading.enumerate()) <= before


def test_options_carry_the_credentials_and_the_ca_file(tmp_path: Path) -> None:
    """All of them for all three clients."""
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text("x")
    log = LogSettings(
        bootstrap=("a:1", "b:2"), security="sasl_ssl", username="forewarn", password="geheim", ca_file=ca_file
    )
    options = kafka_options(log)
    assert options["bootstrap_servers"] == ["a:1", "b:2"]
    assert options["security_protocol"] == "SASL_SSL"
    assert options["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("forewarn", "geheim")
    assert options["ssl_cafile"] == str(ca_file)
    for client in (KafkaProducer, KafkaConsumer, KafkaAdminClient):
        assert set(options) <= set(client.DEFAULT_CONFIG)


def test_a_ca_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Not a broker that cannot be reached."""
    log = LogSettings(bootstrap=("127.0.0.1:1",), security="ssl", ca_file=tmp_path / "nope.pem")
    with pytest.raises(ForewarnError, match=r"CA file .*nope\.pem: No such file"):
        read_epochs(log, [CHECKS])
