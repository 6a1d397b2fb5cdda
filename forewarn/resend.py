"""Dead letters are sent again: to the topic, partition and key that they came from, through an outbox.

What was taken is on disk before it is sent, and is sent until the log acknowledges it. With a log that forgets it stays
in the outbox until every reader has kept it, which takes minutes: nobody waits for that, but each new log is given it
(`send_to_new_log`). Recorded as sent again is only what was acknowledged: who is interrupted before that finds the
letter open and sends it once more, which replaces itself. What no log or reader can ever take is not even put into the
outbox; what the log refuses all the same is set aside there, and its letter stays open.
"""

import base64
import binascii
import contextlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from kafka import KafkaConsumer, TopicPartition

from analytics.insert import Inserter
from analytics.marks import ClickHouseMarks
from analytics.session import Session
from analytics.settings import StoreSettings
from analytics.tables import DEAD_LETTER_REPLAYS
from forewarn.errors import CommandError, ExitCode
from forewarn.places import RESENT_DIRECTORY
from forewarn.versions import person
from producers.contract import MAX_MESSAGE_BYTES
from producers.errors import OutboxLockedError
from producers.log import partitions_of, read_epochs
from producers.log_client import connect
from producers.outbox import Outbox
from producers.outbox_open import write_atomically
from producers.sender import Sender, Sent
from producers.settings import LogSettings
from producers.topics import ALL_TOPICS
from streams.contract import payload_checksum

OUTBOX_ID: Final = "dead-letters"
NO_BOUND: Final = 1 << 50
"""Of the outbox: at a bound the oldest would be dropped, and these were chosen one by one."""

ACKNOWLEDGED_S: Final = 60.0
NEW_LOG_S: Final = 20.0
"""How long a start waits for a new log to take what earlier calls left."""

POLL_S: Final = 0.1
FETCH_S: Final = 10.0


class UnsendableError(CommandError):
    """One letter cannot be sent; others can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A dead letter as the store has it.

    Attributes:
        payload: The beginning of the message; `payload_bytes` is its whole size.
        replays: How often it was sent again already.
    """

    id: str
    topic: str
    epoch: str
    partition: int
    offset: int
    reason: str
    key: bytes | None
    payload: bytes
    payload_bytes: int
    replays: int

    def __str__(self) -> str:
        return f"{self.id} ({self.topic}[{self.partition}]@{self.offset})"


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is to be sent for a letter."""

    letter: Letter
    value: bytes
    edited: bool = field(default=False, kw_only=True)


def letter_of(row: dict[str, Any]) -> Letter:
    """Return a row of the view `dead_letters`.

    Raises:
        CommandError: What it holds cannot be read.
    """
    try:
        payload = base64.b64decode(row["payload"], validate=True)
        key = None if row["source_key"] is None else base64.b64decode(row["source_key"], validate=True)
    except binascii.Error as error:
        raise CommandError(f"the dead letter {row['id']} holds no base64: give its message with --edit") from error
    return Letter(
        id=row["id"],
        topic=row["source_topic"],
        epoch=row["source_epoch"],
        partition=row["source_partition"],
        offset=row["source_offset"],
        reason=row["reason"],
        key=key,
        payload=payload,
        payload_bytes=row["payload_bytes"],
        replays=row["replays"],
    )


def chosen_of(letter: Letter, log: LogSettings, *, edit: bytes | None = None) -> Chosen:
    """Return what is to be sent for a letter: its message, or `edit` instead.

    Of a large message the letter has the beginning: the log is asked for it.

    Raises:
        UnsendableError: No log can take it, or the log does not have it any more.
        LogUnavailableError, LogRefusedError: The log is away, or says no.
    """
    size = letter.payload_bytes if edit is None else len(edit)
    if size > MAX_MESSAGE_BYTES:
        raise UnsendableError(
            f"the dead letter {letter} has {size:,} bytes, at most {MAX_MESSAGE_BYTES:,} are read: give a smaller one"
            " with --edit"
        )
    partitions = partitions_of(letter.topic, log)
    if letter.partition >= partitions:
        raise UnsendableError(f"the dead letter {letter} is of a partition that is not there: there are {partitions}")
    if edit is not None:
        return Chosen(letter, edit, edited=True)
    return Chosen(letter, letter.payload if len(letter.payload) == size else _from_log(letter, log))


def _from_log(letter: Letter, log: LogSettings) -> bytes:
    gone = UnsendableError(
        f"the dead letter {letter} holds {len(letter.payload):,} of {letter.payload_bytes:,} bytes, and the log has the"
        " message no more: give it with --edit"
    )
    if read_epochs(log, [letter.topic])[letter.topic] != letter.epoch:
        raise gone
    place = TopicPartition(letter.topic, letter.partition)
    consumer = connect(
        KafkaConsumer, log, group_id=None, enable_auto_commit=False, max_poll_records=1, auto_offset_reset="none"
    )
    with contextlib.closing(consumer):
        consumer.assign([place])
        if not consumer.beginning_offsets([place])[place] <= letter.offset:
            raise gone
        consumer.seek(place, letter.offset)
        records = consumer.poll(timeout_ms=int(FETCH_S * 1000), max_records=1).get(place, [])
    if not records or records[0].offset != letter.offset or len(records[0].value or b"") != letter.payload_bytes:
        raise gone
    value: bytes = records[0].value
    return value


class Resender:
    """Sends dead letters again, out of an outbox of its own. One at a time on a data directory; see `open_resender`."""

    def __init__(self, outbox: Outbox, directory: Path, log: LogSettings, store: StoreSettings) -> None:
        self._outbox = outbox
        self._sent_file = directory / "sent.json"
        self._store = store
        self._marks = ClickHouseMarks(store) if log.forgetful else None
        self._log = log
        self._sender: Sender | None = None

    def unsent(self) -> int:
        """Return how many messages of earlier calls no log has acknowledged."""
        acknowledged = self._sent_before().acknowledged
        records = self._outbox.pending()
        return sum(one.seq > acknowledged.get((one.topic, one.partition), 0) for one in records)

    def start(self, topics: Iterable[str]) -> None:
        """Begin to send what this log does not have, and what comes; to these topics.

        Raises:
            StoreUnavailableError: The store is away.
        """
        self._trim()
        wanted = {*topics, *(record.topic for record in self._outbox.pending())}
        if not wanted:
            return
        # Of a log that forgets all epochs are looked at: a call with other topics must find the same ones.
        names = sorted(wanted) if self._marks is None else ALL_TOPICS
        self._sender = Sender(self._outbox, self._log, topics=names, marks=self._marks, sent=self._sent_before())
        self._sender.start()

    def _sent_before(self) -> Sent:
        try:
            epochs, rows = json.loads(self._sent_file.read_text())
            return Sent(dict(epochs), {(topic, partition): seq for topic, partition, seq in rows})
        except (FileNotFoundError, ValueError, TypeError):
            return Sent({}, {})  # then it is sent once more, and replaces itself

    def _trim(self) -> None:
        if self._marks is not None and self._outbox.records:
            self._outbox.trim(self._marks.stored_marks(self._outbox.id))

    def send(self, chosen: Sequence[Chosen]) -> dict[str, str]:
        """Send them, and record each letter as sent again when the log has acknowledged it.

        Returns:
            Of those that the log refuses for good, by the letter's id, why. They are set aside, and stay open.

        Raises:
            CommandError: The log did not acknowledge in time. What was taken stays in the outbox.
            StoreUnavailableError, StoreRefusedError: The store is away or says no: sent, but not recorded.
        """
        seqs = self._outbox.append_many(
            (one.letter.topic, one.letter.partition, one.letter.key, one.value) for one in chosen
        )
        self._require_acknowledged(ACKNOWLEDGED_S)
        refused = {} if self._sender is None else self._sender.refused
        self._record([one for one, seq in zip(chosen, seqs, strict=True) if seq not in refused])
        return {one.letter.id: refused[seq] for one, seq in zip(chosen, seqs, strict=True) if seq in refused}

    @property
    def set_aside(self) -> int:
        """How many messages the log has refused for good since `start`, those of earlier calls too."""
        return self._outbox.refused

    def finish(self, *, within_s: float = ACKNOWLEDGED_S) -> None:
        """Return when the log has all of it. What a log that forgets may lose stays here until its readers have it.

        Raises:
            CommandError: The log did not acknowledge in time.
            StoreUnavailableError: The store is away.
        """
        self._require_acknowledged(within_s)
        if self._marks is None:
            self._outbox.trim({(one.topic, one.partition): one.seq for one in self._outbox.pending()})
        self._trim()

    def close(self) -> None:
        """End sending. What is not safe stays in the outbox."""
        if self._sender is not None:
            self._sender.stop(flush_s=0)
            sent = self._sender.sent
            rows = [[topic, partition, seq] for (topic, partition), seq in sent.acknowledged.items()]
            write_atomically(self._sent_file, json.dumps([dict(sent.epochs), rows]))
        if self._marks is not None:
            self._marks.close()

    def _require_acknowledged(self, within_s: float) -> None:
        deadline_s = time.monotonic() + within_s
        while self._sender is not None and not self._sender.all_acknowledged:
            if time.monotonic() > deadline_s:
                raise CommandError(
                    f"the log has not acknowledged in {within_s:.0f} s: {self._sender.trouble or 'it is slow'};"
                    f" {self._outbox.records} messages wait, and the next `forewarn dead-letters replay` sends them",
                    ExitCode.UNREACHABLE,
                )
            time.sleep(POLL_S)

    def _record(self, chosen: Sequence[Chosen]) -> None:
        if not chosen:
            return
        now_us = time.time_ns() // 1000
        rows = [
            {
                "dead_letter_id": one.letter.id,
                "replayed_at": now_us,
                "person": person(),
                "edited": one.edited,
                "payload_bytes": len(one.value),
                "checksum": payload_checksum(one.value),
            }
            for one in chosen
        ]
        session = Session(self._store)
        try:
            Inserter(session).insert(DEAD_LETTER_REPLAYS, pa.Table.from_pylist(rows, schema=DEAD_LETTER_REPLAYS.schema))
        finally:
            session.close()


@contextlib.contextmanager
def open_resender(data_dir: Path, log: LogSettings, store: StoreSettings) -> Iterator[Resender]:
    """Own the outbox in a data directory for the time of the block.

    Raises:
        OutboxLockedError: Another `forewarn dead-letters replay` runs there.
    """
    directory = data_dir / RESENT_DIRECTORY
    with Outbox(directory, outbox_id=OUTBOX_ID, max_bytes=NO_BOUND, quarantine=True) as outbox:
        resender = Resender(outbox, directory, log, store)
        try:
            yield resender
        finally:
            resender.close()


def send_to_new_log(data_dir: Path, log: LogSettings, store: StoreSettings) -> str | None:
    """Give a log that forgets what it lost of earlier calls; `migrate` does it, which runs wherever such a log begins.

    Returns:
        What a person should know of it, one line; None: all went well. A start does not depend on dead letters.

    Raises:
        StoreUnavailableError: The store is away.
    """
    try:
        with open_resender(data_dir, log, store) as resender:
            resender.start(())
            try:
                resender.finish(within_s=NEW_LOG_S)
            finally:
                refused = resender.set_aside
    except OutboxLockedError:
        return None  # whoever owns it now sends it, too: its sender sees the new log
    except CommandError as error:
        return str(error)
    if not refused:
        return None
    return f"{refused} messages that were sent again are refused for good: see {data_dir / RESENT_DIRECTORY}/refused"
