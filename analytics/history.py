"""Stored checks, as the core reads them: of one target for `forewarn explain`, of one partition for a warm start."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analytics.session import Session
from producers.contract import OUTCOME_CODES, PHASES, CheckColumns

PIECE_US: Final = 6 * 3600 * 10**6
"""So much time is read at once."""

_COLUMNS: Final = (
    *("target", "probe", "kind", "location"),
    "toUnixTimestamp64Micro(scheduled_at)",
    "toUnixTimestamp64Micro(started_at)",
    *("duration_us", "outcome", "reason", "address", "http_status"),
    *(f"phase_{phase}_us" for phase in PHASES),
    *("mapKeys(metrics)", "mapValues(metrics)", "detail", "disturbed"),
)
_BETWEEN: Final = (
    "scheduled_at >= fromUnixTimestamp64Micro({from_us:Int64})"
    " AND scheduled_at < fromUnixTimestamp64Micro({until_us:Int64})"
)
# Only names of our own columns are put together here; what varies are parameters.
_OF_TARGET: Final = (
    f"SELECT {', '.join(_COLUMNS)} FROM checks WHERE target = {{target:String}} AND {_BETWEEN}"  # noqa: S608 - as above
    " ORDER BY scheduled_at, probe, location"
)
_NOT_IN_LOG: Final = (
    "log_partition = {partition:Int64} AND (log_epoch != {epoch:String} OR log_offset < {before:Int64})"
)
_OF_PARTITION: Final = (
    f"SELECT {', '.join(_COLUMNS)} FROM checks WHERE {_NOT_IN_LOG} AND {_BETWEEN}"  # noqa: S608 - as above
    " ORDER BY scheduled_at, target, probe, location"
)
_COUNT_OF_TARGET: Final = f"SELECT count() FROM checks_log WHERE target = {{target:String}} AND {_BETWEEN}"  # noqa: S608 - as above
_SINCE: Final = "scheduled_at >= fromUnixTimestamp64Micro({from_us:Int64})"
_SPAN: Final = "SELECT count(), toUnixTimestamp64Micro(max(scheduled_at)) FROM checks_log"
_SPAN_OF_PARTITION: Final = f"{_SPAN} WHERE {_NOT_IN_LOG} AND {_SINCE}"


class StoredChecks:
    """Reads checks back. Implements `streams.contract.History`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def of_target(self, target: str, *, from_us: int, until_us: int) -> Iterator[CheckColumns]:
        """Yield the checks of a target from `from_us` to before `until_us`, by time, in pieces.

        Raises:
            StoreUnavailableError, StoreRefusedError: As from the session.
        """
        return self._pieces(_OF_TARGET, {"target": target}, from_us, until_us)

    def count_of_target(self, target: str, *, from_us: int, until_us: int) -> int:
        """Return about how many there are."""
        parameters = {"target": target, "from_us": from_us, "until_us": until_us}
        with self._session.client() as client:
            return int(client.query(_COUNT_OF_TARGET, parameters=parameters).result_rows[0][0])

    def checks(self, partition: int, *, from_us: int, epoch: str, before: int) -> Iterator[CheckColumns]:
        """See `streams.contract.History`."""
        which = {"partition": partition, "epoch": epoch, "before": before}
        count, last_us = self._span(which, from_us)
        if count > 0:
            yield from self._pieces(_OF_PARTITION, which, from_us, last_us + 1)

    def count(self, partition: int, *, from_us: int, epoch: str, before: int) -> int:
        """See `streams.contract.History`."""
        return self._span({"partition": partition, "epoch": epoch, "before": before}, from_us)[0]

    def _span(self, which: Mapping[str, object], from_us: int) -> tuple[int, int]:
        with self._session.client() as client:
            rows = client.query(_SPAN_OF_PARTITION, parameters={**which, "from_us": from_us}).result_rows
        return int(rows[0][0]), int(rows[0][1])

    def _pieces(self, query: str, which: Mapping[str, object], from_us: int, until_us: int) -> Iterator[CheckColumns]:
        for start_us in range(from_us, until_us, PIECE_US):
            parameters = {**which, "from_us": start_us, "until_us": min(start_us + PIECE_US, until_us)}
            with self._session.client() as client:
                columns = client.query(query, parameters=parameters, column_oriented=True).result_columns
            if columns and len(columns[0]):
                yield _columns(columns)


def _columns(columns: Any) -> CheckColumns:
    target, probe, kind, location, scheduled, started, duration, outcome, reason, address, status = columns[:11]
    phases = columns[11 : 11 + len(PHASES)]
    names, values, detail, disturbed = columns[11 + len(PHASES) :]
    return CheckColumns(
        target=list(target),
        probe=list(probe),
        kind=list(kind),
        location=list(location),
        scheduled_at_us=np.array(scheduled, dtype=np.int64),
        started_at_us=np.array(started, dtype=np.int64),
        duration_us=_floats(duration),
        outcome=np.array([OUTCOME_CODES[name] for name in outcome], dtype=np.uint8),
        reason=list(reason),
        address=list(address),
        http_status=list(status),
        phases={phase: _floats(column) for phase, column in zip(PHASES, phases, strict=True)},
        metrics=_metrics(names, values),
        detail=list(detail),
        disturbed=np.array(disturbed, dtype=np.bool_),
    )


def _floats(column: Any) -> npt.NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in column], dtype=np.float64)


def _metrics(names: Any, values: Any) -> dict[str, npt.NDArray[np.float64]]:
    """Return the readings as one column a metric."""
    found: dict[str, npt.NDArray[np.float64]] = {}
    for row, (keys, readings) in enumerate(zip(names, values, strict=True)):
        for name, value in zip(keys, readings, strict=True):
            if name not in found:
                found[name] = np.full(len(names), np.nan)
            found[name][row] = value
    return found
