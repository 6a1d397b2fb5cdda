"""Where alerts go: one file a kind of channel, one signature."""
