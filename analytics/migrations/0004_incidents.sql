-- What people were told.

CREATE TABLE IF NOT EXISTS incidents_log
(
    incident_id String COMMENT 'The incident: derived from target or location, subject, and the tick that opened it' CODEC(ZSTD(1)),
    revision Int64 COMMENT 'Counts the steps of the incident: the highest one says all' CODEC(T64, ZSTD(1)),
    id String COMMENT '<incident_id>.<revision>' CODEC(ZSTD(1)),
    effect LowCardinality(String) COMMENT 'What this step did: opened, escalated, updated or resolved' CODEC(ZSTD(1)),
    target LowCardinality(Nullable(String)) COMMENT 'The target, NULL where it is an incident of a location' CODEC(ZSTD(1)),
    location LowCardinality(Nullable(String)) COMMENT 'The location, NULL but for an incident of a location' CODEC(ZSTD(1)),
    subject LowCardinality(String) COMMENT 'service, or the metric of a forecast' CODEC(ZSTD(1)),
    kind LowCardinality(String) COMMENT 'Highest stage reached: early_warning, outage, location_trouble or silence' CODEC(ZSTD(1)),
    severity LowCardinality(String) COMMENT 'info, warning or critical' CODEC(ZSTD(1)),
    page Bool COMMENT 'Something about it pages so far' CODEC(ZSTD(1)),
    cause String COMMENT 'One line: what, where, since when, how far from normal, time left' CODEC(ZSTD(1)),
    began_at DateTime64(6, 'UTC') COMMENT 'First abnormal tick (back-dated): SLA accounting counts from here' CODEC(Delta, ZSTD(1)),
    opened_at DateTime64(6, 'UTC') COMMENT 'Tick at which it was decided to open it' CODEC(Delta, ZSTD(1)),
    updated_at DateTime64(6, 'UTC') COMMENT 'Tick of this step' CODEC(Delta, ZSTD(1)),
    warned_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Tick at which the early warning was raised' CODEC(ZSTD(1)),
    outage_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Tick at which it was declared an outage' CODEC(ZSTD(1)),
    resolved_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Tick at which it was resolved, NULL while it is open' CODEC(ZSTD(1)),
    locations Array(LowCardinality(String)) COMMENT 'Where it is seen' CODEC(ZSTD(1)),
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
    )) COMMENT 'Why. reasons.kind, reasons.subject, ... are arrays' CODEC(ZSTD(1)),
    log_epoch LowCardinality(String) COMMENT 'Epoch of the log that it was read from: <cluster id>/<topic id> of incidents.v1' CODEC(ZSTD(1)),
    log_partition Int64 COMMENT 'Partition of incidents.v1 that it was read from' CODEC(T64, ZSTD(1)),
    log_offset Int64 COMMENT 'Offset of the message that it was read from, comparable only inside one epoch and partition' CODEC(Delta, ZSTD(1)),
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was sent to the store: one instant for all rows of one insert' CODEC(Delta, ZSTD(1)),
    INDEX by_stored_at stored_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(stored_at)
ORDER BY (incident_id, revision)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Incidents, one row a step. Every stored row, also those that a merge has not replaced yet: read the views incidents and incident_revisions';

CREATE VIEW IF NOT EXISTS incident_revisions
(
    incident_id String COMMENT 'The incident: derived from target or location, subject, and the tick that opened it',
    revision Int64 COMMENT 'Counts the steps of the incident: the highest one says all',
    id String COMMENT '<incident_id>.<revision>',
    effect LowCardinality(String) COMMENT 'What this step did: opened, escalated, updated or resolved',
    target LowCardinality(Nullable(String)) COMMENT 'The target, NULL where it is an incident of a location',
    location LowCardinality(Nullable(String)) COMMENT 'The location, NULL but for an incident of a location',
    subject LowCardinality(String) COMMENT 'service, or the metric of a forecast',
    kind LowCardinality(String) COMMENT 'Highest stage reached: early_warning, outage, location_trouble or silence',
    severity LowCardinality(String) COMMENT 'info, warning or critical',
    page Bool COMMENT 'Something about it pages so far',
    cause String COMMENT 'One line: what, where, since when, how far from normal, time left',
    began_at DateTime64(6, 'UTC') COMMENT 'First abnormal tick (back-dated): SLA accounting counts from here',
    opened_at DateTime64(6, 'UTC') COMMENT 'Tick at which it was decided to open it',
    updated_at DateTime64(6, 'UTC') COMMENT 'Tick of this step',
    warned_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Tick at which the early warning was raised',
    outage_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Tick at which it was declared an outage',
    resolved_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Tick at which it was resolved, NULL while it is open',
    locations Array(LowCardinality(String)) COMMENT 'Where it is seen',
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
    )) COMMENT 'Why. reasons.kind, reasons.subject, ... are arrays',
    log_epoch LowCardinality(String) COMMENT 'Epoch of the log that it was read from: <cluster id>/<topic id> of incidents.v1',
    log_partition Int64 COMMENT 'Partition of incidents.v1 that it was read from',
    log_offset Int64 COMMENT 'Offset of the message that it was read from, comparable only inside one epoch and partition',
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was sent to the store: one instant for all rows of one insert'
)
AS SELECT
    incident_id,
    revision,
    id,
    effect,
    target,
    location,
    subject,
    kind,
    severity,
    page,
    cause,
    began_at,
    opened_at,
    updated_at,
    warned_at,
    outage_at,
    resolved_at,
    locations,
    reasons,
    log_epoch,
    log_partition,
    log_offset,
    stored_at
FROM incidents_log FINAL
COMMENT 'Incidents, one row a step: for each (incident_id, revision) the row stored last';

CREATE VIEW IF NOT EXISTS incidents
(
    incident_id String COMMENT 'The incident: derived from target or location, subject, and the tick that opened it',
    revision Int64 COMMENT 'Counts the steps of the incident: the highest one says all',
    id String COMMENT '<incident_id>.<revision>',
    effect LowCardinality(String) COMMENT 'What this step did: opened, escalated, updated or resolved',
    target LowCardinality(Nullable(String)) COMMENT 'The target, NULL where it is an incident of a location',
    location LowCardinality(Nullable(String)) COMMENT 'The location, NULL but for an incident of a location',
    subject LowCardinality(String) COMMENT 'service, or the metric of a forecast',
    kind LowCardinality(String) COMMENT 'Highest stage reached: early_warning, outage, location_trouble or silence',
    severity LowCardinality(String) COMMENT 'info, warning or critical',
    page Bool COMMENT 'Something about it pages so far',
    cause String COMMENT 'One line: what, where, since when, how far from normal, time left',
    began_at DateTime64(6, 'UTC') COMMENT 'First abnormal tick (back-dated): SLA accounting counts from here',
    opened_at DateTime64(6, 'UTC') COMMENT 'Tick at which it was decided to open it',
    updated_at DateTime64(6, 'UTC') COMMENT 'Tick of this step',
    warned_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Tick at which the early warning was raised',
    outage_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Tick at which it was declared an outage',
    resolved_at Nullable(DateTime64(6, 'UTC')) COMMENT 'Tick at which it was resolved, NULL while it is open',
    locations Array(LowCardinality(String)) COMMENT 'Where it is seen',
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
    )) COMMENT 'Why. reasons.kind, reasons.subject, ... are arrays',
    log_epoch LowCardinality(String) COMMENT 'Epoch of the log that it was read from: <cluster id>/<topic id> of incidents.v1',
    log_partition Int64 COMMENT 'Partition of incidents.v1 that it was read from',
    log_offset Int64 COMMENT 'Offset of the message that it was read from, comparable only inside one epoch and partition',
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was sent to the store: one instant for all rows of one insert'
)
AS SELECT
    incident_id,
    revision,
    id,
    effect,
    target,
    location,
    subject,
    kind,
    severity,
    page,
    cause,
    began_at,
    opened_at,
    updated_at,
    warned_at,
    outage_at,
    resolved_at,
    locations,
    reasons,
    log_epoch,
    log_partition,
    log_offset,
    stored_at
FROM incidents_log FINAL
ORDER BY incident_id ASC, revision DESC
LIMIT 1 BY incident_id
COMMENT 'Incidents in their latest state: for each incident_id the row of its highest revision';

CREATE TABLE IF NOT EXISTS alerts_log
(
    incident_id String COMMENT 'The incident that it tells of' CODEC(ZSTD(1)),
    id String COMMENT 'Derived from incident, kind, number and channel: at least one message for each' CODEC(ZSTD(1)),
    kind LowCardinality(String) COMMENT 'initial, reminder, escalation or resolved' CODEC(ZSTD(1)),
    number Int64 COMMENT 'Counts reminders, 0 for initial and resolved' CODEC(T64, ZSTD(1)),
    channel LowCardinality(String) COMMENT 'Where it was sent' CODEC(ZSTD(1)),
    page Bool COMMENT 'It was sent to wake a person' CODEC(ZSTD(1)),
    at DateTime64(6, 'UTC') COMMENT 'When it was delivered or given up' CODEC(Delta, ZSTD(1)),
    delivered Bool COMMENT 'true: the channel took it. false: given up' CODEC(ZSTD(1)),
    attempts Int64 COMMENT 'How often it was tried' CODEC(T64, ZSTD(1)),
    title String COMMENT 'What was sent: the first line' CODEC(ZSTD(1)),
    text String COMMENT 'What was sent: the message' CODEC(ZSTD(1)),
    error Nullable(String) COMMENT 'What the channel last said, if it refused' CODEC(ZSTD(1)),
    stage LowCardinality(Nullable(String)) COMMENT 'Kind of the incident when it was sent: early_warning, outage, location_trouble or silence' CODEC(ZSTD(1)),
    log_epoch LowCardinality(String) COMMENT 'Epoch of the log that it was read from: <cluster id>/<topic id> of alerts.v1' CODEC(ZSTD(1)),
    log_partition Int64 COMMENT 'Partition of alerts.v1 that it was read from' CODEC(T64, ZSTD(1)),
    log_offset Int64 COMMENT 'Offset of the message that it was read from, comparable only inside one epoch and partition' CODEC(Delta, ZSTD(1)),
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was sent to the store: one instant for all rows of one insert' CODEC(Delta, ZSTD(1)),
    INDEX by_stored_at stored_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(stored_at)
ORDER BY (incident_id, id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Alerts: one message to one channel was delivered, or given up. Every stored row, also those that a merge has not replaced yet: read the view alerts';

CREATE VIEW IF NOT EXISTS alerts
(
    incident_id String COMMENT 'The incident that it tells of',
    id String COMMENT 'Derived from incident, kind, number and channel: at least one message for each',
    kind LowCardinality(String) COMMENT 'initial, reminder, escalation or resolved',
    number Int64 COMMENT 'Counts reminders, 0 for initial and resolved',
    channel LowCardinality(String) COMMENT 'Where it was sent',
    page Bool COMMENT 'It was sent to wake a person',
    at DateTime64(6, 'UTC') COMMENT 'When it was delivered or given up',
    delivered Bool COMMENT 'true: the channel took it. false: given up',
    attempts Int64 COMMENT 'How often it was tried',
    title String COMMENT 'What was sent: the first line',
    text String COMMENT 'What was sent: the message',
    error Nullable(String) COMMENT 'What the channel last said, if it refused',
    stage LowCardinality(Nullable(String)) COMMENT 'Kind of the incident when it was sent: early_warning, outage, location_trouble or silence',
    log_epoch LowCardinality(String) COMMENT 'Epoch of the log that it was read from: <cluster id>/<topic id> of alerts.v1',
    log_partition Int64 COMMENT 'Partition of alerts.v1 that it was read from',
    log_offset Int64 COMMENT 'Offset of the message that it was read from, comparable only inside one epoch and partition',
    stored_at DateTime64(6, 'UTC') COMMENT 'When it was sent to the store: one instant for all rows of one insert'
)
AS SELECT
    incident_id,
    id,
    kind,
    number,
    channel,
    page,
    at,
    delivered,
    attempts,
    title,
    text,
    error,
    stage,
    log_epoch,
    log_partition,
    log_offset,
    stored_at
FROM alerts_log FINAL
COMMENT 'Alerts: one message to one channel was delivered, or given up. One row for each (incident_id, id): the row stored last';
