-- Small snapshots of all partitions of a group in one part. A partition of its own for each of them made an insert of
-- twelve write twelve parts, each with its files. Large ones keep their own: a merge rewrites nobody else's.

CREATE TABLE IF NOT EXISTS snapshots_together
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
PARTITION BY (group_name, if(payload_bytes < 262144, -1, log_partition))
ORDER BY (group_name, log_partition, slot)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1,
    -- Replaced snapshots leave the disk within minutes: merge by age, and drop merged parts soon.
    min_age_to_force_merge_seconds = 60, min_age_to_force_merge_on_partition_only = 1, old_parts_lifetime = 60
COMMENT 'Snapshots of the workers. Every stored row, also those that a merge has not replaced yet: read the view snapshots';

INSERT INTO snapshots_together SELECT * FROM snapshots_log;

-- If it ends between these two, the next run changes them back: slower, and nothing is lost.
EXCHANGE TABLES snapshots_together AND snapshots_log;

DROP TABLE IF EXISTS snapshots_together;
