"""Tests of `analytics/`, against the embedded store."""
