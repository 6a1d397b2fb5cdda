"""The codec of the streams' topics: round trip, what is refused and why, published schemas and examples."""

import base64
import json

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers import topics
from producers.contract import DEAD_LETTER_REASONS, MAX_MESSAGE_BYTES
from producers.errors import InvalidEvent
from producers.topics import OUTBOX_HEADER
from streams import codec
from streams.codec import EVENT_TYPES
from streams.dead_letters import KEPT_BYTES, dead_letter
from streams.group import LogMessage
from streams.schemas import messages
from streams.schemas.generate import DIRECTORY, EXAMPLES, files

NAMES = sorted(EXAMPLES)
TOPIC_OF = {
    "deviation": topics.DEVIATIONS,
    "verdict": topics.VERDICTS,
    "summary": topics.VERDICTS,
    "incident": topics.INCIDENTS,
    "alert": topics.ALERTS,
    "action": topics.ACTIONS,
    "dead_letter": topics.DEAD_LETTERS,
}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_read_back(name: str) -> None:
    """Every field survives."""
    topic, event = TOPIC_OF[name], EXAMPLES[name]
    assert codec.decode(topic, codec.encode(event)) == event


@pytest.mark.parametrize("name", NAMES)
def test_the_published_example_is_read_as_what_it_says(name: str) -> None:
    """The example message of this version, kept as a file, decodes to the same values for ever."""
    topic, event = TOPIC_OF[name], EXAMPLES[name]
    example = (DIRECTORY / "examples" / f"{name}.v1.json").read_bytes()
    assert codec.decode(topic, example) == event


@pytest.mark.parametrize("name", NAMES)
def test_the_published_schema_accepts_the_example_and_what_is_written(name: str) -> None:
    """Another implementation of JSON Schema agrees; a missing version is refused."""
    event = EXAMPLES[name]
    validator = jsonschema.Draft202012Validator(json.loads((DIRECTORY / f"{name}.v1.schema.json").read_text()))
    validator.validate(json.loads((DIRECTORY / "examples" / f"{name}.v1.json").read_text()))
    written = json.loads(codec.encode(event))
    validator.validate(written)
    del written["v"]
    assert not validator.is_valid(written)


def test_the_published_files_are_those_of_the_code() -> None:
    """Nobody changes a message and forgets its schema: `python -m streams.schemas` writes them."""
    for name, content in files():
        assert (DIRECTORY / name).read_bytes() == content, name


@pytest.mark.parametrize("name", NAMES)
def test_unknown_fields_are_ignored(name: str) -> None:
    """A newer writer may add fields."""
    topic, event = TOPIC_OF[name], EXAMPLES[name]
    more = json.loads(codec.encode(event)) | {"from_the_future": [1, {"a": None}]}
    assert codec.decode(topic, json.dumps(more).encode()) == event


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "malformed"),
        (b"nonsense", "malformed"),
        (b"\xff\xfe\x00", "malformed"),
        (b"[1,2]", "malformed"),
        (b'{"v":1}', "unknown_type"),
        (b'{"v":2,"type":"verdict"}', "unknown_version"),
        (b'{"v":0,"type":"verdict"}', "unknown_version"),
        (b'{"v":1,"type":"omen"}', "unknown_type"),
        (b'{"v":1,"type":"verdict","id":7}', "malformed"),
        (b"[" * 100_000, "malformed"),
        (b'{"v":1,"type":"verdict"}' + b" " * MAX_MESSAGE_BYTES, "oversized"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(value: bytes, reason: str) -> None:
    """Always InvalidEvent, with one of the published reasons and a detail of one line."""
    with pytest.raises(InvalidEvent) as refusal:
        codec.decode(topics.VERDICTS, value)
    assert refusal.value.reason == reason
    assert reason in DEAD_LETTER_REASONS
    assert len(refusal.value.detail.splitlines()) == 1


def test_a_number_that_no_store_holds_is_invalid() -> None:
    """JSON has no largest number; the store's columns have."""
    huge = json.loads(codec.encode(messages.ACTION)) | {"at_us": 2**70}
    with pytest.raises(InvalidEvent, match="at_us") as refusal:
        codec.decode(topics.ACTIONS, json.dumps(huge).encode())
    assert refusal.value.reason == "invalid"


def refusal_of(topic: str, value: bytes) -> str | None:
    """Return the reason of a refusal, None if it is read."""
    try:
        codec.decode(topic, value)
    except InvalidEvent as error:
        return error.reason
    return None


@given(st.sampled_from(sorted(EVENT_TYPES)), st.binary(max_size=200))
def test_no_bytes_raise_anything_else(topic: str, value: bytes) -> None:
    """Whatever lies in a topic, a reader goes on."""
    assert refusal_of(topic, value) in {None, *DEAD_LETTER_REASONS}


@given(st.sampled_from(NAMES), st.data())
def test_no_damaged_field_raises_anything_else(name: str, data: st.DataObject) -> None:
    """A field that holds something else is refused or read, nothing third."""
    topic, event = TOPIC_OF[name], EXAMPLES[name]
    message = json.loads(codec.encode(event))
    field = data.draw(st.sampled_from(sorted(message)))
    message[field] = data.draw(st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2))
    assert refusal_of(topic, json.dumps(message).encode()) in {None, *DEAD_LETTER_REASONS}


def test_a_dead_letter_holds_the_place_the_reason_and_the_beginning_of_the_message() -> None:
    """Its id is the place: written twice, it is one dead letter."""
    value = b"x" * (KEPT_BYTES + 10)
    message = LogMessage(
        epoch="e", topic="checks.v1", partition=2, offset=5, timestamp_us=7, key=None, value=value,
        headers=((OUTBOX_HEADER, b"p:1"),),
    )  # fmt: skip
    outs = [dead_letter(message, InvalidEvent("malformed", "no"), group="detect") for _ in range(2)]
    letters = [codec.decode(topics.DEAD_LETTERS, one.value) for one in outs]
    assert letters[0].id == letters[1].id
    letter = msgspec.to_builtins(letters[0])
    assert (letter["topic"], letter["partition"], letter["offset"], letter["epoch"]) == ("checks.v1", 2, 5, "e")
    assert (letter["reason"], letter["group"], letter["payload_bytes"]) == ("malformed", "detect", len(value))
    assert base64.b64decode(letter["payload"]) == value[:KEPT_BYTES]
