"""The group *incidents*: reads `verdicts`, alone publishes `incidents`. A thin shell around the pure Incidents."""

import asyncio
import time
from collections.abc import Sequence

from producers import telemetry, topics
from producers.errors import InvalidEvent
from producers.settings import LogSettings
from streams import codec
from streams.contract import Incident, StateStore, TickSummary, Verdict
from streams.core.incidents.incidents import CODE, Incidents
from streams.core.snapshot import Frozen
from streams.dead_letters import dead_letter
from streams.group import LogMessage, OutMessage, Publish
from streams.keeper import Rules
from streams.kept_marks import Marks
from streams.local_state import LocalStateStore
from streams.log_range import KafkaRange
from streams.policy import Expectations, IncidentPolicy
from streams.settings import WorkerSettings
from streams.state_group import StateGroup
from streams.worker import run_worker

GROUP = "incidents"
LOOK_S = 10.0
KINDS = ("early_warning", "outage", "location_trouble", "silence")


def run(
    log: LogSettings,
    worker: WorkerSettings,
    *,
    policy: IncidentPolicy,
    settle_ticks: int,
    expectations: Expectations,
    store: StateStore,
    marks: Marks | None,
) -> None:
    """Run one incidents worker until SIGTERM or SIGINT. Errors: see `streams.worker.run_worker`.

    Args:
        settle_ticks: Of the DetectPolicy: no threshold of `policy` may count further than detection publishes.
    """

    def make(*_: object) -> IncidentsPart:
        return IncidentsPart(Incidents(policy, expectations, partitions=log.partitions, settle_ticks=settle_ticks))

    local = LocalStateStore(worker.data_dir / "snapshots")
    rules = Rules(code=CODE, make=make, from_log=True, skip_gaps=worker.skip_gaps, with_marks=marks is not None)
    group = IncidentsGroup(
        GROUP, (topics.VERDICTS,), rules, store=store, local=local, log_range=KafkaRange(log), marks=marks
    )
    run_worker(group, log, worker, marks=marks)


class IncidentsGroup(StateGroup):
    """Also looks at the clock: whether what is judged is of now."""

    async def run(self, publish: Publish) -> None:
        """See StateGroup."""
        await asyncio.gather(super().run(publish), self._look(publish))

    async def _look(self, publish: Publish) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self.look(publish, time.time_ns() // 1000)

    def look(self, publish: Publish, now_us: int) -> None:
        """Look once, and publish what is to be said."""
        for number, part in self.parts.items():
            assert isinstance(part, IncidentsPart)
            outputs = part.clock(now_us)
            if outputs:
                self.touch(number)
                publish(outputs)


class IncidentsPart:
    """All incidents of the installation: verdicts in, incidents out."""

    def __init__(self, incidents: Incidents) -> None:
        self._incidents = incidents

    def handle(self, *messages: LogMessage) -> Sequence[OutMessage]:
        """Take in messages of `verdicts`; one that cannot be used becomes a dead letter."""
        return [out for message in messages for out in self._handle(message)]

    def _handle(self, message: LogMessage) -> Sequence[OutMessage]:
        told = self._incidents.logged(message.timestamp_us, first=message.offset == 0)
        try:
            event = codec.decode(message.topic, message.value)
        except InvalidEvent as error:
            return [*self._told(told), dead_letter(message, error, group=GROUP)]
        assert isinstance(event, Verdict | TickSummary)
        return self._told([*told, *self._incidents.apply(event)])

    def clock(self, now_us: int) -> Sequence[OutMessage]:
        """Say what time it is; see `Incidents.clock`."""
        return self._told(self._incidents.clock(now_us))

    def _told(self, steps: Sequence[Incident]) -> Sequence[OutMessage]:
        if steps:
            self._export_open()
        return [
            OutMessage(topic=topics.INCIDENTS, value=codec.encode(one), key=one.incident_id.encode()) for one in steps
        ]

    def _export_open(self) -> None:
        open_now = self._incidents.open()
        for kind in KINDS:
            telemetry.INCIDENTS_OPEN.labels(kind).set(sum(one.kind == kind for one in open_now))

    def freeze(self) -> Frozen:
        """Return the whole state as it is now."""
        return self._incidents.freeze()

    def restore(self, payload: bytes) -> None:
        """Replace the whole state; ValueError if it is not usable."""
        self._incidents.restore(payload)
        self._export_open()
