"""Recorded checks through the core, without broker or store."""
