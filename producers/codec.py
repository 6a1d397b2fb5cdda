"""Check messages to bytes and back, and batches to columns. Nothing unusable gets past `decode`.

Whoever reads `checks` calls `decode` and sends what it refuses to the dead letters. A batch stays columns all
the way: no Python object a check is made here, so 500 checks cost little more than one.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Final, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from producers.codec_checks import require_not_future, require_usable_batch
from producers.contract import (
    FAR_FUTURE_US,
    MAX_BATCH_CHECKS,
    MAX_DETAIL_CHARS,
    MAX_MESSAGE_BYTES,
    OUTCOME_CODES,
    OUTCOME_SUCCESS,
    VERSION,
    Check,
    CheckBatch,
    CheckColumns,
    CheckMessage,
    Outcome,
    SparseNumbers,
    SparseTexts,
)
from producers.errors import InvalidEvent

ACCEPTED_VERSIONS: Final = frozenset({VERSION, VERSION - 1})
KNOWN_TYPES: Final = frozenset({"checks", "clock", "stopped", "health"})

# How msgspec says that a value has the right type and lies outside of its bounds; a test holds it to that.
_OUT_OF_BOUNDS: Final = re.compile(r"^Expected `\w+` (?:[<>]|of length)|out of range")

_PLAIN_COLUMNS: Final = (
    *("target", "probe", "kind", "scheduled_at_us", "started_at_us", "duration_us"),
    *("outcome", "reason", "address", "http_status"),
)

_T = TypeVar("_T")
_Sparse = TypeVar("_Sparse", SparseNumbers, SparseTexts)


class _Head(msgspec.Struct):
    """The two fields that every message has, whatever else is in it."""

    type: object = None
    v: object = None


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(CheckMessage)
_head_decoder: Final = msgspec.json.Decoder(_Head)


def encode(message: CheckMessage) -> bytes:
    """Return the message as one JSON object in UTF-8."""
    return _encoder.encode(message)


def decode(value: bytes, *, log_timestamp_us: int) -> CheckMessage:
    """Return the message that `value` holds.

    Args:
        value: What lay in the topic.
        log_timestamp_us: When the log took it, microseconds UTC; what "far in the future" is judged against.

    Raises:
        InvalidEvent: With one of DEAD_LETTER_REASONS and a detail of one short line.
    """
    if len(value) > MAX_MESSAGE_BYTES:
        raise InvalidEvent("oversized", f"{len(value)} bytes, at most {MAX_MESSAGE_BYTES} are read")
    try:
        message: CheckMessage = _decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _why_undecodable(value, error) from None
    if message.v not in ACCEPTED_VERSIONS:
        raise _unknown_version(message.v)
    latest_us = log_timestamp_us + FAR_FUTURE_US
    if isinstance(message, CheckBatch):
        require_usable_batch(message, latest_us=latest_us)
    else:
        require_not_future(message.at_us, latest_us=latest_us)
    return message


def _why_undecodable(value: bytes, error: Exception) -> InvalidEvent:
    """Name the first thing that is wrong: not JSON, an unknown type, an unknown version, then the rest."""
    try:
        head = _head_decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as head_error:
        return InvalidEvent("malformed", f"not a JSON object: {head_error}"[:MAX_DETAIL_CHARS])
    if not isinstance(head.type, str) or head.type not in KNOWN_TYPES:
        return InvalidEvent("unknown_type", f"`type` must be one of {', '.join(sorted(KNOWN_TYPES))}")
    if isinstance(head.v, int) and not isinstance(head.v, bool) and head.v not in ACCEPTED_VERSIONS:
        return _unknown_version(head.v)
    reason = "invalid" if _OUT_OF_BOUNDS.search(str(error)) else "malformed"
    return InvalidEvent(reason, f"type {head.type}: {error}"[:MAX_DETAIL_CHARS])


def _unknown_version(version: int) -> InvalidEvent:
    shown = str(version) if abs(version) < 1_000_000 else "out of all bounds"
    return InvalidEvent("unknown_version", f"version {shown}; {VERSION} and the one before are read")


def pack(checks: Sequence[Check], *, producer: str) -> CheckBatch:
    """Return the checks as one batch, in their order.

    Args:
        checks: 1 to MAX_BATCH_CHECKS, all of one location.
        producer: The producer's name.

    Raises:
        ValueError: Too many, none, or of several locations.
    """
    if not 1 <= len(checks) <= MAX_BATCH_CHECKS:
        raise ValueError(f"a batch has 1 to {MAX_BATCH_CHECKS} checks, not {len(checks)}")
    location = checks[0].location
    if any(check.location != location for check in checks):
        raise ValueError("a batch has checks of one location")
    phases = dict.fromkeys(chain.from_iterable(check.phases for check in checks))
    metrics = dict.fromkeys(chain.from_iterable(check.metrics for check in checks))
    details = [(row, check.detail) for row, check in enumerate(checks) if check.detail is not None]
    return CheckBatch(
        v=VERSION,
        producer=producer,
        location=location,
        target=[check.target for check in checks],
        probe=[check.probe for check in checks],
        kind=[check.kind for check in checks],
        scheduled_at_us=[check.scheduled_at_us for check in checks],
        started_at_us=[check.started_at_us for check in checks],
        duration_us=[check.duration_us for check in checks],
        outcome=[check.outcome for check in checks],
        reason=[check.reason for check in checks],
        address=[check.address for check in checks],
        http_status=[check.http_status for check in checks],
        phases={name: [check.phases.get(name) for check in checks] for name in phases},
        metrics={name: _sparse_metric(checks, name) for name in metrics},
        detail=_sparse_texts(details) if details else None,
        disturbed=[row for row, check in enumerate(checks) if check.disturbed],
    )


def _sparse_metric(checks: Sequence[Check], name: str) -> SparseNumbers:
    rows = [row for row, check in enumerate(checks) if name in check.metrics]
    return SparseNumbers(rows=rows, values=[float(checks[row].metrics[name]) for row in rows])


def _sparse_texts(cells: Iterable[tuple[int, str]]) -> SparseTexts:
    rows, values = zip(*cells, strict=True)
    return SparseTexts(rows=list(rows), values=[text[:MAX_DETAIL_CHARS] for text in values])


def pick(batch: CheckBatch, rows: Sequence[int]) -> CheckBatch:
    """Return some of a batch's checks as a batch of their own.

    Args:
        batch: As `decode` or `pack` gave it.
        rows: Which, each once and 0 <= row < n; their order is that of the new batch.
    """
    places = {row: place for place, row in enumerate(rows)}
    detail = None if batch.detail is None else _pick_sparse(batch.detail, places)
    metrics = {name: _pick_sparse(sparse, places) for name, sparse in batch.metrics.items()}
    plain = {name: _pick(getattr(batch, name), rows) for name in _PLAIN_COLUMNS}
    return msgspec.structs.replace(
        batch,
        **plain,
        phases={name: _pick(values, rows) for name, values in batch.phases.items()},
        metrics={name: sparse for name, sparse in metrics.items() if sparse.rows},
        detail=detail if detail is not None and detail.rows else None,
        disturbed=sorted(places[row] for row in batch.disturbed if row in places),
    )


def _pick_sparse(sparse: _Sparse, places: Mapping[int, int]) -> _Sparse:
    cells = [(places[row], value) for row, value in zip(sparse.rows, sparse.values, strict=True) if row in places]
    return type(sparse)(rows=[row for row, _ in cells], values=[value for _, value in cells])


def columns(batch: CheckBatch) -> CheckColumns:
    """Return a decoded batch as columns for numpy.

    Args:
        batch: As `decode` or `pack` gave it: its columns have one length n and its row numbers are in range.

    Returns:
        n checks in the batch's order.
    """
    count = len(batch.target)
    detail: list[str | None] = [None] * count
    if batch.detail is not None:
        for row, text in zip(batch.detail.rows, batch.detail.values, strict=True):
            detail[row] = text
    disturbed = np.zeros(count, dtype=np.bool_)
    if batch.disturbed:
        disturbed[batch.disturbed] = True
    if batch.outcome.count(Outcome.SUCCESS) == count:  # nearly always: compared by identity, at once
        outcome = np.full(count, OUTCOME_SUCCESS, dtype=np.uint8)
    else:
        outcome = np.fromiter(map(OUTCOME_CODES.__getitem__, batch.outcome), np.uint8, count)
    return CheckColumns(
        target=batch.target,
        probe=batch.probe,
        kind=batch.kind,
        location=[batch.location] * count,
        scheduled_at_us=np.fromiter(batch.scheduled_at_us, np.int64, count),
        started_at_us=np.fromiter(batch.started_at_us, np.int64, count),
        duration_us=_floats(batch.duration_us),
        outcome=outcome,
        reason=batch.reason,
        address=batch.address,
        http_status=batch.http_status,
        phases={name: _floats(values) for name, values in batch.phases.items()},
        metrics={name: _dense(sparse, count) for name, sparse in batch.metrics.items()},
        detail=detail,
        disturbed=disturbed,
    )


def _floats(values: Sequence[int | None]) -> npt.NDArray[np.float64]:
    """Return whole numbers as floats, None as NaN. Nearly always there is none: then it takes half of the time."""
    try:
        return np.fromiter(values, np.int64, len(values)).astype(np.float64)
    except TypeError:
        return np.array(values, dtype=np.float64)


def _dense(sparse: SparseNumbers, count: int) -> npt.NDArray[np.float64]:
    full = np.full(count, np.nan)
    full[sparse.rows] = sparse.values
    return full


def take(columns: CheckColumns, rows: npt.NDArray[np.intp]) -> CheckColumns:
    """Return the checks with these row numbers, in this order.

    Args:
        columns: n checks.
        rows: Shape (m,), each 0 <= row < n; may repeat.

    Returns:
        m checks. Every phase and metric of `columns` is kept as a column, even if all of it is NaN now.
    """
    chosen = rows.tolist()
    return CheckColumns(
        target=_pick(columns.target, chosen),
        probe=_pick(columns.probe, chosen),
        kind=_pick(columns.kind, chosen),
        location=_pick(columns.location, chosen),
        scheduled_at_us=columns.scheduled_at_us[rows],
        started_at_us=columns.started_at_us[rows],
        duration_us=columns.duration_us[rows],
        outcome=columns.outcome[rows],
        reason=_pick(columns.reason, chosen),
        address=_pick(columns.address, chosen),
        http_status=_pick(columns.http_status, chosen),
        phases={name: values[rows] for name, values in columns.phases.items()},
        metrics={name: values[rows] for name, values in columns.metrics.items()},
        detail=_pick(columns.detail, chosen),
        disturbed=columns.disturbed[rows],
    )


def _pick(values: Sequence[_T], rows: Sequence[int]) -> list[_T]:
    return [values[row] for row in rows]
