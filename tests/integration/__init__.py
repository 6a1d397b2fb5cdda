"""The whole installation under test: the ordinary commands as processes, on each broker, with faults in the middle."""
