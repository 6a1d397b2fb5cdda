"""One row after another of recorded checks: what each column must hold, and the normal form that it gets.

An error names the file, the row (from 1, a header not counted), the column and what was expected.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forewarn.errors import UsageError
from producers.contract import OUTCOME_CODES, OUTCOME_MISSED, PHASES

LAST_US: Final = 253_402_300_799_999_999
"""The end of the year 9999: a later time is in another unit."""

METRIC_PREFIX: Final = "metric_"
TIME: Final = "scheduled_at_us"
ROW: Final = "row"
REQUIRED_TEXTS: Final = ("target", "location", "probe")
OPTIONAL_TEXTS: Final = ("reason", "address", "detail")
PHASE_COLUMNS: Final = tuple(f"phase_{phase}_us" for phase in PHASES)
REQUIRED: Final = (*REQUIRED_TEXTS, TIME, "outcome")
OPTIONAL: Final = ("duration_us", "started_at_us", "http_status", *OPTIONAL_TEXTS, *PHASE_COLUMNS)
CSV_NULLS: Final = ("", "null", "NULL", "None", "nan", "NaN")
DEFAULT_CUSTOMER: Final = "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckFile:
    """A file of recorded checks.

    Attributes:
        names: The columns that are used.
        ignored: The columns that nothing here knows.
    """

    path: Path
    is_csv: bool
    names: tuple[str, ...]
    ignored: tuple[str, ...]

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics' names, without their columns' prefix."""
        return tuple(name.removeprefix(METRIC_PREFIX) for name in self.names if name.startswith(METRIC_PREFIX))


def normal(source: CheckFile, batch: pa.RecordBatch, before: int) -> pa.RecordBatch:
    """Check a batch and bring it into normal form; `before` rows came before it."""
    columns: dict[str, Any] = {ROW: pa.array(np.arange(before + 1, before + batch.num_rows + 1))}
    for name in REQUIRED_TEXTS:
        columns[name] = _names(source, name, batch.column(name), before)
    times = times_of(source, batch.column(TIME), before)
    columns[TIME] = pa.array(times)
    outcome = _outcomes(source, batch.column("outcome"), before)
    columns["outcome"] = pa.array(outcome)
    columns["started_at_us"] = columns[TIME]
    columns["duration_us"] = pa.nulls(batch.num_rows, pa.float64())
    for name in source.names:
        column = batch.column(name)
        if name in OPTIONAL_TEXTS:
            columns[name] = _text(source, name, column, before)
        elif name == "http_status":
            columns[name] = _whole(source, name, column, before, last=999)
        elif name == "started_at_us":
            started = _whole(source, name, column, before, last=LAST_US)
            columns[name] = pc.coalesce(started, columns[TIME])
        elif name == "duration_us" or name in PHASE_COLUMNS:
            columns[name] = _duration(source, name, column, before)
        elif name.startswith(METRIC_PREFIX):
            columns[name] = _number(source, name, column, before)
    missed = pa.array(outcome == OUTCOME_MISSED)
    columns["duration_us"] = pc.if_else(missed, pa.scalar(None, pa.float64()), columns["duration_us"])
    return pa.RecordBatch.from_pydict(columns)


def _names(source: CheckFile, name: str, column: Any, before: int) -> Any:
    values = _text(source, name, column, before)
    _refuse(source, name, before, pc.is_null(values), values, "a name; it is null")
    encoded = values.dictionary_encode()
    known = encoded.dictionary.to_pylist()
    wrong = [not _is_name(value, whole=name == "target") for value in known]
    if any(wrong):
        bad = pc.is_in(values, pa.array([value for value, is_wrong in zip(known, wrong, strict=True) if is_wrong]))
        expected = "customer/name or name" if name == "target" else "a name"
        _refuse(source, name, before, bad, values, f"{expected}, in printable characters")
    if name == "target":
        known = [value if "/" in value else f"{DEFAULT_CUSTOMER}/{value}" for value in known]
    return pa.DictionaryArray.from_arrays(encoded.indices, pa.array(known, pa.string())).cast(pa.string())


def _is_name(value: str, *, whole: bool) -> bool:
    if not value.strip() or not value.isprintable():
        return False
    return not whole or "/" not in value or all(value.partition("/")[::2])


def _text(source: CheckFile, name: str, column: Any, before: int) -> Any:
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_null(kind)
    ):
        raise UsageError(f"{source.path}: column {name}: expected text, it is {column.type}")
    try:
        values = column.cast(pa.string())
        values.validate(full=True)
    except pa.ArrowInvalid as error:
        raise UsageError(f"{_rows(source, before, len(column))}, column {name}: {first_line(error)}") from error
    return pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)


def times_of(source: CheckFile, column: Any, before: int) -> npt.NDArray[np.int64]:
    """Return the times of a batch; `before` rows came before it."""
    values = _whole(source, TIME, column, before, last=LAST_US)
    _refuse(source, TIME, before, pc.is_null(values), values, "int64 microseconds UTC; it is null")
    times: npt.NDArray[np.int64] = values.to_numpy(zero_copy_only=False)
    return times


def _outcomes(source: CheckFile, column: Any, before: int) -> npt.NDArray[np.uint8]:
    values = _text(source, "outcome", column, before)
    names = pa.array([str(outcome) for outcome in OUTCOME_CODES])
    places = pc.index_in(values, value_set=names)
    expected = f"one of {', '.join(OUTCOME_CODES)}"
    _refuse(source, "outcome", before, pc.or_(pc.is_null(places), pc.is_null(values)), values, expected)
    codes = np.array(list(OUTCOME_CODES.values()), dtype=np.uint8)
    found: npt.NDArray[np.uint8] = codes[places.to_numpy()]
    return found


def _whole(source: CheckFile, name: str, column: Any, before: int, *, last: int) -> Any:
    """Return int64 from 0 to `last`, or null. Whole floats are taken: that is how nulls leave integers in pandas."""
    unit = " (microseconds UTC)" if name.endswith("_at_us") else ""
    expected = f"a number from 0 to {last}{unit}"
    if pa.types.is_uint64(column.type):
        _refuse(source, name, before, pc.greater(column, pa.scalar(last, pa.uint64())), column, expected)
    if pa.types.is_integer(column.type):
        values = column.cast(pa.int64())
    elif pa.types.is_floating(column.type):
        values = _number(source, name, column, before)
        broken = pc.not_equal(values, pc.floor(values))
        _refuse(source, name, before, broken, values, "a whole number")
    else:
        values = _parsed(source, name, column, before, pa.int64(), "a whole number")
    wrong = pc.or_(pc.less(values, 0), pc.greater(values, pa.scalar(last, values.type)))
    _refuse(source, name, before, wrong, values, expected)
    return values.cast(pa.int64())


def _duration(source: CheckFile, name: str, column: Any, before: int) -> Any:
    values = _number(source, name, column, before)
    _refuse(source, name, before, pc.less(values, 0), values, "microseconds, 0 or more")
    return values


def _number(source: CheckFile, name: str, column: Any, before: int) -> Any:
    """Return float64, null where it is null or NaN."""
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        values = column.cast(pa.float64(), safe=False)
    else:
        values = _parsed(source, name, column, before, pa.float64(), "a number")
    values = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
    _refuse(source, name, before, pc.is_inf(values), values, "a finite number")
    return values


def _parsed(source: CheckFile, name: str, column: Any, before: int, kind: Any, expected: str) -> Any:
    """Return the numbers that a column of texts holds: all columns of a csv file are texts."""
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), kind)
    if not source.is_csv:
        raise UsageError(f"{source.path}: column {name}: expected {kind}, it is {column.type}")
    try:
        return column.cast(kind)
    except pa.ArrowInvalid:
        if pa.types.is_integer(kind):
            return _parsed_floats(source, name, column, before, expected)
    bad = pa.array([value is not None and not _is_float(value) for value in column.to_pylist()])
    _refuse(source, name, before, bad, column, expected)
    raise UsageError(f"{_rows(source, before, len(column))}, column {name}: expected {expected}")


def _parsed_floats(source: CheckFile, name: str, column: Any, before: int, expected: str) -> Any:
    """Whole numbers that pandas wrote as `1234.0`."""
    values = _parsed(source, name, column, before, pa.float64(), expected)
    broken = pc.or_(pc.not_equal(values, pc.floor(values)), pc.greater(pc.abs(values), 2.0**53))
    _refuse(source, name, before, broken, column, expected)
    return values.cast(pa.int64())


def _is_float(value: str) -> bool:
    try:
        pa.scalar(value).cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def _refuse(source: CheckFile, name: str, before: int, wrong: Any, values: Any, expected: str) -> None:
    """Raise for the first row that is wrong, if there is one."""
    place = pc.index(pc.fill_null(wrong, fill_value=False), value=True).as_py()
    if place < 0:
        return
    value = values[place].as_py()
    shown = "" if value is None else f"; it is {str(value)[:60]!r}" if isinstance(value, str) else f"; it is {value}"
    raise UsageError(f"{source.path}: row {before + place + 1}, column {name}: expected {expected}{shown}")


def _rows(source: CheckFile, before: int, size: int) -> str:
    return f"{source.path}: rows {before + 1} to {before + size}"


def first_line(error: Exception) -> str:
    """Return the first line of an error's text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
