"""Apache Kafka as the tests start it: plain, and with SASL, TLS and an ACL for each role."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import trustme
from cryptography.hazmat.primitives import serialization
from kafka.admin import ACL, ACLOperation, ACLPermissionType, KafkaAdminClient, ResourcePattern, ResourceType

from forewarn.embedded.kafka import ApacheKafkaBroker, KafkaListener
from producers.log_client import connect
from producers.settings import LogSettings
from producers.topics import (
    ACTIONS,
    ALERTS,
    ALL_TOPICS,
    CHECKS,
    DEAD_LETTERS,
    DEVIATIONS,
    INCIDENTS,
    VERDICTS,
)
from tests.apache_kafka.jars import apache_kafka_jars

ADMIN: Final = "admin"


@dataclass(frozen=True, kw_only=True)
class Rights:
    """What a role may do; Describe comes with reading and writing.

    Attributes:
        group: The consumer group that it reads in.
    """

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    describe: tuple[str, ...] = ()
    create: tuple[str, ...] = ()
    group: str | None = None


# The table of docs/production.md, nothing more. Two lists that must be read side by side, on purpose.
ROLES: Final = {
    "producer": Rights(write=(CHECKS,)),
    "detect": Rights(read=(CHECKS,), write=(CHECKS, DEVIATIONS, VERDICTS, DEAD_LETTERS), group="detect"),
    "incidents": Rights(read=(VERDICTS,), write=(INCIDENTS, DEAD_LETTERS), group="incidents"),
    "alerts": Rights(read=(INCIDENTS, ACTIONS, ALERTS), write=(ALERTS, DEAD_LETTERS), group="alerts"),
    "sink": Rights(read=ALL_TOPICS, write=(DEAD_LETTERS,), group="sink"),
    "replay": Rights(read=ALL_TOPICS, write=ALL_TOPICS),
    "migrate": Rights(write=(ACTIONS,), describe=ALL_TOPICS, create=ALL_TOPICS),
}


@dataclass(frozen=True, kw_only=True)
class Kafka:
    """A running Apache Kafka.

    Attributes:
        log: How the superuser reaches it.
        passwords: By user; empty without SASL.
    """

    broker: ApacheKafkaBroker
    log: LogSettings
    passwords: dict[str, str] = field(default_factory=dict, repr=False)

    def as_user(self, name: str) -> LogSettings:
        """Return how another user reaches it."""
        return replace(self.log, username=name, password=self.passwords[name]) if self.passwords else self.log


def start_plain(directory: Path, *, port: int = 0, advertised_port: int = 0) -> Kafka:
    """Start one without any security; see ApacheKafkaBroker for the ports."""
    broker = ApacheKafkaBroker(directory, jars=apache_kafka_jars(), port=port, advertised_port=advertised_port)
    broker.start()
    return Kafka(broker=broker, log=LogSettings(bootstrap=(broker.bootstrap,)))


def start_secure(directory: Path) -> Kafka:
    """Start one with SASL_SSL, a user for each role, and an ACL for each line of docs/production.md."""
    directory.mkdir(parents=True, exist_ok=True)
    authority = write_certificate(directory / "broker.pem")
    passwords = {name: f"{name}-s3cret-{number}" for number, name in enumerate((ADMIN, *ROLES))}
    listener = KafkaListener(
        security="sasl_ssl", keystore_pem=directory / "broker.pem", users=tuple(passwords.items()), acls=True
    )
    broker = ApacheKafkaBroker(directory / "kafka", jars=apache_kafka_jars(), listener=listener)
    broker.start()
    log = LogSettings(
        bootstrap=(broker.bootstrap,),
        security="sasl_ssl",
        sasl_mechanism="PLAIN",
        username=ADMIN,
        password=passwords[ADMIN],
        ca_file=authority,
    )
    grant(log, ROLES)
    return Kafka(broker=broker, log=log, passwords=passwords)


def write_certificate(keystore: Path) -> Path:
    """Write a key (PKCS#8, as Kafka wants it) and a certificate for loopback; return the file of its authority."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), password=None)
    pkcs8 = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    keystore.touch(mode=0o600)
    keystore.write_bytes(pkcs8 + b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    ca_file = keystore.with_suffix(".ca")
    authority.cert_pem.write_to_path(ca_file)
    return ca_file


def grant(log: LogSettings, roles: dict[str, Rights]) -> None:
    """Give each user its rights, as the superuser."""
    admin = connect(KafkaAdminClient, log)
    try:
        admin.create_acls([acl for name, rights in roles.items() for acl in _acls(name, rights)])
    finally:
        admin.close()


def _acls(user: str, rights: Rights) -> Iterable[ACL]:
    wanted = (
        (ACLOperation.READ, ResourceType.TOPIC, rights.read),
        (ACLOperation.WRITE, ResourceType.TOPIC, rights.write),
        (ACLOperation.DESCRIBE, ResourceType.TOPIC, rights.describe),
        (ACLOperation.CREATE, ResourceType.TOPIC, rights.create),
        (ACLOperation.READ, ResourceType.GROUP, () if rights.group is None else (rights.group,)),
    )
    for operation, kind, names in wanted:
        for name in names:
            yield ACL(
                principal=f"User:{user}",
                host="*",
                operation=operation,
                permission_type=ACLPermissionType.ALLOW,
                resource_pattern=ResourcePattern(kind, name),
            )
