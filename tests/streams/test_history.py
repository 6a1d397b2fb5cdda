"""A warm start: what a detector knows after its state was lost, and that nothing of it is told or counted twice."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from producers import codec as checks_codec
from producers.contract import CheckBatch, CheckColumns, Outcome
from producers.errors import TransientError
from producers.topics import CHECKS
from streams import codec, state_group
from streams.contract import Verdict
from streams.detect import DetectGroup
from streams.group import Assigned, LogMessage, Place
from streams.history import learn, warm
from streams.local_state import LocalStateStore
from streams.policy import DetectPolicy
from tests.streams.log_ranges import Messages
from tests.streams.state_bench import TURNS
from tests.streams.timelines import INTERVAL, START, columns, detector, expectations, rows_of

PLACE = Place(CHECKS, 0)
POLICY = DetectPolicy(warm_up_checks=20)


@dataclass
class Kept:
    """Checks that are stored, as messages of a log: 20 ticks each; answers at the `answers`-th time."""

    lines: str
    answers: int = 1
    asked: list[tuple[str, int]] = field(default_factory=list)

    def pieces(self) -> list[CheckColumns]:
        """All of them."""
        ticks = rows_of({"ams": self.lines, "fra": self.lines})
        return [columns([row for rows in ticks[k : k + 20] for row in rows]) for k in range(0, len(ticks), 20)]

    def checks(self, partition: int, *, from_us: int, epoch: str, before: int) -> Iterator[CheckColumns]:
        """See History: a message is not in the log if its offset is before `before`."""
        assert partition == 0
        for offset, piece in enumerate(self.pieces()):
            if (epoch != "e" or offset < before) and int(piece.scheduled_at_us[0]) >= from_us:
                yield piece

    def count(self, partition: int, *, from_us: int, epoch: str, before: int) -> int:
        """See History."""
        self.asked.append((epoch, before))
        if len(self.asked) < self.answers:
            raise TransientError("the store is away")
        return sum(map(len, self.checks(partition, from_us=from_us, epoch=epoch, before=before)))


def test_a_detector_that_learned_goes_on_as_one_that_never_stopped() -> None:
    """The same baselines, and the same words about what comes then."""
    kept = Kept("H" * 100)
    never, warmed = detector(expectations("ams", "fra"), POLICY), detector(expectations("ams", "fra"), POLICY)
    for piece in kept.pieces():
        never.clock(int(piece.scheduled_at_us[0]))
        never.apply(piece)
    told = learn(warmed, kept.pieces())
    assert told is not None
    assert (told.checks, told.first_us, told.last_us) == (200, START, START + 99 * INTERVAL)
    assert warmed.baselines() == never.baselines() != {}
    slow = rows_of({"ams": "." * 100 + "S" * 10, "fra": "." * 100 + "S" * 10})[100:]
    outputs = [(one.apply(columns([row for rows in slow for row in rows]))) for one in (never, warmed)]
    assert [one.tick_us for one in outputs[0].deviations] == [one.tick_us for one in outputs[1].deviations] != []
    assert (outputs[1].late, outputs[1].redelivered) == (0, 0)


def test_nothing_stored_is_nothing_learned() -> None:
    """And says so."""
    empty = Kept("")
    assert warm(detector(), empty, PLACE, epoch="e", before_offset=0, now_us=START) is None


def test_what_the_log_brings_again_is_not_learned() -> None:
    """Of this epoch only what lies before the offset from which it is read; of others all."""
    now_us = START + 200 * INTERVAL
    here = warm(detector(), Kept("H" * 100), PLACE, epoch="e", before_offset=2, now_us=now_us)
    other = warm(detector(), Kept("H" * 100), PLACE, epoch="new", before_offset=0, now_us=now_us)
    assert here is not None
    assert other is not None
    assert (here.checks, other.checks) == (2 * 40, 200)


def test_of_too_many_checks_the_oldest_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that is looked at is halved until the rest is few enough."""
    monkeypatch.setattr("streams.history.MOST_CHECKS", 100)
    monkeypatch.setattr("streams.history.WARM_US", 128 * 20 * INTERVAL)
    monkeypatch.setattr("streams.history.LEAST_US", INTERVAL)
    told = warm(detector(), Kept("H" * 100), PLACE, epoch="", before_offset=0, now_us=START + 100 * INTERVAL)
    assert told is not None
    assert (told.checks, told.last_us) == (80, START + 99 * INTERVAL)


def group_of(directory: Path, kept: Kept) -> DetectGroup:
    """A detect group whose store and local copy are empty."""
    return DetectGroup(
        POLICY,
        expectations("ams", "fra"),
        partitions=1,
        store=LocalStateStore(directory / "store"),
        local=LocalStateStore(directory / "local"),
        log_range=Messages(),
        history=kept,
    )


def message_of(piece: CheckColumns, offset: int) -> list[LogMessage]:
    """The messages in which these checks lie in the log, one a location."""
    made = []
    for location in ("ams", "fra"):
        rows = [row for row in range(len(piece)) if piece.location[row] == location]
        batch = CheckBatch(
            v=1,
            producer=location,
            location=location,
            target=[piece.target[row] for row in rows],
            probe=[piece.probe[row] for row in rows],
            kind=[piece.kind[row] for row in rows],
            scheduled_at_us=[int(piece.scheduled_at_us[row]) for row in rows],
            started_at_us=[int(piece.started_at_us[row]) for row in rows],
            duration_us=[int(piece.duration_us[row]) for row in rows],
            outcome=[Outcome.SUCCESS for _ in rows],
            reason=[None for _ in rows],
            address=[None for _ in rows],
            http_status=[None for _ in rows],
        )
        made.append(
            LogMessage(
                epoch="e",
                topic=CHECKS,
                partition=0,
                offset=offset,
                timestamp_us=int(piece.scheduled_at_us[-1]),
                key=None,
                value=checks_codec.encode(batch),
            )
        )
    return made


def test_a_partition_without_a_snapshot_learns_before_it_reads_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the store away it waits; then it knows what is normal, and judges what comes without redeliveries."""
    monkeypatch.setattr(state_group, "RETRY_S", 0.01)
    kept = Kept("H" * 80 + "S" * 20, answers=3)
    group = group_of(tmp_path, kept)
    asyncio.run(group.assign([Assigned(place=PLACE, epoch="e", committed=4, end=5)]))
    assert kept.asked[-1] == ("e", 4)
    assert len(kept.asked) >= 3
    found = []
    for message in message_of(kept.pieces()[4], 4):
        found += [codec.decode(one.topic, one.value) for one in group.handle(message) if one.topic == "verdicts.v1"]
    verdicts = [one for one in found if isinstance(one, Verdict)]
    assert [one.verdict for one in verdicts if one.changed][-1] == "degraded"
    assert min(one.tick_us for one in verdicts) >= START + 80 * INTERVAL


def test_a_partition_with_a_snapshot_learns_nothing(tmp_path: Path) -> None:
    """Its state is what it was: the store is not asked."""
    kept = Kept("H" * 100)
    group = group_of(tmp_path, kept)
    asyncio.run(group.assign([Assigned(place=PLACE, epoch="e", committed=None, end=0)]))
    for message in message_of(kept.pieces()[0], 0):
        group.handle(message)
    cut = group.cut(next(TURNS))
    assert cut is not None
    asyncio.run(group.keep(cut))
    before = len(kept.asked)
    again = group_of(tmp_path, kept)
    asyncio.run(again.assign([Assigned(place=PLACE, epoch="e", committed=None, end=1)]))
    assert len(kept.asked) == before
