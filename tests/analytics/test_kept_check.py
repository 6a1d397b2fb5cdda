"""`analytics.kept_check`: damage and gaps in what the next start relies on."""

import pytest

from analytics.insert import Inserter
from analytics.kept_check import Fault, check_kept, highest_marks, mark_faults
from analytics.marks import ClickHouseMarks, Mark
from analytics.rows import one_table, rows_of
from analytics.session import Session
from analytics.settings import StoreSettings
from analytics.state import ClickHouseStateStore
from producers.topics import CHECKS
from streams.contract import Snapshot, payload_checksum
from tests.analytics.messages import NOW_US, incident, place


def keep(database: StoreSettings, *offsets: int, partition: int = 0, epoch: str = "e") -> None:
    """Keep snapshots of detect that reach these offsets."""
    state = ClickHouseStateStore(database)
    for offset in offsets:
        payload = f"{offset}".encode()
        state.save(
            Snapshot(
                group="detect",
                partition=partition,
                positions=((CHECKS, partition, epoch, offset),),
                taken_at_us=NOW_US,
                code="1",
                payload=payload,
                checksum=payload_checksum(payload),
            )
        )
    state.close()


def texts(faults: list[Fault]) -> list[tuple[str, str, str]]:
    """Return faults as tuples."""
    return [(one.what, one.subject, one.text) for one in faults]


def test_whole_snapshots_are_no_fault(session: Session, database: StoreSettings) -> None:
    """Fewer than three, three, and more than three that were kept in turn; with what was committed of them."""
    keep(database, 5)
    keep(database, 1, 2, 3, 4, 4, partition=1)
    assert check_kept(session, {("detect", CHECKS, 0): ("e", 6), ("detect", CHECKS, 1): ("e", 4)}) == []


def test_a_damaged_snapshot_and_one_in_a_wrong_place_are_told(session: Session, database: StoreSettings) -> None:
    """The checksum of the payload, and the ring of numbers."""
    keep(database, 1, 2, 3)
    with session.client() as client:
        for change in ("UPDATE payload = 'x' WHERE number = 2", "DELETE WHERE number = 1"):
            client.command(f"ALTER TABLE snapshots_log {change}", settings={"mutations_sync": 1})
    assert [one.text for one in check_kept(session) if one.what == "snapshot"] == [
        "number 1 is missing before 2",
        "1 of 2 are damaged: their checksum does not hold",
    ]


def test_a_position_that_went_back_is_told_inside_one_epoch_only(session: Session, database: StoreSettings) -> None:
    """Another log begins at 0."""
    keep(database, 7, 5)
    keep(database, 7, partition=1)
    keep(database, 0, partition=1, epoch="f")
    assert texts(check_kept(session)) == [("position", "detect[0]", f"{CHECKS}[0] went back from 7 to 5")]


@pytest.mark.parametrize(
    ("epoch", "committed", "kept_short"), [("e", 6, []), ("e", 7, [5]), ("e", 8, [6, 5]), ("f", 99, [])]
)
def test_a_snapshot_that_does_not_reach_the_commit_is_told(
    session: Session, database: StoreSettings, epoch: str, committed: int, kept_short: list[int]
) -> None:
    """The committed offset is that of the next message; offsets of another epoch say nothing."""
    keep(database, 5, 6, 7)
    faults = check_kept(session, {("detect", CHECKS, 0): (epoch, committed)})
    assert texts(faults) == [
        ("position", "detect[0]", f"{CHECKS}[0] is committed up to {committed - 1}, a kept one reaches {offset}")
        for offset in kept_short
    ]


def test_a_missing_revision_of_an_incident_is_told(session: Session) -> None:
    """Whichever came first; a repeated one is none too many."""
    inserter = Inserter(session)
    for steps, name in (([1, 2, 2, 3], "whole"), ([0, 1, 3], "torn")):
        for revision in steps:
            [rows] = rows_of(incident(revision, incident_id=name, id=f"{name}.{revision}"), place())
            inserter.insert(rows.table, one_table([rows.batch], rows.table.schema))
    assert texts(check_kept(session)) == [("incident", "torn", "has 3 of the revisions 0 to 3")]


def test_an_outbox_that_is_behind_its_marks_is_told(session: Session, database: StoreSettings) -> None:
    """It was put back from an older copy: numbers that it gives anew would count as stored."""
    marks = ClickHouseMarks(database)
    marks.keep_marks([Mark("north.1", CHECKS, 0, 40, "e", "sink"), Mark("north.1", CHECKS, 1, 41, "e", "sink")])
    marks.close()
    highest = highest_marks(session)
    assert highest == {"north.1": 41}
    assert mark_faults(highest, {"north.1": 41, "south.2": 0}) == []
    [fault] = mark_faults(highest, {"north.1": 40})
    assert (fault.what, fault.subject) == ("mark", "north.1")
