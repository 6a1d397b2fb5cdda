-- How forewarn itself is doing. Placeholders: {summaries_ttl_days}.

CREATE TABLE IF NOT EXISTS dead_letters_log
(
    id String COMMENT 'Derived from the position of the message' CODEC(ZSTD(1)),
    source_topic LowCardinality(String) COMMENT 'Where the message lies: its topic' CODEC(ZSTD(1)),
    source_epoch LowCardinality(String) COMMENT 'Where the message lies: the epoch of the log' CODEC(ZSTD(1)),
    source_partition Int64 COMMENT 'Where the message lies: its partition' CODEC(T64, ZSTD(1)),
    source_offset Int64 COMMENT 'Where the message lies: its offset' CODEC(T64, ZSTD(1)),
    source_logged_at DateTime64(6, 'UTC') COMMENT 'Log timestamp of the message' CODEC(Delta, ZSTD(1)),
    reason LowCardinality(String) COMMENT 'malformed, oversized, unknown_version, unknown_type, far_future or invalid' CODEC(ZSTD(1)),
    detail String COMMENT 'What was wrong, for a person' CODEC(ZSTD(1)),
    group_name LowCardinality(String) COMMENT 'Which group refused it' CODEC(ZSTD(1)),
    at DateTime64(6, 'UTC') COMMENT 'When it was refused' CODEC(Delta, ZSTD(1)),
    payload String COMMENT 'The first 64 KiB of the message, base64: what is needed to repair it' CODEC(ZSTD(3)),
    payload_bytes Int64 COMMENT 'Size of the whole message' CODEC(T64, ZSTD(1)),
    log_epoch LowCardinality(String) COMMENT 'Epoch of the log that the dead letter was read from: <cluster id>/<topic id> of dead-letters.v1 (of the message itself where the sink refused it)' CODEC(ZSTD(1)),
    log_partition Int64 COMMENT 'Partition of dead-letters.v1 that the dead letter was read from (of the message itself where the sink refused it)' CODEC(T64, ZSTD(1)),
    log_offset Int64 COMMENT 'Offset of the message that the dead letter was read from, comparable only inside one epoch and partition (of the message itself where the sink refused it)' CODEC(Delta, ZSTD(1)),
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was sent to the store: one instant for all rows of one insert' CODEC(Delta, ZSTD(1)),
    INDEX by_stored_at stored_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(stored_at)
ORDER BY (id)
TTL toDateTime(at) + INTERVAL {summaries_ttl_days} DAY
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Dead letters: messages that could not be used. Every stored row, also those that a merge has not replaced yet: read the view dead_letters';

CREATE VIEW IF NOT EXISTS dead_letters
(
    id String COMMENT 'Derived from the position of the message',
    source_topic LowCardinality(String) COMMENT 'Where the message lies: its topic',
    source_epoch LowCardinality(String) COMMENT 'Where the message lies: the epoch of the log',
    source_partition Int64 COMMENT 'Where the message lies: its partition',
    source_offset Int64 COMMENT 'Where the message lies: its offset',
    source_logged_at DateTime64(6, 'UTC') COMMENT 'Log timestamp of the message',
    reason LowCardinality(String) COMMENT 'malformed, oversized, unknown_version, unknown_type, far_future or invalid',
    detail String COMMENT 'What was wrong, for a person',
    group_name LowCardinality(String) COMMENT 'Which group refused it',
    at DateTime64(6, 'UTC') COMMENT 'When it was refused',
    payload String COMMENT 'The first 64 KiB of the message, base64: what is needed to repair it',
    payload_bytes Int64 COMMENT 'Size of the whole message',
    log_epoch LowCardinality(String) COMMENT 'Epoch of the log that the dead letter was read from: <cluster id>/<topic id> of dead-letters.v1 (of the message itself where the sink refused it)',
    log_partition Int64 COMMENT 'Partition of dead-letters.v1 that the dead letter was read from (of the message itself where the sink refused it)',
    log_offset Int64 COMMENT 'Offset of the message that the dead letter was read from, comparable only inside one epoch and partition (of the message itself where the sink refused it)',
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was sent to the store: one instant for all rows of one insert'
)
AS SELECT
    id,
    source_topic,
    source_epoch,
    source_partition,
    source_offset,
    source_logged_at,
    reason,
    detail,
    group_name,
    at,
    payload,
    payload_bytes,
    log_epoch,
    log_partition,
    log_offset,
    stored_at
FROM dead_letters_log FINAL
COMMENT 'Dead letters: messages that could not be used. One row for each (id): the row stored last';

CREATE TABLE IF NOT EXISTS producer_health_log
(
    producer LowCardinality(String) COMMENT 'The producer' CODEC(ZSTD(1)),
    location LowCardinality(String) COMMENT 'Where it runs' CODEC(ZSTD(1)),
    at DateTime64(6, 'UTC') COMMENT 'When it said so' CODEC(Delta, ZSTD(1)),
    started_at DateTime64(6, 'UTC') COMMENT 'When it was started' CODEC(Delta, ZSTD(1)),
    loop_lag_us Int64 COMMENT 'Largest lag of its event loop since the last message, microseconds' CODEC(T64, ZSTD(1)),
    spool_bytes Int64 COMMENT 'Size of its spool on disk' CODEC(T64, ZSTD(1)),
    spool_records Int64 COMMENT 'Messages in the spool that are not safe yet' CODEC(T64, ZSTD(1)),
    spool_dropped Int64 COMMENT 'Messages dropped at the bound of the spool since the start' CODEC(T64, ZSTD(1)),
    checks Int64 COMMENT 'Checks done since the start' CODEC(T64, ZSTD(1)),
    missed Int64 COMMENT 'Ticks missed since the start' CODEC(T64, ZSTD(1)),
    log_epoch LowCardinality(String) COMMENT 'Epoch of the log that it was read from: <cluster id>/<topic id> of checks.v1' CODEC(ZSTD(1)),
    log_partition Int64 COMMENT 'Partition of checks.v1 that it was read from' CODEC(T64, ZSTD(1)),
    log_offset Int64 COMMENT 'Offset of the message that it was read from, comparable only inside one epoch and partition' CODEC(Delta, ZSTD(1)),
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was sent to the store: one instant for all rows of one insert' CODEC(Delta, ZSTD(1)),
    INDEX by_stored_at stored_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(stored_at)
ORDER BY (producer, location, at)
TTL toDateTime(at) + INTERVAL {summaries_ttl_days} DAY
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Health of producers: what each says of itself once a minute. Every stored row, also those that a merge has not replaced yet: read the view producer_health';

CREATE VIEW IF NOT EXISTS producer_health
(
    producer LowCardinality(String) COMMENT 'The producer',
    location LowCardinality(String) COMMENT 'Where it runs',
    at DateTime64(6, 'UTC') COMMENT 'When it said so',
    started_at DateTime64(6, 'UTC') COMMENT 'When it was started',
    loop_lag_us Int64 COMMENT 'Largest lag of its event loop since the last message, microseconds',
    spool_bytes Int64 COMMENT 'Size of its spool on disk',
    spool_records Int64 COMMENT 'Messages in the spool that are not safe yet',
    spool_dropped Int64 COMMENT 'Messages dropped at the bound of the spool since the start',
    checks Int64 COMMENT 'Checks done since the start',
    missed Int64 COMMENT 'Ticks missed since the start',
    log_epoch LowCardinality(String) COMMENT 'Epoch of the log that it was read from: <cluster id>/<topic id> of checks.v1',
    log_partition Int64 COMMENT 'Partition of checks.v1 that it was read from',
    log_offset Int64 COMMENT 'Offset of the message that it was read from, comparable only inside one epoch and partition',
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was sent to the store: one instant for all rows of one insert'
)
AS SELECT
    producer,
    location,
    at,
    started_at,
    loop_lag_us,
    spool_bytes,
    spool_records,
    spool_dropped,
    checks,
    missed,
    log_epoch,
    log_partition,
    log_offset,
    stored_at
FROM producer_health_log FINAL
COMMENT 'Health of producers: what each says of itself once a minute. One row for each (producer, location, at): the row stored last';

CREATE TABLE IF NOT EXISTS producer_stops_log
(
    producer LowCardinality(String) COMMENT 'The producer' CODEC(ZSTD(1)),
    location LowCardinality(String) COMMENT 'Where it ran' CODEC(ZSTD(1)),
    at DateTime64(6, 'UTC') COMMENT 'When it ended in order: its silence is excused for a while' CODEC(Delta, ZSTD(1)),
    log_epoch LowCardinality(String) COMMENT 'Epoch of the log that it was read from: <cluster id>/<topic id> of checks.v1' CODEC(ZSTD(1)),
    log_partition Int64 COMMENT 'Partition of checks.v1 that it was read from' CODEC(T64, ZSTD(1)),
    log_offset Int64 COMMENT 'Offset of the message that it was read from, comparable only inside one epoch and partition' CODEC(Delta, ZSTD(1)),
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was sent to the store: one instant for all rows of one insert' CODEC(Delta, ZSTD(1)),
    INDEX by_stored_at stored_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(stored_at)
ORDER BY (producer, location, at)
TTL toDateTime(at) + INTERVAL {summaries_ttl_days} DAY
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Orderly stops of producers. Every stored row, also those that a merge has not replaced yet: read the view producer_stops';

CREATE VIEW IF NOT EXISTS producer_stops
(
    producer LowCardinality(String) COMMENT 'The producer',
    location LowCardinality(String) COMMENT 'Where it ran',
    at DateTime64(6, 'UTC') COMMENT 'When it ended in order: its silence is excused for a while',
    log_epoch LowCardinality(String) COMMENT 'Epoch of the log that it was read from: <cluster id>/<topic id> of checks.v1',
    log_partition Int64 COMMENT 'Partition of checks.v1 that it was read from',
    log_offset Int64 COMMENT 'Offset of the message that it was read from, comparable only inside one epoch and partition',
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was sent to the store: one instant for all rows of one insert'
)
AS SELECT
    producer,
    location,
    at,
    log_epoch,
    log_partition,
    log_offset,
    stored_at
FROM producer_stops_log FINAL
COMMENT 'Orderly stops of producers. One row for each (producer, location, at): the row stored last';
