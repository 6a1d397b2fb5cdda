"""`forewarn explain`: stored checks once more through the core, beside what was published. Over the real store."""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from analytics.client import connect
from analytics.history import StoredChecks
from analytics.insert import Inserter
from analytics.migrate import migrate
from analytics.rows import one_table, rows_of
from analytics.session import Session
from analytics.settings import StoreSettings
from forewarn.cli import run
from forewarn.output import clock
from forewarn.replay.drive import Drive, Policies
from producers.contract import CheckBatch, Outcome, SparseNumbers
from producers.topics import CHECKS, DEVIATIONS, INCIDENTS, VERDICTS, Position
from streams.contract import Deviation, Incident, Verdict

SECOND_US = 1_000_000
INTERVAL_US = 30 * SECOND_US
TICKS = 900
SLOW_FROM = 840
"""The last half hour is slow."""

NOW_US = time.time_ns() // 1000 // INTERVAL_US * INTERVAL_US
START_US = NOW_US - TICKS * INTERVAL_US
TARGET = "acme/shop"


def batches() -> Iterator[CheckBatch]:
    """7.5 hours of a shop from two places, and of another target that was checked ten times; one check failed."""
    noise = np.random.default_rng(7)
    for location in ("ams", "fra"):
        ticks = [START_US + tick * INTERVAL_US for tick in range(TICKS)]
        duration_us = (80_000 * np.exp(0.1 * noise.standard_normal(TICKS))).astype(int)
        duration_us[SLOW_FROM:] *= 4
        outcome = [Outcome.SUCCESS] * TICKS
        if location == "fra":
            outcome[700] = Outcome.FAILURE
        yield _batch(TARGET, location, ticks, duration_us.tolist(), outcome)
    yield _batch("main/young", "ams", [NOW_US - tick * INTERVAL_US for tick in range(10, 0, -1)], [5_000] * 10)


def _batch(
    target: str, location: str, ticks: list[int], duration_us: list[int], outcome: Sequence[Outcome] | None = None
) -> CheckBatch:
    count = len(ticks)
    outcomes = list(outcome) if outcome is not None else [Outcome.SUCCESS] * count
    return CheckBatch(
        v=1,
        producer=location,
        location=location,
        target=[target] * count,
        probe=["http"] * count,
        kind=["http"] * count,
        scheduled_at_us=ticks,
        started_at_us=ticks,
        duration_us=list(duration_us),
        outcome=outcomes,
        reason=[None if one == Outcome.SUCCESS else "timeout" for one in outcomes],
        address=["192.0.2.1"] * count,
        http_status=[200] * count,
        metrics={"tls_days_left": SparseNumbers(rows=list(range(count)), values=[60.0] * count)},
    )


def published(session: Session) -> Iterator[tuple[str, Deviation | Verdict | Incident]]:
    """What a live run would have published of the stored checks."""
    found: list[tuple[str, Deviation | Verdict | Incident]] = []
    drive = Drive(
        Policies(),
        last_us=NOW_US,
        deviated=lambda deviations: found.extend((DEVIATIONS, one) for one in deviations),
        revised=lambda incident: found.append((INCIDENTS, incident)),
        judged=lambda verdict: found.append((VERDICTS, verdict)),
    )
    for columns in StoredChecks(session).of_target(TARGET, from_us=START_US, until_us=NOW_US):
        drive.take(columns)
    drive.finish()
    yield from found


@pytest.fixture(scope="module")
def filled(store: StoreSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with a config that names a store with checks and what was published of them."""
    database = "explained"
    settings = StoreSettings(url=store.url, token=store.token, database=database)
    migrate(settings)
    with closing(Session(settings)) as session:
        for number, batch in enumerate(batches()):
            store_one(session, batch, CHECKS, number)
        for number, (topic, message) in enumerate(published(session)):
            store_one(session, message, topic, number)
    directory = tmp_path_factory.mktemp("explain")
    (directory / "forewarn.yaml").write_text(
        f"store: {{url: '{store.url}', database: {database}, token: '{store.token}'}}\n"
        "targets: [{name: shop, customer: acme, url: 'http://h'}]\n"
    )
    yield directory
    with closing(connect(settings, use_database=False)) as client:
        client.command(f"DROP DATABASE {database}")


def store_one(session: Session, message: CheckBatch | Deviation | Verdict | Incident, topic: str, offset: int) -> None:
    """Store one message as the sink does."""
    place = Position(epoch="e", topic=topic, partition=0, offset=offset)
    for rows in rows_of(message, place):
        Inserter(session).insert(rows.table, one_table([rows.batch], rows.table.schema))


def explained(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run the command and return what it printed."""
    assert run(["explain", *words]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def iso(at_us: int) -> str:
    """A time as a person writes it."""
    return clock(at_us).replace(" ", "T")


def test_what_was_flagged_is_explained_with_numbers_and_beside_what_was_published(
    filled: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headline, verdict, incident, series with its limit and score, drawing, deviations."""
    monkeypatch.chdir(filled)
    out = explained(capsys, "shop", "--at", iso(NOW_US - 10 * INTERVAL_US))
    lines = out.splitlines()
    assert lines[0].startswith(f"{TARGET} at ")
    assert ": degraded since " in lines[0]
    assert "latency" in lines[0]
    assert any(line.startswith("Published then: degraded since ") for line in lines)
    assert "The replay says" not in out
    assert any(line.startswith("Incident ") and "early warning" in line for line in lines)
    flagged = [line for line in lines if ": flagged by latency_level since " in line]
    assert [line.partition(":")[0] for line in flagged] == ["latency of http at ams", "latency of http at fra"]
    for line in flagged:
        assert re.search(r": \d{3} ms, normally (7|8)\d(\.\d)? ms, limit 1\d\d ms; its score of ", line)
        assert " is beyond its limit of " in line
    assert re.search(r"^tls_days_left of http at ams: not flagged: 60 days, ", out, flags=re.MULTILINE)
    assert "failure_ratio of http: not flagged: 0 %, normally 0" in out
    for mark in "•─┄▲×dh":
        assert mark in out
    assert "latency of http at ams  latency_level  leaves its norm" in out


def test_what_was_not_flagged_is_explained_too(
    filled: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three hours before: healthy, with the score under its limit; one series is left by the filters."""
    monkeypatch.chdir(filled)
    at = iso(START_US + 500 * INTERVAL_US)
    out = explained(capsys, TARGET, "--at", at, "--location", "ams", "--metric", "latency", "--hours", "1")
    assert out.splitlines()[0].endswith(": healthy, not flagged")
    assert "No incident was open around this time." in out
    assert "No deviation was published in this time." in out
    (line,) = [line for line in out.splitlines() if line.startswith("latency of ")]
    assert line.startswith("latency of http at ams: not flagged: ")
    assert " is under its limit of " in line
    assert " at fra" not in out


def test_a_target_that_is_not_known_well_enough_says_so(
    filled: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten checks are no baseline: that is why nothing is flagged."""
    monkeypatch.chdir(filled)
    out = explained(capsys, "young", "--at", "now")
    assert re.search(
        r"latency of http at ams: not judged yet: its baseline knows \d+ of the 60 checks that it needs", out
    )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["shop", "--at", "yesterday"], 2, "--at: expected a time such as 2026-11-22T10:00:05 (UTC)"),
        (["shop", "--at", "2999-01-01"], 2, "lies ahead"),
        (["shp", "--at", "now"], 2, "no checks of shp are stored; stored are those of acme/shop"),
        (
            ["shop", "--at", "now", "--probe", "ftp"],
            2,
            "has no such series, expected one of: failure_ratio of http; lat",
        ),
        (["shop", "--at", "2020-01-01"], 1, "no checks of acme/shop are stored from 2019-12-31"),
        (["shop"], 2, "--at"),
        (["shop", "--at", "now", "--hours", "0"], 2, "--hours"),
    ],
)
def test_what_cannot_be_explained_is_one_line(
    filled: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    code: int,
    said: str,
) -> None:
    """2 for wrong usage, 1 where nothing is stored at that time, which names the times where there is."""
    monkeypatch.chdir(filled)
    assert run(["explain", *words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_stored_checks_come_back_as_they_were_stored(filled: Path, store: StoreSettings) -> None:
    """By time, all columns, only those of the target; counts are those of what comes."""
    settings = StoreSettings(url=store.url, token=store.token, database="explained")
    assert filled.is_dir()
    with closing(Session(settings)) as session:
        checks = StoredChecks(session)
        pieces = list(checks.of_target(TARGET, from_us=START_US, until_us=NOW_US))
        assert checks.count_of_target(TARGET, from_us=START_US, until_us=NOW_US) == 2 * TICKS
        elsewhere = list(checks.checks(0, from_us=START_US, epoch="another", before=0))
        assert sum(map(len, elsewhere)) == 2 * TICKS + 10
        assert checks.count(0, from_us=START_US, epoch="another", before=0) == 2 * TICKS + 10
        # Of this epoch only what the log will not bring again: the first of three messages.
        assert checks.count(0, from_us=START_US, epoch="e", before=1) == TICKS
        assert {
            place for piece in checks.checks(0, from_us=START_US, epoch="e", before=1) for place in piece.location
        } == {"ams"}
        assert list(checks.checks(1, from_us=START_US, epoch="another", before=0)) == []
    times = np.concatenate([piece.scheduled_at_us for piece in pieces])
    assert times.size == 2 * TICKS
    assert (np.diff(times) >= 0).all()
    assert {target for piece in pieces for target in piece.target} == {TARGET}
    failed = [piece.reason[row] for piece in pieces for row in np.flatnonzero(piece.outcome == 1).tolist()]
    assert failed == ["timeout"]
    assert pieces[0].metrics["tls_days_left"][:2].tolist() == [60.0, 60.0]
    assert pieces[0].phases["dns"].size == len(pieces[0])
    assert np.isnan(pieces[0].phases["dns"]).all()
