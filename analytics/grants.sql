-- Roles for a ClickHouse server in production; the embedded store has one user and does not run this file.
-- Run it once, by an administrator, after `forewarn migrate`:  clickhouse-client --multiquery < analytics/grants.sql
-- Then give a role to each account:  GRANT forewarn_analyst TO nora;
-- With another database than `forewarn`, replace its name here.

-- Runs `forewarn migrate`: creates and extends the schema, and keeps the record of it.
CREATE ROLE IF NOT EXISTS forewarn_migrator;
GRANT SHOW, SELECT, INSERT, CREATE DATABASE, CREATE TABLE, CREATE VIEW, ALTER, DROP TABLE ON forewarn.* TO forewarn_migrator;

-- The processes: sink, workers' snapshots, marks of outboxes. Never changes the schema, never deletes.
CREATE ROLE IF NOT EXISTS forewarn_writer;
GRANT SELECT, INSERT ON forewarn.* TO forewarn_writer;

-- People who ask: every table and view but the workers' own state. Views run with the asker's rights, so the tables
-- under them are granted too. Alerts and actions name people on call.
CREATE ROLE IF NOT EXISTS forewarn_analyst;
GRANT SELECT ON forewarn.* TO forewarn_analyst;
REVOKE SELECT ON forewarn.snapshots FROM forewarn_analyst;
REVOKE SELECT ON forewarn.snapshots_log FROM forewarn_analyst;
REVOKE SELECT ON forewarn.outbox_marks FROM forewarn_analyst;
REVOKE SELECT ON forewarn.outbox_marks_log FROM forewarn_analyst;

-- A question of an analyst has an end, and writes nothing.
CREATE SETTINGS PROFILE IF NOT EXISTS forewarn_analyst
    SETTINGS readonly = 2, max_execution_time = 60 MIN 1 MAX 600, max_memory_usage = 4000000000 MAX 16000000000
    TO forewarn_analyst;
