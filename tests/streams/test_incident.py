"""The incident of one target and one subject, as timelines: one letter a tick.

H healthy, D degraded by a deviation, P failures under the quorum, F failing, U unknown.
"""

from dataclasses import dataclass

import pytest

from streams.contract import SERVICE, Incident, Reason
from streams.core.failures.chance import rare_run
from streams.core.incidents.incident import SubjectState, pages_early, step
from streams.core.incidents.signs import Finding, Sign, counts_failures
from streams.policy import IncidentPolicy

SIGNS = {"H": Sign.HEALTHY, "D": Sign.DEGRADED, "P": Sign.PARTIAL, "F": Sign.FAILING, "U": Sign.UNKNOWN}


@dataclass(frozen=True)
class Warned:
    """An early warning was opened."""

    tick: int


@dataclass(frozen=True)
class Opened:
    """An outage was opened without a warning before it."""

    tick: int


@dataclass(frozen=True)
class Escalated:
    """The early warning became an outage."""

    tick: int


@dataclass(frozen=True)
class Resolved:
    """The incident ended."""

    tick: int


Event = Warned | Opened | Escalated | Resolved


def reason(kind: str, **fields: object) -> Reason:
    """A reason of the service."""
    return Reason(**{"kind": kind, "subject": SERVICE, "text": kind, "probe": "http", "since_us": 0, **fields})  # type: ignore[arg-type]


def reasons_of(letter: str, **fields: object) -> tuple[Reason, ...]:
    """What detection gives as the reason of a tick, with these fields."""
    kinds = {"D": "latency_level", "P": "partial_failure", "F": "failing"}
    if letter == "D":
        fields["metric"] = "latency"
    return (reason(kinds[letter], **fields),) if letter in kinds else ()


def revisions_of(line: str, policy: IncidentPolicy, lost: float | None = None) -> list[Incident]:
    """All that is published for a timeline, of a target that loses such a share of its checks (None: not said)."""
    state = SubjectState()
    published: list[Incident] = []
    since_us = 0
    for tick, letter in enumerate(line):
        if tick and letter != line[tick - 1]:
            since_us = tick
        finding = Finding(
            tick_us=tick,
            sign=SIGNS[letter],
            since_us=since_us,
            interval_us=1,
            reasons=reasons_of(letter) if lost is None else reasons_of(letter, since_us=since_us, limit=rare_run(lost)),
        )
        state, revisions = step("shop/web", SERVICE, state, finding, policy)
        published.extend(revisions)
    return published


def run(line: str, **thresholds: int) -> list[Event]:
    """The stages of a timeline, without updates."""
    events: list[Event] = []
    for incident in revisions_of(line, IncidentPolicy(**thresholds)):
        tick = incident.updated_at_us
        if incident.effect == "opened":
            events.append(Warned(tick) if incident.kind == "early_warning" else Opened(tick))
        elif incident.effect == "escalated":
            events.append(Escalated(tick))
        elif incident.effect == "resolved":
            events.append(Resolved(tick))
    return events


def test_three_failing_ticks_open_one_incident_and_two_healthy_ones_resolve_it() -> None:
    """Opens on the third F, not before; the H between does not resolve it."""
    #           0123456789
    assert run("HFFFFHFHHH") == [Opened(3), Resolved(8)]


def test_two_failing_ticks_open_nothing() -> None:
    """A run that is broken starts anew."""
    #           012345678
    assert run("FFHFFHFFH") == []


def test_an_early_warning_becomes_the_outage() -> None:
    """One incident: warned, escalated, resolved."""
    #           01234567
    assert run("HDDFFFHH") == [Warned(1), Escalated(5), Resolved(7)]


def test_an_outage_keeps_the_time_of_its_early_warning() -> None:
    """warned_at stays, opened_at stays, began_at is the first failing tick."""
    outage = revisions_of("HDDFFF", IncidentPolicy())[-1]
    assert (outage.kind, outage.opened_at_us, outage.warned_at_us, outage.outage_at_us) == ("outage", 1, 1, 5)
    assert outage.began_at_us == 3
    assert outage.severity == "critical"


def test_an_outage_without_a_warning_is_dated_back_to_the_first_failing_tick() -> None:
    """Opened at the third F, begun at the first."""
    (outage,) = revisions_of("HFFF", IncidentPolicy())
    assert (outage.opened_at_us, outage.began_at_us, outage.warned_at_us) == (3, 1, None)


def test_failures_under_the_quorum_warn_after_their_own_patience() -> None:
    """Four P are nothing, five are a warning."""
    #           0123456789
    assert run("PPPPHPPPPP") == [Warned(9)]


def test_a_failing_tick_continues_a_run_of_partial_failures() -> None:
    """Failing is more than partly failing, so it does not begin the count anew."""
    #           012345
    assert run("PPFPPP") == [Warned(4)]


def test_unknown_ticks_hold_every_run() -> None:
    """U is neither healthy nor failing: the F around it count on, and so do the H."""
    #           0123456789
    assert run("FFUUFHUUHH") == [Opened(4), Resolved(8)]


def test_who_fails_since_now_fails_anew_whatever_was_held() -> None:
    """Two F, then nobody knows but a success was seen: the next F is the first of a run."""
    state = SubjectState(failing_run=2)
    for tick, opens in ((10, False), (11, False), (12, True)):
        finding = Finding(tick_us=tick, sign=Sign.FAILING, since_us=10, interval_us=1)
        state, revisions = step("shop/web", SERVICE, state, finding, IncidentPolicy())
        assert bool(revisions) is opens


def test_unknown_never_resolves() -> None:
    """A target that nobody sees stays what it was."""
    assert run("FFFUUUUUUU") == [Opened(2)]


def test_after_it_is_resolved_the_next_one_is_another_incident() -> None:
    """Two outages, two ids."""
    line = "FFFHHFFF"
    assert run(line) == [Opened(2), Resolved(4), Opened(7)]
    assert len({incident.incident_id for incident in revisions_of(line, IncidentPolicy())}) == 2


def test_degraded_ticks_keep_an_outage_open() -> None:
    """On the way back it is not healthy yet, and it is no second incident."""
    #           0123456789
    assert run("FFFDDDHDHH") == [Opened(2), Resolved(9)]


@pytest.mark.parametrize(
    ("line", "paged"),
    [
        ("HFFFFFFFF", 6),  # 1 + 5 intervals
        ("HFFFFFHHH", None),  # over before: a restart
        ("HDDFFFFFFF", 8),
        ("FFFFFHFFFFFF", 11),  # the run begins anew
    ],
)
def test_an_outage_pages_when_it_has_lasted_five_intervals(line: str, paged: int | None) -> None:
    """It is told at the third F; what is over sooner wakes nobody."""
    pages = [one.updated_at_us for one in revisions_of(line, IncidentPolicy()) if one.page]
    assert pages[:1] == ([] if paged is None else [paged])


@pytest.mark.parametrize(("share", "paged"), [(0.0005, 6), (0.02, 6), (0.06, 6), (0.1, 6), (0.11, 7), (0.2, 9)])
def test_a_target_that_loses_checks_all_the_time_pages_when_chance_explains_its_run_no_more(
    share: float, paged: int
) -> None:
    """Five intervals for most; where a fifth is lost the ninth failing tick, as 0.2 ** 9 < 1e-6 < 0.2 ** 8."""
    pages = [one.updated_at_us for one in revisions_of("HFFFFFFFFFFFF", IncidentPolicy(), share) if one.page]
    assert pages[0] == paged


@pytest.mark.parametrize(("share", "warned"), [(0.005, 5), (0.05, 5), (0.1, 6), (0.2, 9)])
def test_failures_under_the_quorum_warn_when_chance_explains_their_run_no_more(share: float, warned: int) -> None:
    """Five in a row for most, more where many checks are lost."""
    told = revisions_of("H" + 12 * "P", IncidentPolicy(), share)
    opened = [one.updated_at_us for one in told if one.effect == "opened"]
    assert opened == [warned]


def test_what_one_location_saw_before_is_no_part_of_the_outage() -> None:
    """It fails for an hour; most of them fail since tick 3: that is what has lasted, and what chance has to explain."""
    state, paged = SubjectState(), list[int]()
    for tick in range(20):
        kind, sign = ("failing", Sign.FAILING) if tick >= 3 else ("partial_failure", Sign.PARTIAL)
        reasons = (reason(kind, since_us=-3600, limit=8.0),)
        finding = Finding(tick_us=tick, sign=sign, since_us=-3600, interval_us=1, reasons=reasons)
        state, revisions = step("shop/web", SERVICE, state, finding, IncidentPolicy())
        paged += [one.updated_at_us for one in revisions if one.page]
    assert paged[:1] == [3 + 8 - 1]


def test_no_target_loses_so_many_checks_that_it_never_pages() -> None:
    """What detection takes for normal ends at a fifth; any run is enough in the end."""
    assert any(one.page for one in revisions_of("H" + "F" * 1400, IncidentPolicy(), 1.0))


@pytest.mark.parametrize(("interval_us", "pages_after_us"), [(1, 5), (10, 40), (30, 60), (60, 120)])
def test_an_outage_pages_after_the_policys_time_where_five_intervals_are_longer(
    interval_us: int, pages_after_us: int
) -> None:
    """With 40: the third failing tick at 30 and 60, where two intervals are that long; the fifth at 10."""
    state, policy = SubjectState(), IncidentPolicy(page_after_us=40)
    paged_us: list[int] = []
    for tick in range(9):
        finding = Finding(
            tick_us=tick * interval_us,
            sign=Sign.FAILING,
            since_us=0,
            interval_us=interval_us,
            reasons=reasons_of("F"),
        )
        state, revisions = step("shop/web", SERVICE, state, finding, policy)
        paged_us += [one.updated_at_us for one in revisions if one.page]
    assert paged_us == [pages_after_us]


def test_what_opens_again_soon_is_flapping_and_stays_open_until_it_was_well_for_long() -> None:
    """Two incidents, not one for each failure; the second ends when 20 healthy ticks have passed."""
    #       0123456789        the second is open from 7, its last F is at 19
    line = "FFFHHFFFHHHFFFHHHFFF" + "H" * 25
    assert run(line) == [Opened(2), Resolved(4), Opened(7), Resolved(40)]


def test_a_target_that_flaps_pages_at_once() -> None:
    """Restarts that follow each other are a crash loop: the first is told, the second wakes somebody."""
    first, *later = revisions_of("FFFHHFFFHH", IncidentPolicy())
    assert not first.page
    assert [one.updated_at_us for one in later if one.page] == [7]


def test_what_opens_long_after_the_last_one_is_not_flapping() -> None:
    """21 ticks later two healthy ticks resolve it; at 20 it is flapping still."""
    well = "H" * 20
    assert run(f"FFFHH{well}FFFHH")[-1] == Resolved(29)
    assert run(f"FFFHH{well[:-3]}FFFHH")[-1] == Opened(24)


def test_unknown_ticks_are_no_part_of_the_time_that_a_flapping_target_was_well() -> None:
    """They do not end the healthy run either: what counts is the time since its first tick."""
    assert run("FFFHHFFFHHUUUU" + "U" * 12 + "HHH")[-1] == Resolved(28)


@pytest.mark.parametrize(("signals", "pages"), [(0, False), (1, True), (2, True), (3, False)])
def test_how_many_signals_must_agree_is_the_policys(signals: int, pages: bool) -> None:
    """Zero: an early warning never pages because signals agree."""
    two = [reason("latency_level", metric="latency"), reason("failure_ratio", metric="failure_ratio")]
    assert pages_early(two, IncidentPolicy(page_signals=signals)) is pages


def test_revisions_count_up_and_carry_the_id() -> None:
    """`<incident_id>.<revision>`, from 0."""
    revisions = revisions_of("DFFFHH", IncidentPolicy())
    assert [incident.id for incident in revisions] == [f"{revisions[0].incident_id}.{number}" for number in range(3)]


@pytest.mark.parametrize(
    ("failure_ticks", "success_ticks", "expected"),
    [(1, 1, [Opened(1), Resolved(2), Opened(3)]), (2, 3, [Opened(4)]), (4, 1, [])],
)
def test_thresholds_are_the_policys(failure_ticks: int, success_ticks: int, expected: list[Event]) -> None:
    """HFHFFHH under several policies."""
    #           0123456
    line = "HFHFFHH"
    found = run(line, failure_ticks=failure_ticks, success_ticks=success_ticks)
    assert found[: len(expected)] == expected
    assert bool(found) == bool(expected)


def test_the_same_finding_again_publishes_nothing() -> None:
    """A flapping target is no flood: a revision is published only when it says more."""
    assert [incident.effect for incident in revisions_of("DDDDPPDDPD", IncidentPolicy())] == ["opened", "updated"]


@pytest.mark.parametrize(
    ("reasons", "pages"),
    [
        ([reason("latency_level", metric="latency")], False),
        ([reason("latency_level", metric="latency"), reason("latency_spread", metric="latency")], False),
        ([reason("failure_ratio", metric="failure_ratio"), reason("partial_failure", failure="timeout")], False),
        ([reason("latency_level", metric="latency"), reason("failure_ratio", metric="failure_ratio")], True),
        ([reason("latency_level", metric="latency"), reason("partial_failure", failure="timeout")], False),
        ([reason("latency_drift", metric="latency"), reason("failure_ratio", failure="timeout")], False),
        ([reason("latency_drift", metric="latency"), reason("failure_ratio", failure="http_status")], True),
        ([reason("forecast", subject="disk", severity="critical", time_left_us=10)], True),
        ([reason("forecast", subject="disk", severity="critical", time_left_us=3_600_000_000)], False),
        ([reason("forecast", subject="disk", severity="warning", time_left_us=10)], False),
        ([reason("forecast", subject="disk", severity="critical", time_left_us=None)], False),
        ([], False),
    ],
)
def test_an_early_warning_pages_for_short_time_left_or_two_signals(reasons: list[Reason], pages: bool) -> None:
    """Two detectors of one metric are one signal, and what times out is slow; time left alone wakes nobody."""
    assert pages_early(reasons, IncidentPolicy()) is pages


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        (reason("latency_level", metric="latency"), False),
        (reason("partial_failure"), True),
        (reason("failure_ratio", metric="failure_ratio"), True),
        (reason("flapping", failure="timeout"), True),
    ],
)
def test_reasons_that_rest_on_failed_checks(which: Reason, expected: bool) -> None:
    """They may be a location's, so they wait for the other targets."""
    assert counts_failures(which) is expected
