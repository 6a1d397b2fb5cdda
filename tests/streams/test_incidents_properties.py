"""Properties of all incidents together, over drawn installations and any order in which partitions are read."""

import random
from dataclasses import replace
from itertools import pairwise

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from streams.contract import Incident
from streams.policy import Expectations
from tests.streams.installation import INTERVAL_US, SECOND, Installation, Message, incidents_of, merged, play

LOCATIONS = ("ams", "fra", "nyc")
TARGETS = ("shop/api", "shop/blog", "shop/db", "shop/web", "_anchor/ams")


@st.composite
def installations(draw: st.DrawFn) -> Installation:
    """A few targets, seen from one to three places, with runs of any letter."""
    length = 14
    rows: dict[str, dict[str, str]] = {}
    common = draw(st.lists(st.tuples(st.sampled_from("SSSFFmxD"), st.integers(1, 6)), min_size=1, max_size=8))
    for target in draw(st.lists(st.sampled_from(TARGETS), min_size=1, max_size=5, unique=True)):
        places = ("ams",) if target.startswith("_") else LOCATIONS[: draw(st.integers(1, 3))]
        rows[target] = {}
        for place in places:
            own = st.lists(st.tuples(st.sampled_from("SSSFFmxD"), st.integers(1, 6)), min_size=1, max_size=8)
            runs = common if draw(st.booleans()) else draw(own)
            rows[target][place] = "".join(letter * times for letter, times in runs).ljust(length, "S")[:length]
    offsets = {target: draw(st.integers(0, 29)) * SECOND for target in rows}
    addresses = {target: draw(st.sampled_from(["192.0.2.1", "192.0.2.2", f"own of {target}"])) for target in rows}
    groups = {target: "checkout" for target in rows if draw(st.booleans())}
    # A target depends on some that come later: there are no cycles.
    names = sorted(rows)
    depends_on = {
        target: tuple(other for other in names[place + 1 :] if draw(st.integers(0, 3)) == 0)
        for place, target in enumerate(names)
    }
    expectations = Expectations(groups=groups, depends_on=depends_on)
    # A lateness that no interleaving exceeds: the bound that gives up on a partition is no part of the property.
    return Installation(
        rows=rows, offsets_us=offsets, lateness_us=10**12, addresses=addresses, expectations=expectations
    )


def interleaved(by_partition: list[list[Message]], chooser: random.Random) -> list[Message]:
    """Any order that keeps each partition's own."""
    queues = [list(messages) for messages in by_partition]
    order: list[Message] = []
    while any(queues):
        order.append(chooser.choice([queue for queue in queues if queue]).pop(0))
    return order


@settings(max_examples=150, deadline=None)
@given(installations(), st.integers(0, 2**32), st.booleans())
def test_the_result_does_not_depend_on_how_the_partitions_interleave(
    installation: Installation, seed: int, whole: bool
) -> None:
    """The same revisions, whatever the order; even with one partition read to its end before the next."""
    by_partition = installation.messages()
    order = [one for messages in by_partition for one in messages]
    if not whole:
        order = interleaved(by_partition, random.Random(seed))
    incidents = incidents_of(installation)
    found = [one for message in order for one in incidents.apply(message)] + incidents.finish()
    expected = play(installation)
    assert {one.id: one for one in found} == {one.id: one for one in expected}
    assert len(found) == len(expected)


@settings(max_examples=100, deadline=None)
@given(installations(), st.integers(0, 2**32), st.booleans())
def test_a_partition_that_lags_further_than_the_lateness_changes_no_lone_target(
    installation: Installation, seed: int, whole: bool
) -> None:
    """Where nothing is seen from one place with another, a target's incidents are its own: no tick is made up."""
    alone = {
        target: {f"{place} of {target}": line for place, line in lines.items()}
        for target, lines in list(installation.rows.items())[:2]
        if target != "_anchor/ams"
    }
    assume(alone)
    # Nor do they explain each other by address, group or dependency.
    lagging = replace(installation, rows=alone, lateness_us=2 * INTERVAL_US, addresses={}, expectations=Expectations())
    by_partition = lagging.messages()
    order = [one for messages in by_partition for one in messages]
    if not whole:
        order = interleaved(by_partition, random.Random(seed))
    incidents = incidents_of(lagging)
    found = [one for message in order for one in incidents.apply(message)] + incidents.finish()
    assert {one.id: one for one in found if one.target} == {one.id: one for one in play(lagging) if one.target}


@settings(max_examples=100, deadline=None)
@given(installations(), st.integers(0, 2**32), st.integers(0, 200))
def test_what_is_restored_continues_bit_for_bit(installation: Installation, seed: int, cut: int) -> None:
    """Any cut: the same revisions follow, and the same state."""
    order = interleaved(installation.messages(), random.Random(seed))
    first = incidents_of(installation)
    for message in order[:cut]:
        first.apply(message)
    second = incidents_of(installation)
    second.restore(first.snapshot())
    assert second.snapshot() == first.snapshot()
    assert second.open() == first.open()
    for message in order[cut:]:
        assert second.apply(message) == first.apply(message)
    assert second.finish() == first.finish()
    assert second.snapshot() == first.snapshot()


@settings(max_examples=100, deadline=None)
@given(installations())
def test_revisions_of_an_incident_tell_one_story(installation: Installation) -> None:
    """They count up from 0 in the order of time, open once, resolve at most once, at the end, and lose no stage."""
    by_id: dict[str, list[Incident]] = {}
    for one in play(installation):
        by_id.setdefault(one.incident_id, []).append(one)
    for revisions in by_id.values():
        assert [one.revision for one in revisions] == list(range(len(revisions)))
        assert revisions[0].effect == "opened"
        assert all(one.effect != "resolved" for one in revisions[:-1])
        assert all(one.effect != "opened" for one in revisions[1:])
        for before, after in pairwise(revisions):
            assert before.updated_at_us <= after.updated_at_us
            assert (before.kind, after.kind) != ("outage", "early_warning")
            assert before.page <= after.page
            assert before.warned_at_us in (None, after.warned_at_us)
        for one in revisions:
            assert one.began_at_us <= one.updated_at_us
            assert "\n" not in one.cause
            assert one.cause


@settings(max_examples=100, deadline=None)
@given(installations())
def test_no_two_targets_explain_each_other(installation: Installation) -> None:
    """Nor do several in a circle, at any time."""
    incidents = incidents_of(installation)
    for message in merged(installation.messages()):
        incidents.apply(message)
        by_target = {one.target: one for one in incidents.open() if one.subject == "service"}
        for name in by_target:
            chain = [name]
            while (one := by_target.get(chain[-1])) is not None and one.caused_by is not None:
                assert one.caused_by not in chain
                chain.append(one.caused_by)


@settings(max_examples=100, deadline=None)
@given(installations())
def test_of_those_that_stay_down_somebody_always_pages(installation: Installation) -> None:
    """What another one explains does not page while it does; who stays down pages, or what explains it does."""
    rows = {
        target: {place: line + line[-1] * 14 for place, line in lines.items()}
        for target, lines in installation.rows.items()
    }
    paged: dict[str, bool] = {}
    down: dict[str | None, Incident] = {}
    troubled: dict[str | None, Incident] = {}
    for one in play(replace(installation, rows=rows)):
        if one.page and not paged.get(one.incident_id, False):
            assert one.caused_by is None
        paged[one.incident_id] = one.page
        if one.kind == "outage":
            down[one.target] = one
        if one.kind == "location_trouble":
            troubled[one.location] = one
    in_trouble = {location for location, one in troubled.items() if one.resolved_at_us is None}
    for target, lines in rows.items():
        if target.startswith("_anchor/") or any(line[-1] != "F" for line in lines.values()):
            continue
        last = down.get(target)
        if last is None or last.resolved_at_us is not None:
            assert in_trouble & set(lines)  # it is the location's trouble, which is told
            continue
        while last is not None and last.caused_by is not None:
            last = down.get(last.caused_by)
        assert last is not None
        assert (last.page, last.resolved_at_us) == (True, None)
