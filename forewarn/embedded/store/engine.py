"""chDB as an engine that answers several requests at once, each on a connection of its own.

Opening a connection takes less than a millisecond, and SET, USE and parameters live in it: a fresh one for each request
lets nothing leak from one request into another. Queries of several connections run in parallel and release the GIL.
"""

import contextlib
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from chdb._exceptions import ChdbError
from chdb.state import sqlitelike

from forewarn.embedded.store.access import Limits, write_config
from forewarn.embedded.store.errors import QueryError, StoreStartError, from_engine
from forewarn.embedded.store.sql import quoted, quoted_name

DATABASE: Final = "forewarn"
# Each block of these is complete in itself, so blocks can go out as they come; others have a head or a foot.
STREAMED: Final = frozenset(
    {"native", "tabseparated", "tsv", "tabseparatedraw", "tsvraw", "csv", "rowbinary", "jsoneachrow", "ndjson"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One statement to run.

    Attributes:
        database: The current database.
        prelude: SET and USE of the session, in their order.
        settings: Of this request alone.
        parameters: Values of `{name:Type}`, in ClickHouse's escaped form.
        format: Of the result, or of an insert's rows.
        mark: Unique; what `cancel` finds the query by.
    """

    text: bytes
    mark: str
    database: str = DATABASE
    prelude: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    format: str = "TabSeparated"
    readonly: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A whole result and its counts."""

    body: bytes = b""
    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    elapsed_ns: int = 0

    def summary(self) -> dict[str, str]:
        """Return what X-ClickHouse-Summary holds: numbers as text."""
        return {
            "read_rows": str(self.read_rows),
            "read_bytes": str(self.read_bytes),
            "written_rows": str(self.written_rows),
            "written_bytes": str(self.written_bytes),
            "total_rows_to_read": "0",
            "result_rows": str(self.result_rows),
            "result_bytes": str(len(self.body)),
            "elapsed_ns": str(self.elapsed_ns),
        }


class Engine:
    """The one engine of this process. Its methods block; call them from worker threads."""

    def __init__(self, directory: Path, limits: Limits) -> None:
        """Open it.

        Raises:
            StoreStartError: If the engine refuses the directory.
        """
        try:
            config = write_config(directory, limits)
            self._target = f"{directory / 'engine'}?config-file={config}"
            self._control = sqlitelike.connect(self._target)
        except (OSError, RuntimeError) as error:
            first = (str(error).strip() or "no reason given").splitlines()[0]
            raise StoreStartError(f"the store cannot open {directory}: {first}") from None
        self._control_lock = threading.Lock()
        self._ask(f"CREATE DATABASE IF NOT EXISTS {quoted_name(DATABASE)} ENGINE = Atomic")
        self.version = self._ask("SELECT version()")
        self.timezone = self._ask("SELECT timezone()")
        self.host = self._ask("SELECT hostName()")
        asked = "SELECT value FROM system.settings WHERE name = 'enable_http_compression'"
        self.compresses = self._ask(asked) == "1"

    def _ask(self, text: str) -> str:
        with self._control_lock:
            answer: bytes = self._control.query(text, "TabSeparatedRaw").bytes()
        return answer.decode().rstrip("\n")

    @contextlib.contextmanager
    def _connection(self, query: Query) -> Iterator[Any]:
        """Yield a connection that is set up for this query."""
        connection = sqlitelike.connect(self._target)
        try:
            for text in _setup(query):
                connection.query(text, "Null")
            yield connection
        except QueryError:
            raise
        except (RuntimeError, ValueError, ChdbError) as error:
            raise from_engine(error) from None
        finally:
            connection.close()

    def run(self, query: Query) -> Result:
        """Run a statement to its end.

        Raises:
            QueryError: What the engine says against it.
        """
        start = time.perf_counter_ns()
        with self._connection(query) as connection:
            found = connection.query(query.text, query.format, params=query.parameters)
            return Result(
                body=found.bytes() or b"",
                read_rows=found.storage_rows_read(),
                read_bytes=found.storage_bytes_read(),
                written_rows=found.rows_written(),
                written_bytes=found.bytes_written(),
                result_rows=found.rows_read(),
                elapsed_ns=time.perf_counter_ns() - start,
            )

    def insert(self, query: Query, pieces: Iterable[bytes]) -> Result:
        """Run an insert whose rows are these bytes. When this returns, the rows are stored.

        Raises:
            QueryError: What the engine or the pieces' source says against it; the insert is given up.
        """
        start = time.perf_counter_ns()
        with self._connection(query) as connection:
            # A query with the rows behind it will not do: the engine looks for a next statement after a semicolon,
            # also inside binary rows.
            with connection.send_insert(query.text.decode("utf-8", "surrogateescape"), query.format) as insert:
                for piece in pieces:
                    insert.append(piece)
                found = insert.finish()
            return Result(
                written_rows=found.rows_written,
                written_bytes=found.bytes_written,
                read_rows=found.rows_written,
                read_bytes=found.bytes_written,
                elapsed_ns=time.perf_counter_ns() - start,
            )

    def stream(self, query: Query) -> Generator[bytes]:
        """Yield a result's blocks as they come. Close it to cancel the query.

        Raises:
            QueryError: At the first block or at any later one.
        """
        with self._connection(query) as connection:
            blocks = connection.send_query(query.text, query.format, params=query.parameters)
            try:
                for block in blocks:
                    yield block.bytes()
            finally:
                blocks.close()

    def cancel(self, mark: str) -> None:
        """Ask the query with this mark to end; harmless if it has ended."""
        with contextlib.suppress(RuntimeError, ChdbError):
            self._ask(f"KILL QUERY WHERE Settings['log_comment'] = {quoted(mark)} ASYNC FORMAT TabSeparated")

    def cancel_all(self) -> None:
        """Ask every query to end."""
        with contextlib.suppress(RuntimeError, ChdbError):
            self._ask("KILL QUERY WHERE query_id != queryID() ASYNC FORMAT TabSeparated")

    def close(self) -> None:
        """Close the engine; nothing may run any more."""
        with self._control_lock:
            self._control.close()


def _setup(query: Query) -> Iterator[str]:
    yield f"USE {quoted_name(query.database)}"
    yield from query.prelude
    values = {**query.settings, "log_comment": query.mark}
    values |= {f"param_{name}": value for name, value in query.parameters.items()}
    if query.readonly:
        values["readonly"] = "2"
    yield "SET " + ", ".join(f"{name} = {quoted(value)}" for name, value in values.items())
