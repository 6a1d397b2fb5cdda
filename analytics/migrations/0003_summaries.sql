-- Proof that every slot was judged. Placeholders: {summaries_ttl_days}.

CREATE TABLE IF NOT EXISTS verdict_summaries_log
(
    slot_at DateTime64(6, 'UTC') COMMENT 'Start of the slot' CODEC(Delta, ZSTD(1)),
    checks_partition Int64 COMMENT 'Partition of checks.v1 that closed the slot' CODEC(T64, ZSTD(1)),
    id String COMMENT 'Derived from partition and slot' CODEC(ZSTD(1)),
    width_us Int64 COMMENT 'Width of the slot, microseconds' CODEC(T64, ZSTD(1)),
    closed_through_at DateTime64(6, 'UTC') COMMENT 'Every tick of this partition at or before this is judged and published' CODEC(Delta, ZSTD(1)),
    locations Array(LowCardinality(String)) COMMENT 'Locations: reported and failed have the same order' CODEC(ZSTD(1)),
    reported Array(Int64) COMMENT 'Checks that each location reported in the slot, missed ones not counted' CODEC(ZSTD(1)),
    failed Array(Int64) COMMENT 'Those of them that failed' CODEC(ZSTD(1)),
    log_epoch LowCardinality(String) COMMENT 'Epoch of the log that it was read from: <cluster id>/<topic id> of verdicts.v1' CODEC(ZSTD(1)),
    log_partition Int64 COMMENT 'Partition of verdicts.v1 that it was read from' CODEC(T64, ZSTD(1)),
    log_offset Int64 COMMENT 'Offset of the message that it was read from, comparable only inside one epoch and partition' CODEC(Delta, ZSTD(1)),
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was sent to the store: one instant for all rows of one insert' CODEC(Delta, ZSTD(1)),
    INDEX by_stored_at stored_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(stored_at)
PARTITION BY toMonday(slot_at)
ORDER BY (slot_at, checks_partition)
TTL toDateTime(slot_at) + INTERVAL {summaries_ttl_days} DAY
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1
COMMENT 'Summaries: a partition of checks.v1 closed a slot, even when nothing was in it. Every stored row, also those that a merge has not replaced yet: read the view verdict_summaries';

CREATE VIEW IF NOT EXISTS verdict_summaries
(
    slot_at DateTime64(6, 'UTC') COMMENT 'Start of the slot',
    checks_partition Int64 COMMENT 'Partition of checks.v1 that closed the slot',
    id String COMMENT 'Derived from partition and slot',
    width_us Int64 COMMENT 'Width of the slot, microseconds',
    closed_through_at DateTime64(6, 'UTC') COMMENT 'Every tick of this partition at or before this is judged and published',
    locations Array(LowCardinality(String)) COMMENT 'Locations: reported and failed have the same order',
    reported Array(Int64) COMMENT 'Checks that each location reported in the slot, missed ones not counted',
    failed Array(Int64) COMMENT 'Those of them that failed',
    log_epoch LowCardinality(String) COMMENT 'Epoch of the log that it was read from: <cluster id>/<topic id> of verdicts.v1',
    log_partition Int64 COMMENT 'Partition of verdicts.v1 that it was read from',
    log_offset Int64 COMMENT 'Offset of the message that it was read from, comparable only inside one epoch and partition',
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was sent to the store: one instant for all rows of one insert'
)
AS SELECT
    slot_at,
    checks_partition,
    id,
    width_us,
    closed_through_at,
    locations,
    reported,
    failed,
    log_epoch,
    log_partition,
    log_offset,
    stored_at
FROM verdict_summaries_log FINAL
COMMENT 'Summaries: a partition of checks.v1 closed a slot, even when nothing was in it. One row for each (slot_at, checks_partition): the row stored last';
