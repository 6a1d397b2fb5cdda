"""The log, as a client sees it: its topics and its epoch. How to reach it is in `log_client`."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors

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

    Safe to call by several processes at once. The retention of existing topics is not changed.

    Raises:
        LogUnavailableError: The broker does not answer.
        LogRefusedError: It does not let us, or a topic exists with another number of partitions.
    """
    wanted = {topic: settings.partitions if topic == CHECKS else 1 for topic in ALL_TOPICS}
    with open_admin(settings) as admin:
        answer = admin.create_topics(
            {topic: _topic(count, settings) for topic, count in wanted.items()}, raise_errors=False
        )
        for topic in answer["topics"]:
            if topic["error_code"] not in {0, _TOPIC_EXISTS}:
                error = kafka_errors.for_code(topic["error_code"])(topic["error_message"] or topic["name"])
                raise log_error(error, settings)
        admin.wait_for_topics(list(wanted), timeout_ms=10_000)
        for described in admin.describe_topics(list(wanted)):
            _require_partitions(described, wanted[described["name"]])


def _topic(partitions: int, settings: LogSettings) -> dict[str, Any]:
    configs = {
        "retention.ms": str(settings.retention_us // 1000),
        # "Far in the future" is judged against the log's clock, not that of the machine that is wrong.
        "message.timestamp.type": "LogAppendTime",
        "cleanup.policy": "delete",
    }
    if settings.replication_factor >= 3:
        configs["min.insync.replicas"] = "2"
    return {
        "num_partitions": partitions,
        "replication_factor": settings.replication_factor,
        "configs": configs,
    }


def _require_partitions(described: dict[str, Any], wanted: int) -> None:
    found = len(described["partitions"])
    if found != wanted:
        raise LogRefusedError(
            f"topic {described['name']} has {found} partitions, the config says {wanted}: targets would"
            " change their partition; set log.partitions to what is there"
        )


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
