"""Numbered migrations: `analytics/migrations/NNNN_name.sql`, applied in order, each once, recorded with its checksum.

ClickHouse has no transactions over definitions. A migration that fails half-way is not recorded and runs again from its
first statement at the next call, so every statement must bear that (`IF NOT EXISTS`, `IF EXISTS`). Migrations only add
within a release. A file that was applied never changes: a changed one is refused.

The only placeholders are `{checks_ttl_days}` and `{summaries_ttl_days}`. They are integers of the config, and a later
change of the config is carried into the tables' TTL at the next call.
"""

import hashlib
import os
import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clickhouse_connect.driver.client import Client

from analytics.client import connect, store_errors
from analytics.errors import MigrationError, StoreRefusedError
from analytics.row_binary import insert_rows, text, whole
from analytics.settings import StoreSettings
from analytics.statements import SqlStatement, split_statements

DIRECTORY: Final = Path(__file__).parent / "migrations"
LOCK_STALE_S: Final = 60.0
_POLL_S: Final = 0.25
# A TTL is a DateTime, which ends in 2106: beyond that it wraps, and every row would be too old at once.
_MOST_TTL_DAYS: Final = 20_000
_FILE_NAME: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_DATABASE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)\}")
_TTL: Final = re.compile(
    r"CREATE\s+TABLE\s+IF\s+NOT\s+EXISTS\s+(?P<table>\w+).*?\n(?P<ttl>TTL\s[^\n]*\{\w+\}[^\n]*)",
    re.DOTALL | re.IGNORECASE,
)
_RECORDS: Final = """CREATE TABLE IF NOT EXISTS migrations
(
    number Int64 COMMENT 'Number of the migration; 0 records the days of retention',
    name String COMMENT 'Name of its file',
    checksum String COMMENT 'SHA-256 of the file, or the days of retention',
    applied_at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'When it had been applied'
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY number
COMMENT 'Which migrations this database has'"""
_LOCK: Final = """CREATE TABLE migration_lock
(
    owner String COMMENT 'Host and process',
    at DateTime64(6, 'UTC') DEFAULT now64(6) COMMENT 'When it last showed that it lives'
)
ENGINE = MergeTree
ORDER BY at
COMMENT 'There while a migration runs'"""
_LOCK_AGE: Final = """SELECT
    dateDiff('second', if(count() = 0, (SELECT any(metadata_modification_time) FROM system.tables
        WHERE database = currentDatabase() AND name = 'migration_lock'), max(at)), now64(6, 'UTC')),
    argMax(owner, at)
FROM migration_lock"""
_TABLE_EXISTS, _NO_TABLE = 57, 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One file.

    Attributes:
        statements: With their placeholders still in them.
        checksum: SHA-256 of the file's text with Unix line ends.
    """

    number: int
    name: str
    checksum: str
    statements: tuple[SqlStatement, ...]


def read_migrations(directory: Path = DIRECTORY) -> list[Migration]:
    """Read the files in order.

    Raises:
        MigrationError: A name, a number or a text that cannot be; names the file.
    """
    migrations: list[Migration] = []
    for path in sorted(directory.glob("*.sql")):
        named = _FILE_NAME.fullmatch(path.name)
        if named is None:
            raise MigrationError(f"{path}: a migration's name must be NNNN_name.sql")
        number = int(named[1])
        if number != len(migrations) + 1:
            raise MigrationError(f"{path}: number {len(migrations) + 1:04} was expected; numbers have no gaps")
        migrations.append(_read_migration(path, number))
    return migrations


def _read_migration(path: Path, number: int) -> Migration:
    try:
        text = path.read_text(encoding="utf-8").replace("\r\n", "\n")
        statements = split_statements(text)
    except ValueError as error:
        raise MigrationError(f"{path}: {error}") from None
    if not statements:
        raise MigrationError(f"{path}: there is no statement in it")
    for statement in statements:
        for found in _PLACEHOLDER.finditer(statement.text):
            if found[1] not in ("checks_ttl_days", "summaries_ttl_days"):
                raise MigrationError(f"{path}, line {statement.line}: unknown placeholder {found[0]}")
    checksum = hashlib.sha256(text.encode()).hexdigest()
    return Migration(number=number, name=path.name, checksum=checksum, statements=tuple(statements))


def migrate(settings: StoreSettings, *, directory: Path = DIRECTORY) -> list[str]:
    """Bring the database up to date and return the names of the migrations that were applied, in order.

    Creates the database if it is not there. Safe to call again, and by two processes at once: the second waits.

    Raises:
        MigrationError: A file was changed, is missing or comes too late; or a statement failed.
        StoreUnavailableError, StoreRefusedError: As from `connect`.
    """
    days = _days(settings)
    migrations = read_migrations(directory)
    if _DATABASE_NAME.fullmatch(settings.database) is None:
        raise StoreRefusedError(f"the store's database has a name that cannot be: {settings.database[:80]!r}")
    with store_errors(settings):
        first = connect(settings, use_database=False)
        # The name was just checked against a pattern that needs no quotes; a name cannot be a parameter here.
        first.command(f"CREATE DATABASE IF NOT EXISTS {settings.database}")
        first.close()
        client = connect(settings)
        with _locked(client, settings):
            client.command(_RECORDS)
            pending = _pending(migrations, _records(client))
            for migration in pending:
                _apply(client, settings, migration, days)
            _keep_retention(client, settings, migrations, days)
        client.close()
    return [migration.name for migration in pending]


def _days(settings: StoreSettings) -> dict[str, int]:
    days = {"checks_ttl_days": settings.checks_ttl_days, "summaries_ttl_days": settings.summaries_ttl_days}
    for name, value in days.items():
        if type(value) is not int or not 1 <= value <= _MOST_TTL_DAYS:
            raise MigrationError(f"{name} must be a whole number from 1 to {_MOST_TTL_DAYS}, not {value!r}")
    return days


def _filled(text: str, days: dict[str, int]) -> str:
    return _PLACEHOLDER.sub(lambda found: str(days[found[1]]), text)


def _records(client: Client) -> dict[int, tuple[str, str]]:
    rows = client.query("SELECT number, name, checksum FROM migrations FINAL ORDER BY number").result_rows
    return {number: (name, checksum) for number, name, checksum in rows}


def _pending(migrations: Sequence[Migration], records: dict[int, tuple[str, str]]) -> list[Migration]:
    """Compare what is on disk with what was applied."""
    applied = {number: record for number, record in records.items() if number > 0}
    for number, (name, _) in applied.items():
        if number > len(migrations):
            raise MigrationError(f"the store has migration {name}, which this program does not know: it is older")
    pending = []
    for migration in migrations:
        if migration.number not in applied:
            pending.append(migration)
            continue
        name, checksum = applied[migration.number]
        if (name, checksum) != (migration.name, migration.checksum):
            raise MigrationError(f"{migration.name} was changed after it had been applied (as {name}): add a new one")
        if pending:
            raise MigrationError(f"{pending[0].name} comes too late: {name} was applied before it")
    return pending


def _apply(client: Client, settings: StoreSettings, migration: Migration, days: dict[str, int]) -> None:
    for statement in migration.statements:
        _show_life(client)
        try:
            with store_errors(settings):
                client.command(_filled(statement.text, days), settings={"mutations_sync": 1, "alter_sync": 1})
        except StoreRefusedError as error:
            raise MigrationError(f"{migration.name}, line {statement.line}: {error}") from error
    _record(client, migration.number, migration.name, migration.checksum)


def _record(client: Client, number: int, name: str, checksum: str) -> None:
    insert_rows(client, "migrations", ("number", "name", "checksum"), [whole(number) + text(name) + text(checksum)])


def _keep_retention(
    client: Client, settings: StoreSettings, migrations: Sequence[Migration], days: dict[str, int]
) -> None:
    """Carry changed days of retention into the tables that exist already."""
    wanted = ", ".join(f"{name}={value}" for name, value in sorted(days.items()))
    record = _records(client).get(0)
    if record is not None and record[1] == wanted:
        return
    for table, ttl in _retained(migrations) if record is not None else ():
        _show_life(client)
        with store_errors(settings):
            client.command(f"ALTER TABLE {table} MODIFY {_filled(ttl, days)}")
    _record(client, 0, "retention", wanted)


def _retained(migrations: Sequence[Migration]) -> Iterator[tuple[str, str]]:
    """Yield (table, its TTL clause) for each table whose TTL has a placeholder; the newest clause comes last."""
    for migration in migrations:
        for statement in migration.statements:
            if (found := _TTL.match(statement.text)) is not None:
                yield found["table"], found["ttl"]


@contextmanager
def _locked(client: Client, settings: StoreSettings) -> Iterator[None]:
    """Hold the lock: a table, because creating one is the only atomic test-and-set that ClickHouse has.

    Advisory: a process that died leaves it behind, so one that showed no life for `LOCK_STALE_S` is put aside.
    """
    while not _takes_lock(client, settings):
        _put_aside_if_stale(client, settings)
        time.sleep(_POLL_S)
    try:
        _show_life(client)
        yield
    finally:
        client.command("DROP TABLE IF EXISTS migration_lock SYNC")


def _takes_lock(client: Client, settings: StoreSettings) -> bool:
    try:
        with store_errors(settings):
            client.command(_LOCK)
    except StoreRefusedError as error:
        if error.code == _TABLE_EXISTS:
            return False
        raise
    return True


def _put_aside_if_stale(client: Client, settings: StoreSettings) -> None:
    aside = f"migration_lock_{os.getpid()}_{time.time_ns()}"
    try:
        with store_errors(settings):
            age_s, _ = client.query(_LOCK_AGE).result_rows[0]
            if age_s >= LOCK_STALE_S:
                # Renaming is atomic, so of two that wait only one puts it aside.
                client.command(f"RENAME TABLE migration_lock TO {aside}")
                client.command(f"DROP TABLE {aside}")
    except StoreRefusedError as error:
        if error.code != _NO_TABLE:  # released or put aside by another in the meantime
            raise


def _show_life(client: Client) -> None:
    owner = f"{socket.gethostname()} process {os.getpid()}"
    insert_rows(client, "migration_lock", ("owner",), [text(owner)])
