"""The wire of `checks.v1`: what is good comes through as it was, what is not is named and goes nowhere."""

import json
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers import contract
from producers.codec import columns, decode, encode, pack, pick, take
from producers.contract import (
    DEAD_LETTER_REASONS,
    FAR_FUTURE_US,
    MAX_BATCH_CHECKS,
    MAX_MESSAGE_BYTES,
    OUTCOME_CODES,
    PHASES,
    Check,
    CheckBatch,
    CheckColumns,
    MissedReason,
    Outcome,
)
from producers.errors import InvalidEvent
from producers.schemas.generate import DIRECTORY, TICK_US, examples, files

NOW_US = TICK_US + 60_000_000
SCHEMA_OF = {
    "checks": "check_batch",
    "clock": "clock_tick",
    "stopped": "producer_stopped",
    "health": "producer_health",
}

names = st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="/"), min_size=1, max_size=20)
durations = st.integers(min_value=0, max_value=contract.MAX_DURATION_US)
readings = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def some_check(draw: st.DrawFn) -> Check:
    """Any check of paris that a producer can make."""
    outcome = draw(st.sampled_from(Outcome))
    return Check(
        target=f"{draw(names)}/{draw(names)}",
        probe=draw(names),
        kind=draw(st.sampled_from(["http", "tls", "tcp", "host"])),
        location="paris",
        scheduled_at_us=draw(st.integers(contract.EARLIEST_US, NOW_US)),
        started_at_us=draw(st.integers(contract.EARLIEST_US, NOW_US)),
        duration_us=None if outcome is Outcome.MISSED else draw(durations),
        outcome=outcome,
        reason=draw(st.none() | st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)),
        detail=draw(st.none() | st.text(st.characters(blacklist_categories=["Cs"]), max_size=200)),
        address=draw(st.none() | st.ip_addresses().map(str)),
        http_status=draw(st.none() | st.integers(100, 599)),
        phases=draw(st.dictionaries(st.sampled_from(PHASES), durations)),
        metrics=draw(st.dictionaries(names, readings, max_size=3)),
        disturbed=draw(st.booleans()),
    )


def check_at(found: CheckColumns, row: int) -> Check:
    """Return a row of columns as a check."""
    outcome = {code: name for name, code in OUTCOME_CODES.items()}[int(found.outcome[row])]
    duration = float(found.duration_us[row])
    return Check(
        target=found.target[row],
        probe=found.probe[row],
        kind=found.kind[row],
        location=found.location[row],
        scheduled_at_us=int(found.scheduled_at_us[row]),
        started_at_us=int(found.started_at_us[row]),
        duration_us=None if math.isnan(duration) else int(duration),
        outcome=Outcome(outcome),
        reason=found.reason[row],
        detail=found.detail[row],
        address=found.address[row],
        http_status=found.http_status[row],
        phases={name: int(values[row]) for name, values in found.phases.items() if not np.isnan(values[row])},
        metrics={name: float(values[row]) for name, values in found.metrics.items() if not np.isnan(values[row])},
        disturbed=bool(found.disturbed[row]),
    )


@given(st.lists(some_check(), min_size=1, max_size=8))
def test_checks_come_back_from_the_wire_as_they_were(checks: list[Check]) -> None:
    """Pack, encode, decode, columns: nothing is lost, nothing invented, in order."""
    batch = decode(encode(pack(checks, producer="paris-1")), log_timestamp_us=NOW_US)
    assert isinstance(batch, CheckBatch)
    found = columns(batch)
    assert len(found) == len(checks)
    assert [check_at(found, row) for row in range(len(checks))] == checks


@given(st.lists(some_check(), min_size=1, max_size=8), st.data())
def test_take_gives_the_rows_that_were_asked_for(checks: list[Check], data: st.DataObject) -> None:
    """In the order asked for, repeats included; every column has the new length."""
    rows = data.draw(st.lists(st.integers(0, len(checks) - 1), max_size=10))
    found = take(columns(pack(checks, producer="p")), np.array(rows, dtype=np.intp))
    assert [check_at(found, row) for row in range(len(found))] == [checks[row] for row in rows]
    assert all(len(values) == len(rows) for values in (*found.phases.values(), *found.metrics.values()))


@given(st.lists(some_check(), min_size=1, max_size=8), st.data())
def test_pick_gives_a_batch_of_the_rows_that_were_asked_for(checks: list[Check], data: st.DataObject) -> None:
    """It goes over the wire like any other, in the order asked for."""
    rows = data.draw(st.permutations(range(len(checks))))[: data.draw(st.integers(1, len(checks)))]
    batch = decode(encode(pick(pack(checks, producer="p"), rows)), log_timestamp_us=NOW_US)
    assert isinstance(batch, CheckBatch)
    found = columns(batch)
    assert [check_at(found, row) for row in range(len(found))] == [checks[row] for row in rows]


def test_the_schemas_and_examples_are_those_of_the_contract() -> None:
    """`python -m producers.schemas` would change nothing."""
    for name, content in files():
        assert (DIRECTORY / name).read_bytes() == content, f"{name} is out of date: python -m producers.schemas"


@pytest.mark.parametrize("path", sorted((DIRECTORY / "examples").glob("*.json")), ids=lambda path: path.stem)
def test_each_example_is_read_and_fits_its_schema(path: Path) -> None:
    """By our decoder, and by another implementation of JSON Schema."""
    raw = path.read_bytes()
    message = decode(raw, log_timestamp_us=NOW_US)
    plain = json.loads(raw)
    assert json.loads(encode(message)) == plain
    schema = json.loads((DIRECTORY / f"{SCHEMA_OF[plain['type']]}.v{plain['v']}.schema.json").read_bytes())
    jsonschema.validate(plain, schema)
    if isinstance(message, CheckBatch):
        assert len(columns(message)) == len(plain["target"])


def example(name: str) -> dict[str, Any]:
    """Return an example as plain JSON values."""
    plain: dict[str, Any] = json.loads(encode(examples()[name]))
    return plain


def refused(value: object, *, log_timestamp_us: int = NOW_US) -> str:
    """Return the reason for which a message is refused."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    with pytest.raises(InvalidEvent) as caught:
        decode(raw, log_timestamp_us=log_timestamp_us)
    assert caught.value.reason in DEAD_LETTER_REASONS
    assert caught.value.detail
    assert len(caught.value.detail) <= 300
    assert "\n" not in caught.value.detail
    return caught.value.reason


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"type":"clock","v":1,"partition":0,"at_us":1790000010000000}x',
        b'{"type":"checks","v":1}',
        b'{"type":"clock","v":"1","partition":0,"at_us":1790000010000000}',
        b'{"type":"clock","partition":0,"at_us":1790000010000000}',
        b'{"type":"clock","v":1,"partition":0.5,"at_us":1790000010000000}',
        b'{"type":"clock","v":true,"partition":0,"at_us":1790000010000000}',
        b'{"a":' * 100_000,
        b"[" * 100_000,
    ],
    ids=range(14),
)
def test_what_is_no_message_is_malformed(raw: bytes) -> None:
    """Not JSON, no object, a missing field, a wrong type, absurd nesting."""
    assert refused(raw) == "malformed"


def test_an_oversized_message_is_not_even_parsed() -> None:
    """Its first byte is no JSON, and it is its size that is named."""
    assert refused(b"x" * (MAX_MESSAGE_BYTES + 1)) == "oversized"


def test_a_type_or_version_of_the_future_is_named_before_its_fields() -> None:
    """Whoever deploys a newer producer first sees what is wrong, not a missing field."""
    assert refused({"type": "weather", "v": 1}) == "unknown_type"
    assert refused({"v": 1}) == "unknown_type"
    assert refused({"type": ["checks"], "v": 1}) == "unknown_type"
    assert refused({"type": "clock", "v": contract.VERSION + 1, "new": "form"}) == "unknown_version"
    assert refused(example("checks_success") | {"v": contract.VERSION + 1}) == "unknown_version"
    assert refused(b'{"type":"clock","v":1' + b"0" * 400 + b"}") in {"unknown_version", "malformed"}


def test_the_version_before_and_unknown_fields_are_read() -> None:
    """An older or newer producer of the same topic goes on being understood."""
    older = example("checks_success") | {"v": contract.VERSION - 1, "something_new": {"deep": [1, 2]}}
    message = decode(json.dumps(older).encode(), log_timestamp_us=NOW_US)
    assert isinstance(message, CheckBatch)


def test_a_failure_reason_of_the_future_is_read() -> None:
    """Reasons are any text: an older reader survives a newer producer."""
    batch = example("checks_failures")
    batch["reason"] = ["quantum_error"] * len(batch["reason"])
    assert isinstance(decode(json.dumps(batch).encode(), log_timestamp_us=NOW_US), CheckBatch)


@pytest.mark.parametrize(
    "change",
    [
        {"target": ["main/shop"]},
        {"target": ["shop", "main/blog"]},
        {"target": ["main/", "main/blog"]},
        {"target": ["/shop", "main/blog"]},
        {"target": ["main/sh\nop/x", "main/blog"]},
        {"target": ["main/a\nmain/b", "main/blog"]},
        {"target": ["", "main/blog"]},
        {"probe": ["", "http"]},
        {"producer": ""},
        {"location": ""},
        {"producer": "x" * 501},
        {"scheduled_at_us": [1_790_000_010, 1_790_000_010]},
        {"scheduled_at_us": [-1, TICK_US]},
        {"started_at_us": [0, TICK_US]},
        {"scheduled_at_us": [10**30, TICK_US]},
        {"duration_us": [None, 5]},
        {"duration_us": [-1, 5]},
        {"duration_us": [86_400_000_001, 5]},
        {"outcome": ["missed", "success"]},
        {"http_status": [-1, 200]},
        {"phases": {"dns": [1]}},
        {"phases": {"dns": [1, -1]}},
        {"phases": {"lunch": [1, 1]}},
        {"metrics": {"m": {"rows": [2], "values": [1.0]}}},
        {"metrics": {"m": {"rows": [-1], "values": [1.0]}}},
        {"metrics": {"m": {"rows": [0, 1], "values": [1.0]}}},
        {"metrics": {"m": {"rows": [0, 0], "values": [1.0, 2.0]}}},
        {"detail": {"rows": [2], "values": ["x"]}},
        {"disturbed": [2]},
        {"disturbed": [-1]},
    ],
    ids=str,
)
def test_a_batch_with_a_wrong_value_is_invalid_as_a_whole(change: dict[str, Any]) -> None:
    """Lengths, names, units of time, durations of missed checks, row numbers."""
    assert refused(example("checks_success") | change) == "invalid"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_not_finite_is_refused(number: str) -> None:
    """A metric of NaN or infinity never reaches a baseline."""
    raw = json.dumps(example("checks_success") | {"metrics": {"m": {"rows": [0], "values": [12345.5]}}})
    assert refused(raw.replace("12345.5", number).encode()) in {"malformed", "invalid"}


def test_an_empty_batch_and_one_of_too_many_are_invalid() -> None:
    """1 to MAX_BATCH_CHECKS."""
    batch = example("checks_success")
    empty = {key: [] if isinstance(value, list) else value for key, value in batch.items()} | {"phases": {}}
    assert refused(empty) == "invalid"
    many = {
        key: value * 251 if isinstance(value, list) and key != "disturbed" else value for key, value in batch.items()
    } | {"phases": {}}
    assert len(many["target"]) > MAX_BATCH_CHECKS
    assert refused(many) == "invalid"


@pytest.mark.parametrize("name", sorted(examples()))
def test_the_far_future_is_judged_by_the_logs_clock(name: str) -> None:
    """Up to FAR_FUTURE_US ahead is a clock that is a little off; beyond it is a clock that is wrong."""
    raw = encode(examples()[name])
    newest_us = TICK_US + 31_000_000
    decode(raw, log_timestamp_us=newest_us - FAR_FUTURE_US)
    assert refused(raw, log_timestamp_us=TICK_US - FAR_FUTURE_US - 1) == "far_future"


def test_a_long_detail_is_cut_and_a_full_batch_is_the_limit() -> None:
    """Whatever a probe says, a message stays bounded."""
    check = replace(next(iter_checks()), detail="x" * 10_000)
    assert columns(pack([check], producer="p")).detail == ["x" * contract.MAX_DETAIL_CHARS]
    pack([check] * MAX_BATCH_CHECKS, producer="p")
    with pytest.raises(ValueError, match="1 to 500"):
        pack([check] * (MAX_BATCH_CHECKS + 1), producer="p")
    with pytest.raises(ValueError, match="1 to 500"):
        pack([], producer="p")
    with pytest.raises(ValueError, match="one location"):
        pack([check, replace(check, location="berlin")], producer="p")


def iter_checks() -> Any:
    """Yield the checks of an example."""
    batch = examples()["checks_failures"]
    assert isinstance(batch, CheckBatch)
    found = columns(batch)
    return (check_at(found, row) for row in range(len(found)))


def test_every_field_of_a_check_is_on_the_wire() -> None:
    """A field that is added to Check and forgotten in the batch would be lost in silence."""
    wire = set(CheckBatch.__struct_fields__)
    assert {one.name for one in fields(Check)} <= wire
    assert {one.name for one in fields(CheckColumns)} == {one.name for one in fields(Check)}


def test_missed_checks_have_no_duration_and_their_own_code() -> None:
    """NaN in numpy, null on the wire."""
    batch = examples()["checks_missed"]
    assert isinstance(batch, CheckBatch)
    found = columns(batch)
    assert np.isnan(found.duration_us).all()
    assert (found.outcome == contract.OUTCOME_MISSED).all()
    assert found.reason == [str(reason) for reason in MissedReason]
