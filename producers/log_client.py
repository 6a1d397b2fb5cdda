"""kafka-python clients that fail within seconds, in one line, and leave nothing behind when they do."""

import contextlib
import socket
from collections.abc import Callable
from typing import Any, Final, TypeVar

from kafka import errors as kafka_errors
from kafka.net.compat import KafkaNetClient
from kafka.net.inet import create_connection
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from producers.errors import ForewarnError, LogRefusedError, LogUnavailableError, RecordRefusedError
from producers.log_tls import tls_connection
from producers.settings import LogSettings

REQUEST_TIMEOUT_S: Final = 10.0
BOOTSTRAP_TIMEOUT_S: Final = 6.0
KNOCK_TIMEOUT_S: Final = 3.0
CUT_LOGINS: Final = 2
"""So many connections in a row that end during the login are a refusal."""
RECONNECT_MAX_S: Final = 2.0
"""Bound of kafka-python's own backoff, whose default of 30 s would make a short outage a long one."""

# Our credentials are refused: says the broker, or its connection closes in the middle of the login.
_REFUSED_LOGIN: Final = (
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
    kafka_errors.IllegalSaslStateError,
)
# What the broker means for good: repeating the question does not help.
_REFUSALS: Final = (
    *_REFUSED_LOGIN,
    kafka_errors.AuthorizationError,
    kafka_errors.InvalidReplicationFactorError,
    kafka_errors.InvalidTopicError,
    kafka_errors.InvalidConfigurationError,
    kafka_errors.PolicyViolationError,
)
# What is wrong with one record alone. A refusal that all records of a topic would meet is none of these.
_TOO_LARGE: Final = (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError)

_Client = TypeVar("_Client")


def kafka_options(settings: LogSettings) -> dict[str, Any]:
    """Return the options that KafkaProducer, KafkaConsumer and KafkaAdminClient all take.

    Raises:
        ForewarnError: The CA file cannot be read.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": list(settings.bootstrap),
        "security_protocol": settings.security.upper(),
        "bootstrap_timeout_ms": int(BOOTSTRAP_TIMEOUT_S * 1000),
        "request_timeout_ms": int(REQUEST_TIMEOUT_S * 1000),
        "reconnect_backoff_max_ms": int(RECONNECT_MAX_S * 1000),
    }
    if settings.ca_file is not None:
        try:
            settings.ca_file.read_bytes()
        except OSError as error:
            raise ForewarnError(f"cannot read the log's CA file {settings.ca_file}: {error.strerror}") from error
        options["ssl_cafile"] = str(settings.ca_file)
    if settings.security.startswith("sasl"):
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.username
        options["sasl_plain_password"] = settings.password
    return options


class _NotingManager(KafkaConnectionManager):  # type: ignore[misc] # untyped base
    """Remembers why the last connection failed, which kafka-python only logs, and can be told not to mend it."""

    last_error: BaseException | None = None
    once = False
    severed = False
    _connected = False
    _cut_logins = 0

    async def _connect(self, node: Any, conn: Any, **options: Any) -> None:
        conn.init_future.add_errback(self._note)
        self._watch_login(conn)
        if self.once and self._connected:
            # Not even to ask for topics: an embedded broker makes those that are not there, wrongly.
            self.severed = True
            self.update_backoff(node.node_id)
            conn.close(kafka_errors.KafkaConnectionError("the connection broke and is not mended"))
            return
        self._connected = not self.cluster.is_bootstrap(node.node_id)
        await super()._connect(node, conn, **options)

    async def _build_transport(self, node: Any, timeout_at: float | None = None) -> Any:
        if not self.ssl_enabled:
            return await super()._build_transport(node, timeout_at=timeout_at)
        sock = await create_connection(
            self._net, node.host, node.port, self.config["socket_options"], timeout_at=timeout_at
        )
        options = {name: value for name, value in self.config.items() if name.startswith("ssl_")}
        return await tls_connection(self._net, sock, node.host, options, timeout_at)

    def _watch_login(self, conn: Any) -> None:
        """Note a login that the broker answers by closing the connection.

        Kafka sends its refusal and closes at once, and kafka-python drops what it reads together with the end of a
        connection: so a wrong password looks like a broker that went away. Once may be just that; twice is a no.
        """
        log_in = conn._sasl_authenticate  # noqa: SLF001 - the only place where a login can be told from the rest

        async def watched(*args: Any, **options: Any) -> None:
            try:
                await log_in(*args, **options)
            except kafka_errors.KafkaConnectionError:
                self._cut_logins += 1
                if self._cut_logins >= CUT_LOGINS:
                    self._note(kafka_errors.SaslAuthenticationFailedError("it ends the connection during the login"))
                raise
            self._cut_logins = 0

        conn._sasl_authenticate = watched  # noqa: SLF001

    def _note(self, error: BaseException) -> None:
        # Once refused, what follows are consequences.
        if not isinstance(self.last_error, _REFUSED_LOGIN):
            self.last_error = error


class ClientKeeper:
    """Makes kafka-python's network client, and holds what kafka-python does not show of it.

    Args:
        once: Connect to a node once and never again: for a log that may be another one after a reconnection.
    """

    def __init__(self, *, once: bool = False) -> None:
        self._once = once
        self._client: KafkaNetClient | None = None
        self._manager: _NotingManager | None = None

    def __call__(self, **options: Any) -> KafkaNetClient:
        """Make the client; kafka-python calls this as its option `kafka_client`."""
        net = NetworkSelector(**options)
        self._manager = _NotingManager(net, **options)
        self._manager.once = self._once
        self._client = KafkaNetClient(net=net, manager=self._manager, **options)
        return self._client

    @property
    def last_error(self) -> BaseException | None:
        """Why a connection failed last."""
        return None if self._manager is None else self._manager.last_error

    @property
    def severed(self) -> bool:
        """Whether a connection broke that is not mended (`once`)."""
        return self._manager is not None and self._manager.severed

    def abandon(self) -> None:
        """Close sockets and end the thread of a client whose owner could not be made."""
        if self._client is not None:
            with contextlib.suppress(kafka_errors.KafkaError, OSError, RuntimeError):
                self._client.close()


def connect(
    make: Callable[..., _Client], settings: LogSettings, *, keeper: ClientKeeper | None = None, **options: Any
) -> _Client:
    """Return a client of kafka-python that has reached the broker. Blocks for at most about ten seconds.

    Args:
        make: KafkaProducer, KafkaConsumer or KafkaAdminClient.
        settings: Where the log is.
        keeper: To look at its connections later.
        options: On top of `kafka_options`.

    Raises:
        LogUnavailableError: No broker answers.
        LogRefusedError: It refuses our credentials.
        ForewarnError: The CA file cannot be read.
    """
    merged = kafka_options(settings) | options
    require_reachable(settings)
    keeper = ClientKeeper() if keeper is None else keeper
    try:
        return make(kafka_client=keeper, **merged)
    except (kafka_errors.KafkaError, OSError, ValueError, RuntimeError) as error:
        keeper.abandon()
        # A refused login and a failed handshake look like a mere timeout from outside.
        raise log_error(keeper.last_error or error, settings) from error


def require_reachable(settings: LogSettings) -> None:
    """Return if at least one bootstrap address takes a TCP connection.

    kafka-python tries a refused connection again and again until its timeout: so knock on the door first.

    Raises:
        LogUnavailableError: None does; the text names each with its reason.
    """
    reasons = []
    for address in settings.bootstrap:
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_TIMEOUT_S).close()
        except (OSError, ValueError) as error:
            reasons.append(f"{address} ({getattr(error, 'strerror', None) or error})")
        else:
            return
    raise LogUnavailableError(f"cannot reach the broker at {', '.join(reasons)}")


def log_error(error: BaseException, settings: LogSettings) -> ForewarnError:
    """Return kafka-python's error as one of ours, with one line that a user can act on."""
    if isinstance(error, ForewarnError):
        return error
    where = ", ".join(settings.bootstrap)
    text = str(error) if isinstance(error, kafka_errors.KafkaError) else f"{type(error).__name__}: {error}"
    text = " ".join(text.split())
    if isinstance(error, kafka_errors.SaslAuthenticationFailedError):
        # One text, whichever way the client noticed it: who reports it says a trouble that changes again.
        text = "wrong password, or no such user"
    if isinstance(error, _REFUSED_LOGIN):
        return LogRefusedError(f"the broker at {where} refuses user {settings.username!r}: {text}")
    if isinstance(error, _TOO_LARGE):
        return RecordRefusedError(f"the broker at {where} takes no message of that size: {text}")
    if isinstance(error, _REFUSALS):
        return LogRefusedError(f"the broker at {where} refuses: {text}")
    return LogUnavailableError(f"the broker at {where} does not answer: {text}")
