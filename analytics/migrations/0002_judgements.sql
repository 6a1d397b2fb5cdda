-- What detection said of targets.

CREATE TABLE IF NOT EXISTS deviations_log
(
    target LowCardinality(String) COMMENT 'The target: customer/name' CODEC(ZSTD(1)),
    tick_at DateTime64(6, 'UTC') COMMENT 'The tick at which it was flagged' CODEC(Delta, ZSTD(1)),
    id String COMMENT 'Derived from what it is about: a replay publishes the same id' CODEC(ZSTD(1)),
    probe LowCardinality(String) COMMENT 'Name of the probe' CODEC(ZSTD(1)),
    location LowCardinality(Nullable(String)) COMMENT 'Where the series is measured, NULL for what is judged over all locations' CODEC(ZSTD(1)),
    metric LowCardinality(String) COMMENT 'latency, failure_ratio, or the name of the reading' CODEC(ZSTD(1)),
    detector LowCardinality(String) COMMENT 'Which detector flagged it' CODEC(ZSTD(1)),
    since_at DateTime64(6, 'UTC') COMMENT 'The first tick that was abnormal' CODEC(Delta, ZSTD(1)),
    active Bool COMMENT 'true: the series left its norm. false: it is back in it' CODEC(ZSTD(1)),
    score Float64 COMMENT 'Robust standard deviations, or -log10 of a probability, as the detector says' CODEC(ZSTD(1)),
    value Float64 COMMENT 'What was seen, in the unit of the metric (latency: microseconds)' CODEC(ZSTD(1)),
    baseline Nullable(Float64) COMMENT 'What is normal, same unit, NULL for a forecast' CODEC(ZSTD(1)),
    limit Nullable(Float64) COMMENT 'Limit of a forecast, or the value from which it counts as abnormal' CODEC(ZSTD(1)),
    phase LowCardinality(Nullable(String)) COMMENT 'The phase that grew most, if one explains it' CODEC(ZSTD(1)),
    time_left_us Nullable(Int64) COMMENT 'Lower bound of the time until the limit, microseconds' CODEC(T64, ZSTD(1)),
    time_left_upper_us Nullable(Int64) COMMENT 'Upper bound of it, NULL if open' CODEC(T64, ZSTD(1)),
    log_epoch LowCardinality(String) COMMENT 'Epoch of the log that it was read from: <cluster id>/<topic id> of deviations.v1' CODEC(ZSTD(1)),
    log_partition Int64 COMMENT 'Partition of deviations.v1 that it was read from' CODEC(T64, ZSTD(1)),
    log_offset Int64 COMMENT 'Offset of the message that it was read from, comparable only inside one epoch and partition' CODEC(Delta, ZSTD(1)),
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was sent to the store: one instant for all rows of one insert' CODEC(Delta, ZSTD(1)),
    INDEX by_stored_at stored_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(stored_at)
ORDER BY (target, tick_at, id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Deviations: a series left its norm, or is back in it. Every stored row, also those that a merge has not replaced yet: read the view deviations';

CREATE VIEW IF NOT EXISTS deviations
(
    target LowCardinality(String) COMMENT 'The target: customer/name',
    tick_at DateTime64(6, 'UTC') COMMENT 'The tick at which it was flagged',
    id String COMMENT 'Derived from what it is about: a replay publishes the same id',
    probe LowCardinality(String) COMMENT 'Name of the probe',
    location LowCardinality(Nullable(String)) COMMENT 'Where the series is measured, NULL for what is judged over all locations',
    metric LowCardinality(String) COMMENT 'latency, failure_ratio, or the name of the reading',
    detector LowCardinality(String) COMMENT 'Which detector flagged it',
    since_at DateTime64(6, 'UTC') COMMENT 'The first tick that was abnormal',
    active Bool COMMENT 'true: the series left its norm. false: it is back in it',
    score Float64 COMMENT 'Robust standard deviations, or -log10 of a probability, as the detector says',
    value Float64 COMMENT 'What was seen, in the unit of the metric (latency: microseconds)',
    baseline Nullable(Float64) COMMENT 'What is normal, same unit, NULL for a forecast',
    limit Nullable(Float64) COMMENT 'Limit of a forecast, or the value from which it counts as abnormal',
    phase LowCardinality(Nullable(String)) COMMENT 'The phase that grew most, if one explains it',
    time_left_us Nullable(Int64) COMMENT 'Lower bound of the time until the limit, microseconds',
    time_left_upper_us Nullable(Int64) COMMENT 'Upper bound of it, NULL if open',
    log_epoch LowCardinality(String) COMMENT 'Epoch of the log that it was read from: <cluster id>/<topic id> of deviations.v1',
    log_partition Int64 COMMENT 'Partition of deviations.v1 that it was read from',
    log_offset Int64 COMMENT 'Offset of the message that it was read from, comparable only inside one epoch and partition',
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was sent to the store: one instant for all rows of one insert'
)
AS SELECT
    target,
    tick_at,
    id,
    probe,
    location,
    metric,
    detector,
    since_at,
    active,
    score,
    value,
    baseline,
    limit,
    phase,
    time_left_us,
    time_left_upper_us,
    log_epoch,
    log_partition,
    log_offset,
    stored_at
FROM deviations_log FINAL
COMMENT 'Deviations: a series left its norm, or is back in it. One row for each (target, tick_at, id): the row stored last';

CREATE TABLE IF NOT EXISTS verdicts_log
(
    target LowCardinality(String) COMMENT 'The target: customer/name' CODEC(ZSTD(1)),
    tick_at DateTime64(6, 'UTC') COMMENT 'The tick that was judged' CODEC(Delta, ZSTD(1)),
    id String COMMENT 'Derived from what it is about: a replay publishes the same id' CODEC(ZSTD(1)),
    verdict LowCardinality(String) COMMENT 'healthy, degraded, failing or unknown' CODEC(ZSTD(1)),
    previous LowCardinality(String) COMMENT 'The verdict before' CODEC(ZSTD(1)),
    changed Bool COMMENT 'true: something changed at this tick. false: one of the few ticks after a change that thresholds count' CODEC(ZSTD(1)),
    since_at DateTime64(6, 'UTC') COMMENT 'First tick of this verdict, for failing the first failing check (back-dated)' CODEC(Delta, ZSTD(1)),
    interval_us Int64 COMMENT 'Interval of the probe that closed this tick, microseconds' CODEC(T64, ZSTD(1)),
    lateness_us Int64 COMMENT 'How long the tick was held open for checks under way, microseconds' CODEC(T64, ZSTD(1)),
    reported Array(LowCardinality(String)) COMMENT 'Locations that reported at this tick' CODEC(ZSTD(1)),
    failed Array(LowCardinality(String)) COMMENT 'Those of them whose check failed' CODEC(ZSTD(1)),
    address LowCardinality(Nullable(String)) COMMENT 'IP address that its checks talked to last' CODEC(ZSTD(1)),
    reasons Array(Tuple(
        kind LowCardinality(String),
        subject LowCardinality(String),
        text String,
        probe LowCardinality(String),
        since_at DateTime64(6, 'UTC'),
        severity LowCardinality(String),
        locations Array(LowCardinality(String)),
        metric LowCardinality(Nullable(String)),
        value Nullable(Float64),
        baseline Nullable(Float64),
        limit Nullable(Float64),
        score Nullable(Float64),
        phase LowCardinality(Nullable(String)),
        failure LowCardinality(Nullable(String)),
        time_left_us Nullable(Int64)
    )) COMMENT 'Why, complete enough to write an alert from it. reasons.kind, reasons.subject, ... are arrays' CODEC(ZSTD(1)),
    log_epoch LowCardinality(String) COMMENT 'Epoch of the log that it was read from: <cluster id>/<topic id> of verdicts.v1' CODEC(ZSTD(1)),
    log_partition Int64 COMMENT 'Partition of verdicts.v1 that it was read from' CODEC(T64, ZSTD(1)),
    log_offset Int64 COMMENT 'Offset of the message that it was read from, comparable only inside one epoch and partition' CODEC(Delta, ZSTD(1)),
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was sent to the store: one instant for all rows of one insert' CODEC(Delta, ZSTD(1)),
    INDEX by_stored_at stored_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(stored_at)
ORDER BY (target, tick_at, id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Verdicts: what a target is at a tick, at each change and for a few ticks after it. Every stored row, also those that a merge has not replaced yet: read the view verdicts';

CREATE VIEW IF NOT EXISTS verdicts
(
    target LowCardinality(String) COMMENT 'The target: customer/name',
    tick_at DateTime64(6, 'UTC') COMMENT 'The tick that was judged',
    id String COMMENT 'Derived from what it is about: a replay publishes the same id',
    verdict LowCardinality(String) COMMENT 'healthy, degraded, failing or unknown',
    previous LowCardinality(String) COMMENT 'The verdict before',
    changed Bool COMMENT 'true: something changed at this tick. false: one of the few ticks after a change that thresholds count',
    since_at DateTime64(6, 'UTC') COMMENT 'First tick of this verdict, for failing the first failing check (back-dated)',
    interval_us Int64 COMMENT 'Interval of the probe that closed this tick, microseconds',
    lateness_us Int64 COMMENT 'How long the tick was held open for checks under way, microseconds',
    reported Array(LowCardinality(String)) COMMENT 'Locations that reported at this tick',
    failed Array(LowCardinality(String)) COMMENT 'Those of them whose check failed',
    address LowCardinality(Nullable(String)) COMMENT 'IP address that its checks talked to last',
    reasons Array(Tuple(
        kind LowCardinality(String),
        subject LowCardinality(String),
        text String,
        probe LowCardinality(String),
        since_at DateTime64(6, 'UTC'),
        severity LowCardinality(String),
        locations Array(LowCardinality(String)),
        metric LowCardinality(Nullable(String)),
        value Nullable(Float64),
        baseline Nullable(Float64),
        limit Nullable(Float64),
        score Nullable(Float64),
        phase LowCardinality(Nullable(String)),
        failure LowCardinality(Nullable(String)),
        time_left_us Nullable(Int64)
    )) COMMENT 'Why, complete enough to write an alert from it. reasons.kind, reasons.subject, ... are arrays',
    log_epoch LowCardinality(String) COMMENT 'Epoch of the log that it was read from: <cluster id>/<topic id> of verdicts.v1',
    log_partition Int64 COMMENT 'Partition of verdicts.v1 that it was read from',
    log_offset Int64 COMMENT 'Offset of the message that it was read from, comparable only inside one epoch and partition',
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was sent to the store: one instant for all rows of one insert'
)
AS SELECT
    target,
    tick_at,
    id,
    verdict,
    previous,
    changed,
    since_at,
    interval_us,
    lateness_us,
    reported,
    failed,
    address,
    reasons,
    log_epoch,
    log_partition,
    log_offset,
    stored_at
FROM verdicts_log FINAL
COMMENT 'Verdicts: what a target is at a tick, at each change and for a few ticks after it. One row for each (target, tick_at, id): the row stored last';

CREATE VIEW IF NOT EXISTS verdict_intervals
(
    target LowCardinality(String) COMMENT 'The target: customer/name',
    verdict LowCardinality(String) COMMENT 'healthy, degraded, failing or unknown',
    from_at DateTime64(6, 'UTC') COMMENT 'Start: first tick of the verdict, for failing the first failing check',
    until_at Nullable(DateTime64(6, 'UTC')) COMMENT 'End: start of the next verdict, NULL while it lasts'
)
AS SELECT
    target,
    verdict,
    since_at AS from_at,
    until_at
FROM
(
    SELECT
        target,
        verdict,
        since_at,
        -- A later verdict may be dated back before an earlier one: then the later one wins.
        min(toNullable(since_at)) OVER (
            PARTITION BY target ORDER BY tick_at ASC, id ASC ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
        ) AS until_at
    FROM
    (
        SELECT
            target,
            tick_at,
            id,
            verdict,
            since_at,
            lagInFrame(toString(verdict), 1, '') OVER (
                PARTITION BY target ORDER BY tick_at ASC, id ASC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ) AS verdict_before
        FROM verdicts_log FINAL
        WHERE changed
    )
    WHERE verdict != verdict_before
)
WHERE until_at IS NULL OR until_at > since_at
COMMENT 'Verdicts as intervals, back-dated: for each target they do not overlap and leave no gap after its first verdict';
