"""When the embedded broker has grown too large: it is restarted once all who read it are done with what it holds.

It keeps everything in memory and forgets nothing by itself, so a restart is the only way to make it small again. What
somebody is not done with would be published again from the outboxes: nothing is lost by a restart at any time, but the
work of publishing and judging it again is saved, and the new log would be as large as the old one where there is a
backlog.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import psutil
from kafka import KafkaConsumer, TopicPartition

from producers.errors import ForewarnError, LogUnavailableError
from producers.log_client import connect
from producers.settings import LogSettings
from producers.topics import ALL_TOPICS, CHECKS, VERDICTS

LIMIT_BYTES: Final = 256 * 1024 * 1024
"""Some days of fifty targets."""

LOOK_S: Final = 10.0
WAITS_TOO_LONG_S: Final = 600.0

BACKLOG: Final = 0.1
"""Part of the log: who is behind by more has a backlog, who is behind by less is as far as committing lets him."""

ROUNDS: Final = 3
"""So often what came meanwhile is waited for as well. Where checks come so quickly that nobody is ever behind by less,
the broker would grow for ever."""

POLL_MS: Final = 200
ENDS_WITHIN_S: Final = 10.0

READERS: Final = {"sink": ALL_TOPICS, "detect": (CHECKS,), "incidents": (VERDICTS,)}
"""What each group reads. It is done with what it has committed: stored, or part of the oldest kept state.

Not alerts: where nothing happens nothing comes any more, and the oldest of its three states stays as old as it is.
"""

Ends = Mapping[tuple[str, int], int]
"""The offset after the last message, by topic and partition."""


class Progress(NamedTuple):
    """Where the log ends, and how far each group is done with it: what it read is stored, or in a kept state."""

    ends: Ends
    done: Mapping[str, Ends]


@dataclass(slots=True)
class Growth:
    """Decides when to restart. Give it a look now and then; no I/O.

    Attributes:
        limit_bytes: From which size the broker is to be restarted.
        awaited: What the log held when it was found too large; None while it is small.
        behind: Who was not done with that at the last look.
        rounds: How often that was said anew, because somebody had a backlog.
        since_s: When it was found too large; None while it is small.
    """

    limit_bytes: int = LIMIT_BYTES
    awaited: Ends | None = None
    rounds: int = 0
    since_s: float | None = None
    said: bool = False
    behind: Sequence[str] = ()

    def judge(self, size_bytes: int, progress: Progress, now_s: float) -> bool:
        """Say whether to restart now: everybody is done with what the log held when it was found too large.

        No lag is zero for long while checks come, so what came since then does not count, unless it is a backlog.
        """
        if size_bytes < self.limit_bytes:
            self._begin()
            return False
        self._is_large(now_s)
        if self.awaited is None:
            self.awaited = progress.ends
        self.behind = _behind(progress.done, self.awaited, 0.0)
        if not self.behind and self.rounds < ROUNDS:
            self.behind = _behind(progress.done, progress.ends, BACKLOG)
            if self.behind:
                self.awaited, self.rounds = progress.ends, self.rounds + 1
        if not self.behind:
            self._begin()
        return not self.behind

    def unanswered(self, now_s: float) -> None:
        """It is too large, and did not say how far anybody is."""
        self._is_large(now_s)
        self.behind = ()

    def _is_large(self, now_s: float) -> None:
        if self.since_s is None:
            self.since_s = now_s

    def _begin(self) -> None:
        self.awaited, self.since_s, self.rounds, self.said = None, None, 0, False

    def complaint(self, size_bytes: int, now_s: float) -> str | None:
        """Return a line, once, if it has waited for long."""
        if self.since_s is None or self.said or now_s - self.since_s < WAITS_TOO_LONG_S:
            return None
        self.said = True
        why = " and ".join(self.behind) + " cannot keep up" if self.behind else "it does not say how far anybody is"
        return f"the broker has grown to {size_bytes // 2**20} MB and is not restarted: {why}"


def _behind(done: Mapping[str, Ends], ends: Ends, share: float) -> list[str]:
    """Return the groups that are not done with more than this part of the messages of their topics."""
    found = []
    for group, offsets in done.items():
        reads = {place: end for place, end in ends.items() if place in offsets}
        left = sum(max(0, end - offsets[place]) for place, end in reads.items())
        if left > share * sum(reads.values()):
            found.append(group)
    return found


class GrowthWatch:
    """Looks at the broker beside everything else: nobody waits for its answers."""

    def __init__(self, growth: Growth, settings: Callable[[], LogSettings]) -> None:
        self._growth = growth
        self._settings = settings
        self._next_s = 0.0
        self._thread: threading.Thread | None = None
        self._due = False

    def due(self, pid: int) -> tuple[bool, str | None]:
        """Return whether to restart the broker now, and a line for a person. Returns at once.

        Args:
            pid: Of the broker.
        """
        now_s = time.monotonic()
        if self._due:
            self._due = False
            return True, None
        if now_s < self._next_s or (self._thread is not None and self._thread.is_alive()):
            return False, None
        self._next_s = now_s + LOOK_S
        size_bytes = resident_bytes(pid)
        if size_bytes >= self._growth.limit_bytes:
            self._thread = threading.Thread(target=self._look, args=(size_bytes,), daemon=True)
            self._thread.start()
        return False, self._growth.complaint(size_bytes, now_s)

    def _look(self, size_bytes: int) -> None:
        try:
            progress = progress_of(self._settings())
        except ForewarnError:
            self._growth.unanswered(time.monotonic())  # the next look asks again
            return
        self._due = self._growth.judge(size_bytes, progress, time.monotonic())


def resident_bytes(pid: int) -> int:
    """Return how much memory a process holds; 0 if it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def progress_of(settings: LogSettings) -> Progress:
    """Ask the broker. Blocks for some seconds at most.

    Raises:
        LogUnavailableError: It does not answer, or does not say of each partition where it ends.
        LogRefusedError: See `producers.log_client.connect`.
    """
    ends: Ends = {}
    done = {}
    for group, topics in READERS.items():
        consumer = connect(
            KafkaConsumer, settings, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        try:
            places = [
                TopicPartition(topic, partition)
                for topic in topics
                for partition in sorted(consumer.partitions_for_topic(topic) or ())
            ]
            done[group] = {(*place,): int(consumer.committed(place) or 0) for place in places}
            ends = ends or _ends(consumer, places)  # the first one reads all topics
        finally:
            consumer.close(autocommit=False)
    return Progress(ends, done)


def _ends(consumer: KafkaConsumer, places: list[TopicPartition]) -> Ends:
    """Return the ends as fetches tell them: Tansu's ListOffsets counts the first message of the last batch only."""
    consumer.assign(places)
    for place, end in consumer.end_offsets(places).items():
        consumer.seek(place, max(0, end - 1))
    ends: dict[tuple[str, int], int] = {}
    deadline_s = time.monotonic() + ENDS_WITHIN_S
    while len(ends) < len(places) and time.monotonic() < deadline_s:
        consumer.poll(timeout_ms=POLL_MS)
        for place in places:
            end = consumer.highwater(place)
            if end is not None:
                ends[place.topic, place.partition] = int(end)
    if len(ends) < len(places):
        raise LogUnavailableError(f"the broker does not say where {len(places) - len(ends)} partitions end")
    return ends
