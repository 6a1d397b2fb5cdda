"""What a replay writes: `deviations.parquet` and `incidents.parquet`, both or neither."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.parquet

from forewarn.errors import CommandError
from streams.contract import Deviation, Incident

DEVIATIONS: Final = "deviations.parquet"
INCIDENTS: Final = "incidents.parquet"
GROUP_ROWS: Final = 50_000

_REQUIRED_DEVIATION: Final = (
    "id",
    "target",
    "probe",
    "metric",
    "detector",
    "tick_us",
    "since_us",
    "active",
    "score",
    "value",
)
_TEXTS: Final = frozenset({"id", "target", "probe", "location", "metric", "detector", "phase"})
_TIMES: Final = frozenset({"v", "tick_us", "since_us", "time_left_us", "time_left_upper_us"})


def _deviation_type(name: str) -> Any:
    if name in _TEXTS:
        return pa.string()
    if name == "active":
        return pa.bool_()
    return pa.int64() if name in _TIMES else pa.float64()


DEVIATION_SCHEMA: Final = pa.schema(
    [
        pa.field(name, _deviation_type(name), nullable=name not in _REQUIRED_DEVIATION)
        for name in Deviation.__struct_fields__
    ]
)
INCIDENT_SCHEMA: Final = pa.schema(
    [
        pa.field("incident_id", pa.string(), nullable=False),
        pa.field("target", pa.string()),
        pa.field("location", pa.string()),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("opened_at_us", pa.int64(), nullable=False),
        pa.field("warned_at_us", pa.int64()),
        pa.field("outage_at_us", pa.int64()),
        pa.field("resolved_at_us", pa.int64()),
        pa.field("severity", pa.string(), nullable=False),
        pa.field("page", pa.bool_(), nullable=False),
        pa.field("cause", pa.string(), nullable=False),
        pa.field("began_at_us", pa.int64(), nullable=False),
        pa.field("subject", pa.string(), nullable=False),
        pa.field("updated_at_us", pa.int64(), nullable=False),
        pa.field("locations", pa.list_(pa.string()), nullable=False),
        pa.field("caused_by", pa.string()),
        pa.field("related", pa.list_(pa.string()), nullable=False),
    ]
)


class ReplayOutput:
    """The two files under temporary names, until `commit` gives them their own; leaving without it removes them."""

    def __init__(self, directory: Path) -> None:
        """Open the files.

        Raises:
            CommandError: The directory cannot be made or written to.
        """
        self._directory = directory
        self._held: list[Deviation] = []
        self._temporary = {name: directory / f".{name}.{os.getpid()}.part" for name in (DEVIATIONS, INCIDENTS)}
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._writer = pa.parquet.ParquetWriter(self._temporary[DEVIATIONS], DEVIATION_SCHEMA, compression="zstd")
        except OSError as error:
            raise CommandError(f"{directory}: cannot be written to: {error.strerror or error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        for path in self._temporary.values():
            path.unlink(missing_ok=True)

    def add(self, deviations: Iterable[Deviation]) -> None:
        """Write deviations, in this order."""
        self._held.extend(deviations)
        while len(self._held) >= GROUP_ROWS:
            self._flush(self._held[:GROUP_ROWS])
            del self._held[:GROUP_ROWS]

    def commit(self, incidents: Iterable[Incident]) -> None:
        """Write the incidents in their final state, oldest first, and put both files in their places."""
        if self._held:
            self._flush(self._held)
            self._held = []
        self._writer.close()
        rows = sorted(incidents, key=lambda one: (one.opened_at_us, one.target or "", one.location or "", one.subject))
        pa.parquet.write_table(_table(rows, INCIDENT_SCHEMA), self._temporary[INCIDENTS], compression="zstd")
        for name, path in self._temporary.items():
            path.replace(self._directory / name)

    def _flush(self, deviations: Sequence[Deviation]) -> None:
        self._writer.write_table(_table(deviations, DEVIATION_SCHEMA))


def _table(rows: Sequence[Deviation | Incident], schema: Any) -> Any:
    columns = [pa.array([getattr(row, field.name) for row in rows], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)
