"""`forewarn sql`: queries the store in ClickHouse's SQL."""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, Final

from analytics.client import LOGIN, connect, store_errors
from analytics.errors import StoreRefusedError
from analytics.settings import StoreSettings
from forewarn.errors import UsageError
from forewarn.output import console, table
from forewarn.places import open_store
from forewarn.stderr import say

TABLE: Final = "table"
MOST_ROWS: Final = 1_000
"""More rows than this are no table for people; the rest is left out, and that is said."""
READ_ONLY: Final = {"readonly": "2"}
"""ClickHouse's own lock: reads, and settings of the query, nothing else."""

_READ_ONLY_CODE: Final = 164
_TABLE_FORMAT: Final = "JSONCompactEachRowWithNamesAndTypes"
_FORMAT_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}")
_OWN_FORMAT: Final = re.compile(r"\bFORMAT\s+[A-Za-z][A-Za-z0-9]*\s*\Z", re.IGNORECASE)
_NUMERIC: Final = re.compile(
    r"(Nullable\(|LowCardinality\(|SimpleAggregateFunction\(\w+, )*(U?Int|Float|BFloat|Decimal)"
)
_NOT_THE_QUERYS: Final = frozenset({40, 49, 74, 75, 76, 164, 291, 497, 1000, 1001, 1002})
"""ClickHouse's codes that no other query would cure: rights, a read-only store, damaged parts, its own bugs."""
_CODE: Final = re.compile(r"\A(Code: \d+\. (DB::Exception: )?)+")
_TWICE: Final = re.compile(r"(\([A-Z_]+\))(\. \1)+")
_CHUNK_BYTES: Final = 256 * 1024


def sql(query: str, config_file: Path, data_dir: Path, *, output_format: str, write: bool) -> None:
    """Print the answer to a query.

    Args:
        query: One statement; `-` reads it from stdin.
        output_format: `table`, or the name of a format of ClickHouse.
        write: The statement may change the store; without it the store itself refuses that.

    Raises:
        UsageError: There is no query, the format is no name, or the query is wrong (in ClickHouse's own words).
        ForewarnError: The store is away, or refuses us.
    """
    if query == "-" and sys.stdin is None:
        raise UsageError("the query is to be read from stdin, and there is none")
    statement = (sys.stdin.read() if query == "-" else query).strip().rstrip(";").rstrip()
    if not statement:
        raise UsageError("the query is empty")
    if _FORMAT_NAME.fullmatch(output_format) is None:
        raise UsageError(f"'{output_format}' is no format: table, CSVWithNames, JSONEachRow, TSV, Vertical, ...")
    with open_store(config_file, data_dir) as store:
        if output_format == TABLE and _OWN_FORMAT.search(statement) is None:
            _print_table(statement, store, write=write)
        else:
            _copy(statement, store, output_format, write=write)


def _ask(statement: str, store: StoreSettings, answer_format: str, *, write: bool) -> Iterator[bytes]:
    """Yield the bytes of the answer.

    Without `wait_end_of_query` an error in the middle would be a line in an answer that looks whole.
    """
    with closing(connect(store)) as client, _query_errors(write=write), store_errors(store):
        stream: Any = client.raw_stream(
            statement,
            settings={"wait_end_of_query": "1"} | ({} if write else READ_ONLY),
            transport_settings={"X-ClickHouse-Format": answer_format},
        )
        try:
            while chunk := stream.read(_CHUNK_BYTES):
                yield chunk
        finally:
            stream.close()


@contextmanager
def _query_errors(*, write: bool) -> Iterator[None]:
    """Tell a query that is wrong from a store that refuses us."""
    try:
        yield
    except StoreRefusedError as error:
        if error.code == _READ_ONLY_CODE and not write:
            raise UsageError(
                "this statement would change the store, and nothing was done; --write allows it"
            ) from error
        if error.code is None or error.code in LOGIN or error.code in _NOT_THE_QUERYS:
            raise
        raise UsageError(_TWICE.sub(r"\1", _CODE.sub("", error.said))) from error


def _copy(statement: str, store: StoreSettings, output_format: str, *, write: bool) -> None:
    # A format in the statement beats the header, so `table` is as good as any name here.
    name = "TabSeparated" if output_format == TABLE else output_format
    out: IO[bytes] = sys.stdout.buffer
    for chunk in _ask(statement, store, name, write=write):
        out.write(chunk)
    out.flush()


def _print_table(statement: str, store: StoreSettings, *, write: bool) -> None:
    lines = _lines(_ask(statement, store, _TABLE_FORMAT, write=write))
    names: list[str] | None = next(lines, None)
    if names is None:
        return  # a statement without an answer, such as CREATE
    types = next(lines)
    columns = [(name, _NUMERIC.match(kind) is not None) for name, kind in zip(names, types, strict=True)]
    shown = table(columns)
    count = 0
    for row in lines:
        count += 1
        if count <= MOST_ROWS:
            shown.add_row(*(_text(value) for value in row))
    console().print(shown)
    if count > MOST_ROWS:
        say(f"only the first {MOST_ROWS:,} of {count:,} rows are shown; --format TSV prints all of them")


def _lines(chunks: Iterator[bytes]) -> Iterator[list[Any]]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (json.loads(line) for line in whole if line)
    if rest:
        yield json.loads(rest)


def _text(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)
