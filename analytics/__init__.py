"""The store: schema, sink, SLA calculus and reports."""
