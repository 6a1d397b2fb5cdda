-- What producers measured. Placeholders: {checks_ttl_days}.

CREATE TABLE IF NOT EXISTS checks_log
(
    target LowCardinality(String) COMMENT 'What was watched: customer/name' CODEC(ZSTD(1)),
    probe LowCardinality(String) COMMENT 'Name of the probe, unique within the target' CODEC(ZSTD(1)),
    location LowCardinality(String) COMMENT 'Where it was run' CODEC(ZSTD(1)),
    scheduled_at DateTime64(6, 'UTC') COMMENT 'The tick: the same at all locations. Orders and identifies the check' CODEC(Delta, ZSTD(1)),
    version Int64 COMMENT 'scheduled_at - started_at in microseconds: falls as started_at rises, so of two rows of one check the earliest wins' CODEC(T64, ZSTD(1)),
    kind LowCardinality(String) COMMENT 'Type of the probe: http, tls, tcp, host' CODEC(ZSTD(1)),
    outcome LowCardinality(String) COMMENT 'success, failure, or missed (it could not be run: nothing is known of the target)' CODEC(ZSTD(1)),
    reason LowCardinality(Nullable(String)) COMMENT 'Why it failed or was missed: timeout, dns_error, http_status, ..., overload, stopped, no_network' CODEC(ZSTD(1)),
    duration_us Nullable(Int64) COMMENT 'The whole check in microseconds, NULL if and only if it was missed' CODEC(T64, ZSTD(1)),
    phase_dns_us Nullable(Int64) COMMENT 'Name resolution, microseconds, NULL where not reached' CODEC(T64, ZSTD(1)),
    phase_connect_us Nullable(Int64) COMMENT 'TCP connect, microseconds, NULL where not reached' CODEC(T64, ZSTD(1)),
    phase_tls_us Nullable(Int64) COMMENT 'TLS handshake, microseconds, NULL where not reached' CODEC(T64, ZSTD(1)),
    phase_wait_us Nullable(Int64) COMMENT 'From the last byte sent to the first byte received, microseconds, NULL where not reached' CODEC(T64, ZSTD(1)),
    phase_transfer_us Nullable(Int64) COMMENT 'From the first byte received to the last, microseconds, NULL where not reached' CODEC(T64, ZSTD(1)),
    address LowCardinality(Nullable(String)) COMMENT 'IP address that was talked to' CODEC(ZSTD(1)),
    http_status Nullable(Int64) COMMENT 'Status of the last response, if there was one' CODEC(T64, ZSTD(1)),
    detail Nullable(String) COMMENT 'The reason for a person, at most 200 characters, without secrets and bodies' CODEC(ZSTD(3)),
    metrics Map(LowCardinality(String), Float64) COMMENT 'Readings by name, for example tls_days_left or disk_free_ratio:/. The view readings has one row for each' CODEC(ZSTD(1)),
    disturbed Bool COMMENT 'The event loop of the location lagged during the check, so its times say little' CODEC(ZSTD(1)),
    producer LowCardinality(String) COMMENT 'Which producer ran it' CODEC(ZSTD(1)),
    log_epoch LowCardinality(String) COMMENT 'Epoch of the log that it was read from: <cluster id>/<topic id> of checks.v1' CODEC(ZSTD(1)),
    log_partition Int64 COMMENT 'Partition of checks.v1 that it was read from' CODEC(T64, ZSTD(1)),
    log_offset Int64 COMMENT 'Offset of the message that it was read from, comparable only inside one epoch and partition' CODEC(Delta, ZSTD(1)),
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was sent to the store: one instant for all rows of one insert' CODEC(Delta, ZSTD(1)),
    INDEX by_stored_at stored_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toMonday(scheduled_at)
ORDER BY (target, probe, location, scheduled_at)
TTL toDateTime(scheduled_at) + INTERVAL {checks_ttl_days} DAY
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1
COMMENT 'Checks. Every stored row, also those that a merge has not replaced yet: read the view checks';

CREATE VIEW IF NOT EXISTS checks
(
    target LowCardinality(String) COMMENT 'What was watched: customer/name',
    probe LowCardinality(String) COMMENT 'Name of the probe, unique within the target',
    location LowCardinality(String) COMMENT 'Where it was run',
    scheduled_at DateTime64(6, 'UTC') COMMENT 'The tick: the same at all locations. Orders and identifies the check',
    started_at DateTime64(6, 'UTC') COMMENT 'When it really began',
    kind LowCardinality(String) COMMENT 'Type of the probe: http, tls, tcp, host',
    outcome LowCardinality(String) COMMENT 'success, failure, or missed (it could not be run: nothing is known of the target)',
    reason LowCardinality(Nullable(String)) COMMENT 'Why it failed or was missed: timeout, dns_error, http_status, ..., overload, stopped, no_network',
    duration_us Nullable(Int64) COMMENT 'The whole check in microseconds, NULL if and only if it was missed',
    phase_dns_us Nullable(Int64) COMMENT 'Name resolution, microseconds, NULL where not reached',
    phase_connect_us Nullable(Int64) COMMENT 'TCP connect, microseconds, NULL where not reached',
    phase_tls_us Nullable(Int64) COMMENT 'TLS handshake, microseconds, NULL where not reached',
    phase_wait_us Nullable(Int64) COMMENT 'From the last byte sent to the first byte received, microseconds, NULL where not reached',
    phase_transfer_us Nullable(Int64) COMMENT 'From the first byte received to the last, microseconds, NULL where not reached',
    address LowCardinality(Nullable(String)) COMMENT 'IP address that was talked to',
    http_status Nullable(Int64) COMMENT 'Status of the last response, if there was one',
    detail Nullable(String) COMMENT 'The reason for a person, at most 200 characters, without secrets and bodies',
    metrics Map(LowCardinality(String), Float64) COMMENT 'Readings by name, for example tls_days_left or disk_free_ratio:/. The view readings has one row for each',
    disturbed Bool COMMENT 'The event loop of the location lagged during the check, so its times say little',
    producer LowCardinality(String) COMMENT 'Which producer ran it',
    log_epoch LowCardinality(String) COMMENT 'Epoch of the log that it was read from: <cluster id>/<topic id> of checks.v1',
    log_partition Int64 COMMENT 'Partition of checks.v1 that it was read from',
    log_offset Int64 COMMENT 'Offset of the message that it was read from, comparable only inside one epoch and partition',
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was sent to the store: one instant for all rows of one insert'
)
AS SELECT
    target,
    probe,
    location,
    scheduled_at,
    subtractMicroseconds(scheduled_at, version) AS started_at,
    kind,
    outcome,
    reason,
    duration_us,
    phase_dns_us,
    phase_connect_us,
    phase_tls_us,
    phase_wait_us,
    phase_transfer_us,
    address,
    http_status,
    detail,
    metrics,
    disturbed,
    producer,
    log_epoch,
    log_partition,
    log_offset,
    stored_at
FROM checks_log FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1
COMMENT 'Checks. One row for each (target, probe, location, scheduled_at): the one that began first';

CREATE VIEW IF NOT EXISTS readings
(
    target LowCardinality(String) COMMENT 'What was watched: customer/name',
    probe LowCardinality(String) COMMENT 'Name of the probe',
    location LowCardinality(String) COMMENT 'Where it was run',
    scheduled_at DateTime64(6, 'UTC') COMMENT 'The tick',
    metric LowCardinality(String) COMMENT 'Name of the reading, for example tls_days_left or disk_free_ratio:/',
    value Float64 COMMENT 'The reading, in the unit that the name says',
    outcome LowCardinality(String) COMMENT 'Outcome of the check that read it',
    disturbed Bool COMMENT 'The event loop of the location lagged during the check'
)
AS SELECT
    target,
    probe,
    location,
    scheduled_at,
    reading.1 AS metric,
    reading.2 AS value,
    outcome,
    disturbed
FROM checks
ARRAY JOIN CAST(metrics, 'Array(Tuple(LowCardinality(String), Float64))') AS reading
COMMENT 'Readings of checks: one row for each reading of each check of the view checks';
