"""High-water marks of outboxes: written after the rows, the highest wins."""

import pytest

from analytics.errors import StoreUnavailableError
from analytics.marks import READERS, SINK, ClickHouseMarks, Mark, mark_of
from analytics.session import Session
from analytics.settings import StoreSettings
from forewarn.embedded.broker import free_port
from producers.outbox import OutboxMarks
from producers.topics import CHECKS, DEAD_LETTERS, DEVIATIONS, VERDICTS
from streams import alerts


def write(session: Session, *marks: Mark) -> None:
    """Store marks as the groups do."""
    ClickHouseMarks(session.settings).keep_marks(marks)


def test_an_outbox_reads_its_own_highest_marks(session: Session, database: StoreSettings) -> None:
    """By topic and partition, in whatever order they were written; others' marks are others'."""
    places = (DEVIATIONS, 0, 5), (DEVIATIONS, 1, 9)
    write(session, *(Mark("a", *place, "e1") for place in places), Mark("b", DEVIATIONS, 0, 100, "e1"))
    write(session, Mark("a", DEVIATIONS, 0, 4, "e2"), Mark("a", DEAD_LETTERS, 0, 2**60, "e2"))
    marks: OutboxMarks = ClickHouseMarks(database)
    assert marks.stored_marks("a") == {(DEVIATIONS, 0): 5, (DEVIATIONS, 1): 9, (DEAD_LETTERS, 0): 2**60}
    assert marks.stored_marks("b") == {(DEVIATIONS, 0): 100}
    assert marks.stored_marks("nobody's") == {}


def test_an_outbox_may_forget_only_what_every_reader_is_done_with(session: Session, database: StoreSettings) -> None:
    """Stored is not enough where a group folds the topic: its kept state must include the message too."""
    write(session, Mark("a", CHECKS, 0, 9, "e1"))
    marks = ClickHouseMarks(database)
    assert marks.stored_marks("a") == {}
    marks.keep_marks([Mark("a", CHECKS, 0, 4, "e1", "detect")])
    assert marks.stored_marks("a") == {(CHECKS, 0): 4}
    marks.keep_marks([Mark("a", CHECKS, 0, 30, "e1", "detect"), Mark("a", VERDICTS, 0, 3, "e1", "incidents")])
    assert marks.stored_marks("a") == {(CHECKS, 0): 9}, "verdicts are not stored yet"
    marks.close()


def test_every_group_that_folds_a_topic_is_waited_for() -> None:
    """The table of readers is that of the groups: nobody may forget what one of them has still to see."""
    folded = {CHECKS: "detect", VERDICTS: "incidents", **dict.fromkeys(alerts.TOPICS, "alerts")}
    assert {topic: (SINK, reader) for topic, reader in folded.items()} == READERS


def test_marks_cannot_be_kept_in_a_store_that_is_away() -> None:
    """The group tries again with its next snapshot."""
    with pytest.raises(StoreUnavailableError):
        ClickHouseMarks(StoreSettings(url=f"http://127.0.0.1:{free_port()}")).keep_marks([Mark("a", CHECKS, 0, 1, "e")])


def test_the_highest_mark_survives_a_merge(session: Session, database: StoreSettings) -> None:
    """A mark that was written later with a lower number replaces nothing."""
    write(session, Mark("a", DEVIATIONS, 0, 7, "e1"))
    write(session, Mark("a", DEVIATIONS, 0, 3, "e1"))
    with session.client() as client:
        client.command("OPTIMIZE TABLE outbox_marks_log FINAL")
    assert ClickHouseMarks(database).stored_marks("a") == {(DEVIATIONS, 0): 7}


def test_marks_of_a_store_that_is_away_are_unavailable(database: StoreSettings) -> None:
    """Nothing may be forgotten then; also where the store refuses."""
    with pytest.raises(StoreUnavailableError):
        ClickHouseMarks(StoreSettings(url=f"http://127.0.0.1:{free_port()}")).stored_marks("a")
    bare = StoreSettings(url=database.url, token=database.token, database="system")
    with pytest.raises(StoreUnavailableError):
        ClickHouseMarks(bare).stored_marks("a")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"north:12", ("north", 12)),
        (b"a:b:0", ("a:b", 0)),
        (b"12", None),
        (b":12", None),
        (b"north:", None),
        (b"north:-1", None),
        (b"north:1x", None),
        (b"north:\xd9\xa1", None),
        (b"north:" + b"9" * 30, None),
    ],
)
def test_a_header_names_the_outbox_and_the_number(value: bytes, expected: tuple[str, int] | None) -> None:
    """What is not of the form `<outbox id>:<number>` marks nothing: an outbox is then not trimmed."""
    assert mark_of([("trace", b"x"), ("outbox", value)]) == expected


def test_a_message_without_the_header_marks_nothing() -> None:
    """Messages of other producers."""
    assert mark_of([]) is None
