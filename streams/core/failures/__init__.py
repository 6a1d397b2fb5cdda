"""Whether checks fail, or targets go down, more often than by chance."""
