"""Apache Kafka itself as the embedded broker, where Java is: one KRaft node on loopback that keeps its log."""

import os
import shutil
import subprocess
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from forewarn.embedded.broker import free_port, port_is_taken
from forewarn.embedded.process import end
from producers.errors import LogUnavailableError

START_TIMEOUT_S = 60.0
END_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaListener:
    """How clients reach the broker.

    Attributes:
        security: `plaintext`, or `sasl_ssl` with PLAIN.
        keystore_pem: Private key (PKCS#8) and certificate chain, PEM, for TLS; its CA lies beside it as `.ca`.
        users: Passwords by name, for SASL. The first one is the broker's superuser.
        acls: Deny everything that no ACL allows to users other than the first.
    """

    security: str = "plaintext"
    keystore_pem: Path | None = None
    users: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    acls: bool = False


class ApacheKafkaBroker:
    """One KRaft node from the jars in `jars`; its log lies in `directory` and outlives a restart.

    Clients are told `advertised_port` if something stands in front of it; 0: where it listens.
    """

    def __init__(
        self,
        directory: Path,
        *,
        jars: Path,
        listener: KafkaListener | None = None,
        port: int = 0,
        advertised_port: int = 0,
    ) -> None:
        self.bootstrap = ""
        self.epoch = ""
        self.process: subprocess.Popen[bytes] | None = None
        self._directory = directory
        self._jars = jars
        self._listener = listener if listener is not None else KafkaListener()
        self._port = port
        self._advertised_port = advertised_port

    def start(self) -> None:
        """Start it; the first time its storage is formatted. See embedded.broker.Broker."""
        java = shutil.which("java")
        if java is None:
            raise LogUnavailableError("Apache Kafka needs Java, and there is no `java` on the PATH")
        self._directory.mkdir(parents=True, exist_ok=True)
        self._port = self._port or free_port()
        self.bootstrap = f"127.0.0.1:{self._advertised_port or self._port}"
        if not self.epoch:
            self._write_properties(controller_port=free_port())
            self.epoch = uuid.uuid4().hex[:22]
            properties = str(self._directory / "server.properties")
            command = ["kafka.tools.StorageTool", "format", "-t", self.epoch, "-c", properties]
            done = subprocess.run(  # noqa: S603 - java with our own arguments, no shell
                [*self._java(java), *command], capture_output=True, check=False, env=self._environment()
            )
            if done.returncode != 0:
                raise LogUnavailableError(
                    f"Apache Kafka could not format {self._directory}: {done.stderr.decode()[-500:]}"
                )
        with (self._directory / "broker.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - as above
                [*self._java(java), "kafka.Kafka", str(self._directory / "server.properties")],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=self._environment(),
                start_new_session=True,
            )
        self._wait_until_started()

    def _java(self, java: str) -> list[str]:
        return [java, "-Xms256m", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", f"{self._jars}/*"]

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", ""), "HOME": str(self._directory)}

    def _write_properties(self, *, controller_port: int) -> None:
        listener = self._listener
        lines = [
            "process.roles=broker,controller",
            "node.id=1",
            f"controller.quorum.voters=1@127.0.0.1:{controller_port}",
            f"listeners=CLIENT://127.0.0.1:{self._port},CONTROLLER://127.0.0.1:{controller_port}",
            f"advertised.listeners=CLIENT://{self.bootstrap}",
            "controller.listener.names=CONTROLLER",
            "inter.broker.listener.name=CLIENT",
            f"listener.security.protocol.map=CLIENT:{listener.security.upper()},CONTROLLER:PLAINTEXT",
            f"log.dirs={self._directory / 'log'}",
            "auto.create.topics.enable=false",
            "offsets.topic.replication.factor=1",
            "offsets.topic.num.partitions=4",
            "transaction.state.log.replication.factor=1",
            "transaction.state.log.min.isr=1",
            "group.initial.rebalance.delay.ms=0",
            "group.min.session.timeout.ms=1000",
            # One node alone: after a crash its own old registration need not be waited for long.
            "broker.session.timeout.ms=3000",
            "broker.heartbeat.interval.ms=500",
        ]
        if listener.keystore_pem is not None:
            lines += ["ssl.keystore.type=PEM", f"ssl.keystore.location={listener.keystore_pem}"]
        if listener.users:
            (admin, password), *_ = listener.users
            users = " ".join(f'user_{name}="{secret}"' for name, secret in listener.users)
            login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
            login += f' username="{admin}" password="{password}"'
            lines += [
                "sasl.enabled.mechanisms=PLAIN",
                "sasl.mechanism.inter.broker.protocol=PLAIN",
                f"listener.name.client.plain.sasl.jaas.config={login} {users};",
            ]
            if listener.keystore_pem is not None:
                # The broker is its own client between brokers: it trusts its own certificate.
                authority = listener.keystore_pem.with_suffix(".ca")
                lines += ["ssl.truststore.type=PEM", f"ssl.truststore.location={authority}"]
            if listener.acls:
                lines += [
                    "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                    f"super.users=User:{admin};User:ANONYMOUS",
                ]
        path = self._directory / "server.properties"
        path.touch(mode=0o600)
        path.write_text("\n".join(lines) + "\n")

    def _wait_until_started(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.running:
            if port_is_taken(self._port):
                return
            time.sleep(0.1)
        self.stop()
        raise LogUnavailableError(f"Apache Kafka did not start; see {self._directory / 'broker.log'}")

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """See embedded.broker.Broker."""
        self._end(hard=False)

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(hard=True)

    def _end(self, *, hard: bool) -> None:
        process, self.process = self.process, None
        if process is not None:
            end(process, hard=hard, patience_s=END_S)
