"""Whether a named metric has left its norm."""
