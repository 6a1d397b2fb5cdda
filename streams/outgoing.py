"""What a worker published to a forgetful log and the store does not have yet: its outbox, kept on disk.

With Kafka there is none: a worker's outputs are acknowledged before its state is kept, and Kafka keeps them.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from producers import telemetry
from producers.away import Away
from producers.errors import TransientError
from producers.outbox import Outbox, OutboxMarks, OutboxRecord
from producers.outbox_open import write_atomically
from producers.settings import LogSettings
from streams.blocking import in_thread
from streams.group import OutMessage
from streams.settings import WorkerSettings

TRIM_S: Final = 10.0
"""How often the store is asked what it has: as often as states are kept and marks written. Sooner there is nothing new,
and later more than needed would be sent again to a new log."""

log_line = telemetry.logger(__name__)


class Outgoing:
    """The outbox of one worker, or none.

    Attributes:
        outbox: None with a log that keeps what it acknowledged.
        unsent: What this log does not have, because it is another one than at the last start; by number.
    """

    def __init__(
        self,
        outbox: Outbox | None = None,
        *,
        unsent: Sequence[tuple[int, OutMessage]] = (),
        marks: OutboxMarks | None = None,
        epoch_file: Path | None = None,
        epoch: str = "",
    ) -> None:
        self.outbox = outbox
        self.unsent = unsent
        self._marks = marks
        self._epoch_file = epoch_file
        self._epoch = epoch

    def sent_again(self) -> None:
        """Remember that this log has all of `unsent`; only after its acknowledgement."""
        self.unsent = ()
        if self._epoch_file is not None:
            write_atomically(self._epoch_file, self._epoch)

    async def trim_forever(self) -> None:
        """Drop from the outbox what the store has, until cancelled."""
        away = Away(log_line, "the store's marks cannot be read; the outbox grows", "the store's marks are read again")
        while self.outbox is not None and self._marks is not None:
            await asyncio.sleep(TRIM_S)
            try:
                await in_thread(self._trim)
            except TransientError as error:
                away.failed(error)
            else:
                away.worked()

    def _trim(self) -> None:
        if self.outbox is not None and self._marks is not None:
            self.outbox.trim(self._marks.stored_marks(self.outbox.id))


@contextlib.contextmanager
def open_outgoing(
    group: str, log: LogSettings, worker: WorkerSettings, *, epochs: Mapping[str, str], marks: OutboxMarks | None
) -> Iterator[Outgoing]:
    """Open the outbox of a forgetful log; owned by this process until the end of the block.

    Raises:
        OutboxLockedError: Another process owns it.
    """
    if not log.forgetful:
        yield Outgoing()
        return
    directory = worker.data_dir / "outbox" / group
    directory.mkdir(parents=True, exist_ok=True)
    # What is damaged is put aside and said: what it held is made again from the last snapshot.
    with Outbox(directory, outbox_id=group, max_bytes=worker.outbox_max_bytes, quarantine=True) as outbox:
        epoch_file = directory / "sent.epoch"
        epoch = "\n".join(f"{topic} {epochs[topic]}" for topic in sorted(epochs))
        known = epoch_file.read_text() if epoch_file.exists() else ""
        unsent = [] if known == epoch else [_again(record) for record in outbox.pending()]
        if unsent:
            log_line.info("publishing again what the new log does not have", group=group, messages=len(unsent))
        yield Outgoing(outbox, unsent=unsent, marks=marks, epoch_file=epoch_file, epoch=epoch)


def _again(record: OutboxRecord) -> tuple[int, OutMessage]:
    return record.seq, OutMessage(topic=record.topic, partition=record.partition, key=record.key, value=record.value)
