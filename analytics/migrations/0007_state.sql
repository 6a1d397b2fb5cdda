-- What workers and outboxes need at their next start. Placeholders: {summaries_ttl_days}.

CREATE TABLE IF NOT EXISTS outbox_marks_log
(
    outbox_id String COMMENT 'The outbox of a process that publishes' CODEC(ZSTD(1)),
    topic LowCardinality(String) COMMENT 'Topic that its messages went to' CODEC(ZSTD(1)),
    log_partition Int64 COMMENT 'Partition of that topic' CODEC(T64, ZSTD(1)),
    seq Int64 COMMENT 'The reader is done with every message of this outbox in this partition up to this number' CODEC(T64, ZSTD(1)),
    log_epoch LowCardinality(String) COMMENT 'Epoch of the log in which the reader last read one' CODEC(ZSTD(1)),
    reader LowCardinality(String) COMMENT 'sink: they are stored. Another group: its kept state includes them' CODEC(ZSTD(1)),
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was written' CODEC(Delta, ZSTD(1)),
    INDEX by_stored_at stored_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(seq)
ORDER BY (outbox_id, topic, log_partition, reader)
TTL toDateTime(stored_at) + INTERVAL {summaries_ttl_days} DAY
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'High-water marks of outboxes: what an outbox may forget. Every stored row, also those that a merge has not replaced yet: read the view outbox_marks';

CREATE VIEW IF NOT EXISTS outbox_marks
(
    outbox_id String COMMENT 'The outbox of a process that publishes',
    topic LowCardinality(String) COMMENT 'Topic that its messages went to',
    log_partition Int64 COMMENT 'Partition of that topic',
    seq Int64 COMMENT 'The reader is done with every message of this outbox in this partition up to this number',
    log_epoch LowCardinality(String) COMMENT 'Epoch of the log in which the reader last read one',
    reader LowCardinality(String) COMMENT 'sink: they are stored. Another group: its kept state includes them',
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was written'
)
AS SELECT
    outbox_id,
    topic,
    log_partition,
    seq,
    log_epoch,
    reader,
    stored_at
FROM outbox_marks_log FINAL
COMMENT 'High-water marks of outboxes: what an outbox may forget. One row for each (outbox_id, topic, log_partition, reader): the highest seq';

CREATE TABLE IF NOT EXISTS snapshots_log
(
    group_name LowCardinality(String) COMMENT 'The group whose state it is: detect, incidents or alerts' CODEC(ZSTD(1)),
    log_partition Int64 COMMENT 'The partition whose state it is' CODEC(T64, ZSTD(1)),
    slot Int64 COMMENT 'number modulo 3: a new snapshot replaces the oldest of the three' CODEC(T64, ZSTD(1)),
    number Int64 COMMENT 'Counts the snapshots of this group and partition: the highest one is the newest, whatever clocks say' CODEC(T64, ZSTD(1)),
    taken_at DateTime64(6, 'UTC') COMMENT 'When it was taken' CODEC(ZSTD(1)),
    code LowCardinality(String) COMMENT 'Version of the form of the state: another one is not loaded' CODEC(ZSTD(1)),
    positions Array(Tuple(
        topic LowCardinality(String),
        log_partition Int64,
        log_epoch LowCardinality(String),
        log_offset Int64
    )) COMMENT 'Last message included, for each topic and partition that was read' CODEC(ZSTD(1)),
    checksum String COMMENT 'BLAKE2b of payload: a damaged one is not loaded' CODEC(ZSTD(1)),
    payload_bytes Int64 COMMENT 'Size of payload' CODEC(T64, ZSTD(1)),
    payload String COMMENT 'The state, already compressed' CODEC(NONE)
)
ENGINE = ReplacingMergeTree(number)
PARTITION BY (group_name, log_partition)
ORDER BY (group_name, log_partition, slot)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1,
    -- Replaced snapshots leave the disk within minutes: merge by age, and drop merged parts soon.
    min_age_to_force_merge_seconds = 60, min_age_to_force_merge_on_partition_only = 1, old_parts_lifetime = 60
COMMENT 'Snapshots of the workers. Every stored row, also those that a merge has not replaced yet: read the view snapshots';

CREATE VIEW IF NOT EXISTS snapshots
(
    group_name LowCardinality(String) COMMENT 'The group whose state it is: detect, incidents or alerts',
    log_partition Int64 COMMENT 'The partition whose state it is',
    slot Int64 COMMENT 'number modulo 3: a new snapshot replaces the oldest of the three',
    number Int64 COMMENT 'Counts the snapshots of this group and partition: the highest one is the newest, whatever clocks say',
    taken_at DateTime64(6, 'UTC') COMMENT 'When it was taken',
    code LowCardinality(String) COMMENT 'Version of the form of the state: another one is not loaded',
    positions Array(Tuple(
        topic LowCardinality(String),
        log_partition Int64,
        log_epoch LowCardinality(String),
        log_offset Int64
    )) COMMENT 'Last message included, for each topic and partition that was read',
    checksum String COMMENT 'BLAKE2b of payload: a damaged one is not loaded',
    payload_bytes Int64 COMMENT 'Size of payload'
)
AS SELECT
    group_name,
    log_partition,
    slot,
    number,
    taken_at,
    code,
    positions,
    checksum,
    payload_bytes
FROM snapshots_log FINAL
COMMENT 'Snapshots of the workers: the three kept ones for each (group_name, log_partition), without their payload';
