"""What becomes of a message that cannot be used: it goes to the topic `dead-letters` with its place and the reason."""

import base64
import time
from typing import Final

from producers import telemetry, topics
from producers.errors import InvalidEvent
from streams import codec
from streams.contract import VERSION, DeadLetter, derived_id
from streams.group import LogMessage, OutMessage

KEPT_BYTES: Final = 64 * 1024

log_line = telemetry.logger(__name__)


def dead_letter(message: LogMessage, error: InvalidEvent, *, group: str) -> OutMessage:
    """Return the message's dead letter, said in the log and counted. Its id is the message's place."""
    telemetry.DEAD_LETTERS.labels(group, error.reason).inc()
    log_line.warning("a message cannot be used", place=str(message), reason=error.reason, detail=error.detail)
    letter = DeadLetter(
        v=VERSION,
        id=derived_id("dead-letter", message.topic, message.epoch, message.partition, message.offset),
        topic=message.topic,
        epoch=message.epoch,
        partition=message.partition,
        offset=message.offset,
        log_timestamp_us=message.timestamp_us,
        reason=error.reason,
        detail=error.detail,
        group=group,
        at_us=time.time_ns() // 1000,
        payload=base64.b64encode(message.value[:KEPT_BYTES]).decode("ascii"),
        payload_bytes=len(message.value),
        key=None if message.key is None else base64.b64encode(message.key).decode("ascii"),
    )
    return OutMessage(topic=topics.DEAD_LETTERS, value=codec.encode(letter), key=letter.id.encode())
