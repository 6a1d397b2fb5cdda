"""`forewarn report` as a user runs it."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from analytics.client import connect
from analytics.insert import Inserter
from analytics.migrate import migrate
from analytics.rows import one_table, rows_of
from analytics.session import Session
from analytics.settings import StoreSettings
from forewarn.cli import run
from tests.analytics.messages import NOW_US, batch, place
from tests.forewarn.cli_process import forewarn

MONTH = f"{datetime.fromtimestamp(NOW_US / 1e6, UTC):%Y-%m}"


@pytest.fixture
def directory(fresh_database: StoreSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with a config that names the store, whose tables are there; commands run in it."""
    migrate(fresh_database)
    monkeypatch.chdir(tmp_path)
    at = fresh_database
    (tmp_path / "forewarn.yaml").write_text(
        f"store: {{url: '{at.url}', database: {at.database}, token: '{at.token}'}}\n"
        "report: {time_zone: UTC, unknown: down, objective: 0.995}\n"
        "targets: [{url: 'http://h'}]\n"
    )
    yield tmp_path
    with closing(connect(fresh_database, use_database=False)) as client:
        client.command(f"DROP DATABASE {fresh_database.database}")


def test_a_report_is_written_and_its_name_printed(directory: Path, fresh_database: StoreSettings) -> None:
    """By the config's policy; a customer's has a name of its own, and `--out` is obeyed."""
    session = Session(fresh_database)
    for rows in rows_of(batch(["acme/shop", "acme2/shop"], tick_us=NOW_US), place()):
        Inserter(session).insert(rows.table, one_table([rows.batch], rows.table.schema))
    session.close()
    ended = forewarn("report", "--month", MONTH, cwd=directory)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"sla-{MONTH}.html\n", "")
    text = (directory / f"sla-{MONTH}.html").read_text()
    for said in ("acme/shop", "acme2/shop", "counted as down", "99.500 %", "UTC"):
        assert said in text
    assert run(["report", "--month", MONTH, "--customer", "acme"]) == 0
    text = (directory / f"sla-{MONTH}-acme.html").read_text()
    assert "acme/shop" in text
    assert "acme2" not in text
    assert run(["report", "--month", MONTH, "--out", "mine.html"]) == 0
    assert (directory / "mine.html").exists()


@pytest.mark.usefixtures("directory")
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--month", "2199-01"], 2, "2199-01 has not begun yet"),
        (["--month", "2026-13"], 2, "'2026-13' is not a month; expected YYYY-MM"),
        (["--month", "0001-01"], 2, "'0001-01' is not in the years 2000 to 2199"),
        (
            ["--month", MONTH, "--out", "nowhere/x.html"],
            4,
            "nowhere/x.html cannot be written: No such file or directory",
        ),
        (["--month", MONTH, "--out", "."], 4, ". cannot be written: Is a directory"),
    ],
)
def test_what_cannot_be_reported_is_one_line(
    words: list[str], code: int, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """And nothing on stdout."""
    assert run(["report", *words]) == code
    out, err = capfd.readouterr()
    assert (out, err) == ("", f"forewarn: {said}\n")


@pytest.mark.usefixtures("directory")
def test_a_customer_that_nobody_watched_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    """Its report is written, for a month may be empty; but the name may also be a wrong one."""
    assert run(["report", "--month", MONTH, "--customer", "acmee"]) == 0
    out, err = capfd.readouterr()
    assert out == f"sla-{MONTH}-acmee.html\n"
    assert err == f"forewarn: nothing of the customer acmee was watched in {MONTH}\n"
