"""The JSON Schemas of the streams' topics and an example of each message, as files for people and other tools."""
