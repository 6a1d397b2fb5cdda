"""The monthly report against the real store: every figure against a timeline that is known."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from clickhouse_connect.driver.client import Client

from analytics.client import connect
from analytics.insert import Inserter
from analytics.report import Report, make_report, percent_text, render_html
from analytics.rows import one_table, rows_of
from analytics.session import Session
from analytics.settings import ReportSettings, StoreSettings
from analytics.sla import Unknown, month_period
from producers.contract import Outcome
from streams.contract import Reason, VerdictName
from tests.analytics.messages import batch, incident, place, verdict

SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US
DAY_US = 24 * HOUR_US
MONTH = f"{datetime.now(UTC).replace(day=1) - timedelta(days=1):%Y-%m}"
"""Last month: it is over, and the store still keeps its checks."""

PERIOD = month_period(MONTH, "UTC")
START_US, END_US = PERIOD.from_us, PERIOD.until_us
NAMES: dict[str, VerdictName] = {"H": "healthy", "D": "degraded", "F": "failing", "U": "unknown"}


@pytest.fixture
def client(database: StoreSettings) -> Iterator[Client]:
    """A client of the empty database."""
    with contextlib.closing(connect(database)) as client:
        yield client


def put(session: Session, *events: Any) -> None:
    """Store them as the sink does, one insert a table."""
    made = [rows for number, event in enumerate(events) for rows in rows_of(event, place(number))]
    for table in {rows.table.name: rows.table for rows in made}.values():
        batches = [rows.batch for rows in made if rows.table.name == table.name]
        Inserter(session).insert(table, one_table(batches, table.schema))


def put_timeline(
    session: Session, target: str, timeline: str, *, from_us: int = START_US, step_us: int = DAY_US
) -> None:
    """Store the verdicts of a timeline, one letter a step; a verdict is published where the letter changes.

    A check two days after the month shows that the target was measured all the time.
    """
    before, found = "U", []
    for number, letter in enumerate(timeline):
        if letter not in (before, " "):
            at_us = from_us + number * step_us
            found.append(verdict(NAMES[letter], at_us, target=target, previous=NAMES[before]))
            before = letter
    put(session, *found, batch([target], tick_us=END_US + 2 * DAY_US))


def report(
    client: Client, *, now_us: int = END_US + DAY_US, month: str = MONTH, customer: str = "", **settings: Any
) -> Report:
    """Make the report of last month, as of a day after its end."""
    policy = ReportSettings(**settings)
    period = month_period(month, policy.time_zone)
    return make_report(client, month=month, period=period, now_us=now_us, settings=policy, customer=customer)


def days(made: Report, number: int = 0) -> tuple[float, float, float, float]:
    """Return the days that a target was healthy, degraded, failing and unknown."""
    spent = made.targets[number].account
    parts = (spent.healthy_us, spent.degraded_us, spent.failing_us, spent.unknown_us)
    assert sum(parts) == made.accounted.until_us - made.accounted.from_us
    return parts[0] / DAY_US, parts[1] / DAY_US, parts[2] / DAY_US, parts[3] / DAY_US


def test_a_known_month_gives_its_known_figures(session: Session, client: Client) -> None:
    """Ten days of timeline, two of them before the first verdict; the last verdict holds to the end."""
    #                                  0123456789
    put_timeline(session, "main/shop", "  HHHDFHUH")
    length = (END_US - START_US) / DAY_US
    made = report(client)
    assert days(made) == (3 + 1 + (length - 9), 1, 1, 2 + 1)
    assert made.targets[0].account.availability == pytest.approx((length - 4) / (length - 3))
    assert made.accounted == made.period == PERIOD


def test_a_verdict_holds_only_as_long_as_somebody_measures(session: Session, client: Client) -> None:
    """Everything is switched off on the third day: what follows is unknown, though the last verdict was healthy."""
    put(session, verdict("healthy", START_US), batch(["main/shop"], tick_us=START_US + 2 * DAY_US))
    spent = report(client).targets[0].account
    silence_us = 60 * SECOND_US
    assert spent.healthy_us == 2 * DAY_US + silence_us
    assert spent.unknown_us == END_US - START_US - spent.healthy_us


def test_a_target_that_never_sent_a_check_is_listed_as_unknown(session: Session, client: Client) -> None:
    """Its one verdict says so; all of its time is unknown and no availability is made up."""
    put(session, verdict("unknown", START_US + DAY_US, target="main/mute", previous="unknown"))
    made = report(client)
    assert [page.target for page in made.targets] == ["main/mute"]
    assert made.targets[0].account.unknown_us == END_US - START_US
    assert made.targets[0].account.availability is None
    assert "main/mute" in render_html(made)


@pytest.mark.parametrize(("unknown", "up", "down"), [("excluded", 8, 1), ("up", 9, 1), ("down", 8, 2)])
def test_unknown_time_counts_as_the_policy_says(
    session: Session, client: Client, unknown: Unknown, up: int, down: int
) -> None:
    """Of ten days one is unknown: left out, up or down; and the page says which."""
    #                                  0123456789
    put_timeline(session, "main/shop", " HHHHFHHHH")
    made = report(client, now_us=START_US + 10 * DAY_US, unknown=unknown)
    assert made.targets[0].account.availability == pytest.approx(up / (up + down))
    said = {"excluded": "left out of the account", "up": "counted as up", "down": "counted as down"}[unknown]
    assert said in render_html(made)


def test_a_month_that_is_not_over_is_accounted_up_to_now(session: Session, client: Client) -> None:
    """What has not been is not unknown; and the page says so."""
    put_timeline(session, "main/shop", "HHF")
    made = report(client, now_us=START_US + 5 * DAY_US)
    assert days(made) == (2, 0, 3, 0)
    assert "the month is not over" in render_html(made)
    assert "the month is not over" not in render_html(report(client))


def test_verdicts_of_the_month_before_and_after_count_up_to_the_edges(session: Session, client: Client) -> None:
    """One that began earlier holds into the month; what comes later changes nothing."""
    put_timeline(session, "main/shop", "HF", from_us=START_US - 2 * DAY_US)
    put_timeline(session, "main/shop", "FH", from_us=START_US + DAY_US)
    put_timeline(session, "main/shop", "HF", from_us=END_US - DAY_US)
    put_timeline(session, "late/only", "H", from_us=END_US)
    made = report(client)
    length = (END_US - START_US) / DAY_US
    assert [page.target for page in made.targets] == ["main/shop"]
    assert days(made) == (length - 2, 0, 2, 0)


def test_downtime_is_dated_back_to_the_first_failing_check(session: Session, client: Client) -> None:
    """A verdict of noon that says `since nine` ends the healthy time at nine."""
    at_us = START_US + DAY_US
    put(
        session,
        verdict("healthy", START_US),
        verdict("failing", at_us + 12 * HOUR_US, previous="healthy", since_us=at_us + 9 * HOUR_US),
        verdict("healthy", at_us + 13 * HOUR_US, previous="failing"),
    )
    assert report(client).targets[0].account.failing_us == 4 * HOUR_US


def test_a_month_begins_and_ends_at_local_midnight(session: Session, client: Client) -> None:
    """In Berlin the month began an hour or two before that of UTC: those hours are counted, and the last ones not."""
    local = month_period(MONTH, "Europe/Berlin")
    put_timeline(session, "main/shop", "HF", from_us=local.from_us - HOUR_US, step_us=HOUR_US)
    put_timeline(session, "main/shop", "FH", from_us=local.from_us + HOUR_US, step_us=HOUR_US)
    put_timeline(session, "main/shop", "F", from_us=local.until_us)
    made = report(client, time_zone="Europe/Berlin")
    assert local.from_us < START_US
    assert made.targets[0].account.failing_us == 2 * HOUR_US
    assert days(made)[3] == 0
    text = render_html(made)
    assert f"{MONTH}-01 00:00:00 CE" in text
    assert "Europe/Berlin" in text


def put_incident(session: Session, name: str, began_us: int, resolved_us: int | None, **changes: Any) -> None:
    """Store an incident: opened, and resolved if it was."""
    known: dict[str, Any] = {"incident_id": name, "began_at_us": began_us, "opened_at_us": began_us, **changes}
    steps = [incident(1, id=f"{name}.1", effect="opened", updated_at_us=began_us, **known)]
    if resolved_us is not None:
        last = {"id": f"{name}.2", "effect": "resolved", "updated_at_us": resolved_us, "resolved_at_us": resolved_us}
        steps.append(incident(2, **last, **known))
    put(session, *steps)


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


def put_latencies(session: Session, durations_us: Sequence[int], target: str = "main/shop") -> None:
    """Store successful checks, one a second; one failed and one missed check more."""
    count = len(durations_us) + 2
    made = batch([target] * count)
    ticks = [START_US + number * SECOND_US for number in range(count)]
    outcomes = [Outcome.SUCCESS] * (count - 2) + [Outcome.FAILURE, Outcome.MISSED]
    changed: dict[str, Any] = {
        "duration_us": [*durations_us, 59_000_000, None],
        "outcome": outcomes,
        "scheduled_at_us": ticks,
        "started_at_us": ticks,
        "reason": [None] * (count - 2) + ["timeout", "stopped"],
    }
    names = made.__struct_fields__
    put(session, type(made)(**({name: getattr(made, name) for name in names} | changed)))


@pytest.mark.parametrize("count", [1, 3, 20, 101, 463])
def test_percentiles_are_exact(session: Session, client: Client, count: int) -> None:
    """As ClickHouse's quantileExact: the sorted value at the whole part of q times n, numpy's method `higher`.

    Only successful checks count: a failed one's time says nothing of speed.
    """
    durations_us = np.random.default_rng(count).lognormal(11, 0.8, count).astype(int).tolist()
    put_latencies(session, durations_us)
    [line] = report(client).targets[0].latency
    ordered = sorted(durations_us)
    found = (line.p50_ms, line.p95_ms, line.p99_ms)
    assert found == tuple(ordered[count * percent // 100] / 1000 for percent in (50, 95, 99))
    assert found == tuple(np.quantile(durations_us, [0.5, 0.95, 0.99], method="higher") / 1000)
    assert (line.checks, line.failed, line.missed) == (count + 2, 1, 1)


def test_a_probe_that_never_succeeded_has_no_percentiles(session: Session, client: Client) -> None:
    """A dash, not zero milliseconds; and a target that has checks and no verdict is shown, as unknown."""
    put_latencies(session, [])
    made = report(client)
    [line] = made.targets[0].latency
    assert (line.p50_ms, line.p95_ms, line.p99_ms, line.checks) == (None, None, None, 2)
    assert made.targets[0].account.availability is None
    text = render_html(made)
    assert "0.0 ms" not in text
    assert re.search(r'<td class="n unknown">unknown</td>', text)


def test_checks_outside_the_month_do_not_count(session: Session, client: Client) -> None:
    """The first tick of the month does, the first one of the next does not."""
    ticks = (START_US - 1, START_US, END_US - 1, END_US)
    put(session, *(batch(["main/shop"], tick_us=tick_us) for tick_us in ticks))
    [line] = report(client).targets[0].latency
    assert line.checks == 2


def test_a_customer_sees_its_own_and_nobody_elses(session: Session, client: Client) -> None:
    """`acme` is not `acme2`, in no table of the page; anchors are nobody's."""
    for target in ("acme/shop", "acme2/shop", "main/acme", "_anchor/north"):
        put_timeline(session, target, "HF")
        put(session, batch([target], tick_us=START_US))
        put_incident(session, target, START_US, START_US + 1, target=target, cause=f"cause at {target}")
    made = report(client, customer="acme")
    assert [page.target for page in made.targets] == ["acme/shop"]
    assert [line.who for line in made.incidents] == ["acme/shop"]
    text = render_html(made)
    assert "Customer acme" in text
    for other in ("acme2", "main/acme", "_anchor"):
        assert other not in text
    assert [page.target for page in report(client).targets] == ["acme/shop", "acme2/shop", "main/acme"]
    assert report(client, customer="acm").targets == ()


def test_an_empty_month_says_so(client: Client) -> None:
    """No table without rows, no 100 %."""
    text = render_html(report(client))
    assert "Nothing was watched in this month." in text
    assert "100.000 %" not in text
    assert "Nothing was watched in this month for this customer." in render_html(report(client, customer="acme"))


def test_what_others_wrote_is_text_and_nothing_is_loaded(session: Session, client: Client) -> None:
    """A hostile target, cause and probe are escaped; no script, no link, no address; the page forbids both itself."""
    hostile = '<script src="//evil.example/x.js">alert(1)</script>'
    put_timeline(session, f"main/{hostile}", "H")
    put_incident(session, "i", START_US, None, target=f"main/{hostile}", cause=f"cause {hostile}")
    put(session, batch([f"main/{hostile}"], tick_us=START_US))
    text = render_html(report(client))
    assert text.count("&lt;script src=") == 4  # availability, incident's target and cause, latency
    assert "<script" not in text
    assert not re.search(r"<(link|img|iframe|object|embed)\b|@import|url\(|\bhref=", text)
    assert "default-src 'none'" in text


def test_the_page_says_how_it_was_counted(session: Session, client: Client) -> None:
    """No figure without its policy."""
    put_timeline(session, "main/shop", "HF")
    text = render_html(report(client, time_zone="Asia/Tokyo", objective=0.9985))
    for said in (
        *("How this was counted", "Asia/Tokyo", "Quorum", "strict majority", "Unknown time", "Maintenance"),
        *("Dated back to the first failing check", "99.850 %", "never rounded up"),
    ):
        assert said in text


def test_a_month_that_has_not_begun_is_refused(client: Client) -> None:
    """At its first instant too: nothing of it is over."""
    with pytest.raises(ValueError, match=f"^{MONTH} has not begun yet$"):
        report(client, now_us=START_US)


@pytest.mark.parametrize("month", ["2026-13", "october", "2026", "2026-10-01", "0001-01", "9999-12", "1969-12"])
def test_what_is_no_month_is_refused(month: str) -> None:
    """Also one that no clock of ours has seen; in one line."""
    with pytest.raises(ValueError, match=f"^'{month}' is not ") as caught:
        month_period(month, "Europe/Berlin")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (0.29, "29.000 %"),
        (0.57, "57.000 %"),
        (0.999, "99.900 %"),
        (0.9999999, "99.999 %"),
        (1.0, "100.000 %"),
        (0.0, "0.000 %"),
    ],
)
def test_percentages_are_cut_by_their_decimal_digits(ratio: float, text: str) -> None:
    """0.29 is 29 %, though no float is; nothing is rounded up."""
    assert percent_text(ratio) == text
