"""The sink as a group: messages in, proved rows out, nothing committed before."""

from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from analytics import sink as sink_module
from analytics.migrate import migrate
from analytics.session import Session
from analytics.settings import StoreSettings
from analytics.sink import Sink
from forewarn.embedded.broker import free_port
from forewarn.embedded.store_process import StoreProcess
from producers import codec as checks_codec
from producers.contract import ProducerHealth, ProducerStopped
from producers.settings import LogSettings
from producers.topics import ALL_TOPICS, CHECKS, DEAD_LETTERS, VERDICTS
from streams import codec
from streams.codec import Event
from streams.contract import DeadLetter, Incident
from streams.faust_app import create_app
from streams.group import Assigned, LogMessage, OutMessage, Place
from streams.settings import WorkerSettings
from tests.analytics.messages import NOW_US, batch, events, read, sink_marks, summary, verdict
from tests.crash import crash

TURNS = count(1)
"""Of saving; see `Group.cut`."""


def message(
    topic: str, value: bytes, offset: int, *, partition: int = 0, headers: tuple[tuple[str, bytes], ...] = ()
) -> LogMessage:
    """Return a message as the frame hands it over."""
    return LogMessage(
        epoch="c/t",
        topic=topic,
        partition=partition,
        offset=offset,
        timestamp_us=NOW_US,
        key=None,
        value=value,
        headers=headers,
    )


def checks(offset: int, *, count: int = 10, outbox: str | None = None, partition: int = 0) -> LogMessage:
    """Return a batch of checks of the tick number `offset`."""
    value = checks_codec.encode(
        batch([f"main/{number}" for number in range(count)], tick_us=NOW_US - offset * 1_000_000)
    )
    headers = () if outbox is None else (("outbox", outbox.encode()),)
    return message(CHECKS, value, offset, headers=headers, partition=partition)


async def keep(sink: Sink) -> dict[Place, int]:
    """Cut and keep as the frame does."""
    cut = sink.cut(next(TURNS))
    assert cut is not None
    return dict(await sink.keep(cut))


async def keep_after(sink: Sink, taken: LogMessage) -> dict[Place, int]:
    """Take a message in, then cut and keep."""
    sink.handle(taken)
    return await keep(sink)


def rows(session: Session, view: str = "checks") -> int:
    """Return how many final rows there are."""
    [row] = read(session, f"SELECT count() AS n FROM {view}")  # noqa: S608 - written here
    return int(row["n"])


def encoded(event: ProducerHealth | ProducerStopped | Event) -> tuple[str, bytes]:
    """Return the topic that an event travels on, and its value."""
    if isinstance(event, ProducerHealth | ProducerStopped):
        return CHECKS, checks_codec.encode(event)
    topic = next(topic for topic, kinds in codec.EVENT_TYPES.items() if isinstance(event, kinds))  # type: ignore[arg-type]  # classes and unions
    return topic, codec.encode(event)


async def test_every_kind_of_message_becomes_rows(session: Session, database: StoreSettings) -> None:
    """One of each; the returned positions are what may be committed."""
    sink = Sink(database, with_marks=False)
    assert set(sink.topics) == set(ALL_TOPICS)
    for offset, event in enumerate(events()):
        topic, value = encoded(event)
        assert sink.handle(message(topic, value, offset)) == []
    sink.handle(checks(99))
    assert (await keep(sink))[Place(CHECKS, 0)] == 99
    for view in (
        *("checks", "producer_health", "producer_stops", "deviations", "verdicts", "verdict_summaries"),
        *("incident_revisions", "alerts", "actions", "dead_letters"),
    ):
        assert rows(session, view) == (10 if view == "checks" else 1), view


async def test_the_hours_that_checks_touch_are_noted_before_the_commit(
    session: Session, database: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With them not noted nothing is committed: rows of another attempt replace themselves, a mark is not lost."""
    monkeypatch.setattr(sink_module, "FIRST_PAUSE_S", 0.01)
    with session.client() as client:
        client.command("RENAME TABLE check_hours_touched_log TO aside")
    sink = Sink(database, with_marks=False)
    try:
        sink.handle(checks(0, count=2))
        assert await keep(sink) == {}
        assert rows(session) == 2
    finally:
        with session.client() as client:
            client.command("RENAME TABLE aside TO check_hours_touched_log")
    assert await keep(sink) == {Place(CHECKS, 0): 0}
    waiting = read(session, "SELECT target FROM check_hours_waiting ORDER BY target")
    assert [row["target"] for row in waiting] == ["main/0", "main/1"]


async def test_nothing_new_is_no_cut(database: StoreSettings) -> None:
    """The frame then has nothing to keep; also after a good keep."""
    sink = Sink(database, with_marks=False)
    assert sink.cut(next(TURNS)) is None
    sink.handle(checks(0))
    await keep(sink)
    assert sink.cut(next(TURNS)) is None


async def test_a_message_that_cannot_be_used_becomes_a_dead_letter_in_the_store(
    session: Session, database: StoreSettings
) -> None:
    """The sink publishes it like every group, reads it back, and stores it. Its position counts as done."""
    sink = Sink(database, with_marks=False)
    [out] = sink.handle(message(VERDICTS, b"{", 5))
    assert out.topic == DEAD_LETTERS
    letter = codec.decode(DEAD_LETTERS, out.value)
    assert isinstance(letter, DeadLetter)
    assert (letter.topic, letter.offset, letter.group, letter.reason) == (VERDICTS, 5, "sink", "malformed")
    assert sink.handle(message(DEAD_LETTERS, out.value, 0)) == []
    assert await keep(sink) == {Place(VERDICTS, 0): 5, Place(DEAD_LETTERS, 0): 0}
    [row] = read(session, "SELECT id, source_topic, source_offset, reason FROM dead_letters")
    assert row == {"id": letter.id, "source_topic": VERDICTS, "source_offset": 5, "reason": "malformed"}


async def test_of_messages_that_come_together_one_that_no_row_can_hold_spoils_no_other(
    session: Session, database: StoreSettings
) -> None:
    """It and what is no message become dead letters, in the log's own words; the others are rows, each once."""
    sink = Sink(database, with_marks=False)
    ticks = [NOW_US - tick * 1_000_000 for tick in range(5)]
    values = [codec.encode(verdict("failing", at_us)) for at_us in ticks]
    values[1] = codec.encode(verdict("failing", ticks[1], lateness_us=2**64))
    values[3] = b"nonsense"
    letters = [
        codec.decode(out.topic, out.value)
        for out in sink.handle(*(message(VERDICTS, value, offset) for offset, value in enumerate(values)))
    ]
    found = {(one.offset, one.reason) for one in letters if isinstance(one, DeadLetter)}
    assert found == {(1, "invalid"), (3, "malformed")}
    assert len(letters) == 2
    assert await keep(sink) == {Place(VERDICTS, 0): 4}
    stored = read(session, "SELECT tick_at, log_offset FROM verdicts ORDER BY log_offset")
    assert [(row["tick_at"], row["log_offset"]) for row in stored] == [(ticks[place], place) for place in (0, 2, 4)]


async def test_a_dead_letter_that_is_broken_itself_makes_one_more_and_no_loop(database: StoreSettings) -> None:
    """The letter about a broken letter is a good one."""
    sink = Sink(database, with_marks=False)
    [out] = sink.handle(message(DEAD_LETTERS, b"\xff\x00", 3))
    assert sink.handle(message(DEAD_LETTERS, out.value, 4)) == []


async def test_malformed_checks_are_skipped_here(database: StoreSettings) -> None:
    """Detect writes their dead letter; the sink only goes past them."""
    sink = Sink(database, with_marks=False)
    assert sink.handle(message(CHECKS, b"[]", 0)) == []
    assert await keep(sink) == {Place(CHECKS, 0): 0}


async def test_with_the_store_away_nothing_is_lost_and_nothing_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle: keeps fail, rows stay, and go into the store that comes back, once."""
    monkeypatch.setattr(sink_module, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(sink_module, "MARKS_EVERY_S", 0.0)
    process = StoreProcess(tmp_path / "store")
    settings = process.start()
    try:
        migrate(settings)
        sink = Sink(settings, with_marks=True)
        sink.handle(checks(0, outbox="north:1"))
        assert await keep(sink) == {Place(CHECKS, 0): 0}
        sink.handle(checks(1, outbox="north:2"))
        crash(process)
        assert await keep(sink) == {}
        sink.handle(checks(2, outbox="north:3"))
        assert await keep(sink) == {}
        process.start()
        assert sink_marks(settings, "north") == {(CHECKS, 0): 1}
        sink.handle(message(VERDICTS, codec.encode(verdict("healthy", NOW_US)), 0))
        assert await keep(sink) == {Place(CHECKS, 0): 2, Place(VERDICTS, 0): 0}
        session = Session(settings)
        assert (rows(session), rows(session, "checks_log"), rows(session, "verdicts")) == (30, 30, 1)
        assert sink_marks(settings, "north") == {(CHECKS, 0): 3}
    finally:
        process.stop()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The sink's clock: it goes on where a test adds to `now_s`."""
    found = SimpleNamespace(now_s=100.0)
    monkeypatch.setattr(sink_module, "time", SimpleNamespace(monotonic=lambda: found.now_s))
    return found


async def test_marks_are_written_seldom_and_nothing_is_committed_before_them(
    session: Session, database: StoreSettings, clock: SimpleNamespace
) -> None:
    """Rows go in at once. Their marks wait, with all that came since, also where nothing new comes."""
    sink = Sink(database, with_marks=True)
    sink.handle(checks(0, outbox="north:1"))
    assert await keep(sink) == {Place(CHECKS, 0): 0}
    for offset in (1, 2):
        clock.now_s += 1.0
        sink.handle(checks(offset, outbox=f"north:{offset + 1}"))
        assert await keep(sink) == {}
        assert rows(session) == 10 * (offset + 1)
    assert await keep(sink) == {}
    assert sink_marks(database, "north") == {(CHECKS, 0): 1}
    clock.now_s += sink_module.MARKS_EVERY_S
    assert await keep(sink) == {Place(CHECKS, 0): 2}
    assert sink_marks(database, "north") == {(CHECKS, 0): 3}
    assert sink.cut(next(TURNS)) is None
    assert rows(session, "checks_log") == 30, "no row went in twice"


async def test_summaries_go_with_the_marks_and_at_the_end_nothing_waits(
    session: Session, database: StoreSettings, clock: SimpleNamespace
) -> None:
    """Nobody waits for a summary, so it costs the store no request of its own; checks and verdicts go in at once."""
    sink = Sink(database, with_marks=True)
    await keep_after(sink, checks(0, outbox="north:1"))

    def judged(number: int) -> list[LogMessage]:
        slot_us, headers = NOW_US + number * 10_000_000, (("outbox", f"detect:{number}".encode()),)
        found = [codec.encode(summary(slot_us)), codec.encode(verdict("healthy", slot_us))]
        return [message(VERDICTS, one, 2 * number + place, headers=headers) for place, one in enumerate(found)]

    for number in (0, 1):
        clock.now_s += 1.0
        sink.handle(*judged(number))
        assert await keep(sink) == {}
        assert (rows(session, "verdicts"), rows(session, "verdict_summaries")) == (number + 1, 0)
    clock.now_s += sink_module.MARKS_EVERY_S
    assert await keep(sink) == {Place(VERDICTS, 0): 3}
    assert (rows(session, "verdicts"), rows(session, "verdict_summaries")) == (2, 2)
    sink.handle(*judged(2))
    sink.hurry()
    assert await keep(sink) == {Place(VERDICTS, 0): 5}
    assert (rows(session, "verdicts"), rows(session, "verdict_summaries")) == (3, 3)
    assert rows(session, "verdicts_log") == 3, "no row went in twice"


async def test_rows_that_wait_for_their_marks_alone_do_not_count_for_the_bound(
    database: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are in the store: only what is in memory does."""
    monkeypatch.setattr(sink_module, "MAX_BUFFERED_BYTES", 20_000)
    sink = Sink(database, with_marks=True)
    await keep_after(sink, checks(0, outbox="north:1"))
    for offset in range(1, 6):
        await keep_after(sink, checks(offset, outbox=f"north:{offset + 1}"))
        assert not sink.crowded()


async def test_a_store_that_refuses_is_waited_for_like_one_that_is_away(
    database: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong token, tables that are not there yet: nothing is committed, nothing raised, and it comes good."""
    monkeypatch.setattr(sink_module, "FIRST_PAUSE_S", 0.01)
    wrong = StoreSettings(url=database.url, token="wrong", database=database.database)
    sink = Sink(wrong, with_marks=False)
    sink.handle(checks(0))
    assert await keep(sink) == {}
    assert sink.cut(next(TURNS)) is not None, "the rows are still there"


async def test_reading_pauses_at_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows wait in memory up to a bound, stored or not; above it the sink says that it is crowded."""
    monkeypatch.setattr(sink_module, "MAX_BUFFERED_BYTES", 100_000)
    monkeypatch.setattr(sink_module, "FIRST_PAUSE_S", 0.01)
    sink = Sink(StoreSettings(url=f"http://127.0.0.1:{free_port()}"), with_marks=False)
    taken = 0
    while not sink.due():
        sink.handle(checks(taken, count=100))
        taken += 1
    due_at = taken
    while not sink.crowded():
        sink.handle(checks(taken, count=100))
        taken += 1
    assert 2 < due_at < taken < 20
    assert await keep(sink) == {}
    assert sink.crowded(), "what could not be stored still counts"
    assert not sink.due(), "but it is tried again at its time, not at once"
    sink.revoke()
    assert not sink.crowded()


async def test_lost_places_are_forgotten(database: StoreSettings, session: Session) -> None:
    """A cut of before the loss commits nothing; after the next assignment everything is read again."""
    sink = Sink(database, with_marks=False)
    sink.handle(checks(0))
    cut = sink.cut(next(TURNS))
    assert cut is not None
    sink.revoke()
    assert dict(await sink.keep(cut)) == {}
    assert sink.cut(next(TURNS)) is None
    sink.handle(checks(0))
    assert await keep(sink) == {Place(CHECKS, 0): 0}
    assert rows(session) == 10


@pytest.mark.parametrize(
    ("committed", "end", "included"),
    [(None, 10, -1), (0, 10, -1), (4, 10, 3), (10, 10, 9), (11, 10, -1)],
)
async def test_reading_starts_at_the_commit(
    committed: int | None, end: int, included: int, database: StoreSettings
) -> None:
    """A commit beyond the end is of another log under the same name: that one is read from its start."""
    place = Place(CHECKS, 0)
    one = Assigned(place=place, epoch="c/t", committed=committed, end=end)
    assert await Sink(database, with_marks=False).assign([one]) == {place: included}


async def test_marks_are_the_highest_numbers_by_outbox_and_partition(database: StoreSettings) -> None:
    """Of what was stored; a repeated lower number lowers nothing."""
    sink = Sink(database, with_marks=True)
    for offset, (outbox, partition) in enumerate([("a:5", 0), ("a:6", 1), ("b:9", 0), ("a:3", 0)]):
        sink.handle(checks(offset, outbox=outbox, partition=partition))
    sink.handle(message(CHECKS, b"broken", 50, headers=(("outbox", b"a:7"),)))
    await keep(sink)
    assert sink_marks(database, "a") == {(CHECKS, 0): 7, (CHECKS, 1): 6}
    assert sink_marks(database, "b") == {(CHECKS, 0): 9}


async def test_without_a_forgetful_log_no_marks_are_written(database: StoreSettings) -> None:
    """Nobody would read them."""
    sink = Sink(database, with_marks=False)
    sink.handle(checks(0, outbox="a:5"))
    await keep(sink)
    assert sink_marks(database, "a") == {}


async def test_the_row_of_an_incident_comes_from_the_last_revision_whatever_the_order(
    session: Session, database: StoreSettings
) -> None:
    """Revisions may come in several flushes."""
    [example] = [event for event in events() if isinstance(event, Incident)]
    sink = Sink(database, with_marks=False)
    for offset, revision in enumerate((3, 1, 2)):
        event: Event = Incident(
            **{name: getattr(example, name) for name in example.__struct_fields__} | {"revision": revision}
        )
        sink.handle(message("incidents.v1", codec.encode(event), offset))
        await keep(sink)
    assert [row["revision"] for row in read(session, "SELECT revision FROM incidents")] == [3]


def test_out_messages_are_for_the_dead_letters_topic_only(database: StoreSettings) -> None:
    """The sink needs the right to write one topic."""
    sink = Sink(database, with_marks=False)
    outs: list[OutMessage] = []
    for topic in ALL_TOPICS:
        outs += sink.handle(message(topic, b"", 0))
    assert {out.topic for out in outs} == {DEAD_LETTERS}


async def test_reading_may_pause_for_longer_than_the_log_keeps_messages(tmp_path: Path) -> None:
    """Faust's client leaves its group after 1000 s without a read and never comes back, in silence."""
    log = LogSettings(bootstrap=("127.0.0.1:9",))
    app = create_app("sink", log, WorkerSettings(data_dir=tmp_path))
    assert app.conf.broker_max_poll_interval * 1_000_000 > log.retention_us
