"""The live screen: what the topics said, as a person reads it."""

from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from forewarn.board import Board, incident_line
from producers.codec import pack
from producers.contract import Check, Outcome
from producers.settings import ProbeKind
from streams.contract import Alert, Deviation, Incident, Reason, Verdict, VerdictName

NOON_US = 1_790_000_000_000_000 // 86_400_000_000 * 86_400_000_000 + 43_200_000_000
SHOP = "main/shop"
CHECK = Check(
    target=SHOP,
    probe="front",
    kind="http",
    location="ams",
    scheduled_at_us=NOON_US,
    started_at_us=NOON_US,
    duration_us=40_000,
    outcome=Outcome.SUCCESS,
)
FAILED = {"outcome": Outcome.FAILURE, "reason": "http_status"}


def check(board: Board, **changes: Any) -> None:
    """Let the board see one check."""
    made = replace(CHECK, **changes)
    board.apply(pack([made], producer=made.location))


def judge(board: Board, verdict: VerdictName, *texts: str, probe: str = "front") -> None:
    """Let the board see a verdict with reasons."""
    reasons = [Reason(kind="failing", subject="service", text=text, probe=probe, since_us=NOON_US) for text in texts]
    board.apply(
        Verdict(
            v=1,
            id="i",
            target=SHOP,
            tick_us=NOON_US,
            verdict=verdict,
            previous="unknown",
            changed=True,
            since_us=NOON_US,
            interval_us=1_000_000,
            lateness_us=2_000_000,
            reported=["ams"],
            failed=[],
            reasons=reasons,
        )
    )


def incident(**changes: Any) -> Incident:
    """Return one step of an incident."""
    known: dict[str, Any] = {
        "v": 1,
        "id": "i.1",
        "incident_id": "i",
        "revision": 1,
        "effect": "opened",
        "target": SHOP,
        "location": None,
        "subject": "service",
        "kind": "early_warning",
        "severity": "warning",
        "page": False,
        "cause": "latency 3.1 times its norm",
        "began_at_us": NOON_US,
        "opened_at_us": NOON_US,
        "updated_at_us": NOON_US + 5_000_000,
    }
    return Incident(**(known | changes))


def shown(board: Board) -> str:
    """Return the screen as text, on a console that reads markup."""
    console = Console(record=True, width=120, file=StringIO())
    console.print(board.render())
    return console.export_text()


def row(board: Board, target: str = SHOP) -> list[str]:
    """Return a target's first row: state, probe, number, normal, ratio if there is one, checks, why."""
    [line] = [line for line in shown(board).splitlines() if target in line]
    return [cell.strip() for cell in line.split("│")[2:-1]]


def test_a_target_is_unknown_before_its_first_verdict() -> None:
    """Its checks may be as good as they like."""
    board = Board()
    check(board)
    assert row(board) == ["unknown", "front", "40 ms", "warm-up", "", "1", ""]


def test_each_verdict_is_shown_with_its_reasons() -> None:
    """The last one counts; also `unknown`, which takes a healthy state away."""
    board = Board()
    for verdict in ("healthy", "degraded", "failing", "unknown", "healthy"):
        judge(board, verdict, "first", "second")
        assert row(board) == [verdict, "front", "–", "–", "", "0", "first; second"]
    judge(board, "healthy")
    assert row(board) == ["healthy", "–", "–", "–", "", "0", ""]


def test_a_reason_stands_beside_the_probe_that_it_is_about() -> None:
    """Not beside the target's first probe, which may be as well as can be."""
    board = Board()
    check(board, probe="certificate", kind="tcp")
    check(board)
    judge(board, "degraded", "slower than normal")
    lines = [line for line in shown(board).splitlines() if "40 ms" in line]
    assert ["slower than normal" in line for line in lines] == [False, True]


def test_latency_is_shown_against_its_norm() -> None:
    """The median over locations and probes of their latest; the ratio only where the norm is known."""
    board = Board()
    for location, duration_us in (("ams", 99_000), ("ams", 90_000), ("fra", 120_000), ("nyc", 500_000)):
        check(board, location=location, duration_us=duration_us)
    assert row(board) == ["unknown", "front", "120 ms", "warm-up", "", "4", ""]
    board.set_baselines({(SHOP, "front"): 40_000.0})
    assert row(board) == ["unknown", "front", "120 ms", "40 ms", "3.0", "4", ""]
    board.set_baselines({})
    assert row(board)[3:5] == ["warm-up", ""]
    assert board.counts() == {(SHOP, "ams", "front"): 2, (SHOP, "fra", "front"): 1, (SHOP, "nyc", "front"): 1}
    assert board.checks == 4


@pytest.mark.parametrize(
    ("kind", "metrics", "now", "normal"),
    [
        ("http", {"tls_days_left": 3.0}, "900 ms", "warm-up"),
        ("tcp", {}, "900 ms", "warm-up"),
        ("tls", {"tls_days_left": 61.4, "tls_version": 1.3}, "61 days", "–"),
        ("tls", {"tls_days_left": 8.96}, "9.0 days", "–"),
        ("tls", {}, "–", "–"),
        ("host", {"cpu_used_ratio": 0.5, "memory_used_ratio": 0.6, "disk_free_ratio:/srv": 0.08}, "disk /srv 92%", "–"),
        ("host", {"cpu_used_ratio": 0.99, "inode_free_ratio:/": 0.5}, "cpu 99%", "–"),
        ("host", {}, "–", "–"),
    ],
)
def test_each_kind_shows_its_most_telling_number(
    kind: ProbeKind, metrics: dict[str, float], now: str, normal: str
) -> None:
    """A latency against its norm; the days of a certificate; the fullest part of a machine, and which it is."""
    board = Board()
    check(board, kind=kind, duration_us=900_000, metrics=metrics)
    assert row(board) == ["unknown", "front", now, normal, "", "1", ""]


def test_of_several_locations_the_worst_certificate_and_machine_are_shown() -> None:
    """The fewest days, the fullest part."""
    board = Board()
    for location, days, used in (("ams", 60.0, 0.5), ("fra", 2.0, 0.9), ("nyc", 30.0, 0.7)):
        check(board, location=location, kind="tls", metrics={"tls_days_left": days})
        check(board, target="main/b", location=location, kind="host", metrics={"memory_used_ratio": used})
    assert row(board)[2] == "2.0 days"
    assert row(board, "main/b")[2] == "memory 90%"


def test_each_probe_of_a_target_has_a_line() -> None:
    """The target, its state and why stand once."""
    board = Board()
    check(board, probe="tls", kind="tls", metrics={"tls_days_left": 61.4})
    check(board)
    judge(board, "healthy", "why not")
    first, second = [line.split("│")[1:-1] for line in shown(board).splitlines() if "days" in line or "ms" in line]
    assert [cell.strip() for cell in first] == [SHOP, "healthy", "front", "40 ms", "warm-up", "", "1", "why not"]
    assert [cell.strip() for cell in second] == ["", "", "tls", "61 days", "–", "", "1", ""]


def test_a_failure_stands_where_the_latency_was() -> None:
    """A quick 502 is no good number; the next success takes it away, at that location and probe alone."""
    board = Board()
    board.set_baselines({(SHOP, "front"): 40_000.0})
    check(board)
    check(board, location="fra", duration_us=2_000, **FAILED)
    assert row(board)[2:5] == ["http_status", "40 ms", ""]
    check(board, location="ams")
    assert row(board)[2] == "http_status"
    check(board, location="fra")
    assert row(board)[2:5] == ["40 ms", "40 ms", "1.0"]


def test_a_failure_without_a_reason_and_a_missed_check_are_no_numbers_either() -> None:
    """What is not known to be well is never shown as if it were."""
    board = Board()
    check(board)
    check(board, outcome=Outcome.FAILURE, reason=None)
    assert row(board)[2] == "failure"
    check(board, outcome=Outcome.MISSED, duration_us=None, reason="stopped")
    assert row(board)[2] == "stopped"


def test_anchors_are_not_shown() -> None:
    """They are counted: a location's own checks are checks."""
    board = Board()
    check(board)
    check(board, target="_anchor/ams")
    assert "_anchor" not in shown(board)
    assert board.checks == 2


def test_targets_are_in_order() -> None:
    """However their checks come."""
    board = Board()
    for name in ("b/x", "c/x", "a/x"):
        check(board, target=name)
    text = shown(board)
    assert text.index("a/x") < text.index("b/x") < text.index("c/x")


def test_texts_of_others_are_no_markup() -> None:
    """`[/srv]` closes nothing, `[red]` colours nothing; both are read as they are."""
    board = Board()
    check(board, target="main/[/srv]", outcome=Outcome.FAILURE, reason="[red]x")
    judge(board, "failing", "no such mount [/srv]")
    text = shown(board)
    for said in ("main/[/srv]", "[red]x", "no such mount [/srv]"):
        assert said in text


def test_each_step_of_an_incident_is_a_line() -> None:
    """With the time of the step, what, where and why; that it pages, but not when it is over."""
    board = Board()
    for event, expected in (
        (incident(), "12:00:05 incident  opened: early warning at main/shop: latency 3.1 times its norm"),
        (
            incident(effect="escalated", kind="outage", page=True, cause="502"),
            "12:00:05 incident  escalated: outage at main/shop, pages: 502",
        ),
        (
            incident(effect="resolved", kind="outage", page=True, cause="502"),
            "12:00:05 incident  resolved: outage at main/shop: 502",
        ),
        (
            incident(target=None, location="ams", kind="location_trouble", cause="3 targets"),
            "12:00:05 incident  opened: location trouble at location ams: 3 targets",
        ),
    ):
        line = board.apply(event)
        assert line is not None
        assert line.plain == expected


def test_deviations_and_alerts_are_lines_too() -> None:
    """A series that leaves its norm and comes back; what was sent to whom."""
    board = Board()
    leaving: dict[str, Any] = {
        "v": 1,
        "id": "d",
        "target": SHOP,
        "probe": "front",
        "location": "ams",
        "metric": "latency",
        "detector": "latency_level",
        "tick_us": NOON_US,
        "since_us": NOON_US,
        "active": True,
        "score": 5.25,
        "value": 182_000.0,
        "baseline": 80_000.0,
    }
    lines = [board.apply(Deviation(**leaving))]
    lines.append(board.apply(Deviation(**(leaving | {"active": False, "location": None, "score": 0.5}))))
    sent: dict[str, Any] = {
        "v": 1,
        "id": "a",
        "incident_id": "i",
        "kind": "initial",
        "number": 0,
        "channel": "mail",
        "page": False,
        "at_us": NOON_US,
        "delivered": True,
        "attempts": 1,
        "title": "shop is slow",
        "text": "t",
    }
    lines += [board.apply(Alert(**sent)), board.apply(Alert(**(sent | {"delivered": False, "error": "refused"})))]
    text = "\n".join(str(line) for line in lines)
    assert "deviation main/shop front latency at ams leaves its norm: 182 ms, normally 80 ms (score 5.2)" in text
    assert "deviation main/shop front latency is back in its norm: 182 ms, normally 80 ms (score 0.5)" in text
    assert "12:00:00 alert     initial to mail: shop is slow" in text
    assert "12:00:00 alert     initial to mail was not delivered: shop is slow" in text


def test_checks_and_verdicts_make_no_lines() -> None:
    """They are the table's."""
    assert Board().apply(pack([CHECK], producer="ams")) is None


def test_a_line_is_never_cut() -> None:
    """Into a file it is one line of any length; on a terminal it is folded, every word is there."""
    line = incident_line(incident(cause=" ".join(f"word{number}" for number in range(60))))
    for soft_wrap in (True, False):
        console = Console(file=StringIO(), width=80)
        console.print(line, soft_wrap=soft_wrap)
        file = console.file
        assert isinstance(file, StringIO)
        assert " ".join(file.getvalue().split()) == " ".join(line.plain.split())
        assert (file.getvalue().count("\n") == 1) is soft_wrap
