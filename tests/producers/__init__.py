"""Tests of `producers`."""
