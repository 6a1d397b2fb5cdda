"""The pure core: state in, events in, new state and effects out. No clock, no I/O, no Faust."""
