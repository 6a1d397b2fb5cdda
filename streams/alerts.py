"""The group *alerts*: reads `incidents`, `actions` and `alerts`, sends what is due, publishes a record of each.

All three topics have one partition, and the assignor gives all of them to one worker; others stand by.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from producers import topics
from producers.errors import InvalidEvent
from producers.settings import LogSettings
from streams import codec
from streams.channels.message import Sending
from streams.channels.opening import open_channel
from streams.contract import Action, Alert, Incident, StateStore
from streams.core.alerting.alerting import CODE, Alerting, Due
from streams.core.snapshot import Frozen
from streams.dead_letters import dead_letter
from streams.delivery import Delivery
from streams.errors import WorkerFailedError
from streams.group import Assigned, LogMessage, OutMessage, Place, Publish
from streams.keeper import Rules
from streams.kept_marks import KeptMarks, Marks
from streams.local_state import LocalStateStore
from streams.log_range import KafkaRange, LogRange
from streams.policy import AlertPolicy, Channel
from streams.settings import WorkerSettings
from streams.state_group import LocalCopies, StateGroup
from streams.worker import run_worker

GROUP: Final = "alerts"
TOPICS: Final = (topics.INCIDENTS, topics.ACTIONS, topics.ALERTS)


def run(
    log: LogSettings,
    worker: WorkerSettings,
    *,
    alerts: AlertPolicy,
    store: StateStore,
    marks: Marks | None,
) -> None:
    """Run one alerts worker until SIGTERM or SIGINT. Errors: see `streams.worker.run_worker`."""
    local = LocalStateStore(worker.data_dir / "snapshots")
    group = AlertsGroup(
        alerts,
        partitions=log.partitions,
        store=store,
        local=local,
        log_range=KafkaRange(log),
        marks=marks,
        skip_gaps=worker.skip_gaps,
    )
    run_worker(group, log, worker, marks=marks)


class AlertsPart:
    """The fold: messages in, nothing out. What is sent is the delivery's, see AlertsGroup."""

    def __init__(self, policy: AlertPolicy, *, partitions: int) -> None:
        self.alerting = Alerting(policy, partitions=partitions)

    def handle(self, *messages: LogMessage) -> Sequence[OutMessage]:
        """Take in messages; one that cannot be used becomes a dead letter."""
        return [out for message in messages for out in self._handle(message)]

    def _handle(self, message: LogMessage) -> Sequence[OutMessage]:
        try:
            event = codec.decode(message.topic, message.value)
        except InvalidEvent as error:
            return [dead_letter(message, error, group=GROUP)]
        match event:
            case Incident():
                self.alerting.incident(event, logged_us=message.timestamp_us)
            case Action():
                self.alerting.action(event)
            case Alert():
                self.alerting.alert(event)
            case _:
                raise AssertionError(f"{message} is not of this group")
        return []

    def freeze(self) -> Frozen:
        """Return the whole state as it is now."""
        return self.alerting.freeze()

    def restore(self, payload: bytes) -> None:
        """Replace the whole state; ValueError if it is not usable."""
        self.alerting.restore(payload)


class AlertsGroup(StateGroup):
    """Sends nothing before all that was in the log at the assignment is read: what was sent must be known first."""

    def __init__(
        self,
        policy: AlertPolicy,
        *,
        partitions: int,
        store: StateStore,
        local: LocalCopies,
        log_range: LogRange,
        marks: KeptMarks | None = None,
        skip_gaps: bool = False,
    ) -> None:
        def make(*_: object) -> AlertsPart:
            return AlertsPart(policy, partitions=partitions)

        rules = Rules(code=CODE, make=make, from_log=True, skip_gaps=skip_gaps, with_marks=marks is not None)
        super().__init__(GROUP, TOPICS, rules, store=store, local=local, log_range=log_range, marks=marks)
        self._policy = policy
        self._sending: dict[str, Sending] = {one.name: open_channel(one) for one in policy.channels}
        self._behind: dict[Place, int] = {}
        self._active: Alerting | None = None

    async def assign(self, places: Sequence[Assigned]) -> Mapping[Place, int]:
        """See Group."""
        if places and {one.place.topic for one in places} != set(TOPICS):
            raise WorkerFailedError(f"{GROUP}: this worker was given only {[str(one.place) for one in places]}")
        positions = await super().assign(places)
        self._behind = {one.place: one.end - 1 for one in places if positions.get(one.place, -1) < one.end - 1}
        self._start_if_caught_up()
        return positions

    def handle(self, *messages: LogMessage) -> Sequence[OutMessage]:
        """See Group."""
        outputs = super().handle(*messages)
        last = messages[-1]
        if last.offset >= self._behind.get(last.place, last.offset + 1):
            del self._behind[last.place]
            self._start_if_caught_up()
        return outputs

    def revoke(self) -> None:
        """See Group. Nothing more is sent."""
        super().revoke()
        self._active = None

    def _start_if_caught_up(self) -> None:
        part = self.parts.get(0)
        if not self._behind and isinstance(part, AlertsPart):
            part.alerting.caught_up()
            self._active = part.alerting

    async def run(self, publish: Publish) -> None:
        """Send to every channel, each in a task of its own, until cancelled."""

        def record(alert: Alert) -> None:
            message = OutMessage(topic=topics.ALERTS, value=codec.encode(alert), key=alert.incident_id.encode())
            publish([message])

        deliveries = [
            Delivery(channel, self._sending[channel.name], self._policy, due_now=self._due_now, record=record)
            for channel in self._policy.channels
        ]
        await asyncio.gather(super().run(publish), *(delivery.run() for delivery in deliveries))

    def _due_now(self, channel: Channel, now_us: int) -> Sequence[Due]:
        return () if self._active is None else self._active.due(channel, now_us)
