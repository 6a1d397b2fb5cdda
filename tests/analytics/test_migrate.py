"""Migrations: in order, each once, by one process at a time, and never a changed file."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given
from hypothesis import strategies as st

from analytics import migrate as subject
from analytics.client import connect
from analytics.errors import MigrationError, StoreRefusedError
from analytics.migrate import migrate, read_migrations
from analytics.settings import StoreSettings
from analytics.statements import split_statements

ONE = """-- The first table; its comment has a semicolon.
CREATE TABLE IF NOT EXISTS one (a Int64 COMMENT 'a; b') ENGINE = MergeTree ORDER BY a;
CREATE TABLE IF NOT EXISTS kept
(
    at DateTime64(6, 'UTC')
)
ENGINE = MergeTree
ORDER BY at
TTL toDateTime(at) + INTERVAL {checks_ttl_days} DAY
SETTINGS index_granularity = 8192;
"""
TWO = "ALTER TABLE one ADD COLUMN IF NOT EXISTS b String DEFAULT ';' -- last; no semicolon\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Two migrations."""
    (tmp_path / "0001_one.sql").write_text(ONE)
    (tmp_path / "0002_two.sql").write_text(TWO)
    return tmp_path


def columns(client: Client) -> list[str]:
    """Return the columns of table `one`."""
    return [row[0] for row in client.query("DESCRIBE TABLE one").result_rows]


def refused(settings: StoreSettings, files: Path) -> str:
    """Migrate, be refused, return the line."""
    with pytest.raises(MigrationError) as caught:
        migrate(settings, directory=files)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_new_database_gets_everything_once(fresh_database: StoreSettings, files: Path) -> None:
    """The first call creates the database and applies both in order; the second has nothing to do."""
    assert migrate(fresh_database, directory=files) == ["0001_one.sql", "0002_two.sql"]
    assert migrate(fresh_database, directory=files) == []
    client = connect(fresh_database)
    assert columns(client) == ["a", "b"]
    records = client.query(
        "SELECT number, name, length(checksum) FROM migrations FINAL WHERE number > 0 ORDER BY number"
    )
    assert records.result_rows == [(1, "0001_one.sql", 64), (2, "0002_two.sql", 64)]
    assert client.query("EXISTS TABLE migration_lock").result_rows == [(0,)]
    client.close()


def test_a_later_file_is_applied_alone(fresh_database: StoreSettings, files: Path) -> None:
    """What was applied is not applied again."""
    migrate(fresh_database, directory=files)
    (files / "0003_three.sql").write_text("ALTER TABLE one ADD COLUMN IF NOT EXISTS c Int8;")
    assert migrate(fresh_database, directory=files) == ["0003_three.sql"]


def test_a_changed_file_is_refused_but_line_ends_are_no_change(fresh_database: StoreSettings, files: Path) -> None:
    """A checkout with other line ends is the same file; a blank more is not."""
    migrate(fresh_database, directory=files)
    (files / "0001_one.sql").write_bytes(ONE.replace("\n", "\r\n").encode())
    assert migrate(fresh_database, directory=files) == []
    (files / "0001_one.sql").write_text(ONE + " ")
    assert refused(fresh_database, files).startswith("0001_one.sql was changed after it had been applied")
    (files / "0001_one.sql").rename(files / "0001_other.sql")
    (files / "0001_other.sql").write_text(ONE)
    assert "0001_other.sql was changed" in refused(fresh_database, files)


def test_an_older_program_is_refused(fresh_database: StoreSettings, files: Path) -> None:
    """A store that knows more than the program is left alone."""
    migrate(fresh_database, directory=files)
    (files / "0002_two.sql").unlink()
    assert refused(fresh_database, files) == (
        "the store has migration 0002_two.sql, which this program does not know: it is older"
    )


def test_a_failing_statement_is_named_and_its_migration_runs_again(fresh_database: StoreSettings, files: Path) -> None:
    """File and line; what went before it stays; after a correction everything is applied."""
    (files / "0002_two.sql").write_text("SELECT 1;\n\nALTER TABLE nothing_there ADD COLUMN b Int8;")
    assert refused(fresh_database, files).startswith("0002_two.sql, line 3: ")
    (files / "0002_two.sql").write_text(TWO)
    assert migrate(fresh_database, directory=files) == ["0002_two.sql"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("0003-x.sql", "SELECT 1", "must be NNNN_name.sql"),
        ("0004_gap.sql", "SELECT 1", "number 0003 was expected"),
        ("0002_again.sql", "SELECT 1", "number 0002 was expected"),
        ("0003_x.sql", "-- nothing", "there is no statement in it"),
        ("0003_x.sql", "SELECT 1;\nSELECT 'open", "line 2: ' is not closed"),
        ("0003_x.sql", "SELECT 1;\n/* open", "line 2: /* is not closed"),
        ("0003_x.sql", "SELECT {other_days}", "line 1: unknown placeholder {other_days}"),
    ],
)
def test_files_that_cannot_be_are_refused_before_anything_runs(files: Path, name: str, text: str, said: str) -> None:
    """With the file's name; nothing has been sent."""
    if name.startswith("0002"):
        (files / "0002_two.sql").rename(files / "0003_two.sql")
        (files / "0001_zwei.sql").write_text("SELECT 1")
    (files / name).write_text(text)
    with pytest.raises(MigrationError, match=r"\.sql") as caught:
        read_migrations(files)
    assert said in str(caught.value)


def test_retention_follows_the_config(fresh_database: StoreSettings, files: Path) -> None:
    """The days go into the table, and a later change of them too."""

    def ttl() -> str:
        client = connect(fresh_database)
        sql = "SELECT extract(create_table_query, 'toIntervalDay\\\\((\\\\d+)\\\\)') FROM system.tables"
        found = client.query(f"{sql} WHERE database = currentDatabase() AND name = 'kept'").result_rows
        client.close()
        return str(found[0][0])

    migrate(fresh_database, directory=files)
    assert ttl() == "100"
    assert migrate(replace(fresh_database, checks_ttl_days=7), directory=files) == []
    assert ttl() == "7"
    migrate(fresh_database, directory=files)
    assert ttl() == "100"


@pytest.mark.parametrize("days", [0, -1, 36_501, True, 1.5, "7; DROP TABLE one"])
def test_days_are_whole_numbers_in_bounds(fresh_database: StoreSettings, files: Path, days: object) -> None:
    """They are put into SQL, so nothing else gets there."""
    settings = replace(fresh_database, checks_ttl_days=days)  # type: ignore[arg-type]
    assert "checks_ttl_days must be a whole number" in refused(settings, files)


@pytest.mark.parametrize("name", ["", "a b", "a`; DROP DATABASE b", "1a", "a" * 64, "ü"])
def test_a_database_name_that_needs_quotes_is_refused(store: StoreSettings, files: Path, name: str) -> None:
    """It is put into SQL too."""
    with pytest.raises(StoreRefusedError, match="a name that cannot be"):
        migrate(replace(store, database=name), directory=files)


def test_two_at_once_apply_everything_once(fresh_database: StoreSettings, files: Path) -> None:
    """The second waits for the first; together they applied each file once."""
    for number in range(3, 12):
        (files / f"{number:04}_more.sql").write_text(f"ALTER TABLE one ADD COLUMN IF NOT EXISTS c{number} Int8;")
    applied: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: applied.append(migrate(fresh_database, directory=files))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(names) for names in applied) == [0, 0, 0, 11]


def test_a_lock_that_was_left_behind_is_put_aside(
    fresh_database: StoreSettings, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that died in the middle delays the next one, and no more than that."""
    migrate(fresh_database, directory=files)
    client = connect(fresh_database)
    client.command(subject._LOCK)
    client.insert("migration_lock", [["elsewhere process 1"]], column_names=["owner"])
    (files / "0003_three.sql").write_text("ALTER TABLE one ADD COLUMN IF NOT EXISTS c Int8;")
    monkeypatch.setattr(subject, "LOCK_STALE_S", 1.0)
    assert migrate(fresh_database, directory=files) == ["0003_three.sql"]
    assert client.query("SELECT name FROM system.tables WHERE name LIKE 'migration_lock%'").result_rows == []
    client.close()


def test_the_real_migrations_apply_and_every_column_is_commented(fresh_database: StoreSettings) -> None:
    """What analysts see has a comment, tables and columns."""
    names = [migration.name for migration in read_migrations()]
    assert migrate(fresh_database) == names
    assert migrate(fresh_database) == []
    client = connect(fresh_database)
    here = "database = currentDatabase()"
    tables = client.query(f"SELECT name FROM system.tables WHERE {here} AND comment = ''").result_rows  # noqa: S608 - constants
    fields = client.query(f"SELECT table, name FROM system.columns WHERE {here} AND comment = ''").result_rows  # noqa: S608 - constants
    assert (tables, fields) == ([], [])
    client.close()


def test_statements_are_cut_at_semicolons_outside_of_everything() -> None:
    """Strings with both escapes, quoted names, three kinds of comments, heredocs; lines count from 1."""
    text = "SELECT 'a;''b\\';';\n-- c;\n# d;\n/* e;\n; */ SELECT `f;`, \"g;\"\n;;\nSELECT $x$;$x$ -- h;"
    found = [(statement.line, statement.text) for statement in split_statements(text)]
    assert found == [(1, "SELECT 'a;''b\\';'"), (5, 'SELECT `f;`, "g;"'), (7, "SELECT $x$;$x$")]


@given(st.lists(st.sampled_from(["SELECT 1", "SELECT ';'", "SELECT `a;b`", "SELECT /* ; */ 2"]), max_size=6))
def test_joined_statements_come_apart_again(statements: list[str]) -> None:
    """Whatever they are joined with."""
    joined = " ;\n-- between; them\n".join(statements)
    assert [statement.text for statement in split_statements(joined)] == statements


@given(st.text(alphabet="ab;'`\"\\-/*# \n$", max_size=60))
def test_any_text_is_cut_or_refused(text: str) -> None:
    """No statement holds a semicolon outside of quotes and comments; lines are in the text."""
    try:
        found = split_statements(text)
    except ValueError:
        return
    for statement in found:
        assert statement.text in text
        assert [again.text for again in split_statements(statement.text)] == [statement.text]
