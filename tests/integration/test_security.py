"""Wrong credentials and wrong certificates: one line that a person can act on, and nothing lost meanwhile."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
import trustme
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import TopicAuthorizationFailedError

from forewarn.errors import ExitCode
from producers.log_client import connect
from producers.topics import CHECKS, VERDICTS
from tests.integration.cluster import Cluster
from tests.integration.config import INTERVAL_US, config_text, log_section, store_section
from tests.integration.deployment import command_line
from tests.integration.reading import Row, query
from tests.integration.waiting import wait_for

pytestmark = pytest.mark.timeout(300)

WRONG: Final = "wr0ng-s3cret"
PASSWORD, AUTHORITY = "lab-password", "lab-authority"
"""Two more locations: one whose producer has a wrong password, one whose producer trusts another authority."""

END_S: Final = 30.0


class Process:
    """A command with its output in a file of its own."""

    def __init__(self, path: Path, words: list[str], environment: dict[str, str]) -> None:
        self._path = path
        with path.open("ab") as said:
            self.process = subprocess.Popen(
                words, stdout=said, stderr=said, stdin=subprocess.DEVNULL, env={**os.environ, **environment}
            )

    def said(self) -> str:
        """Return all that it said so far."""
        return self._path.read_text()

    def lines(self) -> list[str]:
        """Return the lines for people: those of the log by their event and trouble."""
        shown = []
        for line in self.said().splitlines():
            if not line.startswith("{"):
                shown.append(line)
            elif json.loads(line)["level"] != "info":
                event = json.loads(line)
                shown.append(f"{event['event']}: {event.get('trouble') or event.get('error')}")
        return shown

    def ended(self) -> int:
        """Wait for its end; return the exit code."""
        return self.process.wait(timeout=END_S + 60)

    def end(self) -> int:
        """Ask it to end; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=END_S)


class Lab:
    """Starts processes with a config of the test's own, beside the installation that runs.

    Attributes:
        authority: The CA file that the config with the wrong authority names; may be replaced.
    """

    def __init__(self, directory: Path, secure: Cluster) -> None:
        self.authority = directory / "authority.pem"
        trustme.CA().cert_pem.write_to_path(self.authority)
        self._directory = directory
        self._secure = secure
        self._processes: list[Process] = []
        right = secure.kafka.log.ca_file
        assert right is not None
        self.right_authority = right
        local = secure.local
        for name, ca_file in ((PASSWORD, right), (AUTHORITY, self.authority)):
            text = config_text(site=local.site.port, hook=local.hook.port, targets=("lab",), at=(name,))
            text += log_section(secure.kafka.broker.bootstrap, ca_file=ca_file) + store_section(secure.store.url)
            self.config(name).write_text(text)

    def config(self, location: str) -> Path:
        """Return the config of a location."""
        return self._directory / f"{location}.yaml"

    def start(self, location: str, role: str, *words: str, password: str | None = None) -> Process:
        """Start a command in the environment of a role, with its own password or another one."""
        environment = self._secure.environment(role)
        if password is not None:
            environment["KAFKA_PASSWORD"] = password
        data_dir = self._directory / f"{location}-{role}"
        line = command_line(*words, config=self.config(location), data_dir=data_dir)
        process = Process(self._directory / f"{location}-{role}.log", line, environment)
        self._processes.append(process)
        return process

    def close(self) -> None:
        """End what still runs."""
        for one in self._processes:
            if one.process.poll() is None:
                one.process.kill()
                one.process.wait()

    def secrets(self) -> list[str]:
        """Return everything that no output may hold."""
        return [WRONG, self._secure.store.token or "", *self._secure.kafka.passwords.values()]


@pytest.fixture
def lab(secure: Cluster, tmp_path: Path) -> Iterator[Lab]:
    """One, whose processes never outlive the test."""
    one = Lab(tmp_path, secure)
    yield one
    one.close()


def assert_clean(lab: Lab, process: Process) -> None:
    """Assert that a process has shown neither a traceback nor a secret."""
    assert "Traceback" not in process.said()
    assert [secret for secret in lab.secrets() if secret and secret in process.said()] == []


def lab_checks(secure: Cluster, location: str) -> list[Row]:
    """Return the stored checks of a location of the lab, in order."""
    sql = "SELECT * FROM checks WHERE location = %(location)s ORDER BY scheduled_at"
    return query(secure.store, sql, location=location)


def test_a_wrong_password_or_authority_is_one_line(secure: Cluster, lab: Lab) -> None:
    """A migrate or a worker ends with it; a producer says it, goes on, and delivers when it is set right.

    A wrong password is refused for good (exit code 4). A certificate of an unknown authority may be a broker that is
    just being renewed, so it counts as unreachable (3), and a worker waits for it as for a broker that is away.
    """
    refused = [
        lab.start(PASSWORD, "migrate", "migrate", password=WRONG),
        lab.start(PASSWORD, "detect", "worker", "detect", password=WRONG),
    ]
    producers = {
        PASSWORD: lab.start(PASSWORD, "producer", "producer", "--location", PASSWORD, password=WRONG),
        AUTHORITY: lab.start(AUTHORITY, "producer", "producer", "--location", AUTHORITY),
    }
    for one in refused:
        assert one.ended() == ExitCode.REFUSED, one.said()
        assert len(one.lines()) == 1, one.said()
        assert "refuses user" in one.lines()[0]
    away = [migrate_at_the_wrong_authority(lab), lab.start(AUTHORITY, "sink", "worker", "sink")]
    wait_for("the worker says that it waits, and why", lambda: names_a_certificate(away[1]))

    for location, producer in producers.items():
        wait_for(f"{location} says that it keeps its checks", producer.lines)
        assert len(producer.lines()) == 1, producer.said()
        assert "kept on disk" in producer.lines()[0]
        assert lab_checks(secure, location) == []
    assert "refuses user" in producers[PASSWORD].lines()[0]
    assert names_a_certificate(producers[AUTHORITY])
    now_us = query(secure.store, "SELECT max(scheduled_at) AS at FROM checks")[0]["at"]

    shutil.copy(lab.right_authority, lab.authority)  # while it runs
    assert producers[PASSWORD].end() == ExitCode.OK
    producers[PASSWORD] = lab.start(PASSWORD, "producer", "producer", "--location", PASSWORD)
    for location in (PASSWORD, AUTHORITY):

        def complete(location: str = location) -> bool:
            ticks = [row["scheduled_at"] for row in lab_checks(secure, location)]
            return len(ticks) > 5 and all(after - before == INTERVAL_US for before, after in pairwise(ticks))

        wait_for(f"every tick of {location}", complete)
        kept = [row for row in lab_checks(secure, location) if row["scheduled_at"] < now_us]
        assert kept[0]["outcome"] == "success"
    for process in (*refused, *away, *producers.values()):
        assert_clean(lab, process)


def names_a_certificate(process: Process) -> bool:
    """Whether one of its lines says that the trouble is a certificate."""
    return any("certificate" in line.lower() for line in process.lines())


def migrate_at_the_wrong_authority(lab: Lab) -> Process:
    """Return a `migrate` that has ended: with one line, which names the certificate.

    A broker on a busy machine may not answer a handshake in time; that is another line, and then it is tried again.
    """
    for _ in range(5):
        process = lab.start(AUTHORITY, "migrate", "migrate")
        assert process.ended() == ExitCode.UNREACHABLE, process.said()
        assert len(process.lines()) == 1, process.said()
        if "no answer to the TLS handshake" not in process.lines()[0]:
            break
    assert names_a_certificate(process), process.said()
    return process


def read_some(reader: Any) -> None:
    """Read until something is said, or for a while."""
    for _ in range(20):
        reader.poll(timeout_ms=500)


def test_a_producer_may_only_write_checks(secure: Cluster) -> None:
    """Its user can neither read what it wrote nor write a verdict: a stolen password forges no judgement."""
    user = secure.kafka.as_user("producer")
    with ExitStack() as stack:
        reader = connect(KafkaConsumer, user, group_id=None)
        stack.callback(reader.close)
        reader.assign([TopicPartition(CHECKS, 0)])
        with pytest.raises(TopicAuthorizationFailedError):
            read_some(reader)
        writer = connect(KafkaProducer, user)
        stack.callback(writer.close)
        with pytest.raises(TopicAuthorizationFailedError):
            writer.send(VERDICTS, value=b"{}", partition=0).get(timeout=END_S)
