"""Quix Streams: a StreamingDataFrame into a BatchingSink, commits by its checkpoints.

The detector's state is in memory: its own State (changelog topics) did not work with the embedded broker.
"""

import tempfile
from typing import Any

from quixstreams import Application
from quixstreams.sinks import BatchingSink, SinkBatch

from benchmarks.throughput.peers.common import Peer, peer


class Rows(BatchingSink):
    """Inserts what a checkpoint holds."""

    def __init__(self, one: Peer) -> None:
        super().__init__()
        self._one = one

    def write(self, batch: SinkBatch) -> None:  # noqa: ARG002 - the rows were made on the way
        """See BatchingSink."""
        self._one.flush(now=True)


def main() -> None:
    """Run until ended."""
    one = peer()
    with tempfile.TemporaryDirectory() as state_dir:  # its default is one below the working directory, for all
        run(one, state_dir)


def run(one: Peer, state_dir: str) -> None:
    """Consume until ended."""
    app = Application(
        broker_address=one.bootstrap,
        consumer_group=one.group,
        auto_offset_reset="earliest",
        commit_interval=1.0,
        commit_every=0,
        use_changelog_topics=False,
        state_dir=state_dir,
        consumer_extra_config={"check.crcs": False, "queued.max.messages.kbytes": 65536},
        loglevel="WARNING",
    )
    topic = app.topic(one.topic, value_deserializer="bytes", key_deserializer="bytes")
    frame = app.dataframe(topic)

    def judge(value: bytes, _key: Any, _timestamp: Any, headers: Any) -> int:  # noqa: ARG001 - its signature
        from quixstreams.context import message_context  # noqa: PLC0415 - as its documentation has it

        place = message_context()
        return one.take(value, place.partition or 0, place.offset or 0)

    frame = frame.apply(judge, metadata=True)
    frame.sink(Rows(one))
    app.run()


if __name__ == "__main__":
    main()
