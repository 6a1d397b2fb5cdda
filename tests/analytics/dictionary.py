"""Writes docs/data-dictionary.md from the comments in the store: `python -m tests.analytics.dictionary`."""

import re
import tempfile
from pathlib import Path
from typing import Final

from analytics.migrate import migrate
from analytics.session import Session
from forewarn.embedded.store_process import StoreProcess

FILE: Final = Path(__file__).parents[2] / "docs" / "data-dictionary.md"

INTRODUCTION: Final = """# Data dictionary

What analysts find in the store. This page is made from the comments on tables and columns
(`python -m tests.analytics.dictionary`), and a test holds it to them; in the store itself,
`SELECT name, type, comment FROM system.columns WHERE table = 'checks'` says the same.

- **Query the views**: they have the plain names and final rows, each thing once. `FINAL` is never needed.
- An instant is a column `..._at` (or `at`), DateTime64 in UTC, exact to the microsecond. A duration is a column
  `..._us`, whole microseconds. Nothing is in local time: months and shifts are the reports' business.
- NULL means that there is no such thing (no answer, so no `http_status`), never "unknown, perhaps zero".
- `log_epoch`, `log_partition`, `log_offset` say where a row was read; offsets are comparable only inside one epoch.
- Tables that end with `_log` hold every row that was ever sent until a merge replaces it: for forewarn itself.
"""

VIEWS: Final = """
SELECT name, comment FROM system.tables
WHERE database = currentDatabase() AND engine = 'View' ORDER BY name
"""
BASES: Final = """
SELECT name, engine_full, sorting_key FROM system.tables
WHERE database = currentDatabase() AND name LIKE '%\\_log' ORDER BY name
"""
COLUMNS: Final = """
SELECT name, type, comment FROM system.columns
WHERE database = currentDatabase() AND table = %(table)s ORDER BY position
"""


def render(session: Session) -> str:
    """Return the page."""
    with session.client() as client:
        parts = [INTRODUCTION, "\n## Views\n"]
        for name, comment in client.query(VIEWS).result_rows:
            parts.append(f"\n### {name}\n\n{comment}.\n\n| column | type | meaning |\n|---|---|---|\n")
            rows = client.query(COLUMNS, parameters={"table": name}).result_rows
            parts += [
                f"| `{column}` | {_type(kind)} | {meaning.replace('<', '&lt;')} |\n" for column, kind, meaning in rows
            ]
        parts.append("\n## Base tables\n\n| table | a row replaces another with the same | which wins | kept for |\n")
        parts.append("|---|---|---|---|\n")
        for name, engine, key in client.query(BASES).result_rows:
            parts.append(f"| `{name}` | {key.strip('()')} | {_winner(engine)} | {_kept(engine)} |\n")
    return "".join(parts)


def _type(kind: str) -> str:
    """Return a column's type as one reads it: how it is stored is no matter of the analyst's."""
    plain = re.sub(r"LowCardinality\((Nullable\(String\)|String)\)", r"\1", kind)
    plain = plain.replace("DateTime64(6, 'UTC')", "DateTime64")
    return f"`{' '.join(plain.split())}`"


def _winner(engine: str) -> str:
    version = re.search(r"ReplacingMergeTree\((\w+)\)", engine)
    assert version is not None, engine
    return {
        "version": "the check that began first",
        "stored_at": "the row stored last",
        "seq": "the highest `seq`",
        "number": "the highest `number`",
        "computed_at": "the latest computed",
        "done": "the one that is done",
    }[version[1]]


def _kept(engine: str) -> str:
    days = re.search(r"TTL .*toIntervalDay\((\d+)\)", engine)
    if days is None:
        return "ever"
    return {"3": "3 days once done", "100": "`checks_ttl_days` (100)", "30": "`summaries_ttl_days` (30)"}[days[1]]


def main() -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory() as directory:
        process = StoreProcess(Path(directory) / "store")
        settings = process.start()
        try:
            migrate(settings)
            FILE.write_text(render(Session(settings)), encoding="utf-8")
        finally:
            process.stop()


if __name__ == "__main__":
    main()
