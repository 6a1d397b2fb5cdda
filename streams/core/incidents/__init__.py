"""From verdicts of all targets to incidents."""
