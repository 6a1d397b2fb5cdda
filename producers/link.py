"""One connection to the log to send over: a KafkaProducer that can be abandoned at once, for good."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, Final

from kafka import KafkaProducer
from kafka import errors as kafka_errors
from kafka.future import Future

from producers.errors import ForewarnError, LogUnavailableError, RecordRefusedError
from producers.log import partitions_of, read_epochs
from producers.log_client import ClientKeeper, connect, log_error
from producers.outbox_segment import OutboxRecord
from producers.settings import LogSettings

METADATA_S: Final = 5.0
JOIN_S: Final = 12.0
MAX_REQUEST_BYTES: Final = 1024 * 1024
"""Of one record with its key and headers, before compression: Kafka's own default limit of a message."""

_OPTIONS: Final[dict[str, Any]] = {
    "acks": "all",
    "compression_type": "lz4",
    "linger_ms": 5,
    "batch_size": 512 * 1024,  # a backlog goes in large requests
    "max_request_size": MAX_REQUEST_BYTES,
    "max_block_ms": int(METADATA_S * 1000),
    # The sender decides when to give up: a batch that expired would let the one after it pass.
    "delivery_timeout_ms": 24 * 3600 * 1000,
    "allow_auto_create_topics": False,
    "metrics_enabled": False,
}


class Link:
    """Sends records in order, one batch a partition under way, until it is abandoned.

    With a forgetful log it never reconnects: what it sends goes to the log whose epochs it has, or nowhere.

    Attributes:
        epochs: Of each topic.
    """

    def __init__(self, settings: LogSettings, topics: Sequence[str]) -> None:
        """Connect. Blocks for at most about 30 seconds.

        Raises:
            LogUnavailableError: No broker answers, or a topic is not there.
            LogRefusedError: It does not let us.
        """
        self._settings = settings
        # Before the producer asks for a topic: an embedded broker would make one that is not there, wrongly.
        before = read_epochs(settings, topics)
        self._keeper = ClientKeeper(once=settings.forgetful)
        self._producer = connect(KafkaProducer, settings, keeper=self._keeper, **_OPTIONS)
        try:
            self.epochs = self._connected_to(before)
        except BaseException as error:
            self.abandon()
            if isinstance(error, kafka_errors.KafkaError):
                raise self._ours(error) from error
            raise

    def _connected_to(self, before: dict[str, str]) -> dict[str, str]:
        for topic in before:
            found, wanted = len(self._producer.partitions_for(topic)), partitions_of(topic, self._settings)
            if found != wanted:
                raise LogUnavailableError(f"topic {topic} has {found} partitions, the config says {wanted}")
        # After the connection: if the broker was replaced in between, that connection is broken already.
        epochs = read_epochs(self._settings, list(before))
        if epochs != before:
            raise LogUnavailableError("the log became another one while connecting")
        return epochs

    def send(self, record: OutboxRecord, header: tuple[str, bytes], done: Callable[[], None]) -> Any:
        """Hand a record over; returns kafka-python's future. `done` is called from another thread at its end.

        A record that the log can never take is a future that has failed already: those before it come first.

        Raises:
            LogUnavailableError, LogRefusedError: It could not be handed over.
        """
        partitions = partitions_of(record.topic, self._settings)
        if not record.partition < partitions:
            return Future().failure(
                RecordRefusedError(f"topic {record.topic} has {partitions} partitions: there is no {record.partition}")
            )
        try:
            future = self._producer.send(
                record.topic, value=record.value, key=record.key, partition=record.partition, headers=[header]
            )
        except kafka_errors.MessageSizeTooLargeError:
            return Future().failure(
                RecordRefusedError(
                    f"{len(record.value):,} bytes and the key: no more than {MAX_REQUEST_BYTES:,} are sent"
                )
            )
        except (kafka_errors.KafkaError, AssertionError, ValueError) as error:
            raise self._ours(error) from error
        future.add_both(lambda _: done())
        return future

    def require_whole(self) -> None:
        """Return if the connection has not broken for good.

        Raises:
            LogUnavailableError: It has.
        """
        if self._keeper.severed:
            raise LogUnavailableError(f"the connection to the broker at {', '.join(self._settings.bootstrap)} broke")

    def error_of(self, future: Any) -> ForewarnError:
        """Return the error of a failed future as one of ours."""
        return self._ours(future.exception)

    def _ours(self, error: BaseException) -> ForewarnError:
        refused = self._keeper.last_error
        shown = refused if isinstance(refused, kafka_errors.SaslAuthenticationFailedError) else error
        return log_error(shown, self._settings)

    def abandon(self) -> None:
        """End it now. When this returns nothing more is sent; what was under way may have arrived or not."""
        # `close(timeout=0)` raises while something is under way, and leaves a thread that sends it later.
        network = self._producer._sender  # noqa: SLF001 - see above; a test holds it
        network.force_close()
        network.join(JOIN_S)
        with contextlib.suppress(kafka_errors.KafkaError):
            self._producer.close(timeout=0)
