"""The short form of `benchmarks.chaos`, and that its evidence finds what it should."""
