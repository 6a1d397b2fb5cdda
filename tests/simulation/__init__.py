"""The protocols of detect and sink in a simulated world: log, store, disks and clocks that fail at every step."""
