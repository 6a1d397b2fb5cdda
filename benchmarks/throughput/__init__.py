"""How many checks a second go from the topic into verdicts, rows and rollups, beside peers: see `__main__`."""
