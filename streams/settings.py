"""The part of the config that a stream worker needs, as frozen values."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streams.policy import SECOND_US

SESSION_TIMEOUT_ALONE_S: Final = 2.0
"""For a group of one worker at an embedded broker: it reads after one second instead of five."""

STOP_TIMEOUT_ALONE_S: Final = 1.0
"""On one machine, where everything ends within five seconds: a state that is not kept by then is made again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """One worker process of any group.

    Attributes:
        data_dir: Owned by this process alone: its copy of the snapshots, its outbox, Faust's own directory.
        observe_port: Port of /healthz and /metrics on `observe_host`; 0 takes a free one, None has none.
        snapshot_interval_us: How often state is kept and positions are committed.
        session_timeout_s: A worker that is silent for so long loses its partitions. Kafka's lower bound is
            `group.min.session.timeout.ms` (6 s by default). The embedded broker has none, and lets a group wait
            for more members for half of this, in steps of a second; hence SESSION_TIMEOUT_ALONE_S.
        start_timeout_s: How long the broker may be away at the start. To end and be started again costs far more than
            to ask once more, and whoever rests between two starts comes back late.
        stop_timeout_s: How long an orderly end may wait for acknowledgements and for the store.
        end_timeout_s: When nothing more is kept, so long the process may take to end. Then it is ended, and says where
            each of its threads was: one that neither works nor ends is started again by nobody.
        outbox_max_bytes: Bound of the outbox of a forgetful log.
        skip_gaps: A partition that is stopped, because messages are missing in its state and in the log, goes on
            without them.
    """

    data_dir: Path
    observe_host: str = "127.0.0.1"
    observe_port: int | None = None
    snapshot_interval_us: int = 10 * SECOND_US
    session_timeout_s: float = 10.0
    start_timeout_s: float = 300.0
    stop_timeout_s: float = 2.5
    end_timeout_s: float = 20.0
    outbox_max_bytes: int = 512 * 1024 * 1024
    skip_gaps: bool = False
