"""The embedded store: chDB behind ClickHouse's HTTP interface, in a process of its own."""
