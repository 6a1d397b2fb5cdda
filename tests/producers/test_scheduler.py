"""Ticks: each of them one check, whatever slow targets, full slots and clocks do."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.clock import LoopLag
from producers.contract import FAR_FUTURE_US, VERSION, Check, CheckBatch, MissedReason, Outcome
from producers.errors import TransientError
from producers.scheduler import Scheduler
from producers.settings import Probe, Target, TcpOptions
from producers.ticks import (
    MAX_BACKLOG_US,
    Ledger,
    Series,
    missed_while_stopped,
    series_at,
    tick_offset_us,
)

SECOND_US = 1_000_000
INTERVAL_US = 100_000


class StepClock:
    """The machine's clock, with a wall clock that can be set."""

    def __init__(self) -> None:
        self.stepped_us = 0

    def now_us(self) -> int:
        """See Clock."""
        return time.time_ns() // 1000 + self.stepped_us

    def monotonic_s(self) -> float:
        """See Clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See Clock."""
        await asyncio.sleep(min(seconds, 0.02))  # a step is noticed at once


def target(name: str, *, interval_us: int = INTERVAL_US, timeout_us: int = 80_000) -> Target:
    """Return a target with one probe at paris."""
    probe = Probe(
        name="tcp",
        kind="tcp",
        interval_us=interval_us,
        timeout_us=timeout_us,
        locations=("paris",),
        options=TcpOptions(host="127.0.0.1", port=1),
    )
    return Target(id=f"main/{name}", probes=(probe,))


@dataclass
class Run:
    """What a scheduler did."""

    clock: StepClock
    ledger: Ledger
    checks: list[Check] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    took_s: Callable[[str], float] = field(default=lambda _: 0.0)
    raises: dict[str, Exception] = field(default_factory=dict)

    async def probe(
        self, target: Target, probe: Probe, *, location: str, scheduled_at_us: int, deadline_s: float
    ) -> Check:
        """Take as long as `took_s` says, at most the deadline."""
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        started_at_us, began_s = self.clock.now_us(), time.monotonic()
        try:
            await asyncio.sleep(min(self.took_s(target.id), deadline_s))
        finally:
            self.running -= 1
        if target.id in self.raises:
            raise self.raises[target.id]
        return Check(
            target=target.id,
            probe=probe.name,
            kind=probe.kind,
            location=location,
            scheduled_at_us=scheduled_at_us,
            started_at_us=started_at_us,
            duration_us=round((time.monotonic() - began_s) * 1e6),
            outcome=Outcome.SUCCESS,
        )

    def emit(self, check: Check) -> None:
        """Keep it, and note it as the publisher does."""
        self.checks.append(check)
        self.ledger.note(batch(check.target, check.scheduled_at_us))

    async def until(self, enough: Callable[[], bool]) -> None:
        """Wait until it has happened, generously."""
        async with asyncio.timeout(15):
            while not enough():  # noqa: ASYNC110 - looked at from outside, no event of the scheduler's own
                await asyncio.sleep(0.01)

    def of(self, name: str) -> list[Check]:
        """Return the checks of a target."""
        return [check for check in self.checks if check.target == f"main/{name}"]

    def assert_each_tick_once(self) -> None:
        """No tick twice; none left out between the first and the last of a series."""
        for name in {check.target for check in self.checks}:
            ticks = [check.scheduled_at_us for check in self.checks if check.target == name]
            assert ticks == list(range(ticks[0], ticks[-1] + 1, INTERVAL_US)), name


def batch(name: str, *ticks: int) -> CheckBatch:
    """Return a batch of missed ticks of one series."""
    count = len(ticks)
    return CheckBatch(
        v=VERSION,
        producer="paris",
        location="paris",
        target=[name] * count,
        probe=["tcp"] * count,
        kind=["tcp"] * count,
        scheduled_at_us=list(ticks),
        started_at_us=list(ticks),
        duration_us=[None] * count,
        outcome=[Outcome.MISSED] * count,
        reason=[None] * count,
        address=[None] * count,
        http_status=[None] * count,
    )


@asynccontextmanager
async def running(
    *targets: Target, concurrency: int = 100, run: Run | None = None, lag: LoopLag | None = None
) -> AsyncIterator[Run]:
    """Run a scheduler over the targets for the time of the block."""
    run = Run(clock=StepClock(), ledger=Ledger()) if run is None else run
    lag = LoopLag() if lag is None else lag
    scheduler = Scheduler(
        series_at("paris", targets),
        location="paris",
        concurrency=concurrency,
        run_probe=run.probe,
        emit=run.emit,
        ledger=run.ledger,
        clock=run.clock,
        lag=lag,
    )
    tasks = [asyncio.create_task(scheduler.run()), asyncio.create_task(lag.measure())]
    try:
        yield run
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_ticks_lie_on_the_grid_and_follow_each_other_without_a_gap() -> None:
    """Ticks are k * interval + offset, each once, from the wall clock: nothing drifts."""
    async with running(target("a"), target("b")) as run:
        await run.until(lambda: len(run.of("a")) >= 8 and len(run.of("b")) >= 8)
    run.assert_each_tick_once()
    for name in ("a", "b"):
        offset_us = tick_offset_us(f"main/{name}", "tcp", INTERVAL_US)
        assert {check.scheduled_at_us % INTERVAL_US for check in run.of(name)} == {offset_us}
        assert all(check.started_at_us >= check.scheduled_at_us for check in run.of(name))


async def test_one_slow_target_delays_no_other() -> None:
    """The slow one uses its whole timeout at every tick; the others' checks begin at their ticks."""
    async with running(target("slow"), *(target(f"t{number}") for number in range(5))) as run:
        run.took_s = lambda name: 10.0 if name == "main/slow" else 0.0
        await run.until(lambda: len(run.of("slow")) >= 4)
    run.assert_each_tick_once()
    for number in range(5):
        outcomes = Counter(check.outcome for check in run.of(f"t{number}"))
        assert outcomes[Outcome.SUCCESS] >= 3
        assert outcomes[Outcome.MISSED] == 0


async def test_never_more_checks_under_way_than_slots_and_what_finds_none_is_missed() -> None:
    """Two slots and eight slow targets: the rest of the ticks are missed for overload, none is silent."""
    targets = [target(f"t{number}") for number in range(8)]
    async with running(*targets, concurrency=2) as run:
        run.took_s = lambda _: 0.07
        await run.until(lambda: Counter(check.reason for check in run.checks)[MissedReason.OVERLOAD] >= 5)
    assert run.most_running <= 2
    run.assert_each_tick_once()
    missed = [check for check in run.checks if check.outcome is Outcome.MISSED]
    assert {check.reason for check in missed} == {MissedReason.OVERLOAD}
    assert all(check.duration_us is None for check in missed)


async def test_a_location_without_network_misses_its_ticks() -> None:
    """Nothing is known of the target: not a failure."""
    async with running(target("a")) as run:
        run.raises["main/a"] = TransientError("no route at all")
        await run.until(lambda: len(run.checks) >= 2)
    assert {(check.outcome, check.reason) for check in run.checks} == {(Outcome.MISSED, MissedReason.NO_NETWORK)}
    assert run.checks[0].detail == "no route at all"


async def test_a_defective_probe_does_not_end_the_others() -> None:
    """Its ticks are missed with a reason of their own; the others go on."""
    async with running(target("bad"), target("good")) as run:
        run.raises["main/bad"] = ZeroDivisionError("a bug")
        await run.until(lambda: sum(check.outcome is Outcome.SUCCESS for check in run.of("good")) >= 3)
        await run.until(lambda: len(run.of("bad")) >= 3)
    assert MissedReason.PROBE_ERROR in {check.reason for check in run.of("bad")}
    assert Outcome.SUCCESS not in {check.outcome for check in run.of("bad")}


async def test_ticks_at_or_below_the_ledgers_last_one_are_never_run_again() -> None:
    """A restart within one interval does not run its tick twice."""
    one = target("a")
    (series,) = series_at("paris", [one])
    run = Run(clock=StepClock(), ledger=Ledger())
    last_us = series.tick_after(run.clock.now_us()) + INTERVAL_US  # as if it had run two ticks ahead already
    run.ledger.note(batch("main/a", last_us))
    async with running(one, run=run):
        await run.until(lambda: len(run.checks) >= 2)
    assert run.checks[0].scheduled_at_us == last_us + INTERVAL_US


async def test_a_clock_that_goes_back_a_little_runs_no_tick_twice_and_goes_on() -> None:
    """It waits for the first tick that was not run yet."""
    async with running(target("a")) as run:
        await run.until(lambda: len(run.checks) >= 3)
        run.clock.stepped_us -= 350_000
        before = len(run.checks)
        await run.until(lambda: len(run.checks) >= before + 3)
    run.assert_each_tick_once()
    assert all(check.outcome is Outcome.SUCCESS for check in run.checks)


async def test_a_clock_that_goes_forward_has_missed_the_ticks_in_between() -> None:
    """Two seconds are twenty ticks: reported as missed, then it goes on."""
    async with running(target("a")) as run:
        await run.until(lambda: len(run.checks) >= 2)
        run.clock.stepped_us += 2 * SECOND_US
        await run.until(lambda: len(run.checks) >= 25)
    run.assert_each_tick_once()
    missed = [check for check in run.checks if check.outcome is Outcome.MISSED]
    assert {check.reason for check in missed} == {MissedReason.STOPPED}
    assert 18 <= len(missed) <= 21


async def test_a_clock_that_comes_back_from_the_far_future_does_not_stop_the_watch() -> None:
    """What was scheduled so far ahead no reader has accepted: ticks begin anew instead of waiting for years."""
    run = Run(clock=StepClock(), ledger=Ledger())
    run.clock.stepped_us = 10 * FAR_FUTURE_US
    async with running(target("a"), run=run):
        await run.until(lambda: len(run.checks) >= 2)
        run.clock.stepped_us = 0
        before = len(run.checks)
        await run.until(lambda: len(run.checks) >= before + 4)
    after = [check.scheduled_at_us for check in run.checks[before + 1 :]]
    assert all(tick_us <= time.time_ns() // 1000 for tick_us in after)
    assert len(set(after)) == len(after)
    assert run.ledger.last(("main/a", "tcp")) == after[-1]


async def test_a_jump_of_years_reports_one_day_and_goes_on() -> None:
    """The backlog is bounded."""
    slow = target("a", interval_us=60 * SECOND_US)
    (series,) = series_at("paris", [slow])
    run = Run(clock=StepClock(), ledger=Ledger())
    run.ledger.note(batch("main/a", series.tick_at_or_before(run.clock.now_us() - 400 * MAX_BACKLOG_US)))
    async with running(slow, run=run):
        await run.until(lambda: any(check.outcome is Outcome.SUCCESS for check in run.checks))
    assert len(run.checks) == MAX_BACKLOG_US // (60 * SECOND_US) or len(run.checks) == 24 * 60 + 1


async def test_a_check_during_which_the_event_loop_stood_still_is_disturbed() -> None:
    """Its times say little of the target; the checks before and after it are not touched by that."""
    lag = LoopLag()
    async with running(target("a"), lag=lag) as run:
        run.took_s = lambda _: 0.05
        await run.until(lambda: len(run.checks) >= 2)
        await run.until(lambda: run.running == 1)
        time.sleep(0.12)  # noqa: ASYNC251 - the point
        before = len(run.checks)
        await run.until(lambda: len(run.checks) > before)
        assert run.checks[before].disturbed
        assert lag.take_largest_us() > 50_000


async def test_a_loop_that_stands_still_right_after_a_check_began_is_seen() -> None:
    """Also where nothing was under way before, so that it was measured now and then only."""
    lag = LoopLag()
    measuring = asyncio.create_task(lag.measure())
    await asyncio.sleep(0.05)
    began_s = time.monotonic()
    with lag.watching():
        time.sleep(0.12)  # noqa: ASYNC251 - the point
        await asyncio.sleep(0.001)
        assert lag.disturbs(began_s)
    measuring.cancel()


def test_the_lag_of_a_loop_that_never_lagged_disturbs_nothing() -> None:
    """A fresh measurement knows no lag."""
    lag = LoopLag()
    assert not lag.disturbs(time.monotonic())
    assert lag.take_largest_us() == 0


@given(
    name=st.text(min_size=1, max_size=20),
    interval_us=st.integers(min_value=1000, max_value=86_400 * SECOND_US),
    at_us=st.integers(min_value=10**15, max_value=2 * 10**15),
)
def test_a_tick_is_found_from_any_time(name: str, interval_us: int, at_us: int) -> None:
    """The one before is at most an interval ago, the one after is the next, both on the grid."""
    one = target(name, interval_us=interval_us)
    offset_us = tick_offset_us(one.id, "tcp", interval_us)
    series = Series(target=one, probe=one.probes[0], offset_us=offset_us)
    before, after = series.tick_at_or_before(at_us), series.tick_after(at_us)
    assert 0 <= offset_us < interval_us
    assert before <= at_us < after == before + interval_us
    assert before % interval_us == offset_us
    assert series.tick_after(before) == after


def test_offsets_are_spread_evenly_over_the_interval() -> None:
    """A thousand targets every 30 s: no tenth of the interval has less than half or more than twice its share."""
    interval_us = 30 * SECOND_US
    tenths = Counter(
        tick_offset_us(f"main/t{number}", "http", interval_us) * 10 // interval_us for number in range(1000)
    )
    assert len(tenths) == 10
    assert all(50 <= count <= 200 for count in tenths.values())


def test_what_was_missed_while_stopped_is_reported_once_in_batches_of_one_partition() -> None:
    """From the last tick to now, a day at most; a new series has missed nothing."""
    targets = [target("old", interval_us=60 * SECOND_US), target("new", interval_us=60 * SECOND_US)]
    targets.append(target("ancient", interval_us=60 * SECOND_US))
    series = series_at("paris", targets)
    now_us = 1_800_000_000 * SECOND_US
    ledger = Ledger()
    ledger.note(batch("main/old", series[0].tick_at_or_before(now_us - 3600 * SECOND_US)))
    ledger.note(batch("main/ancient", series[2].tick_at_or_before(now_us - 50 * 86_400 * SECOND_US)))
    ticks: dict[str, list[int]] = {}
    for _partition, missed in missed_while_stopped(
        series, ledger, producer="paris", location="paris", partitions=4, now_us=now_us
    ):
        assert len(missed.target) <= 500
        assert set(missed.reason) == {MissedReason.STOPPED}
        for name, tick_us in zip(missed.target, missed.scheduled_at_us, strict=True):
            ticks.setdefault(name, []).append(tick_us)
        ledger.note(missed)
    assert ticks["main/old"] == list(range(ticks["main/old"][0], ticks["main/old"][-1] + 1, 60 * SECOND_US))
    assert len(ticks["main/old"]) == 60
    assert len(ticks["main/ancient"]) == 24 * 60
    assert "main/new" not in ticks
    again = missed_while_stopped(series, ledger, producer="paris", location="paris", partitions=4, now_us=now_us)
    assert list(again) == []


def test_a_ledger_comes_back_from_its_bytes() -> None:
    """And refuses others."""
    ledger = Ledger()
    ledger.note(batch("main/a", 3 * SECOND_US, 2 * SECOND_US))
    other = Ledger()
    other.load(ledger.dump())
    assert other.last(("main/a", "tcp")) == 3 * SECOND_US
    other.load(b"")
    with pytest.raises(ValueError, match="MessagePack"):
        other.load(b"\xc1 not it")
