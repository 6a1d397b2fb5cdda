"""Schemas from the structs of the contract, and the examples, as files.

The files are kept, so that a change of the wire shows in a diff, and a test holds them to the contract. Examples of
the version before stay beside them when the version rises: readers must go on reading those.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from producers.schemas.files import pretty, schema_of
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
        yield f"{name}.v{VERSION}.schema.json", pretty(schema_of(type(message)))
        yield f"examples/{name}.v{VERSION}.json", pretty(msgspec.json.decode(encode(message)))
