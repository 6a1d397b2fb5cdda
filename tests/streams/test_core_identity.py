"""What a check is, when it comes twice, too late, or from where nobody expects it."""

import pytest

from streams.policy import DetectPolicy
from tests.streams.timelines import INTERVAL, SECOND, START, Published, Row, columns, detector, expectations


def tick(number: int, **changes: object) -> Row:
    """Return a check of ams at a tick."""
    return Row(tick_us=START + number * INTERVAL, **changes)  # type: ignore[arg-type] # fields of Row


def test_a_check_that_was_counted_is_a_redelivery_and_one_that_was_not_is_late() -> None:
    """Both change nothing and are told apart by what is remembered of closed ticks."""
    core, found = detector(expectations("ams", "fra")), Published()
    for number in range(20):
        rows = [tick(number), *([tick(number, location="fra")] if number != 7 else [])]
        found.add(core.apply(columns(rows)))
    before = core.snapshot()
    again = Published().add(core.apply(columns([tick(number) for number in range(19)])))
    assert (again.redelivered, again.late, again.verdicts) == (19, 0, [])
    late = Published().add(core.apply(columns([tick(7, location="fra", outcome=1)])))
    assert (late.redelivered, late.late, late.verdicts) == (0, 1, [])
    once_more = detector(expectations("ams", "fra"))
    once_more.restore(before)
    assert Published().add(once_more.apply(columns([tick(7, location="fra")]))).late == 1


def test_redeliveries_older_than_what_is_remembered_are_still_known() -> None:
    """A new epoch republishes hours: nothing of it is counted again."""
    core = detector(expectations("ams"))
    for number in range(300):
        core.apply(columns([tick(number)]))
    again = core.apply(columns([tick(number) for number in range(300)]))
    assert (again.redelivered, again.late, again.deviations) == (300, 0, [])
    assert core.apply(columns([tick(-5)])).late == 1


def test_the_earliest_of_two_checks_of_one_tick_wins() -> None:
    """In any order, in one message or in two: the later start is the redelivery."""
    first = tick(1, started_us=START + INTERVAL, outcome=1)
    second = tick(1, started_us=START + INTERVAL + SECOND)
    for messages in ([[first, second]], [[second, first]], [[first], [second]], [[second], [first]]):
        core, found = detector(expectations("ams", "fra")), Published()
        found.add(core.apply(columns([tick(0), tick(0, location="fra")])))
        for rows in messages:
            found.add(core.apply(columns(rows)))
        found.add(core.apply(columns([tick(1, location="fra"), tick(2), tick(2, location="fra")])))
        at_one = next(verdict for verdict in found.verdicts if verdict.tick_us == START + INTERVAL)
        assert at_one.failed == ["ams"]
        assert found.redelivered == 1


def test_a_location_that_the_config_does_not_name_counts_after_a_while() -> None:
    """From its first tick plus lateness and an interval: 3 ticks do not count, then it fails in part."""
    core, found = detector(expectations("ams")), Published()
    for number in range(12):
        found.add(core.apply(columns([tick(number), tick(number, location="sfo", outcome=1)])))
    found.add(core.clock(START + 300 * SECOND))
    degraded = next(verdict for verdict in found.verdicts if verdict.verdict == "degraded")
    assert degraded.tick_us == START + 3 * INTERVAL
    assert found.late == 3


def test_an_empty_message_changes_nothing() -> None:
    """No checks, no outputs."""
    core = detector()
    before = core.snapshot()
    assert core.apply(columns([])).verdicts == []
    assert core.snapshot() == before


def test_the_clock_never_goes_back() -> None:
    """An earlier or equal clock event changes nothing."""
    core = detector(expectations("ams"))
    core.apply(columns([tick(0)]))
    core.clock(START + 100 * SECOND)
    before = core.snapshot()
    assert core.clock(START + 50 * SECOND).verdicts == []
    assert core.clock(START + 100 * SECOND).verdicts == []
    assert core.snapshot() == before


def test_disturbed_checks_say_nothing_of_latency() -> None:
    """The producer's own lag is not the target's: no flag, and nothing learned."""
    policy = DetectPolicy(warm_up_checks=20)
    core, found = detector(expectations("ams"), policy), Published()
    for number in range(120):
        slow = number >= 60
        row = tick(number, duration_us=900_000.0 if slow else 20_000.0, disturbed=slow)
        found.add(core.apply(columns([row])))
    assert found.deviations == []


def test_a_host_probes_own_duration_is_no_latency() -> None:
    """How long reading the machine's numbers took says nothing of a service."""
    core, found = detector(expectations("ams")), Published()
    for number in range(120):
        found.add(core.apply(columns([tick(number, kind="host", duration_us=900_000.0 if number > 60 else 2_000.0)])))
    assert found.deviations == []


def test_odd_numbers_break_nothing() -> None:
    """NaN and infinite durations and metrics, negative ones, a zero: the outputs stay finite, the flow goes on."""
    core, found = detector(expectations("ams")), Published()
    odd = [float("nan"), float("inf"), -1.0, 0.0, 1e300]
    for number in range(100):
        value = odd[number % 5] if number % 3 == 0 else 20_000.0
        found.add(core.apply(columns([tick(number, duration_us=value, metrics={"tls_days_left": value})])))
    found.add(core.apply(columns([tick(100, outcome=1)])))
    assert found.verdicts[-1].verdict == "failing"


def test_what_is_normal_is_told_once_it_is_warm() -> None:
    """By target, probe and location, in microseconds; nothing during warm-up."""
    core = detector(expectations("ams"))
    for number in range(19):
        core.apply(columns([tick(number)]))
    assert core.baselines() == {}
    for number in range(19, 40):
        core.apply(columns([tick(number)]))
    assert core.baselines() == {("main/shop", "front", "ams"): pytest.approx(20_000.0)}


def test_of_n_checks_no_more_than_n_are_said_to_go_nowhere() -> None:
    """A redelivery from a location that does not count yet is said once: workers count what was judged."""
    core = detector(expectations("ams"))
    for number in range(5):
        row = tick(number, location="sfo")
        for _ in range(3):
            outputs = core.apply(columns([row]))
            assert outputs.late + outputs.redelivered <= 1
