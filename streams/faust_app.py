"""The Faust app of a worker, from LogSettings: broker, credentials, buffers. No web server, no tables, no leader."""

import logging
import ssl
from typing import Any, Final

import faust
from faust.app import BootStrategy
from faust.auth import Credentials

from producers.settings import LogSettings
from streams.settings import WorkerSettings

BUFFER_MESSAGES: Final = 64  # packed messages are about 130 KB each: Faust's 4096 would be 540 MB
POLL_MESSAGES: Final = 128  # fetched at once: each fetch wakes two threads
MAX_POLL_INTERVAL_S: Final = 30 * 86_400.0
"""How long reading may pause, for a store that is away: heartbeats show that we live.

After Faust's 1000 s the client leaves the group by itself and does not come back: frozen, in silence.
"""

SEND_TIMEOUT_S: Final = 120.0  # how long the broker may be away before a sent message counts as lost
BATCH_BYTES: Final = 256 * 1024


class WithoutWeb(BootStrategy):
    """Starts everything but the web server: `web_enabled=False` alone still binds 0.0.0.0:6066."""

    enable_web = False


class WorkerApp(faust.App):
    """A Faust app that binds no port."""

    BootStrategy = WithoutWeb


def tls_context(log: LogSettings) -> ssl.SSLContext | None:
    """Return the TLS context that `security` asks for, with the CA file in place of the system's list; else None."""
    if log.security not in {"ssl", "sasl_ssl"}:
        return None
    return ssl.create_default_context(cafile=None if log.ca_file is None else str(log.ca_file))


def credentials(log: LogSettings) -> Credentials | None:
    """Return Faust's credentials for every kind of security."""
    context = tls_context(log)
    if log.security in {"sasl_plaintext", "sasl_ssl"}:
        return faust.SASLCredentials(
            username=log.username, password=log.password, ssl_context=context, mechanism=log.sasl_mechanism
        )
    return None if context is None else faust.SSLCredentials(context=context)


def create_app(group: str, log: LogSettings, worker: WorkerSettings) -> faust.App:
    """Return the app of one worker. Its consumer group is `group`.

    Call it inside the running event loop that will run it.
    """
    options: dict[str, Any] = {
        "broker": ";".join(f"kafka://{address}" for address in log.bootstrap),
        "broker_credentials": credentials(log),
        "broker_client_id": f"forewarn-{group}",
        "broker_session_timeout": worker.session_timeout_s,
        "broker_heartbeat_interval": worker.session_timeout_s / 8,
        "broker_request_timeout": max(40.0, worker.session_timeout_s * 2),
        "broker_max_poll_records": POLL_MESSAGES,
        "broker_max_poll_interval": MAX_POLL_INTERVAL_S,
        "consumer_auto_offset_reset": "earliest",
        "datadir": str(worker.data_dir / "faust"),
        "autodiscover": False,
        "producer_acks": -1,
        "producer_request_timeout": SEND_TIMEOUT_S,
        "producer_max_batch_size": BATCH_BYTES,
        "stream_buffer_maxsize": BUFFER_MESSAGES,
        # True freezes the whole group at the first rebalance, because our messages are never acknowledged.
        "stream_wait_empty": False,
        "topic_allow_declare": False,  # producers.log creates the topics; workers need no right to
        "topic_disable_leader": True,
        "web_enabled": False,
        "worker_redirect_stdouts": False,
    }
    for name in ("faust", "mode", __name__):
        # Their dozens of lines about starting and stopping say nothing that ours do not.
        logging.getLogger(name).setLevel(logging.WARNING)
    return WorkerApp(group, **options)
