"""Messages that did not come: read again if the log has them, passed if it has not."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from producers.topics import VERDICTS
from streams import faust_internals, rereading
from streams import intake as intake_module
from streams.errors import MessagesSkippedError
from streams.group import Assigned, LogMessage, OutMessage, Place, Publish
from streams.intake import Intake
from streams.log_ends import first_from
from tests.streams.worker_process import TestLog, log_settings

PLACE = Place(VERDICTS, 0)
WRITTEN = 8
GENERATION = 3
DUE = 5


@dataclass
class Taking:
    """A group that only notes what it is handed."""

    included: int
    name: str = "taking"
    topics: tuple[str, ...] = (VERDICTS,)
    taken: list[int] = field(default_factory=list)
    calls: int = 0
    cuts: int = 0
    rest_s: float = 0.0
    was_cut: asyncio.Event = field(default_factory=asyncio.Event)

    async def assign(self, places: Sequence[Assigned]) -> Mapping[Place, int]:
        """Begin behind what is included."""
        return {one.place: self.included for one in places}

    def handle(self, *messages: LogMessage) -> Sequence[OutMessage]:
        """Note them."""
        self.taken += [message.offset for message in messages]
        self.calls += 1
        return ()

    def troubles(self) -> Sequence[str]:
        """None."""
        return ()

    def crowded(self) -> bool:
        """Never."""
        return False

    def due(self) -> bool:
        """From five messages on."""
        return len(self.taken) >= DUE

    def revoke(self) -> None:
        """Nothing to forget."""

    def hurry(self) -> None:
        """Nothing is put off."""

    def cut(self, turn: int) -> None:  # noqa: ARG002 - the protocol
        """Nothing to keep."""
        self.cuts += 1
        self.was_cut.set()

    async def keep(self, cut: None) -> Mapping[Place, int]:
        """Nothing is kept."""
        del cut
        return {}

    async def run(self, publish: Publish) -> None:
        """Nothing runs beside it."""


def event(offset: int, *, generation: int = GENERATION, value: bytes = b"{}") -> Any:
    """Return a message as Faust hands it over."""
    return SimpleNamespace(
        message=SimpleNamespace(
            topic=VERDICTS,
            partition=0,
            offset=offset,
            timestamp=1.0,
            key=None,
            value=value,
            headers=(),
            generation_id=generation,
        )
    )


def unexpected(error: BaseException) -> None:
    """Fail the test."""
    raise AssertionError(error)


def reading(log: TestLog, group: Taking, fail: Callable[[BaseException], None] = unexpected) -> Intake:
    """Return an intake that has loaded the place, as of the third assignment; Faust is not needed to hand it events."""

    async def acknowledged(_sequence: int) -> None:
        """At once."""

    sender: Any = SimpleNamespace(full=False, put=lambda _: None, sequence=0, acknowledged=acknowledged)
    app: Any = SimpleNamespace(consumer_generation_id=GENERATION)
    intake = Intake(group, app, sender, log=log_settings(log.bootstrap), current_epochs=dict, fail=fail)
    intake._epochs = {VERDICTS: "log"}
    intake._flow.loaded([Assigned(place=PLACE, epoch="log", committed=None, end=WRITTEN)], {PLACE: group.included})
    intake._ready.set()
    return intake


async def test_what_the_client_skipped_is_read_again_and_not_passed_over(
    log: TestLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has what lies between: the client goes back to it, and what came too early is let go."""
    gone_back: list[int] = []

    async def read_from(_app: object, _place: object, offset: int) -> None:
        gone_back.append(offset)

    monkeypatch.setattr(faust_internals, "read_from", read_from)
    log.write(VERDICTS, [b"{}"] * WRITTEN)
    group = Taking(included=2)
    intake = reading(log, group)
    for offset in (3, 6, 7):
        await intake.take(event(offset))
    intake._hand_over()
    await asyncio.sleep(0)
    assert (group.taken, gone_back) == ([3], [4])
    for offset in (4, 5, 6, 7):
        await intake.take(event(offset))
    intake._hand_over()
    assert group.taken == [3, 4, 5, 6, 7]
    intake.forget()


async def test_a_way_back_that_fails_ends_the_worker(log: TestLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the place would wait for what never comes, and nobody would hear of it."""
    failed: list[BaseException] = []

    async def read_from(_app: object, _place: object, _offset: int) -> None:
        raise RuntimeError("the client is gone")

    monkeypatch.setattr(faust_internals, "read_from", read_from)
    log.write(VERDICTS, [b"{}"] * WRITTEN)
    await reading(log, Taking(included=2), fail=failed.append).take(event(6))
    await asyncio.sleep(0.01)
    assert [str(one) for one in failed] == ["the client is gone"]


async def test_what_follows_closely_is_handed_over_together(log: TestLog) -> None:
    """Within a hundredth of a second, or when it is much; what is held when the places are lost is let go."""
    log.write(VERDICTS, [b"{}"] * WRITTEN)
    group = Taking(included=2)
    intake = reading(log, group)
    for offset in (3, 4, 4, 3, 5):
        await intake.take(event(offset))
    assert group.calls == 0
    await asyncio.sleep(2 * intake_module.GATHER_S)  # the loop's earlier timer is first, however late both are
    assert (group.taken, group.calls) == ([3, 4, 5], 1)
    await intake.take(event(6, value=b" " * intake_module.HELD_BYTES))
    assert (group.taken, group.calls) == ([3, 4, 5, 6], 2)
    await intake.take(event(7))
    intake.forget()
    intake._hand_over()
    assert group.calls == 2


async def test_where_much_waits_it_is_kept_at_once(log: TestLog) -> None:
    """Not at its time, which is far; and where little waits it is not."""
    log.write(VERDICTS, [b"{}"] * WRITTEN)
    group = Taking(included=2)
    intake = reading(log, group)
    saving = asyncio.create_task(intake.save_forever(1000.0))
    for offset in range(3, 2 + DUE):
        await intake.take(event(offset))
    await asyncio.sleep(2 * intake_module.GATHER_S)
    assert (len(group.taken), group.cuts) == (DUE - 1, 0)
    await intake.take(event(2 + DUE))
    await asyncio.wait_for(group.was_cut.wait(), 10.0)
    assert (len(group.taken), group.cuts) == (DUE, 1)
    saving.cancel()


async def test_what_does_not_come_however_often_it_is_asked_for_ends_the_worker(
    log: TestLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 75: a new start reads from the committed offset. Nothing is taken in past the gap before that."""
    failed: list[BaseException] = []

    async def read_from(_app: object, _place: object, _offset: int) -> None:
        """Go nowhere."""

    monkeypatch.setattr(faust_internals, "read_from", read_from)
    monkeypatch.setattr(rereading, "PAUSE_S", 0.0)
    log.write(VERDICTS, [b"{}"] * WRITTEN)
    group = Taking(included=2)
    intake = reading(log, group, fail=failed.append)
    await intake.take(event(6))
    for _ in range(10 * rereading.ATTEMPTS):
        await asyncio.sleep(0)
    assert [str(one) for one in failed] == [f"{PLACE}: 3 and what follows did not come: starting again"]
    assert isinstance(failed[0], MessagesSkippedError)
    assert group.taken == []


async def test_a_gap_of_an_assignment_that_is_over_ends_nothing(log: TestLog) -> None:
    """What was read before a rebalance comes again; it is let go, whatever lies before it."""
    log.write(VERDICTS, [b"{}"] * WRITTEN)
    group = Taking(included=2)
    await reading(log, group).take(event(6, generation=GENERATION - 1))
    assert group.taken == []


async def test_what_the_log_does_not_have_is_passed(log: TestLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka has deleted what lies between, as the first message that it still has shows: the worker goes on."""
    monkeypatch.setattr(intake_module, "first_from", the_sixth)
    group = Taking(included=2)
    intake = reading(log, group)
    await intake.take(event(6))
    intake._hand_over()
    assert group.taken == [6]


async def the_sixth(*_: object) -> int:
    """Say that the log begins with message 6; the embedded broker deletes nothing, so it cannot show that."""
    return 6


async def test_the_first_message_from_an_offset_on_is_what_the_log_has(log: TestLog) -> None:
    """Asked of the broker itself, in the middle of a batch too."""
    log.write(VERDICTS, [b"{}"] * WRITTEN)
    settings = log_settings(log.bootstrap)
    assert [await first_from(settings, PLACE, offset) for offset in (0, 4, WRITTEN - 1)] == [0, 4, WRITTEN - 1]
