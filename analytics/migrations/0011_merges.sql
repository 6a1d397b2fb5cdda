-- Checks are merged seldom: with the usual base of 5 merging costs the store more than inserting, and half of it goes
-- with 10 (docs/throughput.md). For that there are up to twice as many parts to read from.

ALTER TABLE checks_log MODIFY SETTING merge_selector_base = 10;
