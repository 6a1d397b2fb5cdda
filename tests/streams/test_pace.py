"""An incident about forewarn itself: what is judged is not of now."""

from pathlib import Path

from forewarn.board import incident_line
from producers.topics import VERDICTS
from streams import codec
from streams.contract import JUDGING, VERSION, Incident, LocationCount, TickSummary
from streams.core.alerting.text import text, title
from streams.core.incidents.incidents import CODE, Incidents
from streams.core.incidents.pace import BACK_US, BEHIND_US, GRACE_US, behind_partitions, judge_pace
from streams.group import Assigned, OutMessage, Place
from streams.incidents import IncidentsGroup, IncidentsPart
from streams.keeper import Rules
from streams.local_state import LocalStateStore
from streams.policy import SECOND_US, Expectations, IncidentPolicy
from tests.streams.log_ranges import Messages
from tests.streams.state_bench import TURNS

NOON_US = 1_800_000_000 * SECOND_US
MINUTE_US = 60 * SECOND_US


def pace(known: Incident | None, now_us: int, **closed_us: int) -> tuple[Incident | None, list[str]]:
    """Judge partitions, `p0=...`; return what is open and the effects."""
    by_number = {int(name[1:]): us for name, us in closed_us.items()}
    incident, told = judge_pace(known, by_number, now_us, since_us=NOON_US - 10 * MINUTE_US)
    return incident, [one.effect for one in told]


def test_a_partition_that_stands_still_is_told_once_and_its_end_too() -> None:
    """Not before the bound, and not over before it has really caught up."""
    assert pace(None, NOON_US + BEHIND_US, p0=NOON_US, p1=NOON_US) == (None, [])
    known, effects = pace(None, NOON_US + BEHIND_US + 1, p0=NOON_US, p1=NOON_US + BEHIND_US)
    assert effects == ["opened"]
    assert known is not None
    assert (known.subject, known.kind, known.page) == (JUDGING, "silence", True)
    assert behind_partitions(known) == {0}
    assert known.cause.startswith("judging is 5 min behind in partition 0")
    later_us = NOON_US + 2 * BEHIND_US
    assert pace(known, later_us, p0=NOON_US, p1=later_us) == (known, [])
    assert pace(known, later_us, p0=later_us - BACK_US - 1, p1=later_us)[1] == []
    over, effects = pace(known, later_us, p0=later_us - BACK_US, p1=later_us)
    assert (over, effects) == (None, ["resolved"])


def test_one_more_partition_is_one_more_revision() -> None:
    """So that who reads it later knows which ones."""
    known, _ = pace(None, NOON_US + 10 * MINUTE_US, p0=NOON_US, p1=NOON_US + 9 * MINUTE_US)
    known, effects = pace(known, NOON_US + 20 * MINUTE_US, p0=NOON_US, p1=NOON_US + 9 * MINUTE_US)
    assert effects == ["updated"]
    assert known is not None
    assert behind_partitions(known) == {0, 1}
    assert known.cause.startswith("judging is 20 min behind in all partitions")


def test_a_worker_that_comes_back_opens_the_same_incident() -> None:
    """If nothing was judged meanwhile: its id is made of where judging stands still."""
    first, _ = pace(None, NOON_US + 6 * MINUTE_US, p0=NOON_US)
    again, _ = pace(None, NOON_US + 7 * MINUTE_US, p0=NOON_US)
    assert first is not None
    assert again is not None
    assert first.incident_id == again.incident_id


def test_right_after_a_start_old_partitions_are_no_news() -> None:
    """After a night in which the machine was off, all of it starts at once."""
    closed = {0: NOON_US - 480 * MINUTE_US}
    assert judge_pace(None, closed, NOON_US + GRACE_US - 1, since_us=NOON_US) == (None, ())
    assert judge_pace(None, closed, NOON_US + GRACE_US, since_us=NOON_US)[0] is not None


def test_a_partition_that_was_never_judged_is_late_too() -> None:
    """Counted from when the looking began."""
    assert judge_pace(None, {0: -1}, NOON_US + BEHIND_US, since_us=NOON_US) == (None, ())
    assert judge_pace(None, {0: -1}, NOON_US + BEHIND_US + 1, since_us=NOON_US)[0] is not None


HOUR_US = 60 * MINUTE_US


def stood_still(looks_us: list[int], *, back_us: int = NOON_US + HOUR_US, first: bool = False) -> list[str]:
    """Let the log stand still from noon on while a worker looks; return the effects of what is told when it goes on."""
    incidents = Incidents(IncidentPolicy(), Expectations(), partitions=1)
    incidents.logged(NOON_US)
    incidents.apply(summary(0, NOON_US))
    told = [one for at_us in looks_us for one in incidents.clock(at_us)]
    return [one.effect for one in (*told, *incidents.logged(back_us, first=first))]


def test_a_log_that_stood_still_is_told_with_its_first_message() -> None:
    """Nobody could be told meanwhile; by the next look all may be judged."""
    every_ten = list(range(NOON_US, NOON_US + HOUR_US, 10 * SECOND_US))
    assert stood_still([]) == ["opened"]  # a worker that was started by then
    assert stood_still(every_ten[-5:]) == ["opened"]
    assert stood_still(every_ten) == ["opened"]  # by a look: the same incident, and once
    assert stood_still(every_ten[:10], back_us=NOON_US + 2 * MINUTE_US) == []  # not for so short a time


def test_a_night_in_which_the_machine_slept_is_no_news() -> None:
    """Whether a message or the look comes first when it wakes up; nor is a log that begins anew."""
    before = [NOON_US, NOON_US + 10 * SECOND_US]
    assert stood_still(before) == []
    assert stood_still([*before, NOON_US + HOUR_US - SECOND_US]) == []
    assert stood_still([], first=True) == []


def test_the_incidents_of_an_installation_have_it_among_them_over_a_restart() -> None:
    """Summaries say how far each partition is; the state keeps what is open."""
    core = Incidents(IncidentPolicy(), Expectations(), partitions=2)
    assert list(core.clock(NOON_US)) == []
    for partition in (0, 1):
        core.apply(summary(partition, NOON_US))
    (opened,) = looked_until(core, NOON_US, NOON_US + 6 * MINUTE_US)
    assert [one.incident_id for one in core.open()] == [opened.incident_id]
    restored = Incidents(IncidentPolicy(), Expectations(), partitions=2)
    restored.restore(core.snapshot())
    assert looked_until(restored, NOON_US + 6 * MINUTE_US, NOON_US + 7 * MINUTE_US) == []
    for partition in (0, 1):
        restored.apply(summary(partition, NOON_US + 7 * MINUTE_US))
    (over,) = restored.clock(NOON_US + 7 * MINUTE_US)
    assert (over.incident_id, over.effect) == (opened.incident_id, "resolved")
    assert restored.open() == []


def looked_until(core: Incidents, from_us: int, until_us: int) -> list[Incident]:
    """Look at the clock each ten seconds, as the worker does; return what was said."""
    return [one for at_us in range(from_us, until_us + 1, 10 * SECOND_US) for one in core.clock(at_us)]


def test_a_machine_that_slept_says_nothing_before_its_other_processes_have_woken_up() -> None:
    """The clock jumps by hours; whoever is still behind a minute later is."""
    core = Incidents(IncidentPolicy(), Expectations(), partitions=1)
    core.apply(summary(0, NOON_US))
    assert looked_until(core, NOON_US, NOON_US + MINUTE_US) == []
    woken_us = NOON_US + 180 * MINUTE_US
    assert looked_until(core, woken_us, woken_us + GRACE_US - 1) == []
    (opened,) = core.clock(woken_us + GRACE_US)
    assert opened.effect == "opened"


def summary(partition: int, closed_us: int) -> TickSummary:
    """A partition is judged up to a time."""
    return TickSummary(
        v=VERSION, id=f"{partition}-{closed_us}", partition=partition, slot_us=closed_us - 10 * SECOND_US,
        width_us=10 * SECOND_US, closed_through_us=closed_us,
        locations=[LocationCount(location="ams", reported=1, failed=0)],
    )  # fmt: skip


def test_a_person_reads_what_it_is_about() -> None:
    """It is no location and no target."""
    known, _ = pace(None, NOON_US + 6 * MINUTE_US, p3=NOON_US)
    assert known is not None
    now_us = NOON_US + 6 * MINUTE_US
    assert title(known, "initial", now_us=now_us).startswith("Silence: forewarn itself: judging is 6 min behind")
    told = text(known, "initial", now_us=now_us, watched={})
    assert "About: forewarn itself" in told
    assert "silence at forewarn itself, pages" in incident_line(known).plain
    assert "partition 3 is judged up to 2027-01-15 08:00:00 UTC" in told


async def test_the_incidents_worker_says_by_the_clock_that_nothing_is_judged_and_keeps_that_it_said_so(
    tmp_path: Path,
) -> None:
    """All detect workers may be dead: then no message comes that could cause it."""

    def make(*_: object) -> IncidentsPart:
        return IncidentsPart(Incidents(IncidentPolicy(), Expectations(), partitions=1))

    local = LocalStateStore(tmp_path)
    rules = Rules(code=CODE, make=make, from_log=True)
    group = IncidentsGroup("incidents", (VERDICTS,), rules, store=local, local=local, log_range=Messages())
    await group.assign([Assigned(place=Place(VERDICTS, 0), epoch="e", committed=None, end=0)])
    published: list[OutMessage] = []
    for at_us in range(NOON_US, NOON_US + BEHIND_US + 1, 10 * SECOND_US):
        group.look(published.extend, at_us)
    assert (published, group.cut(next(TURNS))) == ([], None)
    group.look(published.extend, NOON_US + BEHIND_US + 1)
    (told,) = [codec.decode(one.topic, one.value) for one in published]
    assert isinstance(told, Incident)
    assert (told.subject, told.effect) == (JUDGING, "opened")
    assert group.cut(next(TURNS)) is not None
