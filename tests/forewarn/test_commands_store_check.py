"""`forewarn store check` over a real store: what it prints, and how it ends."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from analytics.client import connect
from analytics.marks import ClickHouseMarks, Mark
from analytics.migrate import migrate
from analytics.session import Session
from analytics.settings import StoreSettings
from forewarn.cli import run
from forewarn.output import clock
from producers.outbox import Outbox
from producers.topics import CHECKS
from tests.analytics.messages import batch
from tests.analytics.test_rollups import HOUR_AT_US, OVER_US, compute_all, owning, store


@pytest.fixture
def directory(fresh_database: StoreSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with a config that names a store with two rollups; commands run in it."""
    migrate(fresh_database)
    monkeypatch.setenv("STORE_TOKEN", fresh_database.token or "")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "forewarn.yaml").write_text(
        f"store: {{url: '{fresh_database.url}', database: {fresh_database.database}, token: '${{STORE_TOKEN}}'}}\n"
        "targets: [{url: 'http://h'}]\n"
    )
    with closing(Session(fresh_database)) as session:
        rollups = owning(fresh_database)
        store(session, rollups, [batch(["main/a", "main/b"], tick_us=HOUR_AT_US)])
        compute_all(rollups, now_us=OVER_US)
    yield tmp_path
    change(fresh_database, f"DROP DATABASE {fresh_database.database}")


def change(settings: StoreSettings, sql: str) -> None:
    """Do to the store what no part of ours does."""
    with closing(connect(settings)) as client:
        client.command(sql, settings={"mutations_sync": 1})


SPOIL = "ALTER TABLE check_hours_log UPDATE failed = 9 WHERE target = 'main/b'"


@pytest.mark.usefixtures("directory")
def test_a_store_that_is_right_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    """Two lines, and no table."""
    assert run(["store", "check"]) == 0
    rollups, rest = capsys.readouterr().out.splitlines()
    assert rollups.endswith(": 2 compared, all as they should be")
    assert rest.startswith(
        "tables, views, snapshots, positions, marks, revisions: all as they should be; the log was not reached"
    )


@pytest.mark.usefixtures("directory")
def test_what_differs_ends_with_1_and_repaired_with_0(
    fresh_database: StoreSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row a difference; the repair says what it repaired; afterwards nothing differs."""
    change(fresh_database, SPOIL)
    assert run(["store", "check"]) == 1
    shown = capsys.readouterr()
    heading, row, rollups, _ = (line.rstrip() for line in shown.out.splitlines())
    assert heading.split() == ["what", "subject", "found", "repaired"]
    assert row == f"rollup  main/b web north {clock(HOUR_AT_US)}  failed is 9, the checks say 0  no"
    assert rollups.endswith(": 2 compared, 1 wrong")
    assert shown.err == "forewarn: 1 found wrong in the store and not repaired\n"
    assert run(["store", "check", "--repair"]) == 0
    out = capsys.readouterr().out
    assert "failed is 9, the checks say 0  yes" in out
    assert "2 compared, 1 wrong, 1 repaired" in out
    assert run(["store", "check", "--days", "2"]) == 0
    assert "all as they should be" in capsys.readouterr().out


@pytest.mark.usefixtures("directory")
def test_a_view_that_is_missing_is_told_and_made_again(
    fresh_database: StoreSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its newest definition, of whichever migration; a missing table is told and stays missing."""
    for view in ("checks", "incidents"):
        change(fresh_database, f"DROP VIEW {view}")
    assert run(["store", "check"]) == 1
    assert capsys.readouterr().out == "view checks: the view is missing\nview incidents: the view is missing\n"
    assert run(["store", "check", "--repair"]) == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()[1:3]] == ["yes", "yes"]
    with closing(connect(fresh_database)) as client:
        assert client.query("SELECT count() FROM checks").result_rows == [(2,)]
        client.query("SELECT caused_by FROM incidents")  # a column that a later migration has added
    change(fresh_database, "DROP TABLE alerts_log")
    assert run(["store", "check", "--repair"]) == 1
    out, err = capsys.readouterr()
    assert out == "table alerts_log: the table is missing, and its rows with it: restore a backup of the store\n"
    assert err == "forewarn: 1 found wrong in the store and not repaired\n"
    assert run(["store", "check", "--json"]) == 1
    fault, summary = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (fault["what"], fault["subject"]) == ("table", "alerts_log")
    # Nothing else can be asked without its tables: that is not known, not zero.
    assert (summary["what"], summary["faults"], summary["compared"]) == ("summary", 1, None)


@pytest.mark.usefixtures("directory")
def test_json_has_every_difference_and_a_summary(
    fresh_database: StoreSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    """An object a line."""
    change(fresh_database, SPOIL)
    assert run(["store", "check", "--json"]) == 1
    found, summary = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (found["what"], found["target"], found["repaired"]) == ("rollup", "main/b", False)
    assert (found["raw"], found["rollup"]) == ({"failed": "0"}, {"failed": "9"})
    assert (summary["what"], summary["compared"], summary["different"], summary["faults"]) == ("summary", 2, 1, 0)


def test_an_outbox_behind_its_marks_is_told_and_cannot_be_repaired(
    directory: Path, fresh_database: StoreSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    """The outboxes of the data directory are looked at, also while somebody owns them."""
    with Outbox(directory / "data" / "spool" / "north", outbox_id="north", max_bytes=10**6) as outbox:
        outbox.append(CHECKS, 0, None, b"x")
        marks = ClickHouseMarks(fresh_database)
        marks.keep_marks([Mark(outbox.id, CHECKS, 0, 1, "e", "sink")])
        assert run(["store", "check", "--data-dir", "data"]) == 0
        marks.keep_marks([Mark(outbox.id, CHECKS, 0, 2, "e", "sink")])
        marks.close()
        capsys.readouterr()
        assert run(["store", "check", "--data-dir", "data", "--repair"]) == 1
        assert f"{outbox.id}  is marked up to 2, but ends at 1: an older copy?" in capsys.readouterr().out


def test_a_store_that_is_away_is_no_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """3, so that a script can tell it from a store that is wrong."""
    config = tmp_path / "away.yaml"
    config.write_text("store: {url: 'http://127.0.0.1:1'}\ntargets: [{url: 'http://h'}]\n")
    assert run(["store", "check", "--config", str(config), "--data-dir", str(tmp_path)]) == 3
    assert capsys.readouterr().err.count("\n") == 1
