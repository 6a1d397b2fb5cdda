"""The JSON Schemas of the topic `checks.v1` and an example of each message, as files for people and other tools."""
