"""The incidents of a report: in which months, how they are counted, what of them a customer sees."""

from clickhouse_connect.driver.client import Client

from analytics.report import render_html
from analytics.session import Session
from streams.contract import Reason
from tests.analytics.messages import verdict
from tests.analytics.reporting import DAY_US, END_US, HOUR_US, START_US, put, put_incident, put_timeline, report


def test_an_incident_is_shown_in_every_month_that_it_touched(session: Session, client: Client) -> None:
    """Over either edge, inside, open; not one that ended as the month began, nor one that began as it ended."""
    for name, began_us, resolved_us in (
        ("ended before", START_US - DAY_US, START_US),
        ("over the start", START_US - DAY_US, START_US + 1),
        ("a moment", START_US, START_US),
        ("inside", START_US + DAY_US, START_US + 2 * DAY_US),
        ("over the end", END_US - 1, END_US + DAY_US),
        ("open", END_US - 1, None),
        ("after", END_US, END_US + DAY_US),
    ):
        put_incident(session, name, began_us, resolved_us, cause=name)
    shown = [line.cause for line in report(client).incidents]
    assert sorted(shown) == ["a moment", "inside", "open", "over the end", "over the start"]
    assert shown[0] == "over the start"


def test_outages_and_early_warnings_are_counted_in_their_month(session: Session, client: Client) -> None:
    """An outage counts where it lasted, a warning where it was raised; another target's count there alone."""
    put_timeline(session, "main/shop", "H")
    put_timeline(session, "main/other", "H")
    outage = {"kind": "outage"}
    put_incident(
        session, "1", START_US - 9, START_US + 9, warned_at_us=START_US - 9, outage_at_us=START_US - 5, **outage
    )
    put_incident(
        session, "2", START_US + 20, START_US + 90, warned_at_us=START_US + 20, outage_at_us=START_US + 30, **outage
    )
    put_incident(session, "3", START_US + 100, START_US + 110, warned_at_us=START_US + 100)
    put_incident(session, "4", END_US - 9, END_US + 9, warned_at_us=END_US - 9, outage_at_us=END_US + 1, **outage)
    put_incident(session, "5", START_US + 7, START_US + 8, target="main/other", outage_at_us=START_US + 7, **outage)
    made = report(client)
    counted = {page.target: (page.outages, page.early_warnings) for page in made.targets}
    assert counted == {"main/shop": (2, 3), "main/other": (1, 0)}


def test_the_lead_time_ends_with_the_first_failing_check(session: Session, client: Client) -> None:
    """Not when the outage was declared, some checks later; what was told after the first one has no lead time."""
    #                                0123456789
    put_timeline(session, "main/shop", "HDFFHHFFHH", step_us=HOUR_US)
    at = [START_US + hour * HOUR_US for hour in range(10)]
    outage = {"kind": "outage"}
    put_incident(session, "1", at[1], at[4], warned_at_us=at[1] + 1, outage_at_us=at[3], **outage)
    put_incident(session, "2", at[6], at[8], warned_at_us=at[6] + 1, outage_at_us=at[7], **outage)
    put_incident(session, "3", at[6], at[8], outage_at_us=at[7], **outage)
    made = report(client)
    assert [(line.down_at_us, line.lead_us) for line in made.incidents] == [
        (at[2], HOUR_US - 1),
        (at[6], None),
        (at[6], None),
    ]
    text = render_html(made)
    assert "Warned before the first failing check" in text
    assert text.count('<td class="n">–</td>') >= 2


def test_a_locations_trouble_is_shown_as_the_locations(session: Session, client: Client) -> None:
    """It belongs to no target, and to no report of a customer whose targets it did not touch."""
    put_incident(session, "l", START_US, START_US + 1, target=None, location="north", kind="location_trouble")
    [line] = report(client).incidents
    assert (line.who, line.kind) == ("location north", "location trouble")
    assert report(client, customer="main").incidents == ()


def test_a_customer_sees_what_a_locations_trouble_meant_for_its_targets(session: Session, client: Client) -> None:
    """How each touched target spent that time; not the names of other customers' targets, nor of untouched ones."""
    for target, letters in (("acme/shop", "HDFH"), ("acme/calm", "HHHH"), ("other/shop", "HUUH")):
        put_timeline(session, target, letters, step_us=HOUR_US)
    for target, kind, at_us in (
        ("acme/shop", "partial_failure", START_US + HOUR_US),
        ("other/shop", "silence", START_US + HOUR_US),
        ("acme/calm", "partial_failure", START_US + 5 * HOUR_US),
    ):
        seen = Reason(kind=kind, subject="service", text="t", probe="http", since_us=at_us, locations=["north"])
        put(session, verdict("degraded", at_us + 1, target=target, previous="degraded", changed=False, reasons=[seen]))
    put_incident(
        session, "l", START_US + HOUR_US, START_US + 3 * HOUR_US, target=None, location="north",
        kind="location_trouble", cause="3 targets fail together: acme/shop, other/shop and other/blog",
    )  # fmt: skip
    put_incident(session, "far", START_US, START_US + HOUR_US, target=None, location="south", kind="silence")
    made = report(client, customer="acme")
    [line] = made.incidents
    assert [(one.target, one.account.degraded_us, one.account.failing_us) for one in line.touched] == [
        ("acme/shop", HOUR_US, HOUR_US)
    ]
    text = render_html(made)
    assert "other/" not in text
    assert "acme/shop: down 1 h, degraded 1 h, unknown 0 s" in text
    whole = {one.target for each in report(client).incidents for one in each.touched}
    assert whole == {"acme/shop", "other/shop"}


def test_a_customer_is_not_told_who_else_fails_with_it(session: Session, client: Client) -> None:
    """The cause names other customers' targets: its own reasons stand instead."""
    mine = Reason(kind="failing", subject="service", text="failing: timeout", probe="http", since_us=START_US)
    put_incident(
        session, "i", START_US, START_US + 1, target="acme/shop", cause="caused by other/db: failing: timeout",
        caused_by="other/db", reasons=[mine],
    )  # fmt: skip
    [line] = report(client, customer="acme").incidents
    assert line.cause == "failing: timeout"
    assert [each.cause for each in report(client).incidents] == ["caused by other/db: failing: timeout"]
