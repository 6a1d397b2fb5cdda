"""The frame of every stream worker: Faust reads, a `Group` judges, this decides when anything is acknowledged.

One agent a topic reads raw messages with `noack`. A message is handed to the group, its outputs to the sender,
without a wait between them. Every `snapshot_interval_us`, when the places are revoked and at the end: cut the
group's state, wait until the outputs are acknowledged, let the group keep the cut, commit the positions that are
safe. So a worker that dies at any point reads again what was not kept, and publishes it again with the same ids.
"""

from streams.group import Group
from streams.settings import WorkerSettings
from producers.settings import LogSettings


def run_worker(group: Group, log: LogSettings, worker: WorkerSettings, *, marks: object = None) -> None:
    """Run one worker until SIGTERM or SIGINT; return after an orderly end.

    Args:
        marks: Where the store's marks of outboxes are read, for a forgetful log; None with Kafka.

    Raises:
        LogUnavailableError: The broker is away at the start for `start_timeout_s`.
        LogRefusedError: It says no: credentials, rights, topics.
        EpochChangedError: The log was replaced by another one: start again.
        WorkerFailedError: A bug; nothing of the message at hand was acknowledged.
    """
    raise NotImplementedError
