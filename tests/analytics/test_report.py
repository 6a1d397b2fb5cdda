"""The monthly report against the real store: every figure against a timeline that is known."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from clickhouse_connect.driver.client import Client

from analytics.report import percent_text, render_html
from analytics.session import Session
from analytics.sla import Unknown, month_period
from producers.contract import Outcome
from tests.analytics.messages import batch, verdict
from tests.analytics.reporting import (
    DAY_US,
    END_US,
    HOUR_US,
    MONTH,
    PERIOD,
    SECOND_US,
    START_US,
    days,
    put,
    put_incident,
    put_timeline,
    report,
)


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
