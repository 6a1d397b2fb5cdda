"""How much time is left until something runs out."""
