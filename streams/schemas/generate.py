"""Schemas from the structs of the contract, and the examples, as files.

The files are kept, so that a change of the wire shows in a diff, and a test holds them to the contract. Examples of
the version before stay beside them when the version rises: readers must go on reading those.
"""

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from streams.codec import Event, encode
from streams.contract import VERSION
from streams.schemas import messages

DIRECTORY: Final = Path(__file__).parent

EXAMPLES: Final[Mapping[str, Event]] = {
    "deviation": messages.DEVIATION,
    "verdict": messages.VERDICT,
    "summary": messages.SUMMARY,
    "incident": messages.INCIDENT,
    "alert": messages.ALERT,
    "action": messages.ACTION,
    "dead_letter": messages.DEAD_LETTER,
}


def files() -> Iterator[tuple[str, bytes]]:
    """Yield the path under this folder and the content of each file."""
    for name, message in EXAMPLES.items():
        yield f"{name}.v{VERSION}.schema.json", _pretty(_schema(type(message)))
        yield f"examples/{name}.v{VERSION}.json", _pretty(msgspec.json.decode(encode(message)))


def write_files() -> list[str]:
    """Write every file and return their paths."""
    names = []
    for name, content in files():
        path = DIRECTORY / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        names.append(str(path))
    return names


def _schema(struct: type[msgspec.Struct]) -> dict[str, Any]:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | msgspec.json.schema(struct)
    for definition in schema["$defs"].values():
        # Python 3.13 strips the indentation of docstrings, earlier ones do not.
        definition["description"] = inspect.cleandoc(definition["description"])
    return schema


def _pretty(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
