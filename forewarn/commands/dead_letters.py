"""`forewarn dead-letters`: messages that could not be used, from the store's table."""

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from analytics.client import connect, store_errors
from forewarn.output import cell, console, print_line, table
from forewarn.places import open_store

_SQL: Final = """
SELECT at, source_topic, source_partition, source_offset, source_epoch, reason, detail, group_name, payload_bytes, id
FROM dead_letters
ORDER BY at DESC, id
LIMIT %(limit)s
"""


def dead_letters(config_file: Path, data_dir: Path, *, limit: int, as_json: bool) -> None:
    """Print the newest dead letters, the newest first.

    Raises:
        ForewarnError: The store is away or refuses.
    """
    with open_store(config_file, data_dir) as store, store_errors(store), closing(connect(store)) as client:
        result = client.query(_SQL, parameters={"limit": limit})
        rows = [dict(zip(result.column_names, row, strict=True)) for row in result.result_rows]
    if as_json:
        for row in rows:
            sys.stdout.write(json.dumps(row, default=cell, ensure_ascii=False) + "\n")
    elif not rows:
        print_line("no dead letters")
    else:
        _print_table(rows)


def _print_table(rows: list[dict[str, Any]]) -> None:
    shown = table([("at (UTC)", False), ("position", False), ("reason", False), ("bytes", True), ("detail", False)])
    for row in rows:
        position = f"{row['source_topic']}[{row['source_partition']}]@{row['source_offset']}"
        at = row["at"].strftime("%Y-%m-%d %H:%M:%S")
        shown.add_row(at, position, row["reason"], f"{row['payload_bytes']:,}", row["detail"])
    console().print(shown)
