"""The log, as a client sees it: its topics and its epoch. How to reach it is in `log_client`."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors

from producers import telemetry
from producers.errors import LogRefusedError, LogUnavailableError
from producers.log_client import connect, kafka_options, log_error, require_reachable
from producers.settings import LogSettings
from producers.topics import ALL_TOPICS, CHECKS

__all__ = [
    "connect",
    "create_topics",
    "kafka_options",
    "log_error",
    "open_admin",
    "read_epochs",
    "require_reachable",
]

_log = telemetry.logger(__name__)

_UNKNOWN_TOPIC: Final = 3
_TOPIC_EXISTS: Final = 36
_LEADER_NOT_AVAILABLE: Final = 5


@contextlib.contextmanager
def open_admin(settings: LogSettings) -> Iterator[Any]:
    """Yield a KafkaAdminClient; kafka-python's errors inside of the block become ours.

    Raises:
        LogUnavailableError, LogRefusedError: See `log_client.connect`.
    """
    admin = connect(KafkaAdminClient, settings)
    try:
        yield admin
    except (kafka_errors.KafkaError, OSError) as error:
        raise log_error(error, settings) from error
    finally:
        admin.close()


def create_topics(settings: LogSettings) -> None:
    """Make every topic that is not there: `checks` with `settings.partitions`, the others with one.

    Safe to call by several processes at once. Existing topics are not changed, but for those that an embedded
    broker made by itself.

    Raises:
        LogUnavailableError: The broker does not answer.
        LogRefusedError: It does not let us, or a topic exists with another number of partitions.
    """
    with open_admin(settings) as admin:
        wrong = _make_missing(admin, settings)
        if wrong and settings.forgetful:
            # An embedded broker makes a topic that a client asks for, before we can, with partitions as it
            # likes. Nothing is lost with such a topic: all that is not stored is in the outboxes.
            _log.warning("the embedded broker made topics by itself: making them anew", topics=sorted(wrong))
            admin.delete_topics(sorted(wrong))
            wrong = _make_missing(admin, settings)
        for topic, found in wrong.items():
            raise LogRefusedError(
                f"topic {topic} has {found} partitions, the config says {partitions_of(topic, settings)}:"
                " targets would change their partition; set log.partitions to what is there"
            )


def partitions_of(topic: str, settings: LogSettings) -> int:
    """Return how many partitions a topic must have."""
    return settings.partitions if topic == CHECKS else 1


def _make_missing(admin: Any, settings: LogSettings) -> dict[str, int]:
    """Make what is not there, and return the number of partitions of each topic that has another one than it must."""
    answer = admin.create_topics({topic: _topic(topic, settings) for topic in ALL_TOPICS}, raise_errors=False)
    for topic in answer["topics"]:
        if topic["error_code"] not in {0, _TOPIC_EXISTS}:
            error = kafka_errors.for_code(topic["error_code"])(topic["error_message"] or topic["name"])
            raise log_error(error, settings)
    admin.wait_for_topics(list(ALL_TOPICS), timeout_ms=10_000)
    found = {topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics(list(ALL_TOPICS))}
    return {topic: count for topic, count in found.items() if count != partitions_of(topic, settings)}


def _topic(topic: str, settings: LogSettings) -> dict[str, Any]:
    configs = {
        "retention.ms": str(settings.retention_us // 1000),
        # "Far in the future" is judged against the log's clock, not that of the machine that is wrong.
        "message.timestamp.type": "LogAppendTime",
        "cleanup.policy": "delete",
    }
    if settings.replication_factor >= 3:
        configs["min.insync.replicas"] = "2"
    return {
        "num_partitions": partitions_of(topic, settings),
        "replication_factor": settings.replication_factor,
        "configs": configs,
    }


def read_epochs(settings: LogSettings, topics: Sequence[str]) -> dict[str, str]:
    """Return the epoch of each topic: `<cluster id>/<topic id>`. Another epoch is another log.

    Raises:
        LogUnavailableError: The broker does not answer, or a topic is not there (yet).
        LogRefusedError: It does not let us.
    """
    with open_admin(settings) as admin:
        cluster = admin.describe_cluster()["cluster_id"]
        described = {topic["name"]: topic for topic in admin.describe_topics(list(topics))}
    epochs = {}
    for name in topics:
        code = described[name]["error_code"] if name in described else _UNKNOWN_TOPIC
        if code == _UNKNOWN_TOPIC:
            where = ", ".join(settings.bootstrap)
            raise LogUnavailableError(f"topic {name} is not there at {where}; `forewarn migrate` makes it")
        if code not in {0, _LEADER_NOT_AVAILABLE}:
            raise log_error(kafka_errors.for_code(code)(name), settings)
        epochs[name] = f"{cluster}/{described[name]['topic_id']}"
    return epochs
