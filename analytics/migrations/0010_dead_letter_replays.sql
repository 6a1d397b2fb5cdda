-- Dead letters that were sent again. Placeholders: {summaries_ttl_days}.

ALTER TABLE dead_letters_log
    ADD COLUMN IF NOT EXISTS source_key Nullable(String) COMMENT 'Its key in the log, base64, NULL if it had none' CODEC(ZSTD(1)) AFTER payload_bytes;

CREATE TABLE IF NOT EXISTS dead_letter_replays_log
(
    dead_letter_id String COMMENT 'The dead letter that was sent again' CODEC(ZSTD(1)),
    replayed_at DateTime64(6, 'UTC') COMMENT 'When the log had acknowledged it' CODEC(Delta, ZSTD(1)),
    person LowCardinality(String) COMMENT 'Who sent it again' CODEC(ZSTD(1)),
    edited Bool COMMENT 'true: with another value than it had' CODEC(ZSTD(1)),
    payload_bytes Int64 COMMENT 'Size of what was sent' CODEC(T64, ZSTD(1)),
    checksum String COMMENT 'BLAKE2b of what was sent' CODEC(ZSTD(1)),
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was sent to the store: one instant for all rows of one insert' CODEC(Delta, ZSTD(1)),
    INDEX by_stored_at stored_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(stored_at)
ORDER BY (dead_letter_id, replayed_at)
TTL toDateTime(replayed_at) + INTERVAL {summaries_ttl_days} DAY
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Dead letters that were sent again. Every stored row, also those that a merge has not replaced yet: read the view dead_letter_replays';

CREATE VIEW IF NOT EXISTS dead_letter_replays
(
    dead_letter_id String COMMENT 'The dead letter that was sent again',
    replayed_at DateTime64(6, 'UTC') COMMENT 'When the log had acknowledged it',
    person LowCardinality(String) COMMENT 'Who sent it again',
    edited Bool COMMENT 'true: with another value than it had',
    payload_bytes Int64 COMMENT 'Size of what was sent',
    checksum String COMMENT 'BLAKE2b of what was sent',
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was sent to the store: one instant for all rows of one insert'
)
AS SELECT
    dead_letter_id,
    replayed_at,
    person,
    edited,
    payload_bytes,
    checksum,
    stored_at
FROM dead_letter_replays_log FINAL
COMMENT 'Dead letters that were sent again. One row for each (dead_letter_id, replayed_at)';

CREATE OR REPLACE VIEW dead_letters
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
    source_key Nullable(String) COMMENT 'Its key in the log, base64, NULL if it had none',
    replays Int64 COMMENT 'How often it was sent again: 0 while it is open',
    replayed_at Nullable(DateTime64(6, 'UTC')) COMMENT 'When it was sent again last, NULL while it is open',
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
    source_key,
    toInt64(again.count) AS replays,
    if(again.count = 0, NULL, again.last_at) AS replayed_at,
    log_epoch,
    log_partition,
    log_offset,
    stored_at
FROM dead_letters_log AS letter FINAL
LEFT JOIN
(
    SELECT dead_letter_id, count() AS count, max(replayed_at) AS last_at
    FROM dead_letter_replays_log FINAL
    GROUP BY dead_letter_id
) AS again ON again.dead_letter_id = letter.id
COMMENT 'Dead letters: messages that could not be used. One row for each (id): the row stored last';
