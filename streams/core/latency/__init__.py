"""Whether the latency of a lane has left its norm."""
