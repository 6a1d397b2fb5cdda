"""The demo: a small local shop that slows down and fails, and forewarn that warns before."""
