"""A log that begins anew: those that judged before send again, those that judge now go on, in any order."""

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.contract import Incident, TickSummary
from streams.core.incidents.closing import GATHER_US
from streams.core.incidents.incidents import Incidents
from streams.core.standstill import STANDSTILL_US
from tests.streams.installation import (
    INTERVAL_US,
    SECOND,
    START_US,
    Installation,
    Message,
    incidents_of,
    merged,
    play,
    summary,
)
from tests.streams.test_incidents_properties import installations, interleaved

BEGAN_US = START_US + 3600 * SECOND
"""The timestamp of the new log's first message."""


def slots_of(messages: list[Message]) -> list[list[Message]]:
    """Cut the messages of a partition after each summary."""
    slots: list[list[Message]] = [[]]
    for message in messages:
        slots[-1].append(message)
        if isinstance(message, TickSummary):
            slots.append([])
    return slots[:-1]


def logged(incidents: Incidents, message: Message, at_us: int) -> list[Incident]:
    """Apply a message that the log took at this time; return what is told."""
    incidents.logged(at_us)
    return incidents.apply(message)


def went_on(incidents: Incidents, from_us: int, until_us: int) -> None:
    """Let time pass in which the log does not stand still."""
    for at_us in range(from_us, until_us, STANDSTILL_US):
        incidents.logged(at_us)


def after(installation: Installation, slots: list[list[Message]]) -> Incidents:
    """What is known after these slots, of which nothing is told."""
    incidents = incidents_of(installation)
    assert [one for slot in slots for message in slot for one in incidents.apply(message)] == []
    return incidents


def restarted(incidents: Incidents, installation: Installation) -> Incidents:
    """What is restored from the last kept state, at the beginning of another log."""
    again = incidents_of(installation)
    again.restore(incidents.snapshot())
    again.logged(BEGAN_US, first=True)
    return again


@settings(max_examples=200, deadline=None)
@given(installations(), st.integers(0, 2**32), st.integers(0, 200), st.integers(0, 200))
def test_incidents_do_not_depend_on_who_sends_again_first(
    installation: Installation, seed: int, cut: int, lost_again: int
) -> None:
    """Each partition's former judge sends all that the kept state lacks, and its new one goes on from before that ends.

    Then the log is lost once more, and each sends what the state of that moment lacks. The lateness is short: nobody is
    given up although some partitions come long after the others.
    """
    installation = replace(installation, lateness_us=2 * INTERVAL_US)
    chooser = random.Random(seed)
    order = merged(installation.messages())
    each_known = [row for row, message in enumerate(order) if isinstance(message, TickSummary)][installation.partitions]
    cut = min(max(cut, each_known), len(order))
    before = incidents_of(installation)
    told = [one for message in order[:cut] for one in before.apply(message)]
    senders: list[list[Message]] = []
    for messages in installation.messages():
        read = [message in order[:cut] for message in messages].count(True)
        slots = slots_of(messages)
        lacking = sum(slot[-1] in messages[:read] for slot in slots)
        lost_at = chooser.randint(lacking, len(slots))
        goes_on_at = chooser.randint(0, lost_at)
        senders += [[one for slot in slots[lacking:lost_at] for one in slot]]
        senders += [[one for slot in slots[goes_on_at:] for one in slot]]
    incidents = restarted(before, installation)
    for _ in range(lost_again):
        if sending := [sender for sender in senders if sender]:
            told += logged(incidents, chooser.choice(sending).pop(0), BEGAN_US)
    incidents = restarted(incidents, installation)
    for message in interleaved(senders, chooser):
        told += logged(incidents, message, BEGAN_US)
    undisturbed = incidents_of(installation)
    expected = [one for message in order for one in undisturbed.apply(message)]
    assert {one.id: one for one in told} == {one.id: one for one in expected}
    assert len(told) == len(expected)
    assert incidents.finish() == undisturbed.finish()


def two_ticks_of_failure() -> Installation:
    """One target, healthy between two failures and a third tick that fails: no outage."""
    return Installation(rows={"shop/web": {"ams": "SSFFSFSSSSSS"}}, partitions=1)


def test_an_outage_is_not_opened_without_the_healthy_ticks_that_come_later() -> None:
    """As a run of `benchmarks.chaos` saw it: the new judge's ticks come first, the healthy one between after them."""
    installation = two_ticks_of_failure()
    slots = slots_of(installation.messages()[0])
    incidents = restarted(after(installation, slots[:4]), installation)
    told = [one for slot in slots[5:] for message in slot for one in logged(incidents, message, BEGAN_US)]
    assert told == []
    told = [one for message in slots[4] for one in logged(incidents, message, BEGAN_US)]
    assert told + incidents.finish() == []
    # And with nothing lacking the rule is as sharp as ever.
    ill = replace(installation, rows={"shop/web": {"ams": "SSFFFFSSSSSS"}})
    assert [one.kind for one in play(ill) if one.effect == "opened"] == ["outage"]


def test_what_lies_beyond_a_gap_is_known_in_the_next_log_too() -> None:
    """It is in the kept state, so nobody sends it again: only what lies between has to come."""
    installation = Installation(rows={"shop/web": {"ams": "SSSSSFFFFFFF"}}, partitions=1)
    slots = slots_of(installation.messages()[0])
    incidents = incidents_of(installation)
    for part in (slots[:3], slots[5:9], [*slots[3:5], *slots[9:]]):
        told = [one for slot in part for message in slot for one in logged(incidents, message, BEGAN_US)]
        incidents = restarted(incidents, installation)
    assert [one.kind for one in told if one.effect == "opened"] == ["outage"]


def test_what_never_comes_is_waited_for_for_a_while_only() -> None:
    """The former judge's disk is gone: what is beyond the gap is judged after all, by the timestamps of the log."""
    installation = Installation(rows={"shop/web": {"ams": "SSSSSFFFFFFF"}}, partitions=1)
    slots = slots_of(installation.messages()[0])
    incidents = restarted(after(installation, slots[:3]), installation)

    def told(messages: list[Message], at_us: int) -> list[Incident]:
        return [one for message in messages for one in logged(incidents, message, at_us)]

    for number, slot in enumerate(slots[4:-1]):
        assert told(slot, BEGAN_US + number * SECOND) == []
    went_on(incidents, BEGAN_US, BEGAN_US + GATHER_US)
    assert told(slots[-1][:-1], BEGAN_US + GATHER_US - 1) == []
    (outage,) = told(slots[-1][-1:], BEGAN_US + GATHER_US)
    assert (outage.kind, outage.opened_at_us) == ("outage", START_US + 7 * INTERVAL_US)


def test_a_partition_that_says_nothing_in_the_new_log_stops_nothing_for_longer() -> None:
    """Its worker is dead: from then on the others are judged as in any log."""
    installation = Installation(rows={"shop/web": {"ams": "SSSFFFFFFFFF"}}, partitions=2)
    own = next(one for one in installation.messages() if len(one) > installation.ticks)
    dead = next(one for one in (0, 1) if own is not installation.messages()[one])
    incidents = incidents_of(installation)
    incidents.apply(summary(dead, START_US))
    incidents = restarted(incidents, installation)
    told = [one for message in own[:-1] for one in logged(incidents, message, BEGAN_US)]
    assert told == []
    went_on(incidents, BEGAN_US, BEGAN_US + GATHER_US)
    (outage, *_) = logged(incidents, own[-1], BEGAN_US + GATHER_US)
    assert outage.kind == "outage"


def test_a_log_without_timestamps_is_judged_as_it_comes() -> None:
    """There is nothing to wait by."""
    installation = two_ticks_of_failure()
    incidents = incidents_of(installation)
    incidents.logged(0, first=True)
    slots = slots_of(installation.messages()[0])
    for message in slots[0]:
        incidents.apply(message)
    failing = replace(installation, rows={"shop/web": {"ams": "SSFFFFFFFFFF"}})
    rest = [message for slot in slots_of(failing.messages()[0])[2:] for message in slot]
    assert [one.kind for message in rest for one in incidents.apply(message)][:1] == ["outage"]


def test_forecasts_of_a_new_log_are_told_in_order() -> None:
    """The new judge's warning comes before the tick at which it began: it began there all the same."""
    installation = Installation(
        rows={"shop/web": {"ams": "SSSSSSSS"}}, forecasts={"shop/web": "  dddddd"}, partitions=1
    )
    slots = slots_of(installation.messages()[0])
    incidents = restarted(after(installation, slots[:2]), installation)
    rest = [message for number in (3, 4, 2, 5) for message in slots[number]]
    told = [one for message in rest for one in logged(incidents, message, BEGAN_US)]
    assert told == play(installation)[: len(told)]
    assert told[0].opened_at_us == START_US + 2 * INTERVAL_US
