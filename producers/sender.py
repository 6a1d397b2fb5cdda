"""From an outbox to the log, in order, over every outage. A thread of its own: kafka-python blocks.

A record of a partition is sent only after those before it. When something fails, the link is abandoned, and
everything not acknowledged is sent again from the oldest. A record that the log can never take (too large for it, a
partition that is not there) holds nobody up: its owner packs it anew, or it is set aside. When the broker itself
refuses, kafka-python fails all that is under way with the same error: so they are sent again one by one, and only what
is refused alone is meant.

A forgetful log that comes back is another log (epoch) and gets everything that the store does not have, from the
oldest. Its link is never mended quietly: that would put the newest records first, and the store's high-water
mark would then cover older ones that it never saw.
"""

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from producers import telemetry
from producers.away import Away
from producers.errors import ForewarnError, LogUnavailableError, RecordRefusedError, TransientError
from producers.link import Link
from producers.log import read_epochs
from producers.outbox import Outbox, OutboxMarks, OutboxRecord
from producers.outbox_segment import Place
from producers.settings import LogSettings

BACKOFF_S: Final = (0.2, 5.0)
STEADY_S: Final = 30.0
"""A connection that lasted so long was a good one, even if nothing was to be sent."""

WINDOW_RECORDS: Final = 256
LOOK_EVERY_S: Final = 15.0
"""A look costs the broker a connection and the store a question, however little is sent."""

TRIM_EVERY_S: Final = 1.0
STALLED_S: Final = 30.0
TELL_AGAIN_S: Final = 60.0
IDLE_S: Final = 0.25
BUSY_S: Final = 0.02

_log = telemetry.logger(__name__)


class _LinkSpentError(Exception):
    """The link can send nothing more, although the log is well."""


@dataclass(frozen=True, slots=True)
class _UnderWay:
    record: OutboxRecord
    sent_s: float
    future: Any


@dataclass(frozen=True, slots=True)
class Sent:
    """What a log has acknowledged, so that a process that starts anew does not send it to the same log once more.

    Attributes:
        epochs: Of the log, by topic.
        acknowledged: The last record of each (topic, partition).
    """

    epochs: Mapping[str, str]
    acknowledged: Mapping[Place, int]


class Sender:
    """Sends an outbox until it is stopped.

    Attributes:
        quiet_s: Monotonic time of the last acknowledgement, or at which nothing was left to acknowledge.
        trouble: What keeps it from sending, one line; None if nothing does.
        refused: What was set aside since the start: by seq, why the log does not take it.
    """

    def __init__(
        self,
        outbox: Outbox,
        settings: LogSettings,
        *,
        topics: Sequence[str],
        marks: OutboxMarks | None,
        sent: Sent | None = None,
        repack: Callable[[OutboxRecord], bool] | None = None,
    ) -> None:
        """Prepare.

        Args:
            outbox: What is sent.
            settings: Where to.
            topics: What is in the outbox; all must be there at the broker.
            marks: What the store has. Needed if the log is forgetful.
            sent: What an earlier process sent of the outbox; None: all of it is sent again, which does no harm.
            repack: Puts what a record holds that the log refuses into the outbox in other records; False if it cannot.

        Raises:
            ValueError: A forgetful log without marks.
        """
        if settings.forgetful and marks is None:
            raise ValueError("the outbox of a forgetful log is trimmed by the store's marks: none were given")
        self.quiet_s = time.monotonic()
        self.trouble: str | None = None
        self.refused: dict[int, str] = {}
        self._outbox = outbox
        self._settings = settings
        self._topics = tuple(topics)
        self._repack = repack
        self._marks = marks if settings.forgetful else None
        self._marks_away = Away(
            _log, "the store's marks cannot be read: the outbox grows", "the store's marks are read again"
        )
        self._epochs: dict[str, str] = {} if sent is None else dict(sent.epochs)
        self._acknowledged: dict[Place, int] = {} if sent is None else dict(sent.acknowledged)  # in this epoch
        self._under_way: deque[_UnderWay] = deque()
        self._cursor = 0  # every record up to here was handed to the link, or needs no sending
        self._settled = 0  # every record up to here is acknowledged in this epoch
        self._told = ("", float("-inf"))
        self._working = False  # has this link done anything?
        self._alone_through = 0  # records up to here are sent one by one: one of them was refused
        self._next_look_s = self._next_trim_s = 0.0
        self._asking: threading.Thread | None = None  # asks the store what is safe
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"sender {outbox.id}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def all_acknowledged(self) -> bool:
        """Whether the log has every record of the outbox."""
        return self._settled >= self._outbox.last_seq

    @property
    def sent(self) -> Sent:
        """What the log has acknowledged; as of its end once `stop` has returned."""
        return Sent(dict(self._epochs), dict(self._acknowledged))

    def stop(self, *, flush_s: float) -> bool:
        """End it, after at most `flush_s` seconds for what is not acknowledged yet. Blocks.

        Returns:
            Whether everything was acknowledged. What was not is in the outbox, for the next start.
        """
        deadline_s = time.monotonic() + flush_s
        while time.monotonic() < deadline_s and self._thread.is_alive() and not self.all_acknowledged:
            time.sleep(BUSY_S)
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout=1.0)
        return self.all_acknowledged

    def _run(self) -> None:
        backoff_s = BACKOFF_S[0]
        while not self._stop.is_set():
            begun_s, self._working = time.monotonic(), False
            try:
                link = Link(self._settings, self._topics)
                try:
                    self._begin(link)
                    self._pump(link)
                finally:
                    link.abandon()
                    self._settle_rest()
            except _LinkSpentError:
                pass
            except ForewarnError as error:
                self._tell(str(error))
            except Exception as error:  # noqa: BLE001 - nothing is acknowledged by this; the thread must live
                _log.exception("sending failed in an unforeseen way and is tried again", outbox=self._outbox.id)
                self._tell(f"{type(error).__name__}: {error}")
            # A connection that was made and did nothing is no success: it would be made for ever without a pause.
            if self._working or time.monotonic() - begun_s > STEADY_S:
                backoff_s = BACKOFF_S[0]
            self._stop.wait(backoff_s * random.uniform(0.7, 1.3))  # noqa: S311 - spreads reconnections
            backoff_s = min(backoff_s * 2, BACKOFF_S[1])

    def _begin(self, link: Link) -> None:
        if link.epochs != self._epochs:
            if self._epochs:
                _log.warning("the log is a new one: sending again what is not safe", outbox=self._outbox.id)
            self._epochs = link.epochs
            self._acknowledged = {}
            self._settled = self._alone_through = 0
        self._cursor = self._settled
        self._next_look_s = time.monotonic() + LOOK_EVERY_S

    def _works(self) -> None:
        """Something was acknowledged, or everything is."""
        self.quiet_s = time.monotonic()
        if self.trouble is not None:
            _log.info("sending to the log again", outbox=self._outbox.id, messages=self._outbox.records)
            self.trouble = None

    def _pump(self, link: Link) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            self._settle(link)
            self._hand_over(link)
            link.require_whole()
            self._require_progress()
            self._trim()
            self._look()
            if self._under_way:
                self._wake.wait(BUSY_S)
            else:
                self._works()
                self._outbox.wait(self._cursor, IDLE_S)

    def _hand_over(self, link: Link) -> None:
        room = self._room()
        if room <= 0:
            return
        last = self._outbox.last_seq  # before reading: what is not yielded up to here needs no sending
        taken = 0
        for record in islice(self._outbox.pending(self._cursor), room):
            taken += 1
            if record.seq > self._acknowledged.get((record.topic, record.partition), 0):
                future = link.send(record, self._outbox.header(record.seq), self._wake.set)
                self._under_way.append(_UnderWay(record, time.monotonic(), future))
            self._cursor = record.seq
        if taken < room:
            self._cursor = max(self._cursor, last)
        self._note_settled()

    def _room(self) -> int:
        if self._under_way and self._under_way[0].record.seq <= self._alone_through:
            return 0
        return (1 if self._cursor < self._alone_through else WINDOW_RECORDS) - len(self._under_way)

    def _settle(self, link: Link) -> None:
        """Take acknowledgements from the oldest on.

        Raises:
            LogUnavailableError, LogRefusedError: The oldest one failed, and not for its own sake.
            _LinkSpentError: It was refused for its own sake.
            TransientError: The outbox cannot be written.
        """
        while self._under_way and self._under_way[0].future.is_done:
            oldest = self._under_way[0]
            error = None if oldest.future.exception is None else link.error_of(oldest.future)
            if error is None:
                self._acknowledge(oldest.record)
            elif isinstance(error, RecordRefusedError):
                self._refuse(oldest, error)
            else:
                telemetry.PUBLISH_ERRORS.labels(self._outbox.id).inc()
                raise error
            self._under_way.popleft()
        self._note_settled()

    def _refuse(self, oldest: _UnderWay, error: RecordRefusedError) -> None:
        by_broker = oldest.future.exception is not error  # else it was not even sent, and the link is well
        if by_broker and oldest.record.seq > self._alone_through:
            self._alone_through = self._under_way[-1].record.seq
            raise _LinkSpentError
        self._pass_over(oldest.record, str(error))
        if by_broker:
            self._under_way.popleft()
            self._note_settled()
            raise _LinkSpentError

    def _pass_over(self, record: OutboxRecord, why: str) -> None:
        """The log can never take this record: what it holds goes on in others, or it is set aside."""
        if self._repack is None or not self._repack(record):
            self._outbox.set_aside(record, why)
            self.refused[record.seq] = why
        self._acknowledged[record.topic, record.partition] = record.seq
        self._working = True

    def _settle_rest(self) -> None:
        """The link has ended: of each partition, what was acknowledged need not be sent again."""
        behind_failure: set[Place] = set()
        for one in self._under_way:
            place = one.record.topic, one.record.partition
            if one.future.is_done and one.future.exception is None and place not in behind_failure:
                self._acknowledge(one.record)
            else:
                behind_failure.add(place)
        self._under_way.clear()

    def _acknowledge(self, record: OutboxRecord) -> None:
        self._acknowledged[record.topic, record.partition] = record.seq
        self._working = True
        self._works()
        telemetry.PUBLISHED.labels(self._outbox.id).inc()
        telemetry.LAST_ACKNOWLEDGED.labels(self._outbox.id).set_to_current_time()

    def _note_settled(self) -> None:
        self._settled = self._under_way[0].record.seq - 1 if self._under_way else self._cursor

    def _require_progress(self) -> None:
        if self._under_way and time.monotonic() - self._under_way[0].sent_s > STALLED_S:
            raise LogUnavailableError(f"the broker has not acknowledged a message for {STALLED_S:.0f} s")

    def _trim(self) -> None:
        """Kafka keeps what it acknowledged. A forgetful log does not: there only the store's marks count."""
        if self._marks is None and time.monotonic() >= self._next_trim_s:
            self._outbox.trim(self._acknowledged)
            self._next_trim_s = time.monotonic() + TRIM_EVERY_S

    def _look(self) -> None:
        """Every few seconds: is it still the same log, and what has the store?"""
        if time.monotonic() < self._next_look_s:
            return
        self._next_look_s = time.monotonic() + LOOK_EVERY_S
        if read_epochs(self._settings, self._topics) != self._epochs:
            raise LogUnavailableError("the log is another one than before")
        if self._marks is not None and (self._asking is None or not self._asking.is_alive()):
            # Beside the sending: a store that hangs takes minutes to fail, and checks must go on into the log.
            name = f"marks {self._outbox.id}"
            self._asking = threading.Thread(target=self._trim_by, args=(self._marks,), name=name, daemon=True)
            self._asking.start()

    def _trim_by(self, marks: OutboxMarks) -> None:
        try:
            stored = marks.stored_marks(self._outbox.id)
        except TransientError as error:
            self._marks_away.failed(error)
            return
        self._marks_away.worked()
        if not self._stop.is_set():  # else the outbox may have another owner by now
            self._outbox.trim(stored)

    def _tell(self, trouble: str) -> None:
        """Say what is wrong: once for each new trouble, then once a minute."""
        self.trouble = trouble
        text, said_s = self._told
        if trouble != text or time.monotonic() - said_s > TELL_AGAIN_S:
            self._told = (trouble, time.monotonic())
            _log.warning("not sent, kept on disk", trouble=trouble, messages=self._outbox.records)
