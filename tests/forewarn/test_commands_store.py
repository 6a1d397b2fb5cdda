"""Commands that ask the store: sql and dead-letters, over the real HTTP interface."""

import base64
import io
import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from analytics.client import connect
from analytics.insert import Inserter
from analytics.migrate import migrate
from analytics.rows import one_table, rows_of
from analytics.session import Session
from analytics.settings import StoreSettings
from forewarn.cli import run
from forewarn.embedded.store_process import StoreProcess
from forewarn.output import clock
from forewarn.up import lock_data_dir
from producers.topics import DEAD_LETTERS, Position
from streams.contract import DeadLetter
from tests.forewarn.cli_process import forewarn

MINUTE_US = 60_000_000
AT_US = (time.time_ns() // 1000 // MINUTE_US - 10) * MINUTE_US  # whole minutes, and young enough to be kept


@pytest.fixture
def directory(fresh_database: StoreSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with a config that names the store, whose database is there; commands run in it."""
    with closing(connect(fresh_database, use_database=False)) as client:
        client.command(f"CREATE DATABASE {fresh_database.database}")
    monkeypatch.setenv("STORE_TOKEN", fresh_database.token or "")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "forewarn.yaml").write_text(
        f"store: {{url: '{fresh_database.url}', database: {fresh_database.database}, token: '${{STORE_TOKEN}}'}}\n"
        "targets: [{url: 'http://h'}]\n"
    )
    yield tmp_path
    with closing(connect(fresh_database, use_database=False)) as client:
        client.command(f"DROP DATABASE {fresh_database.database}")


def test_a_table_has_its_numbers_at_the_right(directory: Path) -> None:
    """Whatever the values are, columns are aligned, NULL is NULL, nothing is coloured or cut."""
    query = (
        "SELECT number * 999 AS n, toNullable(number / 4) AS ratio, if(number = 1, NULL, 'x') AS text, "
        "[number, 1] AS list, toDateTime64('2026-10-01 00:00:00.5', 3, 'UTC') AS at, repeat('y', 200) AS wide "
        "FROM numbers(3)"
    )
    ended = forewarn("sql", query, cwd=directory)
    assert (ended.returncode, ended.stderr) == (0, "")
    wide = "y" * 200
    assert [line.rstrip() for line in ended.stdout.splitlines()] == [
        "   n  ratio  text  list    at                       wide",
        f"   0      0  x     [0, 1]  2026-10-01 00:00:00.500  {wide}",
        f" 999   0.25  NULL  [1, 1]  2026-10-01 00:00:00.500  {wide}",
        f"1998    0.5  x     [2, 1]  2026-10-01 00:00:00.500  {wide}",
    ]


@pytest.mark.usefixtures("directory")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["SELECT 1 AS a, 'x' AS b", "--format", "CSVWithNames"], '"a","b"\n1,"x"\n'),
        (["SELECT 1 AS a", "-f", "JSONEachRow"], '{"a":1}\n'),
        (["SELECT 1 AS a;", "--format", "TSV"], "1\n"),
        (["SELECT 1 AS a FORMAT JSONCompactEachRow"], "[1]\n"),
        (["SELECT 1 AS a FORMAT JSONCompactEachRow", "--format", "CSV"], "[1]\n"),
        (["SELECT 1 AS a WHERE 0"], "a\n"),
    ],
)
def test_any_format_of_clickhouse_comes_as_it_is(
    words: list[str], expected: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """A FORMAT in the query beats the option; a closing semicolon does no harm."""
    assert run(["sql", *words]) == 0
    assert capfdbinary.readouterr().out.decode() == expected


@pytest.mark.usefixtures("directory")
def test_a_query_from_stdin_and_statements_without_an_answer(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """CREATE and INSERT print nothing; what they did is there."""
    assert run(["sql", "--write", "CREATE TABLE t (a Int64) ENGINE = MergeTree ORDER BY a"]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("INSERT INTO t VALUES (1), (2);\n"))
    assert run(["sql", "--write", "-"]) == 0
    assert capfd.readouterr().out == ""
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT sum(a) FROM t"))
    assert run(["sql", "-f", "TSV", "-"]) == 0
    assert capfd.readouterr().out == "3\n"


@pytest.mark.usefixtures("directory")
def test_nothing_is_changed_without_being_asked_to(capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever would change the store is refused by the store itself; what only reads is answered."""
    assert run(["sql", "--write", "CREATE TABLE kept (a Int64) ENGINE = MergeTree ORDER BY a"]) == 0
    for statement in (
        "DROP TABLE kept",
        "TRUNCATE TABLE kept",
        "INSERT INTO kept VALUES (1)",
        "INSERT INTO kept SELECT 1",
        "ALTER TABLE kept DELETE WHERE 1",
        "CREATE TABLE another (a Int64) ENGINE = MergeTree ORDER BY a",
        "SET readonly = 0",
    ):
        assert run(["sql", statement]) == 2, statement
        said = "forewarn: this statement would change the store, and nothing was done; --write allows it\n"
        assert capfd.readouterr().err == said, statement
    for statement in ("EXISTS TABLE kept", "WITH 1 AS a SELECT a", "SELECT 1 SETTINGS max_threads = 1"):
        assert run(["sql", "-f", "TSV", statement]) == 0
        assert capfd.readouterr().out == "1\n"


@pytest.mark.usefixtures("directory")
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["SELEC 1"], 2, "Syntax error"),
        (["SELECT * FROM nowhere"], 2, "nowhere"),
        (["SELECT nothing FROM numbers(3)"], 2, "nothing"),
        (["SELECT 1", "-f", "Nope"], 2, "Unknown format Nope"),
        (["SELECT throwIf(number = 200000) FROM numbers(300000)", "-f", "TSV"], 2, "throwIf"),
        (["SELECT 1", "-f", "no format"], 2, "is no format"),
        ([" ; "], 2, "the query is empty"),
    ],
)
def test_what_clickhouse_says_is_one_line(
    words: list[str], code: int, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A wrong query is wrong usage, and no reason to migrate; nothing looks like a whole answer that is not."""
    assert run(["sql", *words]) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("forewarn: ")
    assert said in err
    assert err.count("\n") == 1
    assert "migrate" not in err
    assert "Code:" not in err


@pytest.mark.usefixtures("directory")
def test_a_table_that_nobody_can_read_is_cut_and_that_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    """1,000 rows; the other formats print all."""
    assert run(["sql", "SELECT number AS n FROM numbers(1005)"]) == 0
    out, err = capfd.readouterr()
    assert out.split() == ["n", *map(str, range(1000))]
    assert err == "forewarn: only the first 1,000 of 1,005 rows are shown; --format TSV prints all of them\n"
    assert run(["sql", "SELECT number FROM numbers(1005)", "-f", "TSV"]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 1005


def test_a_store_that_is_away_or_refuses_us(directory: Path) -> None:
    """3 and 4, one line each, without the token."""
    config = directory / "forewarn.yaml"
    refused = forewarn("sql", "SELECT 1", cwd=directory, STORE_TOKEN="wrong-token")
    assert (refused.returncode, refused.stderr.count("\n")) == (4, 1)
    assert "refuses the token" in refused.stderr
    assert "wrong-token" not in refused.stderr
    config.write_text("store: {url: 'http://127.0.0.1:1'}\ntargets: [{url: 'http://h'}]\n")
    away = forewarn("sql", "SELECT 1", cwd=directory)
    assert (away.returncode, away.stderr) == (
        3,
        "forewarn: the store at http://127.0.0.1:1 cannot be reached: connection refused\n",
    )


def insert_dead_letters(settings: StoreSettings, count: int) -> None:
    """Store some, one a minute."""
    session = Session(settings)
    for number in range(count):
        letter = DeadLetter(
            v=1,
            id=f"id-{number}",
            topic="checks.v1",
            epoch="e",
            partition=3,
            offset=40 + number,
            log_timestamp_us=AT_US,
            reason="malformed",
            detail="expected an object",
            group="detect",
            at_us=AT_US + number * MINUTE_US,
            payload=base64.b64encode(b"not json").decode(),
            payload_bytes=8_000,
        )
        for rows in rows_of(letter, Position(epoch="e", topic=DEAD_LETTERS, partition=0, offset=number)):
            Inserter(session).insert(rows.table, one_table([rows.batch], rows.table.schema))
    session.close()


@pytest.mark.usefixtures("directory")
def test_dead_letters_are_listed_newest_first(
    fresh_database: StoreSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    """With position, reason and size; a limit; JSON with everything but the payload; none is said to be none."""
    migrate(fresh_database)
    assert run(["dead-letters"]) == 0
    assert capsys.readouterr().out == "no dead letters\n"
    insert_dead_letters(fresh_database, 3)
    assert run(["dead-letters", "--limit", "2"]) == 0
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "id    at (UTC)             position         reason     bytes  detail",
        f"id-2  {clock(AT_US + 2 * MINUTE_US)}  checks.v1[3]@42  malformed  8,000  expected an object",
        f"id-1  {clock(AT_US + MINUTE_US)}  checks.v1[3]@41  malformed  8,000  expected an object",
    ]
    assert run(["dead-letters", "--json"]) == 0
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [found["source_offset"] for found in objects] == [42, 41, 40]
    assert objects[0]["group_name"] == "detect"
    assert objects[0]["at"] == clock(AT_US + 2 * MINUTE_US)


def test_sql_starts_the_store_of_a_data_directory_where_nothing_runs(tmp_path: Path) -> None:
    """After `forewarn demo` or `up` has ended, what was stored can still be asked; two at once are refused."""
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    store = StoreProcess(data_dir / "store")
    store.start()
    with closing(connect(store.settings, use_database=False)) as client:
        client.command("CREATE DATABASE IF NOT EXISTS forewarn")
        client.command("CREATE TABLE forewarn.t (a Int64) ENGINE = MergeTree ORDER BY a")
        client.command("INSERT INTO forewarn.t VALUES (7)")
    store.stop()
    ended = forewarn("sql", "-d", data_dir, "-f", "TSV", "SELECT a FROM t", cwd=tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "7\n", "")
    lock = lock_data_dir(data_dir)
    refused = forewarn("sql", "-d", data_dir, "SELECT 1", cwd=tmp_path)
    lock.close()
    assert refused.returncode == 4
    assert "is in use by process" in refused.stderr
