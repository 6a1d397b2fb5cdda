"""What a decoded batch must hold beyond its types. Fast for what is right, slow only to say what is wrong."""

import re
from collections.abc import Sequence
from typing import Final

from producers.contract import MAX_BATCH_CHECKS, PHASES, CheckBatch, Outcome, SparseNumbers, SparseTexts
from producers.errors import InvalidEvent

_PHASES: Final = frozenset(PHASES)

# All targets of a batch at once, a line each: one call of the regex engine instead of 500.
_TARGETS: Final = re.compile(r"(?:[^/\x00-\x1f\x7f]++/[^\x00-\x1f\x7f]++\n)++")

_KNOWN: Final[set[str]] = set()
"""Targets that were of the right form: the same ones come again and again, and looking them up is faster."""

_KNOWN_AT_MOST: Final = 200_000
"""Then it is begun anew: whoever sends ever new names must not fill the memory. Some 20 MB."""


def require_usable_batch(batch: CheckBatch, *, latest_us: int) -> None:
    """Return if every check of the batch can be used.

    Args:
        batch: As the typed decoder gave it: types and bounds of single values hold.
        latest_us: A check that is scheduled later is refused, microseconds UTC.

    Raises:
        InvalidEvent: `invalid` or `far_future`.
    """
    count = len(batch.target)
    if not 1 <= count <= MAX_BATCH_CHECKS:
        raise InvalidEvent("invalid", f"{count} checks, 1 to {MAX_BATCH_CHECKS} make a batch")
    _require_one_length(batch, count)
    if not _KNOWN.issuperset(batch.target):
        _require_targets(batch.target)
    if not batch.phases.keys() <= _PHASES:
        raise InvalidEvent("invalid", f"an unknown phase; known are {', '.join(PHASES)}")
    for name, sparse in batch.metrics.items():
        _require_rows(f"metrics.{name}", sparse, count)
    if batch.detail is not None:
        _require_rows("detail", batch.detail, count)
    if batch.disturbed and max(batch.disturbed) >= count:
        raise InvalidEvent("invalid", f"disturbed has a row number outside of 0..{count - 1}")
    require_not_future(max(batch.scheduled_at_us), latest_us=latest_us)
    require_not_future(max(batch.started_at_us), latest_us=latest_us)
    # All are successes nearly always, which is compared by identity; others are looked at one by one.
    if batch.outcome.count(Outcome.SUCCESS) < count or _has_null(batch.duration_us):
        _require_missed_without_duration(batch)


def require_not_future(at_us: int, *, latest_us: int) -> None:
    """Return if a time is not later than `latest_us`.

    Raises:
        InvalidEvent: `far_future`.
    """
    if at_us > latest_us:
        ahead_s = (at_us - latest_us) / 1_000_000
        raise InvalidEvent("far_future", f"a time lies {ahead_s:.6g} s beyond what the log's clock allows")


def _require_targets(targets: Sequence[str]) -> None:
    lines = "\n".join(targets) + "\n"
    if lines.count("\n") != len(targets) or _TARGETS.fullmatch(lines) is None:
        raise InvalidEvent("invalid", "a target is not of the form customer/name")
    if len(_KNOWN) >= _KNOWN_AT_MOST:
        _KNOWN.clear()
    _KNOWN.update(targets)


def _has_null(column: Sequence[int | None]) -> bool:
    try:
        sum(column)  # type: ignore[arg-type] # in C and twice as fast as comparing each with None
    except TypeError:
        return True
    return False


def _require_one_length(batch: CheckBatch, count: int) -> None:
    plain: tuple[Sequence[object], ...] = (
        *(batch.probe, batch.kind, batch.scheduled_at_us, batch.started_at_us, batch.duration_us),
        *(batch.outcome, batch.reason, batch.address, batch.http_status),
        *batch.phases.values(),
    )
    if any(len(column) != count for column in plain):
        raise InvalidEvent("invalid", f"columns of different lengths, `target` has {count}")


def _require_missed_without_duration(batch: CheckBatch) -> None:
    missed = [outcome is Outcome.MISSED for outcome in batch.outcome]
    if missed != [duration is None for duration in batch.duration_us]:
        raise InvalidEvent("invalid", "duration_us must be null if and only if the check was missed")


def _require_rows(what: str, sparse: SparseNumbers | SparseTexts, count: int) -> None:
    rows = sparse.rows
    if len(rows) != len(sparse.values):
        raise InvalidEvent("invalid", f"{what} has {len(rows)} rows and {len(sparse.values)} values")
    if rows and max(rows) >= count:
        raise InvalidEvent("invalid", f"{what} has a row number outside of 0..{count - 1}")
    if len(set(rows)) != len(rows):
        raise InvalidEvent("invalid", f"{what} names a row twice")
