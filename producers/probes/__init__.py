"""The probes: one file a kind, one signature. A failing target is a value, never an exception."""
