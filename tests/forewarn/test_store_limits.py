"""What the embedded store refuses: strangers, ways out of it, and what is too large, too long or too much at once."""

import gzip
import http.client
import json
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import lz4.frame
import pytest
import zstandard

from analytics.client import connect
from analytics.settings import StoreSettings
from forewarn.embedded.store.compression import decoded
from forewarn.embedded.store.errors import QueryError
from forewarn.embedded.store_process import StoreProcess


def ask(
    store: StoreSettings,
    sql: str | bytes = b"",
    *,
    method: str = "POST",
    path: str = "/",
    headers: dict[str, str] | None = None,
    token: bool = True,
    settings: dict[str, str] | None = None,
    **params: str,
) -> tuple[int, dict[str, str], str]:
    """Send one request; return status, headers and body."""
    address = urlsplit(store.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port or 0, timeout=30)
    sent = {"X-ClickHouse-Key": store.token or ""} if token else {}
    connection.request(method, f"{path}?{urlencode({**params, **(settings or {})})}", sql, {**sent, **(headers or {})})
    reply = connection.getresponse()
    answer = reply.status, dict(reply.getheaders()), reply.read().decode("utf-8", "replace")
    connection.close()
    return answer


def test_only_the_token_opens_it(store: StoreSettings) -> None:
    """Without it, with another, with a prefix of it: 401 and ClickHouse's code; the ping needs none."""
    assert ask(store, path="/ping", method="GET", token=False)[::2] == (200, "Ok.\n")
    token = store.token or ""
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {token[:-1]}"},
        {"Authorization": f"Bearer {token}x"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic ZGVmYXVsdDo="},
        {"Authorization": "Digest x"},
        {"X-ClickHouse-Key": ""},
        {"X-ClickHouse-User": "default", "X-ClickHouse-Key": "ü"},
    ):
        status, found, body = ask(store, "SELECT 1", headers=headers, token=False)
        assert (status, found["X-ClickHouse-Exception-Code"]) == (401, "516"), headers
        assert token not in body
    assert ask(store, "SELECT 1", headers={"Authorization": f"Bearer {token}"}, token=False)[0] == 200


def test_a_page_of_another_site_cannot_ask(store: StoreSettings) -> None:
    """A Host header that is not this machine's is refused, with the right token too (DNS rebinding)."""
    for host in ("evil.example", "evil.example:8123", "127.0.0.1.evil.example", "localhost.evil.example:80", ""):
        assert ask(store, "SELECT 1", headers={"Host": host})[0] == 403, host
        assert ask(store, path="/ping", method="GET", headers={"Host": host})[0] == 403, host
    for host in ("localhost", "localhost:9999", "127.0.0.1"):
        assert ask(store, "SELECT 1", headers={"Host": host})[0] == 200, host


OUTSIDE = [
    # Engines
    "CREATE TABLE k (a Int64) ENGINE = Kafka('x:1', 't', 'g', 'CSV')",
    "CREATE TABLE k (a Int64) ENGINE = Kafka SETTINGS kafka_broker_list = 'x:1', kafka_topic_list = 't'",
    "create table k (a Int64) engine/* */=/* */`Kafka`('x:1', 't', 'g', 'CSV')",
    "CREATE TABLE k (a Int64) ENGINE = URL('http://127.0.0.1:1/', 'CSV')",
    "CREATE TABLE k (a Int64) ENGINE = File('CSV')",
    "CREATE TABLE k (a Int64) ENGINE = File('CSV', '/etc/hostname')",
    "CREATE TABLE k (a Int64) ENGINE = S3('http://127.0.0.1:1/b/x.csv', 'CSV')",
    "CREATE TABLE k (a Int64) ENGINE = MySQL('127.0.0.1:1', 'd', 't', 'u', 'p')",
    "CREATE TABLE k (a Int64) ENGINE = PostgreSQL('127.0.0.1:1', 'd', 't', 'u', 'p')",
    "CREATE TABLE k (a Int64) ENGINE = SQLite('/tmp/x.db', 't')",
    "CREATE TABLE k (a Int64) ENGINE = Executable('x.sh', 'CSV')",
    "CREATE TABLE k (a Int64) ENGINE = FileLog('/etc', 'CSV')",
    "CREATE TABLE k (a Int64) ENGINE = EmbeddedRocksDB(0, '/tmp/forewarn-x') PRIMARY KEY a",
    "CREATE TABLE k (a Int64) ENGINE = ExecutablePool('x.sh', 'CSV')",
    "CREATE TABLE k (a Int64) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = 'local', path = '/tmp/x/')",
    "CREATE TABLE k (a Int64) ENGINE = MergeTree ORDER BY a SETTINGS disk = /**/ DISK (type = 's3', endpoint = 'http://x/')",
    "CREATE DATABASE k ENGINE = MySQL('127.0.0.1:1', 'd', 'u', 'p')",
    "CREATE DATABASE k ENGINE = SQLite('/tmp/x.db')",
    "CREATE DATABASE k ENGINE = Filesystem('/etc')",
    # Functions and sources
    "SELECT file('/etc/hostname')",
    "SELECT file/* */('/etc/hostname')",
    "SELECT file -- comment\n ('/etc/hostname')",
    "SELECT `file`('/etc/hostname')",
    "SELECT \"file\"('/etc/hostname')",
    "SELECT 'it''s', file('/etc/hostname')",
    "SELECT '\\'', file('/etc/hostname')",
    "SELECT x'5c', file('/etc/hostname')",
    "SELECT x'\\', file('/etc/hostname'), '",
    "SELECT $a$ ' $a$, file('/etc/hostname') --'",
    "SELECT \u2018 ' \u2019, file('/etc/hostname') --'",
    "SELECT 1 AS \u201c ' \u201d, file('/etc/hostname') --'",
    "WITH x AS (SELECT file('/etc/hostname') AS c) SELECT * FROM x",
    "SELECT * FROM file('/etc/hostname', 'LineAsString')",
    "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
    "SELECT * FROM s3('http://127.0.0.1:1/b/x', 'LineAsString')",
    "SELECT * FROM remote('127.0.0.1:1', system.one)",
    "SELECT * FROM mysql('127.0.0.1:1', 'd', 't', 'u', 'p')",
    "SELECT * FROM postgresql('127.0.0.1:1', 'd', 't', 'u', 'p')",
    "SELECT * FROM sqlite('/tmp/x.db', 't')",
    "SELECT * FROM executable('x.sh', 'CSV', 'a String')",
    "SELECT * FROM filesystem('/etc')",
    "SELECT * FROM python(os)",
    "SELECT * FROM Python(os)",
    "SELECT * FROM eval('SELECT file(''/etc/hostname'')') SETTINGS allow_experimental_eval_table_function = 1",
    "DESCRIBE TABLE file('/etc/hostname', 'LineAsString')",
    "INSERT INTO FUNCTION file('/tmp/forewarn-x.csv') SELECT 1",
    "INSERT INTO FUNCTION url('http://127.0.0.1:1/', 'CSV', 'a Int64') VALUES (1)",
    "INSERT INTO TABLE FUNCTION file('/tmp/forewarn-x.csv', 'CSV', 'a Int64') FORMAT CSV\n1\n",
    "CREATE VIEW v AS SELECT file('/etc/hostname')",
    "CREATE DICTIONARY d (a UInt64) PRIMARY KEY a SOURCE(HTTP(URL 'http://127.0.0.1:1')) LAYOUT(FLAT())",
    # Files of the client side, which here would be the server's
    "SELECT 1 INTO OUTFILE '/tmp/forewarn-x.csv'",
    "SELECT 1 into/* */outfile '/tmp/forewarn-x.csv'",
    "INSERT INTO t FROM INFILE '/etc/hostname' FORMAT LineAsString",
    "ATTACH TABLE k FROM '/etc' (a Int64) ENGINE = MergeTree ORDER BY a",
    "BACKUP DATABASE forewarn TO File('/tmp/forewarn-x')",
    "RESTORE DATABASE forewarn FROM File('/tmp/forewarn-x')",
    # Power over the server
    "CREATE USER u",
    "GRANT ALL ON *.* TO default",
    "CREATE FUNCTION f AS x -> x",
    "CREATE NAMED COLLECTION c AS a = 1",
    "SYSTEM SHUTDOWN",
    "SYSTEM KILL",
]


@pytest.mark.parametrize("sql", OUTSIDE)
def test_nothing_reaches_outside(store: StoreSettings, sql: str) -> None:
    """By the engine's own grants, or by tokens where the engine asks for no grant; no spelling opens a way."""
    status, headers, body = ask(store, sql.encode(), database="forewarn")
    assert status in (400, 403, 404, 500), body
    assert "X-ClickHouse-Exception-Code" in headers
    hostname = Path("/etc/hostname")
    assert not hostname.exists() or len(name := hostname.read_text().strip()) < 3 or name not in body
    assert not Path("/tmp/forewarn-x.csv").exists()  # noqa: S108 - the test sees that nothing was written there
    assert ask(store, "SELECT 1")[2] == "1\n"


@pytest.mark.parametrize("engine", ["Kafka", "URL", "S3", "MySQL", "IcebergLocal"])
def test_blocked_engines_are_refused_by_a_missing_grant(store: StoreSettings, engine: str) -> None:
    """The engine itself says so, so no spelling of the statement matters."""
    status, headers, body = ask(store, f"CREATE TABLE k (a Int64) ENGINE = {engine}('a', 'b', 'c', 'd')")
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (403, "497")
    assert f"TABLE ENGINE ON {engine}" in body


INSIDE = [
    "SELECT 'file(1) INTO OUTFILE x'",
    "SELECT 1 AS file, 2 AS url -- file('x')",
    "SELECT 1 /* INTO OUTFILE 'x'; DROP TABLE t */",
    "SELECT ';'",
    "SELECT 1;",
    "  \n-- first\nSELECT 1 ; -- last",
    "SELECT $doc$ it's; file('x') $doc$",
    "SELECT '\\';', 1",
    "(SELECT 1)",
    "WITH 1 AS a SELECT a",
    "EXPLAIN SELECT 1",
    "SHOW TABLES",
    "SELECT 1 FORMAT JSON SETTINGS max_threads = 1",
    "SELECT * FROM numbers(1) SETTINGS max_threads = 1 FORMAT TSV",
    "SELECT 1 UNION ALL SELECT 1",
]


@pytest.mark.parametrize("sql", INSIDE)
def test_what_stays_inside_is_answered(store: StoreSettings, sql: str) -> None:
    """Words in strings, comments and names block nothing."""
    status, headers, body = ask(store, sql)
    assert status == 200, body
    assert "X-ClickHouse-Format" in headers


def test_one_statement_a_request(store: StoreSettings) -> None:
    """A second one is refused and none of both is run."""
    ask(store, "CREATE TABLE IF NOT EXISTS one (a Int64) ENGINE = Memory")
    assert ask(store, "SELECT 1; DROP TABLE one")[0] == 400
    assert ask(store, "INSERT INTO one VALUES (1); DROP TABLE one")[0] == 400
    assert ask(store, "INSERT INTO one SELECT 1; DROP TABLE one")[0] == 400
    assert ask(store, "SELECT count() FROM one")[2] == "0\n"
    assert ask(store, "")[0] == 400


def test_a_get_changes_nothing(store: StoreSettings) -> None:
    """As in ClickHouse: GET is read-only, so a link cannot drop a table."""
    assert ask(store, method="GET", query="CREATE TABLE got (a Int64) ENGINE = Memory")[0] in (403, 500)
    assert ask(store, method="GET", query="SELECT 1")[2] == "1\n"


def test_headers_say_what_clickhouse_says(store: StoreSettings) -> None:
    """Format, id, time zone, server, summary; an exception's code."""
    headers = ask(store, "SELECT number FROM numbers(10)", query_id="an-id", wait_end_of_query="1")[1]
    assert headers["X-ClickHouse-Format"] == "TabSeparated"
    assert headers["X-ClickHouse-Query-Id"] == "an-id"
    assert headers["X-ClickHouse-Timezone"] in ("UTC", "Etc/UTC")
    assert headers["X-ClickHouse-Server-Display-Name"]
    summary = json.loads(headers["X-ClickHouse-Summary"])
    assert (summary["read_rows"], summary["result_rows"]) == ("10", "10")
    ask(store, "CREATE TABLE IF NOT EXISTS summed (a Int64) ENGINE = Memory")
    headers = ask(store, "INSERT INTO summed VALUES (1), (2), (3)")[1]
    assert json.loads(headers["X-ClickHouse-Summary"])["written_rows"] == "3"
    assert "X-ClickHouse-Format" not in headers
    assert ask(store, "SELECT 1", default_format="JSONEachRow")[2] == '{"1":1}\n'
    assert ask(store, "SELECT 1", headers={"X-ClickHouse-Format": "CSV"})[1]["X-ClickHouse-Format"] == "CSV"


def test_forms_are_read_and_external_data_is_refused(store: StoreSettings) -> None:
    """A long query may come as a form; a table may not."""
    client = connect(store)
    client.close()
    form = {"Content-Type": "multipart/form-data; boundary=B"}
    text = '--B\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n{}\r\n'
    query = text.format("query", "", "SELECT {a:String}") + text.format("param_a", "", "ü") + "--B--\r\n"
    assert ask(store, query.encode(), headers=form)[::2] == (200, "ü\n")
    table = text.format("t", '; filename="t.tsv"', "1\n") + "--B--\r\n"
    status, _, body = ask(store, table, headers=form, query="SELECT * FROM t", t_structure="a Int64")
    assert status == 501
    assert "External data" in body


@pytest.fixture(scope="module")
def rows() -> bytes:
    """50,000 rows of text."""
    return b"".join(b"%d\n" % number for number in range(50_000))


def framed(rows: bytes, encoding: str, frames: int) -> bytes:
    """Compress the rows as so many frames."""
    compress = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "lz4": lz4.frame.compress,
        "zstd": zstandard.ZstdCompressor().compress,
    }[encoding]
    step = -(-len(rows) // frames)
    return b"".join(compress(rows[at : at + step]) for at in range(0, len(rows), step))


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "lz4", "zstd"])
@pytest.mark.parametrize("frames", [1, 2, 1000])
def test_every_frame_of_a_body_is_read(store: StoreSettings, rows: bytes, encoding: str, frames: int) -> None:
    """One frame, two, a thousand: always 50,000 rows."""
    ask(store, "CREATE TABLE IF NOT EXISTS framed (a Int64) ENGINE = Memory")
    ask(store, "TRUNCATE TABLE framed")
    sent = framed(rows, encoding, frames)
    status, _, body = ask(store, sent, query="INSERT INTO framed FORMAT TSV", headers={"Content-Encoding": encoding})
    assert (status, body) == (200, "")
    assert ask(store, "SELECT count(), uniqExact(a) FROM framed")[2] == "50000\t50000\n"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "lz4", "zstd"])
def test_a_damaged_body_stores_nothing(store: StoreSettings, rows: bytes, encoding: str) -> None:
    """Cut at its end, or garbage, or garbage behind a whole frame: an error, never some of the rows."""
    ask(store, "CREATE TABLE IF NOT EXISTS damaged (a Int64) ENGINE = MergeTree ORDER BY a")
    whole = framed(rows, encoding, 2)
    for sent in (whole[:-3], whole[: len(whole) // 2], b"garbage" * 100, whole + b"garbage"):
        status, _, body = ask(
            store, sent, query="INSERT INTO damaged FORMAT TSV", headers={"Content-Encoding": encoding}
        )
        assert status == 400, body
        assert encoding in body
    assert ask(store, "SELECT count() FROM damaged")[2] == "0\n"


def test_unknown_encodings_are_refused(store: StoreSettings) -> None:
    """Brotli, and ClickHouse's own block form."""
    assert ask(store, "SELECT 1", headers={"Content-Encoding": "br"})[0] == 415
    assert ask(store, "SELECT 1", decompress="1")[0] == 501


@pytest.mark.parametrize("encoding", ["", "gzip", "deflate", "lz4", "zstd"])
def test_a_bomb_is_refused_when_it_passes_the_bound(encoding: str) -> None:
    """Whatever the body would become; and with a bound that it keeps it comes out whole."""
    rows = b"1\n" * (8 << 20)
    sent = framed(rows, encoding, 1) if encoding else rows
    with pytest.raises(QueryError) as caught:
        list(decoded(sent, encoding, bound=1_000_000))
    assert caught.value.status == 413
    assert sum(len(piece) for piece in decoded(sent, encoding, bound=len(rows))) == len(rows)


def test_a_body_over_the_bound_is_refused_and_the_store_goes_on(store: StoreSettings) -> None:
    """A megabyte that would become a gigabyte."""
    sent = framed(b"1\n" * (16 << 20), "zstd", 1) * 32
    ask(store, "CREATE TABLE IF NOT EXISTS bombed (a Int64) ENGINE = Null")
    status, _, body = ask(store, sent, query="INSERT INTO bombed FORMAT TSV", headers={"Content-Encoding": "zstd"})
    assert status == 413, body
    assert ask(store, "SELECT 1")[2] == "1\n"


def test_results_and_times_have_bounds_that_a_request_cannot_lift(store: StoreSettings) -> None:
    """It may ask for less, not for more."""
    for name, value in (("max_execution_time", "0"), ("max_execution_time", "100000"), ("max_memory_usage", "0")):
        status, headers, _ = ask(store, "SELECT 1", settings={name: value})
        assert (status, headers["X-ClickHouse-Exception-Code"]) == (400, "452"), (name, value)
    assert ask(store, "SELECT * FROM numbers(1000)", max_result_rows="10", result_overflow_mode="throw")[0] == 413
    start = time.monotonic()
    assert (
        ask(store, "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1", max_execution_time="1")[0]
        == 408
    )
    assert time.monotonic() - start < 30
    assert ask(store, "SELECT 1", settings={"no such; setting": "1"})[0] == 400
    assert ask(store, "SELECT 1", no_such_setting="1")[0] == 404


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[StoreSettings]:
    """A store of the test's own, to fill up."""
    process = StoreProcess(tmp_path / "store")
    yield process.start()
    process.stop()


def test_too_many_queries_at_once_are_told_to_come_again(busy: StoreSettings) -> None:
    """8 run, 64 wait, more get 503; the ping answers all the time; all that were taken are answered."""
    answers: list[tuple[int, str | None]] = []

    def hold() -> None:
        status, headers, _ = ask(busy, "SELECT sleepEachRow(0.25) FROM numbers(2)")
        answers.append((status, headers.get("X-ClickHouse-Exception-Code")))

    threads = [threading.Thread(target=hold) for _ in range(90)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert ask(busy, path="/ping", method="GET")[0] == 200
        time.sleep(0.02)
    taken, refused = answers.count((200, None)), answers.count((503, "202"))
    assert taken + refused == 90
    # On a slow machine a few of the first have ended before the last come, and leave their place to them.
    assert 72 <= taken < 90
    assert ask(busy, "SELECT 1")[2] == "1\n"


def test_a_client_that_goes_away_in_a_stream_frees_its_place(busy: StoreSettings) -> None:
    """Twenty clients read a little of a large result and leave; then eight queries run at once as before."""
    address = urlsplit(busy.url)
    for _ in range(20):
        connection = http.client.HTTPConnection(address.hostname or "", address.port or 0, timeout=30)
        connection.request("POST", "/", "SELECT * FROM numbers(1000000000)", {"X-ClickHouse-Key": busy.token or ""})
        connection.getresponse().read(1000)
        connection.close()
    deadline = time.monotonic() + 30
    while ask(busy, "SELECT count() FROM system.processes")[2] != "1\n":
        assert time.monotonic() < deadline
        time.sleep(0.05)
