"""Bytewax: KafkaSource, a map, a sink of batches.

A plain map with a dict is faster than its `stateful_map`, whose key would also send events from process to process;
the partitions do the same job.
"""

from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from benchmarks.throughput.peers.common import Peer, peer

one = peer()


class Rows(StatelessSinkPartition[Any]):
    """Inserts once a second."""

    def __init__(self, made: Peer) -> None:
        self._peer = made

    def write_batch(self, items: list[Any]) -> None:  # noqa: ARG002 - the rows were made on the way
        """See StatelessSinkPartition."""
        self._peer.flush()

    def close(self) -> None:
        """See StatelessSinkPartition: the topic's end."""
        self._peer.flush(now=True)
        self._peer.tell()


class RowsSink(DynamicSink[Any]):
    """One for each worker."""

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Rows:  # noqa: ARG002 - its signature
        """See DynamicSink."""
        return Rows(one)


def judge(message: KafkaSourceMessage[Any, Any]) -> int:
    """Take in one message."""
    return one.take(message.value, message.partition or 0, message.offset or 0)


flow = Dataflow("peer")
source = KafkaSource([one.bootstrap], [one.topic], tail=False, batch_size=50 if one.packed else 10_000)
stream = op.input("in", flow, source)
op.output("out", op.map("judge", stream, judge), RowsSink())
