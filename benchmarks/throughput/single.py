"""A check as a message of its own, for peers: the same fields, one JSON object each."""

from collections.abc import Iterator

import msgspec

from producers.codec import decode
from producers.contract import CheckBatch


class Event(msgspec.Struct, omit_defaults=True):
    """One check; the phases by their names."""

    target: str
    probe: str
    kind: str
    location: str
    scheduled_at_us: int
    started_at_us: int
    outcome: str
    duration_us: int | None = None
    reason: str | None = None
    address: str | None = None
    http_status: int | None = None
    dns: int | None = None
    connect: int | None = None
    tls: int | None = None
    wait: int | None = None
    transfer: int | None = None


def events(messages: Iterator[tuple[int, bytes]], *, now_us: int) -> Iterator[tuple[int, bytes]]:
    """Yield (partition, event) of packed messages."""
    encoder = msgspec.json.Encoder()
    for partition, value in messages:
        batch = decode(value, log_timestamp_us=now_us)
        assert isinstance(batch, CheckBatch)
        for row, target in enumerate(batch.target):
            event = Event(
                target=target,
                probe=batch.probe[row],
                kind=batch.kind[row],
                location=batch.location,
                scheduled_at_us=batch.scheduled_at_us[row],
                started_at_us=batch.started_at_us[row],
                outcome=batch.outcome[row].value,
                duration_us=batch.duration_us[row],
                reason=batch.reason[row],
                address=batch.address[row],
                http_status=batch.http_status[row],
                **{name: column[row] for name, column in batch.phases.items()},
            )
            yield partition, encoder.encode(event)
