"""Detection, measured: labelled sets of other people, faults injected into real noise, cost."""
