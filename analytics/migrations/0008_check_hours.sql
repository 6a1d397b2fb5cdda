-- Rollups: checks by the hour, computed whole from the final rows, never by a view on the base table.

CREATE TABLE IF NOT EXISTS check_hours_log
(
    target LowCardinality(String) COMMENT 'What was watched: customer/name' CODEC(ZSTD(1)),
    probe LowCardinality(String) COMMENT 'Name of the probe' CODEC(ZSTD(1)),
    location LowCardinality(String) COMMENT 'Where it was run' CODEC(ZSTD(1)),
    hour_at DateTime64(6, 'UTC') COMMENT 'Start of the hour, UTC: ticks from it up to, not including, the next one' CODEC(Delta, ZSTD(1)),
    kind LowCardinality(String) COMMENT 'Type of the probe at the last tick of the hour' CODEC(ZSTD(1)),
    checks Int64 COMMENT 'Checks of the hour, whatever their outcome' CODEC(T64, ZSTD(1)),
    succeeded Int64 COMMENT 'Those of them that succeeded' CODEC(T64, ZSTD(1)),
    failed Int64 COMMENT 'Those that failed' CODEC(T64, ZSTD(1)),
    missed Int64 COMMENT 'Those that could not be run: nothing is known of the target' CODEC(T64, ZSTD(1)),
    late Int64 COMMENT 'Those that reached the store more than 120 s after their tick: verdicts may have been given without them' CODEC(T64, ZSTD(1)),
    disturbed Int64 COMMENT 'Those during which the event loop of the location lagged' CODEC(T64, ZSTD(1)),
    reasons Map(LowCardinality(String), Int64) COMMENT 'Failed and missed checks by their reason' CODEC(ZSTD(1)),
    latency_sum_us Int64 COMMENT 'Duration of all that succeeded, microseconds: divided by succeeded the mean' CODEC(T64, ZSTD(1)),
    latency_min_us Nullable(Int64) COMMENT 'Shortest duration of those that succeeded, NULL if none did' CODEC(T64, ZSTD(1)),
    latency_p50_us Nullable(Int64) COMMENT 'Median duration of those that succeeded, exact' CODEC(T64, ZSTD(1)),
    latency_p90_us Nullable(Int64) COMMENT '90 % of those that succeeded took at most this, exact' CODEC(T64, ZSTD(1)),
    latency_p95_us Nullable(Int64) COMMENT '95 % of those that succeeded took at most this, exact' CODEC(T64, ZSTD(1)),
    latency_p99_us Nullable(Int64) COMMENT '99 % of those that succeeded took at most this, exact' CODEC(T64, ZSTD(1)),
    latency_max_us Nullable(Int64) COMMENT 'Longest duration of those that succeeded' CODEC(T64, ZSTD(1)),
    latency_counts Map(Int64, Int64) COMMENT 'Those that succeeded by duration, cut to its six leading bits (at most 3.2 % less than it was): adds up over hours and locations' CODEC(ZSTD(1)),
    computed_at DateTime64(6, 'UTC') COMMENT 'When it was computed, on the clock of the store: all rows that were stored by then are in it' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMM(hour_at)
ORDER BY (target, probe, location, hour_at)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Rollups: checks by the hour. Every computed row, also those that a merge has not replaced yet: read the view check_hours';

CREATE VIEW IF NOT EXISTS check_hours
(
    target LowCardinality(String) COMMENT 'What was watched: customer/name',
    probe LowCardinality(String) COMMENT 'Name of the probe',
    location LowCardinality(String) COMMENT 'Where it was run',
    hour_at DateTime64(6, 'UTC') COMMENT 'Start of the hour, UTC: ticks from it up to, not including, the next one',
    kind LowCardinality(String) COMMENT 'Type of the probe at the last tick of the hour',
    checks Int64 COMMENT 'Checks of the hour, whatever their outcome',
    succeeded Int64 COMMENT 'Those of them that succeeded',
    failed Int64 COMMENT 'Those that failed',
    missed Int64 COMMENT 'Those that could not be run: nothing is known of the target',
    late Int64 COMMENT 'Those that reached the store more than 120 s after their tick: verdicts may have been given without them',
    disturbed Int64 COMMENT 'Those during which the event loop of the location lagged',
    reasons Map(LowCardinality(String), Int64) COMMENT 'Failed and missed checks by their reason',
    latency_sum_us Int64 COMMENT 'Duration of all that succeeded, microseconds: divided by succeeded the mean',
    latency_min_us Nullable(Int64) COMMENT 'Shortest duration of those that succeeded, NULL if none did',
    latency_p50_us Nullable(Int64) COMMENT 'Median duration of those that succeeded, exact',
    latency_p90_us Nullable(Int64) COMMENT '90 % of those that succeeded took at most this, exact',
    latency_p95_us Nullable(Int64) COMMENT '95 % of those that succeeded took at most this, exact',
    latency_p99_us Nullable(Int64) COMMENT '99 % of those that succeeded took at most this, exact',
    latency_max_us Nullable(Int64) COMMENT 'Longest duration of those that succeeded',
    latency_counts Map(Int64, Int64) COMMENT 'Those that succeeded by duration, cut to its six leading bits (at most 3.2 % less than it was): adds up over hours and locations',
    computed_at DateTime64(6, 'UTC') COMMENT 'When it was computed, on the clock of the store: all rows that were stored by then are in it'
)
AS SELECT
    target,
    probe,
    location,
    hour_at,
    kind,
    checks,
    succeeded,
    failed,
    missed,
    late,
    disturbed,
    reasons,
    latency_sum_us,
    latency_min_us,
    latency_p50_us,
    latency_p90_us,
    latency_p95_us,
    latency_p99_us,
    latency_max_us,
    latency_counts,
    computed_at
FROM check_hours_log FINAL
COMMENT 'Rollups: checks by the hour, kept for ever. One row for each (target, probe, location, hour_at) some minutes after the hour is over';

CREATE VIEW IF NOT EXISTS check_days
(
    target LowCardinality(String) COMMENT 'What was watched: customer/name',
    probe LowCardinality(String) COMMENT 'Name of the probe',
    location LowCardinality(String) COMMENT 'Where it was run',
    day Date COMMENT 'The day, UTC',
    hours Int64 COMMENT 'Hours of the day that have a rollup',
    checks Int64 COMMENT 'Checks, whatever their outcome',
    succeeded Int64 COMMENT 'Those of them that succeeded',
    failed Int64 COMMENT 'Those that failed',
    missed Int64 COMMENT 'Those that could not be run: nothing is known of the target',
    late Int64 COMMENT 'Those that reached the store more than 120 s after their tick',
    disturbed Int64 COMMENT 'Those during which the event loop of the location lagged',
    reasons Map(LowCardinality(String), Int64) COMMENT 'Failed and missed checks by their reason',
    latency_mean_us Nullable(Float64) COMMENT 'Mean duration of those that succeeded, microseconds, NULL if none did',
    latency_min_us Nullable(Int64) COMMENT 'Shortest duration of those that succeeded',
    latency_p50_us Nullable(Int64) COMMENT 'Median duration of those that succeeded, at most 3.2 % less than it was',
    latency_p90_us Nullable(Int64) COMMENT '90 % of those that succeeded took at most this, at most 3.2 % less than it was',
    latency_p95_us Nullable(Int64) COMMENT '95 % of those that succeeded took at most this, at most 3.2 % less than it was',
    latency_p99_us Nullable(Int64) COMMENT '99 % of those that succeeded took at most this, at most 3.2 % less than it was',
    latency_max_us Nullable(Int64) COMMENT 'Longest duration of those that succeeded'
)
AS WITH
    sumMap(hourly.latency_counts) AS counts,
    arrayReduce('quantilesExactWeighted(0.5, 0.9, 0.95, 0.99)', mapKeys(counts), CAST(mapValues(counts), 'Array(UInt64)')) AS quantiles
SELECT
    target,
    probe,
    location,
    toDate(hour_at) AS day,
    toInt64(count()) AS hours,
    sum(hourly.checks) AS checks,
    sum(hourly.succeeded) AS succeeded,
    sum(hourly.failed) AS failed,
    sum(hourly.missed) AS missed,
    sum(hourly.late) AS late,
    sum(hourly.disturbed) AS disturbed,
    sumMap(hourly.reasons) AS reasons,
    if(sum(hourly.succeeded) = 0, NULL, sum(hourly.latency_sum_us) / sum(hourly.succeeded)) AS latency_mean_us,
    min(hourly.latency_min_us) AS latency_min_us,
    if(sum(hourly.succeeded) = 0, NULL, quantiles[1]) AS latency_p50_us,
    if(sum(hourly.succeeded) = 0, NULL, quantiles[2]) AS latency_p90_us,
    if(sum(hourly.succeeded) = 0, NULL, quantiles[3]) AS latency_p95_us,
    if(sum(hourly.succeeded) = 0, NULL, quantiles[4]) AS latency_p99_us,
    max(hourly.latency_max_us) AS latency_max_us
FROM check_hours AS hourly
GROUP BY target, probe, location, day
COMMENT 'Rollups: checks by the day. One row for each (target, probe, location, day)';

CREATE TABLE IF NOT EXISTS check_hours_touched_log
(
    checks_partition Int64 COMMENT 'Partition of checks.v1 that the target belongs to: who reads it computes the rollup' CODEC(T64, ZSTD(1)),
    hour_at DateTime64(6, 'UTC') COMMENT 'Start of the hour whose checks were stored' CODEC(Delta, ZSTD(1)),
    target LowCardinality(String) COMMENT 'Target whose checks were stored' CODEC(ZSTD(1)),
    touched_at DateTime64(6, 'UTC') COMMENT 'Which insert it was: its instant' CODEC(Delta, ZSTD(1)),
    done Int64 COMMENT '0: the rollup of target and hour may lack them. 1: it was computed after them' CODEC(T64, ZSTD(1)),
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was sent to the store: one instant for all rows of one insert' CODEC(Delta, ZSTD(1)),
    INDEX by_stored_at stored_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(done)
ORDER BY (checks_partition, hour_at, target, touched_at)
TTL toDateTime(stored_at) + INTERVAL 3 DAY DELETE WHERE done = 1
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Which rollups are to be computed. Every stored row, also those that a merge has not replaced yet: read the view check_hours_waiting';

CREATE VIEW IF NOT EXISTS check_hours_waiting
(
    target LowCardinality(String) COMMENT 'Target whose checks were stored',
    hour_at DateTime64(6, 'UTC') COMMENT 'Start of the hour whose checks were stored',
    checks_partition Int64 COMMENT 'Partition of checks.v1 that the target belongs to: who reads it computes the rollup',
    touched_at DateTime64(6, 'UTC') COMMENT 'Instant of the latest insert that was noted'
)
AS SELECT
    target,
    hour_at,
    checks_partition,
    max(touched.touched_at) AS touched_at
FROM check_hours_touched_log AS touched FINAL
WHERE done = 0
GROUP BY target, hour_at, checks_partition
COMMENT 'Rollups that are to be computed: of hours that are not over yet, or got more checks since. One row for each (target, hour_at, checks_partition)';
