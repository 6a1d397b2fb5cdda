"""How schemas and examples are written as files, here and in `streams/schemas`."""

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec


def write_files(directory: Path, files: Iterable[tuple[str, bytes]]) -> list[str]:
    """Write every file and return their paths.

    Args:
        directory: Where they belong.
        files: Path under it and content of each.
    """
    names = []
    for name, content in files:
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        names.append(str(path))
    return names


def schema_of(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the JSON Schema of a message, the same one whatever Python runs."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | msgspec.json.schema(struct)
    for definition in schema["$defs"].values():
        # Python 3.13 strips the indentation of docstrings, earlier ones do not.
        definition["description"] = inspect.cleandoc(definition["description"])
    return schema


def pretty(value: Any) -> bytes:
    """Return a value as JSON for people."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
