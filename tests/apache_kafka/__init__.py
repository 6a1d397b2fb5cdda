"""Apache Kafka for the tests: fetched by artifact, started on loopback, once plain and once with SASL and TLS."""
