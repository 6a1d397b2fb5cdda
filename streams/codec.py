"""Encoding and decoding of all topics but `checks`: JSON, one object a message.

Readers ignore unknown fields and accept VERSION and the one before. The JSON Schemas and an example of each message
lie in `streams/schemas/`.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from producers import topics
from producers.contract import MAX_MESSAGE_BYTES
from producers.errors import InvalidEvent
from streams.contract import VERSION, Action, Alert, DeadLetter, Deviation, Incident, TickSummary, Verdict

Event = Deviation | Verdict | TickSummary | Incident | Alert | Action | DeadLetter
"""What travels on these topics."""

EVENT_TYPES: Final[Mapping[str, object]] = {
    topics.DEVIATIONS: Deviation,
    topics.VERDICTS: Verdict | TickSummary,
    topics.INCIDENTS: Incident,
    topics.ALERTS: Alert,
    topics.ACTIONS: Action,
    topics.DEAD_LETTERS: DeadLetter,
}

ACCEPTED_VERSIONS: Final = frozenset({VERSION, VERSION - 1}) - {0}
MAX_INTEGER: Final = 2**62
"""A time or count beyond it is no time and no count; the store's columns hold 64 bits."""


class _Head(msgspec.Struct):
    v: int
    type: str | None = None


_DECODERS: Final = {topic: msgspec.json.Decoder(kind) for topic, kind in EVENT_TYPES.items()}
_HEAD: Final = msgspec.json.Decoder(_Head)
_ENCODER: Final = msgspec.json.Encoder()
_KINDS: Final = {topics.VERDICTS: frozenset({"verdict", "summary"})}


def encode(event: Event) -> bytes:
    """Return the message's value."""
    return _ENCODER.encode(event)


def decode(topic: str, value: bytes) -> Event:
    """Return the event in a message's value.

    Args:
        topic: One of EVENT_TYPES; another one is a KeyError.
        value: As it was read.

    Raises:
        InvalidEvent: It cannot be used: `oversized`, `malformed`, `unknown_version`, `unknown_type` or `invalid`.
    """
    if len(value) > MAX_MESSAGE_BYTES:
        raise InvalidEvent("oversized", f"{len(value)} bytes, at most {MAX_MESSAGE_BYTES} are read")
    try:
        event: Event = _DECODERS[topic].decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _reason(topic, value, error) from error
    if event.v not in ACCEPTED_VERSIONS:
        raise _unknown_version(event.v)
    for name in event.__struct_fields__:
        number = getattr(event, name)
        if isinstance(number, int) and not -MAX_INTEGER < number < MAX_INTEGER:
            raise InvalidEvent("invalid", f"field `{name}` is out of range")
    return event


def _unknown_version(version: int) -> InvalidEvent:
    accepted = " and ".join(str(one) for one in sorted(ACCEPTED_VERSIONS))
    return InvalidEvent("unknown_version", f"version {version}; this reader knows {accepted}")


def _reason(topic: str, value: bytes, error: Exception) -> InvalidEvent:
    """Say why a value could not be decoded: a newer version looks like any wrong field at first."""
    try:
        head = _HEAD.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as no_object:
        return InvalidEvent("malformed", f"not a JSON object with a version: {no_object}")
    if head.v not in ACCEPTED_VERSIONS:
        return _unknown_version(head.v)
    if topic in _KINDS and head.type not in _KINDS[topic]:
        return InvalidEvent("unknown_type", f"type {str(head.type)[:40]!r}")
    return InvalidEvent("malformed", str(error))
