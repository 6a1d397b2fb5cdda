"""A bare loop around confluent-kafka (librdkafka): poll in bulk, commit after the insert."""

from confluent_kafka import Consumer

from benchmarks.throughput.peers.common import peer


def main() -> None:
    """Run until ended."""
    one = peer()
    consumer = Consumer(
        {
            "bootstrap.servers": one.bootstrap,
            "group.id": one.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.auto.offset.store": True,
            "fetch.min.bytes": 1,
            "queued.max.messages.kbytes": 65536,
            "check.crcs": False,
        }
    )
    consumer.subscribe([one.topic])
    many = 50 if one.packed else 10_000
    while True:
        for message in consumer.consume(many, 0.2):
            if message.error():
                raise SystemExit(str(message.error()))
            one.take(message.value(), message.partition(), message.offset())
        before = one.checks
        one.flush()
        if one.checks > before:
            consumer.commit(asynchronous=True)


if __name__ == "__main__":
    main()
