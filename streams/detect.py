"""The group *detect*: reads `checks`, publishes `deviations` and `verdicts`. A thin shell around the pure Detector."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict

from producers import codec as checks_codec
from producers import telemetry, topics
from producers.away import Away
from producers.contract import VERSION, CheckBatch, CheckColumns, ClockTick, ProducerHealth, ProducerStopped
from producers.errors import InvalidEvent, TransientError
from producers.settings import LogSettings
from streams import codec
from streams.blocking import in_thread
from streams.contract import History, StateStore, Verdict
from streams.core.detect import CODE, Detector
from streams.core.outputs import Outputs
from streams.core.snapshot import Frozen
from streams.core.sure import sure
from streams.dead_letters import dead_letter
from streams.group import Assigned, LogMessage, OutMessage, Place, Publish
from streams.history import Warmed, warm
from streams.keeper import Rules
from streams.kept_marks import KeptMarks, Marks
from streams.local_state import LocalStateStore
from streams.log_range import KafkaRange, LogRange
from streams.policy import DetectPolicy, Expectations
from streams.settings import WorkerSettings
from streams.starts import How, Start
from streams.state_group import LocalCopies, StateGroup
from streams.worker import run_worker

GROUP = "detect"

log_line = telemetry.logger(__name__)


def run(
    log: LogSettings,
    worker: WorkerSettings,
    *,
    policy: DetectPolicy,
    expectations: Expectations,
    store: StateStore,
    history: History | None,
    marks: Marks | None,
) -> None:
    """Run one detect worker until SIGTERM or SIGINT. Errors: see `streams.worker.run_worker`.

    Args:
        history: Where a partition whose state is lost learns from; None: it begins with nothing.
    """
    local = LocalStateStore(worker.data_dir / "snapshots")
    group = DetectGroup(
        policy,
        expectations,
        partitions=log.partitions,
        store=store,
        local=local,
        log_range=KafkaRange(log),
        history=history,
        marks=marks,
        skip_gaps=worker.skip_gaps,
    )
    run_worker(group, log, worker, marks=marks)


class DetectGroup(StateGroup):
    """One Detector a partition of `checks`, and the clock of the partitions that are ours."""

    def __init__(
        self,
        policy: DetectPolicy,
        expectations: Expectations,
        *,
        partitions: int,
        store: StateStore,
        local: LocalCopies,
        log_range: LogRange,
        history: History | None = None,
        marks: KeptMarks | None = None,
        skip_gaps: bool = False,
    ) -> None:
        def make(partition: int, _places: Sequence[Assigned], how: How) -> DetectPart:
            detector = Detector(policy, expectations, partition=partition, partitions=partitions)
            return DetectPart(detector, partition, how=how)

        rules = Rules(
            code=CODE,
            make=make,
            skip_gaps=skip_gaps,
            with_marks=marks is not None,
        )
        super().__init__(GROUP, (topics.CHECKS,), rules, store=store, local=local, log_range=log_range, marks=marks)
        self._slot_us = policy.slot_us
        self._history = history
        self._history_away = Away(log_line, "waiting for the store: baselines are learned from it", "the store is back")

    async def run(self, publish: Publish) -> None:
        """See StateGroup; and write a clock event into each partition of ours at each slot: silence is seen by it."""
        await asyncio.gather(super().run(publish), self._tell_time(publish))

    async def _tell_time(self, publish: Publish) -> None:
        while True:
            await asyncio.sleep(self._slot_us / 1e6 - time.time() % (self._slot_us / 1e6))
            at_us = time.time_ns() // 1000 // self._slot_us * self._slot_us
            for part in self.parts.values():
                assert isinstance(part, DetectPart)
                publish(part.tell_time(at_us))

    async def _warm(self, start: Start, ours: Sequence[Assigned]) -> bool:
        """Let an empty detector learn from what is stored of its partition."""
        (one,) = ours
        history, part = self._history, start.part
        assert isinstance(part, DetectPart)
        if history is None:
            return True
        before = start.included[one.place] + 1
        try:
            warmed = await in_thread(lambda: part.warm(history, one.place, epoch=one.epoch, before_offset=before))
        except TransientError as error:
            self._history_away.failed(error)
            return False
        self._history_away.worked()
        if warmed is not None:
            log_line.info("baselines are learned from the store", partition=one.place.partition, **asdict(warmed))
        return True


class DetectPart:
    """The Detector of one partition: messages in, messages out."""

    def __init__(self, detector: Detector, partition: int, *, how: How = How.ANEW) -> None:
        """Make one.

        Args:
            detector: Does the work.
            partition: Which one it is.
            how: It begins. Provisionally it must do without what is normal: only what is sure without that is
                published, in this log and in no later one, as all of it is judged again. And where there was a state
                once, what that one has taken in does not come again.
        """
        self._detector = detector
        self._partition = partition
        self._told_us = self._heard_us = 0  # the last clock event that was written, and the newest that was read
        self._provisional = how is How.PROVISIONAL
        self._misses_some = how in {How.PROVISIONAL, How.CHANGED, How.LOST}  # until the first message
        self._judged = telemetry.CHECKS_JUDGED.labels(str(partition))
        self._late = telemetry.CHECKS_LATE.labels(str(partition))
        self._redelivered = telemetry.CHECKS_REDELIVERED.labels(str(partition))

    def warm(self, history: History, place: Place, *, epoch: str, before_offset: int) -> Warmed | None:
        """Learn from stored checks; see `streams.history.warm`."""
        now_us = time.time_ns() // 1000
        return warm(self._detector, history, place, epoch=epoch, before_offset=before_offset, now_us=now_us)

    def tell_time(self, at_us: int) -> Sequence[OutMessage]:
        """Return the clock event that is to be written now.

        None before the last one was read: it waits for the broker, or behind a backlog. Others that wait with it would
        tell old times, and hide that the log stood still.
        """
        if self._heard_us < self._told_us:
            return ()
        self._told_us = at_us
        tick = ClockTick(v=VERSION, partition=self._partition, at_us=at_us)
        value = checks_codec.encode(tick)
        return (OutMessage(topic=topics.CHECKS, partition=self._partition, value=value, fleeting=True),)

    def handle(self, *messages: LogMessage) -> Sequence[OutMessage]:
        """Take in messages of `checks`; one that cannot be used becomes a dead letter."""
        found: list[OutMessage] = []
        batches: list[CheckColumns] = []  # that follow each other, to be judged together
        for message in messages:
            if message.offset == 0 or not self._detector.goes_on(message.timestamp_us):
                found += self._checks(batches)
            self._detector.logged(message.timestamp_us, first=message.offset == 0)
            if self._misses_some:
                self._detector.begin_late(message.timestamp_us)
                self._misses_some = False
            try:
                event = checks_codec.decode(message.value, log_timestamp_us=message.timestamp_us)
            except InvalidEvent as error:
                found.append(dead_letter(message, error, group=GROUP))
                continue
            match event:
                case CheckBatch():
                    batches.append(checks_codec.columns(event))
                case ClockTick():
                    self._heard_us = max(self._heard_us, event.at_us)
                    found += self._checks(batches)
                    found += self._told(self._detector.clock(event.at_us))
                case ProducerStopped():
                    found += self._checks(batches)
                    found += self._told(self._detector.stopped(event.location, event.at_us))
                case ProducerHealth():
                    pass  # the sink's
        return found + self._checks(batches)

    def _checks(self, batches: list[CheckColumns]) -> list[OutMessage]:
        """Judge these batches, and empty the list."""
        if not batches:
            return []
        outputs = self._detector.apply(*batches)
        self._judged.inc(sum(map(len, batches)) - outputs.late - outputs.redelivered)
        self._late.inc(outputs.late)
        self._redelivered.inc(outputs.redelivered)
        batches.clear()
        return self._told(outputs)

    def _told(self, outputs: Outputs) -> list[OutMessage]:
        return _messages(sure(outputs), fleeting=True) if self._provisional else _messages(outputs)

    def freeze(self) -> Frozen:
        """Return the whole state as it is now."""
        return self._detector.freeze()

    def restore(self, payload: bytes) -> None:
        """Replace the whole state; ValueError if it is not usable."""
        self._detector.restore(payload)


def _messages(outputs: Outputs, *, fleeting: bool = False) -> list[OutMessage]:
    found = [
        OutMessage(topic=topics.DEVIATIONS, value=codec.encode(one), key=one.target.encode(), fleeting=fleeting)
        for one in outputs.deviations
    ]
    for verdict in outputs.verdicts:
        key = verdict.target if isinstance(verdict, Verdict) else f"partition-{verdict.partition}"
        value = codec.encode(verdict)
        found.append(OutMessage(topic=topics.VERDICTS, value=value, key=key.encode(), fleeting=fleeting))
    return found
