"""`forewarn tail`: what the topics say, a line each, until Ctrl-C."""

import itertools
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from forewarn.config.config import Part
from forewarn.event_lines import Message, Shown, matches, shown
from forewarn.log_reader import LogReader
from forewarn.output import print_line
from forewarn.places import find_log, load_if_there
from producers import topics

ALL: Final = "all"
TOPICS: Final = {
    "checks": topics.CHECKS,
    "deviations": topics.DEVIATIONS,
    "verdicts": topics.VERDICTS,
    "incidents": topics.INCIDENTS,
    "alerts": topics.ALERTS,
    "dead-letters": topics.DEAD_LETTERS,
}
_PARTS: Final[tuple[Part, ...]] = ("log",)
_POLL_S: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class TailOptions:
    """What to show, and until when.

    Attributes:
        topic: A key of TOPICS, or ALL.
        target: A glob; None shows everything.
        limit: Lines; None without end.
        seconds: None without end.
    """

    topic: str
    from_start: bool = False
    target: str | None = None
    limit: int | None = None
    seconds: float | None = None
    as_json: bool = False


def tail(config_file: Path, data_dir: Path, options: TailOptions) -> None:
    """Print messages as they come.

    Raises:
        ForewarnError: The log is away or refuses.
    """
    log = find_log(load_if_there(config_file, parts=_PARTS), data_dir)
    wanted = list(TOPICS.values()) if options.topic == ALL else [TOPICS[options.topic]]
    reader = LogReader(log, wanted, from_start=options.from_start)
    try:
        for one in itertools.islice(_shown(reader, options), options.limit):
            if options.as_json:
                sys.stdout.write(json.dumps(one.fields, ensure_ascii=False) + "\n")
            else:
                print_line(one.line)
            sys.stdout.flush()
    finally:
        reader.close()


def _shown(reader: LogReader, options: TailOptions) -> Iterator[Shown]:
    seen: set[tuple[str, int]] = set()
    for message in _messages(reader, options.seconds):
        for one in shown(message):
            if one.once in seen or not matches(one.target, options.target):
                continue
            if one.once is not None:
                seen.add(one.once)
            yield one


def _messages(reader: LogReader, seconds: float | None) -> Iterator[Message]:
    deadline_s = None if seconds is None else time.monotonic() + seconds
    while deadline_s is None or time.monotonic() < deadline_s:
        left_s = _POLL_S if deadline_s is None else max(0.0, min(_POLL_S, deadline_s - time.monotonic()))
        yield from reader.poll(timeout_s=left_s)
