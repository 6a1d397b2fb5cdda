"""`forewarn store check`: proves that the store is what it should be, and repairs what can be computed again."""

import json
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Final

from analytics.kept_check import Committed, Fault, check_kept, highest_marks, mark_faults
from analytics.rollup_check import Difference, RollupCheck, check_rollups
from analytics.schema_check import check_schema
from analytics.session import Session
from forewarn.config.config import Part
from forewarn.errors import CommandError, ExitCode, NotRunningError
from forewarn.output import clock, console, print_line, table
from forewarn.places import find_log, load_if_there, open_store
from producers.errors import LogUnavailableError
from producers.log import open_admin, read_epochs
from producers.outbox_open import last_seq
from producers.settings import LogSettings
from producers.topics import ACTIONS, ALERTS, CHECKS, INCIDENTS, VERDICTS

MOST_SHOWN: Final = 50
_LOG: Final[tuple[Part, ...]] = ("log",)
_GROUPS: Final = ("detect", "incidents", "alerts")
_TOPICS: Final = (CHECKS, VERDICTS, INCIDENTS, ALERTS, ACTIONS)


class StoreDiffersError(CommandError):
    """Something in the store is not what it should be, and was not repaired."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count:,} found wrong in the store and not repaired", ExitCode.NEGATIVE)


def check(config_file: Path, data_dir: Path, *, repair: bool, days: int | None, as_json: bool) -> None:
    """Check everything and print what was found.

    Args:
        repair: Compute rollups again that differ, and make views again that are missing.
        days: Compare only the rollups of so many days; None: of all whose checks are kept.

    Raises:
        StoreDiffersError: Something differs and was not repaired.
        ForewarnError: The store is away or refuses.
    """
    committed = _committed(config_file, data_dir)  # before the snapshots are looked at: they only grow
    with open_store(config_file, data_dir) as store, closing(Session(store)) as session:
        schema = check_schema(session, repair=repair)
        if not all(one.repaired for one in schema):
            # Nothing else can be asked of a store without its tables.
            if as_json:
                _write_json(None, schema, log_asked=committed is not None)
            else:
                for one in schema:
                    print_line(f"{one.what} {one.subject}: {one.text}")
            raise StoreDiffersError(sum(not one.repaired for one in schema))
        rollups = check_rollups(session, repair=repair, days=days)
        marks = highest_marks(session)
        faults = [*schema, *check_kept(session, committed), *mark_faults(marks, _last_seqs(data_dir))]
    if as_json:
        _write_json(rollups, faults, log_asked=committed is not None)
    else:
        _print(rollups, faults, log_asked=committed is not None)
    wrong = sum(not one.repaired for one in rollups.differences) + sum(not one.repaired for one in faults)
    if wrong:
        raise StoreDiffersError(wrong)


def _committed(config_file: Path, data_dir: Path) -> Committed | None:
    """Return what the groups have committed; None if no log runs here, which is no fault of the store."""
    try:
        log = find_log(load_if_there(config_file, parts=_LOG), data_dir)
    except NotRunningError:
        return None
    try:
        return read_committed(log)
    except LogUnavailableError:
        return None


def read_committed(log: LogSettings) -> Committed:
    """Return the committed offsets of the groups that keep snapshots, with the epoch of each topic.

    Raises:
        LogUnavailableError, LogRefusedError: The broker is away, or says no.
    """
    epochs = read_epochs(log, _TOPICS)
    found: dict[tuple[str, str, int], tuple[str, int]] = {}
    with open_admin(log) as admin:
        for group in _GROUPS:
            for place, committed in admin.list_group_offsets({group: None}).get(group, {}).items():
                if place.topic in epochs and committed.offset >= 0:
                    found[group, place.topic, place.partition] = (epochs[place.topic], committed.offset)
    return found


def _last_seqs(data_dir: Path) -> dict[str, int]:
    """Return the last number of each outbox of this machine."""
    # Not by Path.rglob: the store's engine makes and drops folders in here all the time, and that would be an error.
    places = sorted(Path(folder) for folder, _, files in os.walk(data_dir) if "outbox.json" in files)
    return dict(one for one in map(last_seq, places) if one is not None)


def _write_json(rollups: RollupCheck | None, faults: Sequence[Fault], *, log_asked: bool) -> None:
    """Write one object a line, a summary last; what was not looked at, for want of its table, is null there."""
    differences = () if rollups is None else rollups.differences
    for one in differences:
        sys.stdout.write(json.dumps({"what": "rollup", **asdict(one)}, ensure_ascii=False) + "\n")
    for fault in faults:
        sys.stdout.write(json.dumps(asdict(fault), ensure_ascii=False) + "\n")
    summary: dict[str, int | None] = dict.fromkeys(
        ("from_us", "until_us", "compared", "waiting", "different", "repaired")
    )
    if rollups is not None:
        summary = {
            "from_us": rollups.from_us,
            "until_us": rollups.until_us,
            "compared": rollups.compared,
            "waiting": rollups.waiting,
            "different": len(differences),
            "repaired": sum(one.repaired for one in differences),
        }
    sys.stdout.write(json.dumps({"what": "summary", **summary, "faults": len(faults), "log_asked": log_asked}) + "\n")


def _print(rollups: RollupCheck, faults: Sequence[Fault], *, log_asked: bool) -> None:
    if rollups.differences or faults:
        shown = table([("what", False), ("subject", False), ("found", False), ("repaired", False)])
        for one in rollups.differences[:MOST_SHOWN]:
            subject = f"{one.target} {one.probe} {one.location} {clock(one.hour_us)}"
            shown.add_row("rollup", subject, _said(one), "yes" if one.repaired else "no")
        for fault in faults[:MOST_SHOWN]:
            shown.add_row(fault.what, fault.subject, fault.text, "yes" if fault.repaired else "no")
        console().print(shown)
        more = max(0, len(rollups.differences) - MOST_SHOWN) + max(0, len(faults) - MOST_SHOWN)
        if more:
            print_line(f"... and {more:,} more; --json prints all of them")
    print_line(_rollups_line(rollups))
    asked = "" if log_asked else "; the log was not reached, so committed offsets were not compared with snapshots"
    wrong = sum(not one.repaired for one in faults)
    print_line(f"tables, views, snapshots, positions, marks, revisions: {_wrong(wrong)}{asked}")


def _rollups_line(rollups: RollupCheck) -> str:
    repaired = sum(one.repaired for one in rollups.differences)
    line = f"rollups from {clock(rollups.from_us)} to {clock(rollups.until_us)}: {rollups.compared:,} compared"
    line += f", {_wrong(len(rollups.differences))}"
    if repaired:
        line += f", {repaired:,} repaired"
    if rollups.waiting:
        line += f"; {rollups.waiting:,} hours of targets wait for the sink, which computes them"
    return line


def _wrong(count: int) -> str:
    return f"{count:,} wrong" if count else "all as they should be"


def _said(one: Difference) -> str:
    if one.rollup is None:
        return "there is none"
    if one.raw is None:
        return "there are no checks any more that it was computed from"
    return ", ".join(f"{name} is {said}, the checks say {one.raw[name]}" for name, said in one.rollup.items())
