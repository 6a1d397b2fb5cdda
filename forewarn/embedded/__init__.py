"""The one-machine mode's own broker and store."""
