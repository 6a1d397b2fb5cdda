"""How a rollup is computed: one statement over the final rows, the same for the sink and for `forewarn store check`.

Everything in it is exact and does not depend on the order of rows, so that computing it again gives the same row.
"""

from typing import Final

HOUR_US: Final = 3600 * 1_000_000
LATE_S: Final = 120
"""The longest lateness of detection (`streams.policy`): a check that is stored later can have changed no verdict."""

KEY: Final = ("target", "probe", "location", "hour_at")

_COUNTED: Final = (
    ("kind", "argMax(kind, scheduled_at)"),
    ("checks", "toInt64(count())"),
    ("succeeded", "toInt64(countIf(outcome = 'success'))"),
    ("failed", "toInt64(countIf(outcome = 'failure'))"),
    ("missed", "toInt64(countIf(outcome = 'missed'))"),
    ("late", f"toInt64(countIf(stored_at > scheduled_at + INTERVAL {LATE_S} SECOND))"),
    ("disturbed", "toInt64(countIf(disturbed))"),
    ("reasons", "sumMapIf(map(assumeNotNull(reason), toInt64(1)), reason IS NOT NULL)"),
)
_LATENCY: Final = (
    ("latency_sum_us", "sumIf(assumeNotNull(duration_us), outcome = 'success')"),
    ("latency_min_us", "minOrNullIf(assumeNotNull(duration_us), outcome = 'success')"),
    *(
        (f"latency_{name}_us", f"if(countIf(outcome = 'success') = 0, NULL, quantiles[{number}])")
        for number, name in enumerate(("p50", "p90", "p95", "p99"), start=1)
    ),
    ("latency_max_us", "maxOrNullIf(assumeNotNull(duration_us), outcome = 'success')"),
    ("latency_counts", "sumMapIf(map(leading, toInt64(1)), outcome = 'success')"),
)

VALUES: Final = tuple(name for name, _ in (*_COUNTED, *_LATENCY))
"""What two rows of one key must agree in."""

# Six leading bits: shifted by the number of the others and back. Whole numbers all the way, so no rounding of logs.
_LEADING: Final = """
    toInt64(greatest(assumeNotNull(duration_us), 1)) AS positive,
    greatest(0, toInt64(floor(log2(positive))) - 5) AS cut_bits,
    if(duration_us = 0, 0, bitShiftLeft(bitShiftRight(positive, cut_bits), cut_bits)) AS leading"""

SELECT: Final = f"""
WITH{_LEADING},
    quantilesExactIf(0.5, 0.9, 0.95, 0.99)(assumeNotNull(duration_us), outcome = 'success') AS quantiles
SELECT
    target,
    probe,
    location,
    toDateTime64(toStartOfHour(scheduled_at), 6, 'UTC') AS hour_at,
    {", ".join(f"{formula} AS {name}" for name, formula in (*_COUNTED, *_LATENCY))}
FROM checks_log FINAL
WHERE scheduled_at >= fromUnixTimestamp64Micro(%(from)s, 'UTC')
  AND scheduled_at < fromUnixTimestamp64Micro(%(until)s, 'UTC')
  AND target IN %(targets)s
GROUP BY target, probe, location, hour_at
"""  # noqa: S608 - put together from the constants above
"""Rollups of some targets in a time of whole hours: KEY and VALUES."""

INSERT: Final = f"""
INSERT INTO check_hours_log ({", ".join((*KEY, *VALUES))}, computed_at)
SELECT {", ".join((*KEY, *VALUES))}, now64(6, 'UTC') FROM ({SELECT})
"""  # noqa: S608 - as above
"""The same into the table. The instant is that of the beginning, so of two at once the one that saw more wins."""

SETTINGS: Final = {
    "do_not_merge_across_partitions_select_final": 1,
    "optimize_aggregation_in_order": 1,  # the rows come in the order of the key: one group in memory at a time
    "max_threads": 1,  # beside the flow, never before it
    "max_insert_threads": 1,
}
