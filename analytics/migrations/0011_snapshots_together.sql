-- Small snapshots of all partitions of a group in one part. A partition of its own for each of them made an insert of
-- twelve write twelve parts, each with its files. Large ones keep their own: a merge rewrites nobody else's.

CREATE TABLE IF NOT EXISTS snapshots_together AS snapshots_log
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
