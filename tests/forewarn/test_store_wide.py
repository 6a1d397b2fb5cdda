"""Wide inserts into the embedded store: 100,000 rows of 35 columns by every client, in each compression.

Clients cut such bodies into many compressed frames; a server that reads only the first one answers 200 and has lost the
rest.
"""

import datetime as dt
import functools
import gzip
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any, Final

import clickhouse_connect
import lz4.frame
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import zstandard
from clickhouse_connect.driver.client import Client

from analytics.client import client_options, connect
from analytics.settings import StoreSettings

ROWS = 100_000
FLOATS = 30
COLUMNS = {
    "id": "UInt64",
    "at": "DateTime64(6, 'UTC')",
    "name": "LowCardinality(String)",
    "note": "Nullable(String)",
    "ok": "Bool",
    **{f"f{number}": "Float64" for number in range(FLOATS)},
}
START = dt.datetime(2026, 10, 25, 0, 0, tzinfo=dt.UTC)


def wide_table(client: Client) -> None:
    """Create a table of 35 columns."""
    columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    client.command(f"CREATE TABLE wide ({columns}) ENGINE = MergeTree ORDER BY id")


@functools.cache
def wide_columns() -> dict[str, Any]:
    """Return 100,000 rows as columns; neighbours repeat little, so no compression makes one small block of them."""
    random = np.random.default_rng(7)
    return {
        "id": np.arange(ROWS, dtype=np.uint64),
        "at": [START + dt.timedelta(microseconds=number) for number in range(ROWS)],
        "name": [f"shop-{number % 97}" for number in range(ROWS)],
        "note": [None if number % 3 else f"Störung № {number} 🛰" for number in range(ROWS)],
        "ok": [number % 2 == 0 for number in range(ROWS)],
        **{f"f{number}": random.random(ROWS) for number in range(FLOATS)},
    }


def assert_all_there(client: Client, columns: dict[str, Any]) -> None:
    """Counts, sums and ends are those of what was sent."""
    counts = client.query(
        "SELECT count(), uniqExact(id), sum(id), countIf(note IS NULL), sum(ok) FROM wide"
    ).result_rows
    nulls = sum(note is None for note in columns["note"])
    assert counts == [(ROWS, ROWS, ROWS * (ROWS - 1) // 2, nulls, ROWS // 2)]
    last = client.query("SELECT at, name, note, f29 FROM wide ORDER BY id DESC LIMIT 1").result_rows
    assert last == [(columns["at"][-1], columns["name"][-1], columns["note"][-1], columns["f29"][-1])]


@pytest.mark.parametrize("compress", [False, "gzip", "zstd", "lz4"])
def test_insert_of_columns_stores_each_row(database: StoreSettings, compress: bool | str) -> None:
    """100,000 rows of 35 columns, several frames a body: the count is that of what was sent."""
    options = {**client_options(database, database=database.database), "compress": compress}
    client = clickhouse_connect.get_client(**options)
    wide_table(client)
    columns = wide_columns()
    summary = client.insert("wide", list(columns.values()), column_names=list(columns), column_oriented=True)
    assert summary.written_rows == ROWS
    assert_all_there(client, columns)
    client.close()


@pytest.mark.parametrize("compress", [False, "gzip", "zstd", "lz4"])
def test_insert_of_a_data_frame_stores_each_row(database: StoreSettings, compress: bool | str) -> None:
    """The same rows from pandas."""
    options = {**client_options(database, database=database.database), "compress": compress}
    client = clickhouse_connect.get_client(**options)
    wide_table(client)
    columns = wide_columns()
    assert client.insert_df("wide", pd.DataFrame(columns)).written_rows == ROWS
    assert_all_there(client, columns)
    client.close()


@pytest.mark.parametrize("compress", [False, "gzip", "zstd", "lz4"])
def test_insert_of_an_arrow_table_stores_each_row(database: StoreSettings, compress: bool | str) -> None:
    """The same rows from Arrow, also in many record batches and with Arrow's own buffers compressed."""
    options = {**client_options(database, database=database.database), "compress": compress}
    client = clickhouse_connect.get_client(**options)
    wide_table(client)
    columns = wide_columns()
    table = pa.table(columns)
    assert client.insert_arrow("wide", table).written_rows == ROWS
    assert_all_there(client, columns)
    client.close()


@pytest.mark.parametrize("compress", [False, "gzip", "zstd", "lz4"])
async def test_the_async_client_stores_each_row(database: StoreSettings, compress: bool | str) -> None:
    """The same rows as columns, as a data frame and from Arrow."""
    options = {**client_options(database, database=database.database), "compress": compress}
    columns = wide_columns()
    async with await clickhouse_connect.get_async_client(**options) as writer:
        with closing(connect(database)) as client:
            wide_table(client)
            ways: list[Callable[[], Awaitable[Any]]] = [
                lambda: writer.insert("wide", list(columns.values()), column_names=list(columns), column_oriented=True),
                lambda: writer.insert_df("wide", pd.DataFrame(columns)),
                lambda: writer.insert_arrow("wide", pa.table(columns)),
            ]
            for insert in ways:
                assert (await insert()).written_rows == ROWS
                assert_all_there(client, columns)
                client.command("TRUNCATE TABLE wide")


def in_frames(make: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Return a compression that makes a frame of each megabyte: one after the other they are one body."""
    return lambda body: b"".join(make(body[start : start + 2**20]) for start in range(0, len(body), 2**20))


COMPRESSIONS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "": lambda body: body,
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "lz4": lz4.frame.compress,
    "gzip, many frames": in_frames(gzip.compress),
    "zstd, many frames": in_frames(zstandard.compress),
    "lz4, many frames": in_frames(lz4.frame.compress),
}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_curl_stores_each_row(database: StoreSettings, compression: str) -> None:
    """The same rows as an Arrow stream in the body, compressed in one frame or in many."""
    columns = wide_columns()
    sink = pa.BufferOutputStream()
    table = pa.table(columns)
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table, max_chunksize=10_000)
    body = COMPRESSIONS[compression](sink.getvalue().to_pybytes())
    encoding = compression.partition(",")[0]
    headers = ["-H", f"X-ClickHouse-Key: {database.token}"]
    headers += ["-H", f"Content-Encoding: {encoding}"] if encoding else []
    url = f"{database.url}/?database={database.database}&query=INSERT+INTO+wide+FORMAT+ArrowStream"
    with closing(connect(database)) as client:
        wide_table(client)
        ended = subprocess.run(
            ["curl", "-sS", "--fail-with-body", *headers, "--data-binary", "@-", url],
            input=body,
            capture_output=True,
            check=False,
            timeout=100,
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
        assert_all_there(client, columns)
