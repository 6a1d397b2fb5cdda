"""Messages that the log refuses for good: out of the way of those after them, kept where a person sees them.

refused/
  00000000000000000017.message   what was to be sent, byte for byte
  00000000000000000017.json      where it was to go, and why the log does not take it
"""

import base64
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from producers import telemetry
from producers.outbox_open import write_atomically
from producers.outbox_segment import OutboxRecord, Place

DIRECTORY: Final = "refused"
MAX_BYTES: Final = 64 * 1024 * 1024
"""Above it the oldest go: a log that refuses everything must not fill the disk."""

_log = telemetry.logger(__name__)


class Aside:
    """What was set aside of one outbox.

    Attributes:
        places: Where each was to go, by seq; those that a person removed are in it until the process ends.
    """

    def __init__(self, directory: Path, outbox_id: str) -> None:
        self.places: dict[int, Place] = {}
        self._directory = directory / DIRECTORY
        self._outbox_id = outbox_id
        for path in sorted(self._directory.glob("*.json")):
            try:
                row = json.loads(path.read_text())
                self.places[int(path.stem)] = (str(row["topic"]), int(row["partition"]))
            except (OSError, ValueError, KeyError, TypeError) as error:
                # Then it is refused and set aside once more, that is all.
                _log.warning("a message that was set aside cannot be read", file=str(path), error=str(error))

    def unsafe(self, safe: Mapping[Place, int], *, first_seq: int) -> int:
        """Return how many of those from `first_seq` on lie above the safe marks."""
        return sum(seq >= first_seq and seq > safe.get(place, 0) for seq, place in self.places.items())

    def keep(self, record: OutboxRecord, why: str) -> int:
        """Put a record aside, said and counted.

        Returns:
            How many older ones had to go for it: LOST.

        Raises:
            OSError: The disk is full or fails.
        """
        self._directory.mkdir(mode=0o700, exist_ok=True)
        row = {
            "outbox": self._outbox_id,
            "topic": record.topic,
            "partition": record.partition,
            "key": None if record.key is None else base64.b64encode(record.key).decode(),
            "bytes": len(record.value),
            "refused_at_us": time.time_ns() // 1000,
            "why": why,
        }
        path = self._directory / f"{record.seq:020d}.json"
        write_atomically(path.with_suffix(".message"), record.value)
        write_atomically(path, json.dumps(row, indent=1))
        self.places[record.seq] = (record.topic, record.partition)
        telemetry.SPOOL_REFUSED.labels(self._outbox_id).inc()
        _log.error(
            "the log refuses a message for good: it is set aside, those after it go on",
            **{name: value for name, value in row.items() if name not in {"key", "refused_at_us"}},
            kept_as=str(path.with_suffix(".message")),
        )
        return self._drop_beyond_bound()

    def _drop_beyond_bound(self) -> int:
        sizes = {path: path.stat().st_size for path in sorted(self._directory.glob("*.message"))}
        total, lost = sum(sizes.values()), 0
        for path, size in list(sizes.items())[:-1]:
            if total <= MAX_BYTES:
                break
            path.unlink(missing_ok=True)
            path.with_suffix(".json").unlink(missing_ok=True)
            total -= size
            lost += 1
        if lost:
            _log.error("too much was set aside: the oldest messages are LOST", outbox=self._outbox_id, messages=lost)
        return lost
