"""All incidents together: what waits for the other targets, locations in trouble, silence, interleavings."""

import msgspec
import pytest

from streams.contract import Incident, TickSummary, Verdict
from streams.core.incidents.incidents import Incidents
from streams.policy import DetectPolicy, Expectations, IncidentPolicy
from tests.streams.installation import (
    INTERVAL_US,
    START_US,
    Installation,
    final,
    incidents_of,
    merged,
    play,
    said,
    summary,
)

CLEAN = "SSSSSSSSSSSSSSSS"


def three(ams: str, fra: str = CLEAN, nyc: str = CLEAN) -> dict[str, dict[str, str]]:
    """Three targets, three locations, the same timelines for each target."""
    return {f"shop/{name}": {"ams": ams, "fra": fra, "nyc": nyc} for name in ("api", "blog", "web")}


def lone(line: str) -> dict[str, dict[str, str]]:
    """One target that ams alone sees."""
    return {"shop/web": {"ams": line}}


def test_a_target_that_fails_by_quorum_opens_one_outage_and_resolves() -> None:
    """Three failing ticks open, two healthy ones resolve."""
    installation = Installation(rows=lone("SSFFFFFFFFFFSSSS"))
    assert said(installation) == {("shop/web", "outage", 4, 13)}


def test_an_outage_waits_until_every_partition_is_closed_through_its_tick() -> None:
    """With one partition open before the third failing tick nothing is decided; its summary decides."""
    installation = Installation(rows=lone("SSFFFFFF"))
    incidents = incidents_of(installation)
    (own,) = [messages for messages in installation.messages() if any(isinstance(one, Verdict) for one in messages)]
    early = [one for one in own if isinstance(one, Verdict) and one.tick_us <= START_US + 4 * INTERVAL_US]
    assert [revision for message in early for revision in incidents.apply(message)] == []
    assert incidents.apply(summary(0, START_US + 4 * INTERVAL_US)) == []
    assert incidents.apply(summary(1, START_US + 4 * INTERVAL_US)) == []
    (outage,) = incidents.apply(summary(2, START_US + 4 * INTERVAL_US))
    assert (outage.kind, outage.outage_at_us) == ("outage", START_US + 4 * INTERVAL_US)


def test_a_partition_that_lags_stops_nothing_for_longer_than_the_lateness() -> None:
    """The leading partition is past the tick by the lateness: the outage is published without the other two."""
    installation = Installation(rows=lone("SSFFFFFFFFF"))
    incidents = incidents_of(installation)
    published: list[Incident] = []
    for message in next(one for one in installation.messages() if any(isinstance(m, Verdict) for m in one)):
        published += incidents.apply(message)
        if published:
            break
    assert isinstance(message, TickSummary)
    assert [one.kind for one in published] == ["outage"]
    assert message.closed_through_us >= published[0].updated_at_us + installation.lateness_us
    assert message.slot_us <= published[0].updated_at_us + installation.lateness_us


def test_partitions_without_checks_do_not_lead() -> None:
    """They are closed ahead of time by the clock alone; who waits for checks must not be overtaken by them."""
    installation = Installation(rows=lone("SSFFFFFF"))
    incidents = incidents_of(installation)
    for verdict in installation.verdicts("shop/web"):
        assert incidents.apply(verdict) == []
    empty = msgspec.structs.replace(summary(0, START_US + 100 * INTERVAL_US), locations=[])
    assert incidents.apply(empty) == []
    (outage,) = incidents.apply(summary(1, START_US + 9 * INTERVAL_US))
    assert outage.kind == "outage"


def test_a_slow_target_waits_for_its_siblings_and_a_forecast_for_nobody() -> None:
    """Whether it is slow alone is known when all partitions are closed; how full its disk is depends on it alone."""
    installation = Installation(rows=lone("SSD"), forecasts={"shop/web": " d "})
    incidents = incidents_of(installation)
    verdicts = installation.verdicts("shop/web")
    published = [revision for verdict in verdicts for revision in incidents.apply(verdict)]
    assert [(one.subject, one.warned_at_us) for one in published if one.effect == "opened"] == [
        ("disk_free_ratio", START_US + INTERVAL_US)
    ]
    told = [one for partition in range(3) for one in incidents.apply(summary(partition, START_US + 2 * INTERVAL_US))]
    assert [(one.subject, one.warned_at_us) for one in told] == [("service", START_US + 2 * INTERVAL_US)]


def test_a_redelivered_verdict_changes_nothing() -> None:
    """A tick at or before the last one of the target is a redelivery, however often it comes."""
    installation = Installation(rows=lone("SSFFFFFSSSS"))
    messages = merged(installation.messages())
    once, often = incidents_of(installation), incidents_of(installation)
    expected = [revision for message in messages for revision in once.apply(message)]
    found: list[Incident] = []
    for number, message in enumerate(messages):
        found += often.apply(message)
        for before in messages[max(0, number - 5) : number + 1]:
            assert often.apply(before) == []
    assert found == expected
    assert often.snapshot() == once.snapshot()


def test_verdicts_of_one_target_may_come_in_any_order_while_they_wait() -> None:
    """In a new log a worker that judged the target before may deliver again after the one that judges it now."""
    installation = Installation(rows=lone("SSFFFFFFFFFFSSSS"))
    as_usual, shuffled = incidents_of(installation), incidents_of(installation)
    messages = merged(installation.messages())
    verdicts = [one for one in messages if isinstance(one, Verdict)]
    summaries = [one for one in messages if isinstance(one, TickSummary)]
    in_order: list[Verdict | TickSummary] = [*verdicts, *summaries]
    out_of_order: list[Verdict | TickSummary] = [*verdicts[5:], *verdicts[3:], *verdicts[:7], *summaries]
    told = [revision for one in in_order for revision in as_usual.apply(one)]
    assert [revision for one in out_of_order for revision in shuffled.apply(one)] == told
    assert any(revision.kind == "outage" for revision in told)
    assert shuffled.freeze().pack() == as_usual.freeze().pack()


def test_one_location_in_trouble_is_one_incident_and_nobody_is_paged() -> None:
    """Three targets that only ams sees failing: ams is in trouble, the targets are well."""
    installation = Installation(rows=three("SSFFFFFFFFSSSSSS"))
    assert said(installation) == {("ams", "location_trouble", 3, 12)}
    assert not any(incident.page for incident in play(installation))


def test_targets_that_are_seen_from_the_troubled_location_alone_are_held() -> None:
    """Nobody else sees them: unknown, not failing. No outage, no page."""
    rows = {f"shop/{name}": {"ams": "SSFFFFFFFFSSSSSS"} for name in ("api", "blog", "web")}
    assert said(Installation(rows=rows)) == {("ams", "location_trouble", 3, 12)}


def test_two_targets_are_no_location_in_trouble() -> None:
    """Two fail from their only location: two outages."""
    rows = {f"shop/{name}": {"ams": "SSFFFFFFFFSSSSSS"} for name in ("api", "web")}
    assert said(Installation(rows=rows)) == {("shop/api", "outage", 4, 11), ("shop/web", "outage", 4, 11)}


def test_three_targets_on_one_address_are_no_location_in_trouble() -> None:
    """One server with three sites is down: the server, not the location."""
    rows = {f"shop/{name}": {"ams": "SSFFFFFFFFSSSSSS"} for name in ("api", "blog", "web")}
    addresses = dict.fromkeys(rows, "192.0.2.1")
    assert {kind for _, kind, *_ in said(Installation(rows=rows, addresses=addresses))} == {"outage"}
    two = {**addresses, "shop/web": "192.0.2.2"}
    assert {kind for _, kind, *_ in said(Installation(rows=rows, addresses=two))} == {"location_trouble"}


def test_a_lone_failing_target_pages_while_a_location_is_in_trouble() -> None:
    """It fails from fra and nyc too, so it is the target."""
    rows = {**three("SSFFFFFFFFFFFFSS"), "shop/db": dict.fromkeys(("ams", "fra", "nyc"), "SSSSFFFFFFFFFFFF")}
    found = said(Installation(rows=rows))
    assert found == {("ams", "location_trouble", 3, None), ("shop/db", "outage", 6, None)}


def test_targets_that_fail_everywhere_are_no_location_in_trouble() -> None:
    """The whole shop is down, seen from three places: three outages."""
    failing = "SSFFFFFFFFSSSSSS"
    assert {kind for _, kind, *_ in said(Installation(rows=three(failing, failing, failing)))} == {"outage"}


def test_single_lost_checks_at_one_time_are_no_location_in_trouble() -> None:
    """Three targets lose the same check from ams: nothing is said."""
    assert said(Installation(rows=three("SSFSSSSSSSFSSSSS"))) == set()


def test_targets_that_began_to_fail_at_other_times_are_no_location_in_trouble() -> None:
    """A few sites that refuse one location for long do not make it blind."""
    rows = {
        "shop/api": {"ams": "FFFFFFFFFFFFFFFF", "fra": CLEAN, "nyc": CLEAN},
        "shop/blog": {"ams": "SSSSSFFFFFFFFFFF", "fra": CLEAN, "nyc": CLEAN},
        "shop/web": {"ams": "SSSSSSSSSSFFFFFF", "fra": CLEAN, "nyc": CLEAN},
    }
    assert {kind for _, kind, *_ in said(Installation(rows=rows))} == {"early_warning"}


def test_a_target_that_failed_before_the_trouble_is_not_held_by_it() -> None:
    """Its outage counts on: what failed long before is not the location's fault."""
    rows = {
        **{f"shop/{name}": {"ams": "SSSSSSFFFFFFFFFF"} for name in ("api", "blog", "web")},
        "shop/db": {"ams": "SFFFFFFFFFFFFFFF"},
    }
    found = said(Installation(rows=rows), failure_ticks=6)
    assert ("shop/db", "outage", 6, None) in found
    assert ("ams", "location_trouble", 7, None) in found
    assert len(found) == 2


def test_the_run_counts_on_after_the_trouble_has_ended() -> None:
    """One target fails on when the others are back: an outage, although detection has long settled."""
    rows = {
        "shop/api": {"ams": "SSFFFFFFFFFFFFFFSSSSSSSSSSSS"},
        "shop/blog": {"ams": "SSFFFFFFFFFFFFFFSSSSSSSSSSSS"},
        "shop/web": {"ams": "SSFFFFFFFFFFFFFFFFFFFFFFFFFF"},
        "shop/db": {"ams": "SSSSSSSSSSSSSSSSSSSSSSSSSSSS"},
    }
    found = said(Installation(rows=rows))
    assert ("ams", "location_trouble", 3, 18) in found
    assert ("shop/web", "outage", 19, None) in found  # one F before the trouble was known, then at 18 and 19
    assert len(found) == 2


def test_an_anchor_check_that_fails_is_its_locations_trouble_at_once() -> None:
    """No target of it is an outage, and the anchor itself is no incident of a target."""
    rows = {
        "_anchor/ams": {"ams": "SSFFFFFFSSSS"},
        "shop/web": {"ams": "SSFFFFFFSSSS"},
        "shop/api": {"ams": "SSSSSSSSSSSS", "fra": "SSSSSSSSSSSS"},
    }
    assert said(Installation(rows=rows)) == {("ams", "location_trouble", 2, 10)}


def test_the_anchor_of_another_location_says_nothing_of_this_one() -> None:
    """Trouble at fra; ams sees web fail."""
    rows = {
        "_anchor/fra": {"fra": "SSFFFFFFSSSS"},
        "shop/web": {"ams": "SSFFFFFFSSSS"},
    }
    assert said(Installation(rows=rows)) == {("fra", "location_trouble", 2, 10), ("shop/web", "outage", 4, 9)}


def test_with_no_location_left_that_works_it_says_that_nobody_sees_anything() -> None:
    """One location alone, in trouble."""
    blind = final(play(Installation(rows={f"a/{name}": {"ams": "SFFFFFFFFF"} for name in "xyz"})))
    assert [one.cause.endswith("nobody sees anything") for one in blind.values()] == [True]
    sees = final(play(Installation(rows=three("SSFFFFFFFFFFFFFF"))))
    assert ["nobody" in one.cause for one in sees.values()] == [False]


def test_a_locations_trouble_names_its_targets() -> None:
    """Kind, count, addresses, names, reason, since when."""
    (trouble,) = final(play(Installation(rows=three("SSFFFFFFFFFFFFFF")))).values()
    assert trouble.cause == (
        "location ams is in trouble: 3 targets on 3 addresses fail together (timeout): shop/api, shop/blog and "
        "shop/web, since 2023-11-14 22:14:00 UTC"
    )
    assert (trouble.target, trouble.location, trouble.severity, trouble.page) == (None, "ams", "warning", False)


def test_silence_is_one_incident_a_location() -> None:
    """Three targets miss ams: one incident, resolved when ams reports again."""
    installation = Installation(rows=three("SSSxxxxxxSSSSSSS"))
    assert said(installation) == {("ams", "silence", 3, 9)}
    (silence,) = final(play(installation)).values()
    assert silence.cause == (
        "no checks from location ams for 3 targets (shop/api, shop/blog and shop/web) since 2023-11-14 22:14:30 UTC"
    )
    assert not silence.page


def test_targets_that_nobody_reports_are_counted() -> None:
    """They are unknown, and the silence says so."""
    rows = {"shop/api": {"ams": "SSSxxxxx"}, "shop/web": {"ams": "SSSxxxxx", "fra": "SSSSSSSS"}}
    (silence,) = final(play(Installation(rows=rows))).values()
    assert "for 2 targets (shop/api and shop/web)" in silence.cause
    assert silence.cause.endswith("1 target is seen by nobody")


def test_a_silent_location_in_trouble_stays_in_trouble() -> None:
    """Nothing reported is not healthy: the trouble is resolved only by reports."""
    rows = {f"shop/{name}": {"ams": "SSFFFFxxxxxxxxSSSS"} for name in ("api", "blog", "web")}
    assert said(Installation(rows=rows)) == {("ams", "location_trouble", 3, 16), ("ams", "silence", 6, 14)}


def test_a_forecast_is_an_incident_beside_that_of_the_service() -> None:
    """The disk's warning opens and resolves on its own; the outage does not touch it."""
    installation = Installation(rows=lone("SSSSFFFFFFSSSSSS"), forecasts={"shop/web": " ddddddddddddd  "})
    assert said(installation) == {("shop/web", "early_warning", 1, 15), ("shop/web", "outage", 6, 11)}
    subjects = {incident.subject for incident in play(installation)}
    assert subjects == {"service", "disk_free_ratio"}


def test_a_forecast_is_not_resolved_while_the_target_fails() -> None:
    """Its metric does not come then: unknown is not well."""
    installation = Installation(rows=lone("SSSSFFFFFFFFFFFF"), forecasts={"shop/web": " ddd            "})
    assert ("shop/web", "early_warning", 1, None) in said(installation)


@pytest.mark.parametrize("name", ["failure_ticks", "success_ticks", "warning_ticks", "partial_failure_ticks"])
def test_a_threshold_that_counts_more_ticks_than_are_published_is_refused(name: str) -> None:
    """Such an incident would never open or never resolve."""
    too_many = DetectPolicy().settle_ticks + 2
    with pytest.raises(ValueError, match=name):
        Incidents(IncidentPolicy(**{name: too_many}), Expectations(), partitions=1)
    Incidents(IncidentPolicy(**{name: too_many - 1}), Expectations(), partitions=1)
    own = Expectations(incidents={"shop/web": IncidentPolicy(**{name: too_many})})
    with pytest.raises(ValueError, match=f"shop/web: {name}"):
        Incidents(IncidentPolicy(), own, partitions=1)


def test_a_target_may_have_a_policy_of_its_own() -> None:
    """One failing tick is enough for this one."""
    installation = Installation(rows={"shop/web": {"ams": "SSFSSSSS"}, "shop/api": {"ams": "SSFSSSSS"}})
    own = Expectations(incidents={"shop/web": IncidentPolicy(failure_ticks=1)})
    incidents = Incidents(IncidentPolicy(), own, partitions=installation.partitions)
    revisions = [one for message in merged(installation.messages()) for one in incidents.apply(message)]
    assert {(one.target, one.kind) for one in revisions} == {("shop/web", "outage")}


def test_slowness_at_a_location_in_trouble_is_the_locations() -> None:
    """Whether it is read in turn or partition by partition; what is slow elsewhere too is told."""
    rows = {
        "_anchor/ams": {"ams": "FFFFFFSSSSSS"},
        "shop/db": {"ams": "FDDDDDSSSSSS"},
        "shop/web": {"ams": "SSDDDDSSSSSS", "fra": "SSDDDDSSSSSS"},
    }
    installation = Installation(rows=rows, lateness_us=10**12)
    in_turn = play(installation)
    one_by_one = incidents_of(installation)
    found = [one for messages in installation.messages() for message in messages for one in one_by_one.apply(message)]
    found += one_by_one.finish()
    assert {one.id: one for one in found} == {one.id: one for one in in_turn}
    assert {(one.target or one.location, one.kind) for one in found} == {
        ("ams", "location_trouble"),
        ("shop/web", "early_warning"),
    }


def test_a_snapshot_of_another_form_is_refused() -> None:
    """And the state stays as it was."""
    incidents = Incidents(IncidentPolicy(), Expectations(), partitions=1)
    before = incidents.snapshot()
    for payload in (b"", b"nonsense", before[:-3]):
        with pytest.raises(ValueError, match="snapshot"):
            incidents.restore(payload)
    with pytest.raises(ValueError, match="partitions"):
        Incidents(IncidentPolicy(), Expectations(), partitions=2).restore(before)
    assert incidents.snapshot() == before


def test_failures_under_the_quorum_are_waited_for_longer_than_they_are_published() -> None:
    """Where a fifth of all checks is lost nine in a row count, though five verdicts came: the others were like them."""

    def lossy(verdict: Verdict) -> Verdict:
        since_us = START_US + 2 * INTERVAL_US
        reasons = [msgspec.structs.replace(one, limit=9.0, since_us=since_us) for one in verdict.reasons]
        return msgspec.structs.replace(verdict, reasons=reasons)

    rows = {"shop/web": {"ams": "SS" + "F" * 14, "fra": CLEAN, "nyc": CLEAN}}
    installation = Installation(rows=rows)
    incidents, told = incidents_of(installation), list[Incident]()
    for message in merged(installation.messages()):
        told += incidents.apply(lossy(message) if isinstance(message, Verdict) else message)
    assert [(one.kind, (one.opened_at_us - START_US) // INTERVAL_US) for one in told] == [("early_warning", 10)]
