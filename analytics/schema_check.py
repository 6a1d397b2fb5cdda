"""Whether every table and view that migrations have made is still there; a view that is missing can be made again."""

import re
from dataclasses import replace
from typing import Final

from analytics.kept_check import Fault
from analytics.migrate import read_migrations
from analytics.session import Session

_MADE: Final = re.compile(r"CREATE\s+(?:OR\s+REPLACE\s+)?(TABLE|VIEW)\s+(?:IF\s+NOT\s+EXISTS\s+)?(\w+)", re.IGNORECASE)
_DROPPED: Final = re.compile(r"DROP\s+(?:TABLE|VIEW)\s+(?:IF\s+EXISTS\s+)?(\w+)", re.IGNORECASE)
_THERE: Final = "SELECT name FROM system.tables WHERE database = currentDatabase()"
_APPLIED: Final = "SELECT max(number) FROM migrations"


def check_schema(session: Session, *, repair: bool) -> list[Fault]:
    """Return what is missing; a view that was made again is marked as repaired.

    Args:
        repair: Make missing views again. A table's rows are gone: it is told, and not made again.

    Raises:
        StoreUnavailableError, StoreRefusedError: The store is away, or says no.
    """
    with session.client() as client:
        there = {str(name) for (name,) in client.query(_THERE).result_rows}
        ((applied,),) = client.query(_APPLIED).result_rows
        faults = []
        for name, (kind, statement) in _definitions(int(applied)).items():
            if name in there:
                continue
            if kind == "TABLE":
                text = "the table is missing, and its rows with it: restore a backup of the store"
                faults.append(Fault(what="table", subject=name, text=text))
                continue
            fault = Fault(what="view", subject=name, text="the view is missing")
            if repair:
                client.command(statement)
                fault = replace(fault, repaired=True)
            faults.append(fault)
    return faults


def _definitions(applied: int) -> dict[str, tuple[str, str]]:
    """Return kind and newest definition of everything that the applied migrations have made and kept, by name."""
    found: dict[str, tuple[str, str]] = {}
    for migration in read_migrations():
        for statement in migration.statements if migration.number <= applied else ():
            text = statement.text.lstrip()
            if (made := _MADE.match(text)) is not None:
                found[made[2]] = (made[1].upper(), statement.text)
            elif (dropped := _DROPPED.match(text)) is not None:
                found.pop(dropped[1], None)
    return found
