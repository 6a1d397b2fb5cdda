"""The unmodified clients of ClickHouse against the embedded store: what goes in comes out, in each form they send."""

import asyncio
import datetime as dt
import shutil
import subprocess
import threading
from collections.abc import Iterator

import clickhouse_connect
import numpy as np
import pyarrow as pa
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from analytics.client import client_options, connect
from analytics.settings import StoreSettings

START = dt.datetime(2026, 10, 25, 0, 0, tzinfo=dt.UTC)


@pytest.fixture
def client(database: StoreSettings) -> Iterator[Client]:
    """A client in that database."""
    client = connect(database)
    yield client
    client.close()


def test_rows_with_semicolons_and_quotes_and_nulls_are_rows(client: Client) -> None:
    """Bytes that SQL would trip over are values: in Native and in seven other formats."""
    awkward = ["a;DROP TABLE t;", "'", "\\", '"', "`", "--", "/*", "*/", "\x00", "\t\n", "$$", "FORMAT TSV", "ü🛰", ""]
    client.command("CREATE TABLE t (n UInt32, s String) ENGINE = MergeTree ORDER BY n")
    client.insert("t", [[number, text] for number, text in enumerate(awkward)], column_names=["n", "s"])
    for fmt in ("TabSeparated", "CSV", "JSONEachRow", "RowBinary", "Values", "Parquet", "ArrowStream"):
        rows = client.raw_query("SELECT toUInt32(old.n + 1000) AS n, s FROM t AS old WHERE old.n < 1000", fmt=fmt)
        summary = client.raw_insert("t", column_names=["n", "s"], insert_block=rows, fmt=fmt)
        assert summary.written_rows == len(awkward), fmt
        stored = client.query("SELECT s FROM t WHERE n >= 1000 ORDER BY n").result_columns
        assert list(stored[0]) == awkward, fmt
        client.command("ALTER TABLE t DELETE WHERE n >= 1000", settings={"mutations_sync": 1})
    for number, text in enumerate(awkward):
        found = client.query("SELECT n FROM t WHERE s = {text:String}", parameters={"text": text}).result_rows
        assert found == [(number,)]


def test_values_of_every_kind_come_back_as_they_went(client: Client) -> None:
    """Nullable, LowCardinality, arrays, maps, tuples, 64-bit times, decimals, big integers, UUID, IP."""
    kinds = "a Array(Nullable(String)), m Map(String, Float64), u UInt64, i Int128, d Date"
    kinds += ", l LowCardinality(Nullable(String)), t Tuple(x Int8, y String), at DateTime64(6, 'UTC')"
    client.command(f"CREATE TABLE kinds ({kinds}) ENGINE = Memory")
    row = [["x", None, "ü"], {"a": 1.5, "b;": -0.0}, 2**64 - 1, -(2**100), dt.date(2026, 3, 29), None, (1, "y"), START]
    names = ["a", "m", "u", "i", "d", "l", "t", "at"]
    client.insert("kinds", [row], column_names=names)
    found = dict(zip(names, client.query("SELECT * FROM kinds").result_rows[0], strict=True))
    assert found["t"] in ((1, "y"), {"x": 1, "y": "y"})
    assert [found[name] for name in names if name != "t"] == [*row[:6], row[7]]
    assert found["at"].tzinfo is not None


def test_every_way_to_ask_gives_the_same_rows(client: Client) -> None:
    """query, rows and columns streamed, data frame, Arrow, Arrow streamed, numpy, raw, command."""
    text = "SELECT number AS n, toString(number) AS s FROM numbers(200000)"
    total = 200_000 * 199_999 // 2
    assert sum(row[0] for row in client.query(text).result_rows) == total
    with client.query_row_block_stream(text) as blocks:
        assert sum(row[0] for block in blocks for row in block) == total
    with client.query_column_block_stream(text) as blocks:
        assert sum(sum(block[0]) for block in blocks) == total
    assert int(client.query_df(text)["n"].sum()) == total
    assert int(client.query_np("SELECT number FROM numbers(200000)").sum()) == total
    assert client.query_arrow(text)["n"].to_numpy().sum() == total
    with client.query_arrow_stream(text) as tables:
        assert sum(int(table["n"].to_numpy().sum()) for table in tables) == total
    assert client.raw_query(text, fmt="CSV").count(b"\n") == 200_000
    with client.raw_stream(text, fmt="JSONEachRow") as stream:
        assert stream.read().count(b"\n") == 200_000
    assert client.command("SELECT count() FROM numbers(200000)") == 200_000


def test_empty_results_have_their_columns_where_the_format_has_them(client: Client) -> None:
    """No row is no error, whichever way it is asked."""
    assert client.query("SELECT 1 AS a WHERE 0").result_rows == []
    assert client.query("SELECT 1 AS a LIMIT 0").column_names == ("a",)
    assert client.query_arrow("SELECT 1 AS a WHERE 0").column_names == ["a"]
    assert client.query_df("SELECT 1 AS a WHERE 0").empty
    assert client.raw_query("SELECT 1 AS a WHERE 0", fmt="TabSeparatedWithNames") == b"a\n"
    assert not isinstance(client.command("SELECT 1 WHERE 0"), int)


def test_a_query_that_fails_after_rows_have_gone_out_is_an_error(client: Client) -> None:
    """A cut stream must not look like a whole one: the tail names the error."""
    text = "SELECT throwIf(number = 3000000, 'late') FROM numbers(4000000)"
    with pytest.raises(DatabaseError, match="late") as caught, client.query_row_block_stream(text) as blocks:
        for _ in blocks:
            pass
    assert caught.value.code == 395


def test_errors_carry_clickhouses_code_and_name(client: Client) -> None:
    """A client's code may act on them."""
    for text, code, name in (
        ("SELECT * FROM nothing_there", 60, "UNKNOWN_TABLE"),
        ("SELEC 1", 62, "SYNTAX_ERROR"),
        ("SELECT nope", 47, "UNKNOWN_IDENTIFIER"),
        ("SELECT 1 FORMAT Nope", 73, "UNKNOWN_FORMAT"),
        ("SELECT sleep(3) SETTINGS max_execution_time = 1", 159, "TIMEOUT_EXCEEDED"),
    ):
        with pytest.raises(DatabaseError) as caught:
            client.command(text)
        assert (caught.value.code, caught.value.name) == (code, name)


def test_settings_of_one_request_do_not_reach_the_next(client: Client) -> None:
    """Each request has a connection of its own."""
    text = "SELECT value FROM system.settings WHERE name = 'max_block_size'"
    usual = client.command(text)
    assert client.command(text, settings={"max_block_size": 777}) == 777
    assert client.command(text) == usual
    client.command("SET max_block_size = 555")
    assert client.command(text) == usual


def test_a_session_remembers_set_and_use(database: StoreSettings) -> None:
    """And refuses a second query at the same time."""
    options = client_options(database, database=None)
    client = clickhouse_connect.get_client(**{**options, "session_id": f"session-{database.database}"})
    client.command("SET max_block_size = 555")
    assert client.command("SELECT value FROM system.settings WHERE name = 'max_block_size'") == 555
    client.command(f"USE {database.database}", use_database=False)
    assert client.command("SELECT currentDatabase()", use_database=False) == database.database
    other = clickhouse_connect.get_client(**{**options, "session_id": f"session-{database.database}"})
    slow = threading.Thread(target=client.command, args=("SELECT sleepEachRow(1) FROM numbers(3)",))
    slow.start()
    onlooker = clickhouse_connect.get_client(**options)
    while not onlooker.command("SELECT count() FROM system.processes WHERE query LIKE 'SELECT sleepEachRow%'"):
        assert slow.is_alive(), "the slow query was never seen at work"
    seen = set()
    while slow.is_alive():
        try:
            other.command("SELECT 1")
        except DatabaseError as error:
            seen.add(error.code)
    slow.join()
    assert seen == {373}


def test_parameters_are_values_whatever_is_in_them(client: Client) -> None:
    """Bound by the engine, never pasted."""
    text = "'; DROP TABLE t; -- \\ \n\t ü"
    asked = "SELECT {s:String}, {n:Int64}, {a:Array(String)}, {d:DateTime64(6, 'UTC')}, {none:Nullable(String)}"
    found = client.query(asked, parameters={"s": text, "n": -5, "a": [text, ""], "d": START, "none": None})
    assert found.result_rows == [(text, -5, [text, ""], START, None)]


def test_inserts_and_reads_go_on_at_once(client: Client, database: StoreSettings) -> None:
    """A slow read delays no insert, and no row of eight writers is lost."""
    client.command("CREATE TABLE many (w UInt8, n UInt32) ENGINE = MergeTree ORDER BY (w, n)")

    def write(writer: int) -> None:
        own = connect(database)
        for batch in range(10):
            own.insert("many", [[writer, batch * 100 + number] for number in range(100)], column_names=["w", "n"])
        own.close()

    slow = threading.Thread(target=connect(database).command, args=("SELECT sleepEachRow(0.5) FROM numbers(4)",))
    slow.start()
    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(8)]
    for thread in writers:
        thread.start()
    for thread in [*writers, slow]:
        thread.join()
    assert client.command("SELECT uniqExact(w, n) FROM many") == 8_000


async def test_the_async_client_works_too(database: StoreSettings) -> None:
    """Inserts, queries, streams and errors, several at once."""
    client = await clickhouse_connect.get_async_client(**client_options(database, database=database.database))
    await client.command("CREATE TABLE t (n UInt64, s String) ENGINE = MergeTree ORDER BY n")
    batches = [[[batch * 1000 + number, "x" * 50] for number in range(1000)] for batch in range(20)]
    await asyncio.gather(*(client.insert("t", batch, column_names=["n", "s"]) for batch in batches))
    table = pa.table({"n": np.arange(20_000, 120_000, dtype=np.uint64), "s": ["y"] * 100_000})
    assert (await client.insert_arrow("t", table)).written_rows == 100_000
    assert (await client.query("SELECT count(), uniqExact(n) FROM t")).result_rows == [(120_000, 120_000)]
    async with await client.query_row_block_stream("SELECT n FROM t") as blocks:
        assert sum([len(block) async for block in blocks]) == 120_000
    assert len(await client.query_df("SELECT * FROM t")) == 120_000
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
        await client.query("SELECT * FROM nothing_there")
    await client.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_works_as_with_clickhouse(database: StoreSettings) -> None:
    """Query in the URL or in the body, rows in the body, three ways to give the token, compression both ways."""
    url, token = database.url, database.token

    def curl(*options: str, sent: bytes = b"") -> str:
        run = subprocess.run(["curl", "-sS", *options], input=sent, capture_output=True, check=True, timeout=20)
        return run.stdout.decode()

    key = ("-H", f"X-ClickHouse-Key: {token}")
    assert curl(f"{url}/ping") == "Ok.\n"
    assert curl(*key, f"{url}/?query=SELECT+1") == "1\n"
    assert curl("-u", f"anyone:{token}", f"{url}/", "-d", "SELECT 1 FORMAT JSONEachRow") == '{"1":1}\n'
    assert curl("-H", f"Authorization: Bearer {token}", f"{url}/", "-d", "SELECT 'ü'") == "ü\n"
    assert curl(*key, f"{url}/?query=SELECT+%7Ba:UInt8%7D&param_a=7") == "7\n"
    table = f"{database.database}.c"
    curl(*key, url, "-d", f"CREATE TABLE {table} (a UInt64, b String) ENGINE = Memory")
    rows = b"".join(b"%d\trow;%d\n" % (number, number) for number in range(70_000))
    assert curl(*key, "--data-binary", "@-", f"{url}/?query=INSERT+INTO+{table}+FORMAT+TSV", sent=rows) == ""
    inline = f"INSERT INTO {table} (a, b) VALUES (70000, 'a;b'), (70001, 'x')"  # noqa: S608 - the name is the fixture's
    assert curl(*key, url, "-d", inline) == ""
    asked = f"{url}/?enable_http_compression=1&query=SELECT+count(),max(a)+FROM+{table}"
    assert curl(*key, "--compressed", asked) == "70002\t70001\n"
    everything = curl(*key, "--compressed", f"{url}/?enable_http_compression=1&query=SELECT+*+FROM+{table}+ORDER+BY+a")
    assert everything.startswith(rows.decode())
    assert "Code: 62. DB::Exception: Syntax error" in curl(*key, url, "-d", "SELEC 1")
