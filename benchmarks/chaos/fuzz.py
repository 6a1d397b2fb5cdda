"""Messages that are nearly right: valid examples of every topic, damaged by chance; each a row or a dead letter.

They are handed to the very groups that read the topics, and what the sink makes of them goes into a real store.
"""

import asyncio
import json
import logging
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import structlog

import producers.schemas
import streams.schemas
from analytics.migrate import migrate
from analytics.settings import StoreSettings
from analytics.sink import Sink
from benchmarks.chaos.run import Result
from forewarn.embedded.store_process import StoreProcess
from producers.contract import DEAD_LETTER_REASONS, MAX_MESSAGE_BYTES
from producers.errors import InvalidEvent
from producers.topics import ACTIONS, ALERTS, CHECKS, DEAD_LETTERS, DEVIATIONS, INCIDENTS, VERDICTS
from streams import codec
from streams.alerts import AlertsPart
from streams.contract import DeadLetter
from streams.core.detect import Detector
from streams.core.incidents.incidents import Incidents
from streams.detect import DetectPart
from streams.group import LogMessage, OutMessage
from streams.incidents import IncidentsPart
from streams.policy import AlertPolicy, DetectPolicy, Expectations, IncidentPolicy
from streams.starts import Part

TURNS: Final = count(1)
"""Of saving; see `Group.cut`."""

JUNK: Final[Sequence[Any]] = (
    *(None, True, False, 0, 1, -1, 1.5, -0.0, 499, 500, 2**31, 2**53, 2**62, 2**63, 2**64, 10**30, -(2**63)),
    *(1e308, 5e-324, "", "0", "success", "missed", "a/b", "/", "x" * 501, "é\u0000\n", "\ud800", "𝛚"),
    *([], {}, [None], [[]], {"a": 1}, [1] * 501, {"rows": [0], "values": [1.0]}, {"rows": [9], "values": ["t"]}),
)
"""What stands where something else should."""

RAW: Final = (b"NaN", b"-Infinity", b"1e999", b"1e-999", b'"\\ud800"', b"[" * 3000, b"00", b"\xff", b"")
"""The same as bytes, for what the json module does not write."""

INSTANT_FROM: Final = 10**15
"""Whole numbers from here on in the examples are instants."""

STORE_EVERY: Final = 2_000
ATTEMPTS: Final = 6
_TOPIC_OF: Final[Mapping[str, str]] = {
    "deviation": DEVIATIONS,
    "verdict": VERDICTS,
    "summary": VERDICTS,
    "incident": INCIDENTS,
    "alert": ALERTS,
    "action": ACTIONS,
    "dead_letter": DEAD_LETTERS,
}


def examples() -> list[tuple[str, Any]]:
    """Return (topic, message) of every example that the contracts publish."""
    files = [
        path
        for package in (producers.schemas, streams.schemas)
        for path in sorted((Path(package.__path__[0]) / "examples").glob("*.json"))
    ]
    return [(_TOPIC_OF.get(path.name.partition(".")[0], CHECKS), json.loads(path.read_text())) for path in files]


def damaged(seed: int, count: int, *, now_us: int) -> Iterator[tuple[str, bytes]]:
    """Yield (topic, value): one in five is a whole example, the others are damaged once or more.

    Args:
        seed: The same seed, the same messages but for their instants.
        count: How many.
        now_us: The examples' newest instant becomes this one, less a second for each message, over an hour.
    """
    chance = random.Random(seed)
    known = examples()
    for number in range(count):
        topic, example = chance.choice(known)
        message = _moved(example, now_us - _newest(example) - number % 3600 * 1_000_000)
        for _ in range(chance.choice((0, 0, 1, 1, 1, 1, 1, 1, 2, 4))):
            message = _damage(message, chance)
        value = json.dumps(message).encode()
        yield topic, _damage_bytes(value, chance) if chance.random() < 0.2 else value


def _newest(value: Any) -> int:
    if isinstance(value, dict | list):
        members = value.values() if isinstance(value, dict) else value
        return max(map(_newest, members), default=0)
    return value if isinstance(value, int) and value >= INSTANT_FROM else 0


def _moved(value: Any, by_us: int) -> Any:
    if isinstance(value, dict):
        return {name: _moved(member, by_us) for name, member in value.items()}
    if isinstance(value, list):
        return [_moved(member, by_us) for member in value]
    return value + by_us if isinstance(value, int) and value >= INSTANT_FROM else value


def _damage(value: Any, chance: random.Random) -> Any:
    """Return the value with one place in it changed, lost, doubled or replaced by junk."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        name = chance.choice(list(value))
        rest = {key: member for key, member in value.items() if key != name}
        match chance.randrange(6):
            case 0:
                return rest
            case 1:
                return {**rest, f"{name}x": value[name]}
            case 2:
                return {**value, name: value[chance.choice(list(value))]}
            case _:
                return {**value, name: _damage(value[name], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        place = chance.randrange(len(value))
        match chance.randrange(5):
            case 0:
                return [*value[:place], *value[place + 1 :]]
            case 1:
                return [*value, value[place]]
            case _:
                return [*value[:place], _damage(value[place], chance), *value[place + 1 :]]
    if isinstance(value, int) and not isinstance(value, bool) and chance.random() < 0.3:
        return value + chance.choice((-1, 1, 10**6, -(10**6), 10**9, -(10**12), 10**12, 10**15))
    return chance.choice(JUNK)


def _damage_bytes(value: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(value) + 1)
    match chance.randrange(6):
        case 0:
            return value[:place]
        case 1:
            return value[:place] + bytes([chance.randrange(256)]) + value[place + 1 :]
        case 2:
            return value[:place] + chance.randbytes(chance.randrange(1, 20)) + value[place:]
        case 3:
            colon = value.find(b":", place) + 1
            comma = value.find(b",", colon)
            return value[:colon] + chance.choice(RAW) + value[comma:] if 0 < colon < comma else chance.choice(RAW)
        case 4:
            return value + value
        case _:
            return value + b" " * (MAX_MESSAGE_BYTES if chance.random() < 0.02 else 1)


class Readers:
    """The groups that read each topic, without a broker.

    Attributes:
        ended: How many messages ended how: `row`, `clock event`, or the reason of a dead letter.
        wrong: A line for each one that ended otherwise.
    """

    def __init__(self, store: StoreSettings) -> None:
        self.ended: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._sink = Sink(store, with_marks=False)
        expectations = Expectations()
        detector = Detector(DetectPolicy(), expectations, partition=0)
        incidents = Incidents(IncidentPolicy(), expectations, partitions=1, settle_ticks=5)
        alerts = AlertsPart(AlertPolicy(), partitions=1)
        self._parts: dict[str, Part] = {
            CHECKS: DetectPart(detector, 0),
            VERDICTS: IncidentsPart(incidents),
            **dict.fromkeys((INCIDENTS, ACTIONS, ALERTS), alerts),
        }

    def take(self, number: int, topic: str, value: bytes) -> None:
        """Hand one message to all who read it."""
        message = LogMessage(
            epoch=f"fuzz/{topic}",
            topic=topic,
            partition=0,
            offset=number,
            timestamp_us=time.time_ns() // 1000,
            key=None,
            value=value,
        )
        try:
            outputs = list(self._sink.handle(message))
            if topic in self._parts:
                outputs += self._parts[topic].handle(message)
        except Exception as error:  # noqa: BLE001 - that is what must not happen, and it is told
            self._say(message, f"raises {type(error).__name__}: {error}")
            return
        self._note(message, outputs)

    def _note(self, message: LogMessage, outputs: Sequence[OutMessage]) -> None:
        reasons = set()
        for output in outputs:
            try:
                event = codec.decode(output.topic, output.value)
            except InvalidEvent as error:
                self._say(message, f"causes what nobody can read, {output.value[:200]!r}: {error}")
                return
            if isinstance(event, DeadLetter):
                reasons.add(event.reason)
        if not reasons:
            self.ended["clock event" if b'"clock"' in message.value else "row"] += 1
        elif len(reasons) == 1 and reasons <= set(DEAD_LETTER_REASONS):
            self.ended[reasons.pop()] += 1
        else:
            self._say(message, f"ends with the reasons {sorted(reasons)}")

    def _say(self, message: LogMessage, what: str) -> None:
        self.wrong.append(f"{message} {what}: {message.value[:600]!r}")

    def store(self) -> None:
        """Store the rows so far, each proved by its key. A store that is only slow is asked again, as the sink does."""
        for _ in range(ATTEMPTS):
            cut = self._sink.cut(next(TURNS))
            if cut is None or asyncio.run(self._sink.keep(cut)):
                return
        self.wrong.append(f"the store does not take what {self.ended['row']} messages became")


def fuzz(seed: int, count: int, directory: Path) -> Result:
    """Hand so many messages to the groups, and store in a store of their own what becomes rows."""
    store = StoreProcess(directory / "store")
    store.start()
    try:
        migrate(store.settings)
        with unsaid():
            readers = through_the_readers(seed, count, store.settings)
    finally:
        store.stop()
    missing = count - readers.ended.total()
    wrong = {
        "each message a row or a dead letter": readers.wrong,
        "every message ended": [f"{missing} did not"] if missing else [],
    }
    return Result(wrong=wrong, counts={"messages": count, **dict(sorted(readers.ended.items()))})


@contextmanager
def unsaid() -> Iterator[None]:
    """Say nothing of each message that cannot be used for the time of the block."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.reset_defaults()


def through_the_readers(seed: int, count: int, store: StoreSettings) -> Readers:
    """Hand so many messages to the groups, and store what becomes rows."""
    readers = Readers(store)
    for number, (topic, value) in enumerate(damaged(seed, count, now_us=time.time_ns() // 1000)):
        readers.take(number, topic, value)
        if number % STORE_EVERY == STORE_EVERY - 1:
            readers.store()
    readers.store()
    return readers
