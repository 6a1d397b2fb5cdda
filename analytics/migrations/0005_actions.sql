-- What people did.

CREATE TABLE IF NOT EXISTS actions_log
(
    at DateTime64(6, 'UTC') COMMENT 'When the person did it' CODEC(Delta, ZSTD(1)),
    id String COMMENT 'Made once, at its source' CODEC(ZSTD(1)),
    kind LowCardinality(String) COMMENT 'acknowledge, note, resolve, silence, maintenance or configure' CODEC(ZSTD(1)),
    person LowCardinality(String) COMMENT 'Who did it' CODEC(ZSTD(1)),
    incident_id Nullable(String) COMMENT 'The incident that it is about' CODEC(ZSTD(1)),
    target LowCardinality(Nullable(String)) COMMENT 'The target that it is about' CODEC(ZSTD(1)),
    until_at Nullable(DateTime64(6, 'UTC')) COMMENT 'End of a silence or of maintenance' CODEC(ZSTD(1)),
    text Nullable(String) COMMENT 'A note, or for configure the text of the config, secrets masked' CODEC(ZSTD(3)),
    config_version Nullable(Int64) COMMENT 'For configure: the number of the accepted config' CODEC(T64, ZSTD(1)),
    effective_from_at Nullable(DateTime64(6, 'UTC')) COMMENT 'For configure: the first tick that it judges' CODEC(ZSTD(1)),
    log_epoch LowCardinality(String) COMMENT 'Epoch of the log that it was read from: <cluster id>/<topic id> of actions.v1' CODEC(ZSTD(1)),
    log_partition Int64 COMMENT 'Partition of actions.v1 that it was read from' CODEC(T64, ZSTD(1)),
    log_offset Int64 COMMENT 'Offset of the message that it was read from, comparable only inside one epoch and partition' CODEC(Delta, ZSTD(1)),
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was sent to the store: one instant for all rows of one insert' CODEC(Delta, ZSTD(1)),
    INDEX by_stored_at stored_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(stored_at)
ORDER BY (at, id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Actions: what people did, and each accepted config. Every stored row, also those that a merge has not replaced yet: read the view actions';

CREATE VIEW IF NOT EXISTS actions
(
    at DateTime64(6, 'UTC') COMMENT 'When the person did it',
    id String COMMENT 'Made once, at its source',
    kind LowCardinality(String) COMMENT 'acknowledge, note, resolve, silence, maintenance or configure',
    person LowCardinality(String) COMMENT 'Who did it',
    incident_id Nullable(String) COMMENT 'The incident that it is about',
    target LowCardinality(Nullable(String)) COMMENT 'The target that it is about',
    until_at Nullable(DateTime64(6, 'UTC')) COMMENT 'End of a silence or of maintenance',
    text Nullable(String) COMMENT 'A note, or for configure the text of the config, secrets masked',
    config_version Nullable(Int64) COMMENT 'For configure: the number of the accepted config',
    effective_from_at Nullable(DateTime64(6, 'UTC')) COMMENT 'For configure: the first tick that it judges',
    log_epoch LowCardinality(String) COMMENT 'Epoch of the log that it was read from: <cluster id>/<topic id> of actions.v1',
    log_partition Int64 COMMENT 'Partition of actions.v1 that it was read from',
    log_offset Int64 COMMENT 'Offset of the message that it was read from, comparable only inside one epoch and partition',
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was sent to the store: one instant for all rows of one insert'
)
AS SELECT
    at,
    id,
    kind,
    person,
    incident_id,
    target,
    until_at,
    text,
    config_version,
    effective_from_at,
    log_epoch,
    log_partition,
    log_offset,
    stored_at
FROM actions_log FINAL
COMMENT 'Actions: what people did, and each accepted config. One row for each (at, id): the row stored last';

CREATE TABLE IF NOT EXISTS config_versions_log
(
    config_version Int64 COMMENT 'Number of the accepted config' CODEC(T64, ZSTD(1)),
    checksum String COMMENT 'BLAKE2b (32 hex digits) of text: two texts under one number would be two rows' CODEC(ZSTD(1)),
    effective_from_at DateTime64(6, 'UTC') COMMENT 'The first tick that it judges' CODEC(Delta, ZSTD(1)),
    accepted_at DateTime64(6, 'UTC') COMMENT 'When it was accepted' CODEC(Delta, ZSTD(1)),
    person LowCardinality(String) COMMENT 'Who had it accepted' CODEC(ZSTD(1)),
    text String COMMENT 'The config, secrets masked' CODEC(ZSTD(3)),
    log_epoch LowCardinality(String) COMMENT 'Epoch of the log that it was read from: <cluster id>/<topic id> of actions.v1' CODEC(ZSTD(1)),
    log_partition Int64 COMMENT 'Partition of actions.v1 that it was read from' CODEC(T64, ZSTD(1)),
    log_offset Int64 COMMENT 'Offset of the message that it was read from, comparable only inside one epoch and partition' CODEC(Delta, ZSTD(1)),
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was sent to the store: one instant for all rows of one insert' CODEC(Delta, ZSTD(1)),
    INDEX by_stored_at stored_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(stored_at)
ORDER BY (config_version, checksum)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Configs that were accepted, numbered, secrets masked. Every stored row, also those that a merge has not replaced yet: read the view config_versions';

CREATE VIEW IF NOT EXISTS config_versions
(
    config_version Int64 COMMENT 'Number of the accepted config',
    checksum String COMMENT 'BLAKE2b (32 hex digits) of text: two texts under one number would be two rows',
    effective_from_at DateTime64(6, 'UTC') COMMENT 'The first tick that it judges',
    accepted_at DateTime64(6, 'UTC') COMMENT 'When it was accepted',
    person LowCardinality(String) COMMENT 'Who had it accepted',
    text String COMMENT 'The config, secrets masked',
    log_epoch LowCardinality(String) COMMENT 'Epoch of the log that it was read from: <cluster id>/<topic id> of actions.v1',
    log_partition Int64 COMMENT 'Partition of actions.v1 that it was read from',
    log_offset Int64 COMMENT 'Offset of the message that it was read from, comparable only inside one epoch and partition',
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was sent to the store: one instant for all rows of one insert'
)
AS SELECT
    config_version,
    checksum,
    effective_from_at,
    accepted_at,
    person,
    text,
    log_epoch,
    log_partition,
    log_offset,
    stored_at
FROM config_versions_log FINAL
COMMENT 'Configs that were accepted, numbered, secrets masked. One row for each (config_version, checksum): the row stored last';
