"""Recorded checks from a parquet or csv file, read piece by piece."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from forewarn.errors import UsageError
from forewarn.replay.rows import (
    METRIC_PREFIX,
    OPTIONAL,
    PHASE_COLUMNS,
    REQUIRED,
    TIME,
    CheckFile,
    first_line,
    normal,
    times_of,
)
from producers.contract import PHASES, CheckColumns

BATCH_ROWS: Final = 65_536
CSV_BLOCK_BYTES: Final = 8 * 1024 * 1024
CSV_NULLS: Final = ("", "null", "NULL", "None", "nan", "NaN")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What one look at all times says: how many rows, and whether they rise."""

    rows: int
    ordered: bool
    last_us: int


def open_checks(path: Path) -> CheckFile:
    """Look at a file's columns.

    Raises:
        UsageError: It cannot be read, or lacks a column.
    """
    is_csv = path.suffix.lower() == ".csv"
    if not is_csv and path.suffix.lower() not in (".parquet", ".pq"):
        raise UsageError(f"{path}: expected a file that ends in .parquet or .csv")
    if not path.is_file():
        raise UsageError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    found = _column_names(path, is_csv=is_csv)
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise UsageError(f"{path}: column {twice[0]} is there twice")
    missing = [name for name in REQUIRED if name not in found]
    if missing:
        raise UsageError(f"{path}: column {missing[0]} is missing; required are {', '.join(REQUIRED)}")
    used = tuple(name for name in found if _is_known(name))
    return CheckFile(path=path, is_csv=is_csv, names=used, ignored=tuple(name for name in found if not _is_known(name)))


def read_order(source: CheckFile) -> Order:
    """Read all times, and nothing else.

    Raises:
        UsageError: A time is missing or wrong.
    """
    rows, ordered, last_us = 0, True, -1
    for batch in _raw_batches(source, (TIME,)):
        times = times_of(source, batch.column(TIME), rows)
        if times.size:
            ordered = ordered and int(times[0]) >= last_us and bool((np.diff(times) >= 0).all())
            last_us = max(last_us, int(times.max()))
        rows += times.size
    return Order(rows=rows, ordered=ordered, last_us=last_us)


def read_checks(source: CheckFile) -> Iterator[pa.RecordBatch]:
    """Yield all rows in the file's order, checked and in normal form.

    Columns: row, target, location, probe (text), scheduled_at_us, started_at_us (int64), outcome (uint8 code),
    duration_us, phases and metrics (float64, null where absent), http_status (int64), reason, address, detail
    (text, null where absent). What the file does not have is not there, but for started_at_us and duration_us.

    Raises:
        UsageError: A row is wrong.
    """
    before = 0
    for batch in _raw_batches(source, source.names):
        if batch.num_rows:
            yield normal(source, batch, before)
        before += batch.num_rows


def to_columns(batch: pa.RecordBatch) -> CheckColumns:
    """Return the rows of a batch in normal form as columns for the core."""
    names = set(batch.schema.names)
    size = batch.num_rows
    probe = _texts(batch.column("probe"))

    def numbers(name: str) -> npt.NDArray[np.float64]:
        if name not in names:
            return np.full(size, np.nan)
        values: npt.NDArray[np.float64] = batch.column(name).to_numpy(zero_copy_only=False).astype(np.float64)
        return values

    def texts(name: str) -> list[str | None]:
        return _texts(batch.column(name)) if name in names else [None] * size

    return CheckColumns(
        target=_texts(batch.column("target")),
        probe=probe,
        kind=probe,  # a recorded probe is named by its type
        location=_texts(batch.column("location")),
        scheduled_at_us=batch.column(TIME).to_numpy(),
        started_at_us=batch.column("started_at_us").to_numpy(),
        duration_us=numbers("duration_us"),
        outcome=batch.column("outcome").to_numpy(),
        reason=texts("reason"),
        address=texts("address"),
        http_status=batch.column("http_status").to_pylist() if "http_status" in names else [None] * size,
        phases={phase: numbers(column) for phase, column in zip(PHASES, PHASE_COLUMNS, strict=True) if column in names},
        metrics={
            name.removeprefix(METRIC_PREFIX): numbers(name)
            for name in batch.schema.names
            if name.startswith(METRIC_PREFIX)
        },
        detail=texts("detail"),
        disturbed=np.zeros(size, dtype=np.bool_),
    )


def part(columns: CheckColumns, start: int, stop: int) -> CheckColumns:
    """Return the checks from `start` to before `stop`."""
    cut = slice(start, stop)
    return CheckColumns(
        target=columns.target[cut],
        probe=columns.probe[cut],
        kind=columns.kind[cut],
        location=columns.location[cut],
        scheduled_at_us=columns.scheduled_at_us[cut],
        started_at_us=columns.started_at_us[cut],
        duration_us=columns.duration_us[cut],
        outcome=columns.outcome[cut],
        reason=columns.reason[cut],
        address=columns.address[cut],
        http_status=columns.http_status[cut],
        phases={name: values[cut] for name, values in columns.phases.items()},
        metrics={name: values[cut] for name, values in columns.metrics.items()},
        detail=columns.detail[cut],
        disturbed=columns.disturbed[cut],
    )


def _is_known(name: str) -> bool:
    return name in REQUIRED or name in OPTIONAL or (name.startswith(METRIC_PREFIX) and name != METRIC_PREFIX)


def _column_names(path: Path, *, is_csv: bool) -> list[str]:
    try:
        if is_csv:
            with _open_csv(path, None) as reader:
                return list(reader.schema.names)
        return list(pa.parquet.read_schema(path).names)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{path}: {first_line(error)}") from error


def _open_csv(path: Path, names: Sequence[str] | None) -> Any:
    convert: dict[str, Any] = {"strings_can_be_null": True, "null_values": list(CSV_NULLS)}
    if names is not None:
        # As texts: numbers are read by us, so that an error can name its row.
        convert |= {"include_columns": list(names), "column_types": dict.fromkeys(names, pa.string())}
    return pa.csv.open_csv(
        path,
        read_options=pa.csv.ReadOptions(block_size=CSV_BLOCK_BYTES),
        convert_options=pa.csv.ConvertOptions(**convert),
    )


def _raw_batches(source: CheckFile, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    try:
        if source.is_csv:
            with _open_csv(source.path, names) as reader:
                yield from reader
        else:
            with pa.parquet.ParquetFile(source.path) as file:
                for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(names)):
                    # A parquet file keeps its own order of columns.
                    yield batch.select(list(names))
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{source.path}: {first_line(error)}") from error


def _texts(column: Any) -> list[Any]:
    """Return a column's texts as Python objects, each distinct one once."""
    encoded = column.dictionary_encode()
    known = np.array([*encoded.dictionary.to_pylist(), None], dtype=object)
    places = pc.fill_null(encoded.indices, len(known) - 1).to_numpy()
    texts: list[Any] = known[places].tolist()
    return texts
