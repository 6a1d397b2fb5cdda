"""Proof that the rollups equal the final raw rows, and the repair of those that do not.

Each hour that is over, whose checks are all kept, and that does not wait for its sink anyway is computed again by the
sink's own statement (`rollup_sql.SELECT`) and compared column by column in the store.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from analytics import rollup_sql
from analytics.insert import DAY_US
from analytics.rollup_sql import HOUR_US, KEY, VALUES
from analytics.rollups import CLOSED_AFTER_US, compute, oldest_whole_hour
from analytics.session import Session

ROWS_A_BATCH: Final = 5_000_000
TARGETS_A_BATCH: Final = 2_000
SETTLE_S: Final = 3.0
"""What differs is looked at once more after this: a sink may have stored late checks and not noted them yet."""

_WINDOW: Final = """{column} >= fromUnixTimestamp64Micro(%(from)s, 'UTC')
    AND {column} < fromUnixTimestamp64Micro(%(until)s, 'UTC')"""
_TARGETS: Final = f"""
SELECT target, sum(n) FROM (
    SELECT target, count() AS n FROM checks_log WHERE {_WINDOW.format(column="scheduled_at")} GROUP BY target
    UNION ALL
    SELECT target, count() AS n FROM check_hours_log WHERE {_WINDOW.format(column="hour_at")} GROUP BY target
) GROUP BY target ORDER BY target
"""  # noqa: S608 - put together from the constants above
_WAITING: Final = f"""
SELECT uniqExact(target, hour_at) FROM check_hours_waiting WHERE {_WINDOW.format(column="hour_at")}
"""  # noqa: S608 - as above
_TEXTS: Final = ", ".join(f"ifNull(toString({name}), 'NULL')" for name in VALUES)
_COMPARED: Final = f"""
SELECT {", ".join(KEY[:3])}, toUnixTimestamp64Micro(hour_at), groupArray(side) AS sides, groupArray(texts) AS both
FROM (
    SELECT {", ".join(KEY)}, 'raw' AS side, [{_TEXTS}] AS texts FROM ({rollup_sql.SELECT})
    UNION ALL
    SELECT {", ".join(KEY)}, 'rollup' AS side, [{_TEXTS}] AS texts FROM check_hours_log FINAL
    WHERE target IN %(targets)s AND {_WINDOW.format(column="hour_at")}
)
WHERE (target, hour_at) NOT IN (
    SELECT target, hour_at FROM check_hours_waiting
    WHERE target IN %(targets)s AND {_WINDOW.format(column="hour_at")}
)
GROUP BY {", ".join(KEY)}
"""  # noqa: S608 - as above
_DIFFERENT: Final = f"{_COMPARED} HAVING length(sides) != 2 OR both[1] != both[2] ORDER BY {', '.join(KEY)}"
_COUNT: Final = f"SELECT count() FROM ({_COMPARED})"  # noqa: S608 - as above


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A rollup that is not what its raw rows say.

    Attributes:
        raw: What the raw rows say, by the columns that differ; None: there are none.
        rollup: What the rollup says; None: there is none.
        repaired: It was computed again, and agrees now.
    """

    target: str
    probe: str
    location: str
    hour_us: int
    raw: dict[str, str] | None
    rollup: dict[str, str] | None
    repaired: bool = False

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What identifies the rollup."""
        return self.target, self.probe, self.location, self.hour_us


@dataclass(slots=True, kw_only=True)
class RollupCheck:
    """What a comparison found.

    Attributes:
        from_us, until_us: The hours that were compared, the second not included.
        compared: Rollups (or what should be one) that were compared.
        waiting: Hours of targets in this time that are to be computed by their sink, so were not compared.
    """

    from_us: int
    until_us: int
    compared: int = 0
    waiting: int = 0
    differences: list[Difference] = field(default_factory=list)


def check_rollups(
    session: Session, *, repair: bool, days: int | None = None, now_us: int | None = None, settle_s: float = SETTLE_S
) -> RollupCheck:
    """Compare all rollups whose checks are kept with them. Blocking; may take minutes.

    Args:
        repair: Compute again what differs, and look at it once more.
        days: Only the last so many; None: as far back as checks are kept.
        now_us: None: now.
        settle_s: How long what differs may be just on its way.

    Raises:
        StoreUnavailableError, StoreRefusedError: The store is away, or says no.
    """
    now_us = time.time_ns() // 1000 if now_us is None else now_us
    from_us = oldest_whole_hour(session.settings, now_us)
    if days is not None:
        from_us = max(from_us, (now_us - days * DAY_US) // HOUR_US * HOUR_US)
    found = RollupCheck(from_us=from_us, until_us=(now_us - CLOSED_AFTER_US) // HOUR_US * HOUR_US)
    window = {"from": found.from_us, "until": found.until_us}
    with session.client() as client:
        for targets in _batches(client.query(_TARGETS, parameters=window).result_rows):
            parameters = {**window, "targets": targets}
            found.compared += _number(client, _COUNT, parameters)
            found.differences += _lasting(client, parameters, settle_s)
        found.waiting = _number(client, _WAITING, window)
        if repair:
            found.differences = _repaired(client, found.differences, window)
    return found


def _batches(rows: Sequence[Sequence[Any]]) -> Iterator[tuple[str, ...]]:
    """Yield the targets in groups whose rows the store can compare at once."""
    targets: list[str] = []
    weight = 0
    for target, count in rows:
        if targets and (weight + count > ROWS_A_BATCH or len(targets) == TARGETS_A_BATCH):
            yield tuple(targets)
            targets, weight = [], 0
        targets.append(target)
        weight += count
    if targets:
        yield tuple(targets)


def _number(client: Client, sql: str, parameters: dict[str, Any]) -> int:
    return int(client.query(sql, parameters=parameters).result_rows[0][0])


def _lasting(client: Client, parameters: dict[str, Any], settle_s: float) -> list[Difference]:
    first = _differences(client, parameters)
    if not first:
        return []
    time.sleep(settle_s)
    again = tuple(sorted({one.target for one in first}))
    known = {one.key for one in first}
    return [one for one in _differences(client, {**parameters, "targets": again}) if one.key in known]


def _differences(client: Client, parameters: dict[str, Any]) -> list[Difference]:
    rows = client.query(_DIFFERENT, parameters=parameters, settings=rollup_sql.SETTINGS).result_rows
    return [_difference(*row) for row in rows]


def _difference(
    target: str, probe: str, location: str, hour_us: int, sides: Sequence[str], both: Sequence[Sequence[str]]
) -> Difference:
    texts = {side: dict(zip(VALUES, values, strict=True)) for side, values in zip(sides, both, strict=True)}
    raw, rollup = texts.get("raw"), texts.get("rollup")
    if raw is not None and rollup is not None:
        names = [name for name in VALUES if raw[name] != rollup[name]]
        raw, rollup = ({name: one[name] for name in names} for one in (raw, rollup))
    return Difference(target=target, probe=probe, location=location, hour_us=hour_us, raw=raw, rollup=rollup)


def _repaired(client: Client, differences: Sequence[Difference], window: dict[str, int]) -> list[Difference]:
    """Compute again, and return the differences with what became of them.

    A rollup without any raw rows stays: the rows are what is missing, and the rollup the last that knows of them.
    """
    by_hour: dict[int, set[str]] = {}
    for one in differences:
        if one.raw is not None:
            by_hour.setdefault(one.hour_us, set()).add(one.target)
    for hour_us, hours_targets in sorted(by_hour.items()):
        ordered = sorted(hours_targets)
        for start in range(0, len(ordered), TARGETS_A_BATCH):
            compute(client, hour_us, hour_us + HOUR_US, ordered[start : start + TARGETS_A_BATCH])
    targets = sorted({one.target for one in differences})
    left: set[tuple[str, str, str, int]] = set()
    for start in range(0, len(targets), TARGETS_A_BATCH):
        part = tuple(targets[start : start + TARGETS_A_BATCH])
        left |= {one.key for one in _differences(client, {**window, "targets": part})}
    return [replace(one, repaired=one.key not in left) for one in differences]
