"""The roles that ship for a real server, tried on the engine itself: its one user gets a role's grants and no others.

The embedded engine cannot store roles, but it reads the grants of its user from a file, and holds to them.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from analytics.migrate import migrate
from analytics.statements import split_statements
from forewarn.embedded.store_process import StoreProcess

GRANTS = Path(__file__).parents[2] / "analytics" / "grants.sql"
ASK = """
import json, os, sys
from pathlib import Path
from chdb.state import sqlitelike
from forewarn.embedded.store import access
directory, grants, questions = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
config = access.write_config(directory, access.Limits(), grants=tuple(grants))
connection = sqlitelike.connect(f"{directory / 'engine'}?config-file={config}")
for question in questions:
    try:
        connection.query(question, "Null")
        print("yes")
    except Exception as error:
        print("no" if "ACCESS_DENIED" in str(error) else f"error: {error}".splitlines()[0])
sys.stdout.flush()
os._exit(0)
"""


def statements() -> list[str]:
    """Return the file's statements."""
    return [statement.text for statement in split_statements(GRANTS.read_text())]


def grants_of(role: str) -> list[str]:
    """Return a role's grants without the role's name, as the engine's file of users has them."""
    found = []
    for text in statements():
        for word, tail in (("GRANT", f" TO {role}"), ("REVOKE", f" FROM {role}")):
            if text.startswith(word) and text.endswith(tail):
                found.append(text.removesuffix(tail))
    assert found
    return found


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store's directory with the whole schema, and nobody in it."""
    directory = tmp_path_factory.mktemp("granted") / "store"
    process = StoreProcess(directory)
    migrate(process.start())
    process.stop()
    return directory


def answers(directory: Path, role: str, questions: list[str]) -> list[str]:
    """Ask as somebody with this role alone."""
    command = [sys.executable, "-c", ASK, str(directory), json.dumps(grants_of(role)), json.dumps(questions)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()


WRITE = "INSERT INTO forewarn.migrations (number, name, checksum) SELECT 1000, 'x', 'y' WHERE 0"
SCHEMA = "CREATE TABLE forewarn.more (a Int8) ENGINE = MergeTree ORDER BY a"


def test_an_analyst_reads_all_but_state_and_changes_nothing(migrated: Path) -> None:
    """Views with the tables under them; no snapshot, no insert, no definition, nothing outside."""
    may = ["checks", "readings", "verdict_intervals", "incidents", "alerts", "producer_health", "migrations"]
    may_not = ["snapshots", "snapshots_log", "outbox_marks", "outbox_marks_log"]
    asked = [f"SELECT * FROM forewarn.{name}" for name in [*may, *may_not]]  # noqa: S608 - constants
    asked += [WRITE, SCHEMA, "DROP TABLE forewarn.checks_log", "ALTER TABLE forewarn.checks_log DELETE WHERE 1"]
    asked += ["SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')", "CREATE DATABASE other"]
    assert answers(migrated, "forewarn_analyst", asked) == ["yes"] * len(may) + ["no"] * (len(may_not) + 6)


def test_a_writer_reads_and_inserts_and_defines_nothing(migrated: Path) -> None:
    """It cannot drop, delete or alter what it wrote."""
    asked = ["SELECT * FROM forewarn.snapshots", "SELECT * FROM forewarn.outbox_marks", WRITE]
    asked += [SCHEMA, "DROP TABLE forewarn.checks_log", "ALTER TABLE forewarn.checks_log DELETE WHERE 1"]
    asked += ["TRUNCATE TABLE forewarn.checks_log", "INSERT INTO FUNCTION file('x') SELECT 1"]
    assert answers(migrated, "forewarn_writer", asked) == ["yes"] * 3 + ["no"] * 5


def test_a_migrator_can_do_what_migrate_does(migrated: Path) -> None:
    """Create, extend, lock, rename the lock, record; in no other database."""
    asked = ["CREATE DATABASE IF NOT EXISTS forewarn", SCHEMA, "ALTER TABLE forewarn.more ADD COLUMN b Int8", WRITE]
    asked += ["ALTER TABLE forewarn.checks_log MODIFY TTL toDateTime(scheduled_at) + INTERVAL 7 DAY"]
    asked += ["RENAME TABLE forewarn.more TO forewarn.aside", "DROP TABLE forewarn.aside"]
    asked += ["CREATE VIEW forewarn.seen AS SELECT * FROM forewarn.checks", "SELECT * FROM forewarn.migrations FINAL"]
    refused = ["CREATE DATABASE other", "CREATE TABLE default.t (a Int8) ENGINE = Memory", "CREATE USER u"]
    assert answers(migrated, "forewarn_migrator", asked + refused) == ["yes"] * len(asked) + ["no"] * len(refused)


def test_the_engine_can_parse_every_statement(migrated: Path) -> None:
    """Roles and profiles too, which it cannot store."""
    asked = [f"EXPLAIN AST {text}" for text in statements()]
    assert answers(migrated, "forewarn_analyst", asked) == ["yes"] * len(asked)
