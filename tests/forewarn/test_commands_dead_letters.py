"""`forewarn dead-letters replay`: letters go back to where they came from, are recorded, and nothing is lost."""

import base64
import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from analytics.client import connect
from analytics.insert import Inserter
from analytics.marks import ClickHouseMarks, Mark
from analytics.migrate import migrate
from analytics.rows import one_table, rows_of
from analytics.session import Session
from analytics.settings import StoreSettings
from forewarn import resend
from forewarn.cli import run
from forewarn.commands.store import read_committed
from forewarn.embedded.broker import TansuBroker
from forewarn.embedded.store_process import StoreProcess
from forewarn.runtime import Runtime, write_runtime
from producers.log import create_topics, read_epochs
from producers.log_client import connect as connect_log
from producers.outbox import Outbox
from producers.settings import LogSettings
from producers.topics import CHECKS, DEAD_LETTERS, VERDICTS, Position
from streams.contract import DeadLetter
from tests.analytics.messages import read

NOW_US = time.time_ns() // 1000
PARTITION = 3


@dataclass(frozen=True)
class Here:
    """Broker, store, and a directory in which commands find them."""

    log: LogSettings
    store: StoreSettings
    data_dir: Path

    def replay(self, *words: str | Path) -> int:
        """Run the command."""
        return run(["dead-letters", "replay", *map(str, words), "--data-dir", str(self.data_dir)])

    def listed(self, capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
        """Return the ids that are listed, oldest last."""
        capsys.readouterr()
        assert run(["dead-letters", *words, "--data-dir", str(self.data_dir)]) == 0
        return [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]

    def messages(self, topic: str, partition: int = 0) -> list[Any]:
        """Return all messages of a partition."""
        consumer = KafkaConsumer(bootstrap_servers=self.log.bootstrap[0], group_id=None, enable_auto_commit=False)
        with closing(consumer):
            place = TopicPartition(topic, partition)
            consumer.assign([place])
            consumer.seek_to_beginning(place)
            found: list[Any] = []
            end = consumer.end_offsets([place])[place]
            while consumer.position(place) < end:
                found += consumer.poll(timeout_ms=500).get(place, [])
        return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TansuBroker, StoreSettings]]:
    """A broker with all topics and a migrated store."""
    directory = tmp_path_factory.mktemp("installed")
    broker, process = TansuBroker(directory), StoreProcess(directory / "store")
    broker.start()
    try:
        create_topics(LogSettings(bootstrap=(broker.bootstrap,), forgetful=True))
        store = process.start()
        migrate(store)
        yield broker, store
    finally:
        broker.stop()
        process.stop()


@pytest.fixture
def kept(
    installed: tuple[TansuBroker, StoreSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Here]:
    """A log that keeps what it acknowledged, as a config names it."""
    broker, store = installed
    monkeypatch.setenv("STORE_TOKEN", store.token or "")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "forewarn.yaml").write_text(
        f"log: {{bootstrap: '{broker.bootstrap}'}}\n"
        f"store: {{url: '{store.url}', token: '${{STORE_TOKEN}}'}}\ntargets: [{{url: 'http://h'}}]\n"
    )
    yield Here(LogSettings(bootstrap=(broker.bootstrap,)), store, tmp_path / "data")
    empty(store)


@pytest.fixture
def forgetful(
    installed: tuple[TansuBroker, StoreSettings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Here]:
    """A log that forgets, as a running `forewarn up` tells of it."""
    broker, store = installed
    monkeypatch.chdir(tmp_path)
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    runtime = Runtime(pid=os.getpid(), bootstrap=broker.bootstrap, store_url=store.url, store_token=store.token or "")
    write_runtime(data_dir, runtime)
    yield Here(LogSettings(bootstrap=(broker.bootstrap,), forgetful=True), store, data_dir)
    empty(store)


def empty(store: StoreSettings) -> None:
    """Forget the letters of a test."""
    with closing(connect(store)) as client:
        for table in ("dead_letters_log", "dead_letter_replays_log", "outbox_marks_log"):
            client.command(f"TRUNCATE TABLE {table}")


def letter(name: str, value: bytes, **changes: Any) -> DeadLetter:
    """Return a dead letter of a message in `checks`."""
    values: dict[str, Any] = {
        "v": 1,
        "id": name,
        "topic": CHECKS,
        "epoch": "gone",
        "partition": PARTITION,
        "offset": 17,
        "log_timestamp_us": NOW_US,
        "reason": "malformed",
        "detail": "no JSON",
        "group": "detect",
        "at_us": NOW_US,
        "payload": base64.b64encode(value).decode(),
        "payload_bytes": len(value),
        "key": base64.b64encode(b"key of " + name.encode()).decode(),
    }
    return DeadLetter(**values | changes)


def put(here: Here, *letters: DeadLetter) -> None:
    """Store letters as the sink does."""
    with closing(Session(here.store)) as session:
        for one in letters:
            for rows in rows_of(one, Position(epoch="e", topic=DEAD_LETTERS, partition=0, offset=0)):
                Inserter(session).insert(rows.table, one_table([rows.batch], rows.table.schema))


def test_a_letter_goes_back_to_where_it_came_from_and_is_open_no_more(
    kept: Here, capsys: pytest.CaptureFixture[str]
) -> None:
    """Same topic, partition, key and value; recorded with who sent it; not listed but with --all."""
    before = len(kept.messages(CHECKS, PARTITION))
    put(kept, letter("one", b"\x00 no JSON"), letter("two", b"{}", at_us=NOW_US - 1))
    assert kept.listed(capsys) == ["one", "two"]
    assert kept.replay("--id", "one") == 0
    assert "sent  one  checks.v1[3]  malformed\n1 dead letters sent again\n" in capsys.readouterr().out
    [sent] = kept.messages(CHECKS, PARTITION)[before:]
    assert (sent.key, sent.value) == (b"key of one", b"\x00 no JSON")
    assert kept.listed(capsys) == ["two"]
    assert kept.listed(capsys, "--all") == ["one", "two"]
    with closing(Session(kept.store)) as session:
        [row] = read(session, "SELECT * FROM dead_letter_replays")
        [shown] = read(session, "SELECT replays, replayed_at FROM dead_letters WHERE id = 'one'")
    assert (row["dead_letter_id"], row["edited"], row["payload_bytes"]) == ("one", False, 9)
    assert shown == {"replays": 1, "replayed_at": row["replayed_at"]}
    with Outbox(kept.data_dir / "outbox" / resend.OUTBOX_ID, outbox_id=resend.OUTBOX_ID, max_bytes=10**6) as outbox:
        assert outbox.records == 0, "what the log acknowledged is not kept here"


def test_a_second_replay_is_refused_unless_again(kept: Here, capsys: pytest.CaptureFixture[str]) -> None:
    """By id it says so; a filter passes over it; --again sends it."""
    put(kept, letter("one", b"x"))
    before = len(kept.messages(CHECKS, PARTITION))
    assert kept.replay("--id", "one") == 0
    assert kept.replay("--id", "one") == 4
    assert "sent again before: one; --again sends it once more" in capsys.readouterr().err
    assert kept.replay("--all") == 0
    assert len(kept.messages(CHECKS, PARTITION)) == before + 1
    assert kept.replay("--all", "--again") == 0
    assert len(kept.messages(CHECKS, PARTITION)) == before + 2


def test_an_edited_letter_is_sent_with_the_files_content(kept: Here, tmp_path: Path) -> None:
    """The record says that it was edited."""
    file = tmp_path / "good.json"
    file.write_bytes(b'{"v": 1}')
    put(kept, letter("one", b"{v: 1}", topic=VERDICTS, partition=0, key=None))
    assert kept.replay("--id", "one", "--edit", file) == 0
    sent = kept.messages(VERDICTS)[-1]
    assert (sent.key, sent.value) == (None, b'{"v": 1}')
    with closing(Session(kept.store)) as session:
        assert [row["edited"] for row in read(session, "SELECT edited FROM dead_letter_replays")] == [True]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--topic", "checks"], ["new", "old"]),
        (["--topic", "verdicts.v1"], ["verdict"]),
        (["--reason", "far_future"], ["old"]),
        (["--topic", "checks", "--since", "2h"], ["new"]),
        (["--since", "1970-01-02"], ["new", "old", "verdict"]),
        (["--id", "new", "--id", "verdict"], ["new", "verdict"]),
        (["--id", "new", "--reason", "far_future"], None),
    ],
)
def test_filters_choose_what_fulfils_all_of_them(
    kept: Here, words: list[str], expected: list[str] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """An id that another filter leaves out is an error, not silence."""
    put(
        kept,
        letter("new", b"1"),
        letter("old", b"2", at_us=NOW_US - 5 * 3600 * 10**6, reason="far_future"),
        letter("verdict", b"3", topic=VERDICTS, partition=0),
    )
    assert kept.replay(*words) == (4 if expected is None else 0)
    done = set(kept.listed(capsys, "--all")) - set(kept.listed(capsys))
    assert sorted(done) == (expected or [])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say which dead letters"),
        (["--id", "a", "--id", "b", "--edit", "x"], "--edit is the message of one dead letter"),
        (["--all", "--edit", "x"], "--edit is the message of one dead letter"),
        (["--id", "a", "--edit", "nowhere"], "nowhere cannot be read"),
        (["--topic", "rumours"], "there is no topic rumours"),
        (["--since", "yesterday"], "'yesterday' is no time"),
    ],
)
def test_wrong_usage_sends_nothing(kept: Here, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line each, exit code 2."""
    assert kept.replay(*words) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_of_a_large_message_the_log_is_asked_for_the_rest(kept: Here, capsys: pytest.CaptureFixture[str]) -> None:
    """The letter holds its beginning; where the log has it no more, that is said and nothing is sent."""
    large = os.urandom(100_000)
    producer = connect_log(KafkaProducer, kept.log)
    offset = producer.send(CHECKS, value=large, partition=PARTITION).get(timeout=30).offset
    producer.close()
    epoch = read_epochs(kept.log, [CHECKS])[CHECKS]
    part = base64.b64encode(large[:65_536]).decode()
    sizes = {"payload": part, "payload_bytes": len(large)}
    put(kept, letter("whole", b"", epoch=epoch, offset=offset, **sizes), letter("torn", b"", epoch="gone", **sizes))
    assert kept.replay("--id", "torn") == 4
    assert "holds 65,536 of 100,000 bytes, and the log has the message no more" in capsys.readouterr().err
    assert kept.replay("--id", "whole") == 0
    assert kept.messages(CHECKS, PARTITION)[-1].value == large


def test_a_letter_that_no_log_can_take_is_refused_and_the_others_are_sent(
    kept: Here, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By id, with its size and the limit, before anything of it is on disk; an edit of that size too."""
    part = base64.b64encode(b"x" * 65_536).decode()
    put(
        kept,
        letter("first", b"1", offset=1),
        letter("large", b"", offset=2, reason="oversized", payload=part, payload_bytes=5_000_000),
        letter("elsewhere", b"2", offset=3, partition=12),
        letter("last", b"3", offset=4),
    )
    before = len(kept.messages(CHECKS, PARTITION))
    assert kept.replay("--all") == 4
    out, err = capsys.readouterr()
    why = "the dead letter large (checks.v1[3]@2) has 5,000,000 bytes, at most 1,000,000 are read"
    assert f"not sent  {why}: give a smaller one with --edit\n" in out
    assert out.endswith("2 dead letters sent again\n")
    assert why in err
    assert "elsewhere (checks.v1[12]@3) is of a partition that is not there: there are 12" in err
    assert err.count("\n") == 1
    assert [one.value for one in kept.messages(CHECKS, PARTITION)[before:]] == [b"1", b"3"]
    assert sorted(kept.listed(capsys)) == ["elsewhere", "large"]
    file = tmp_path / "edited"
    file.write_bytes(b"x" * 1_000_001)
    assert kept.replay("--id", "large", "--edit", file) == 4
    assert "has 1,000,001 bytes" in capsys.readouterr().err
    assert kept.replay() == 2, "nothing was put into the outbox"


def test_a_letter_that_the_log_refuses_all_the_same_stays_open_and_is_set_aside(
    kept: Here, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its key makes it too large: the others are sent and recorded, in one call and without a wait."""
    put(
        kept,
        letter("first", b"1", offset=1),
        letter("heavy", b"x" * 900_000, offset=2, key=base64.b64encode(b"k" * 200_000).decode()),
        letter("last", b"3", offset=3),
    )
    assert kept.replay("--all") == 4
    out, err = capsys.readouterr()
    assert "the dead letter heavy (checks.v1[3]@2): 900,000 bytes and the key: no more than 1,048,576 are sent" in err
    assert f"1 messages are refused for good by the log, and kept in {kept.data_dir}/outbox/dead-letters/refused" in out
    assert kept.listed(capsys) == ["heavy"]
    assert kept.replay() == 2, "nothing waits"


def test_what_an_earlier_version_left_and_no_log_takes_does_not_block_a_new_log(forgetful: Here) -> None:
    """It is told once, with where it is kept; what stands behind it is sent."""
    directory = forgetful.data_dir / "outbox" / resend.OUTBOX_ID
    with Outbox(directory, outbox_id=resend.OUTBOX_ID, max_bytes=1 << 50) as outbox:
        outbox.append(CHECKS, PARTITION, None, b"x" * 5_000_000)
        outbox.append(CHECKS, PARTITION, None, b"behind it")
    said = resend.send_to_new_log(forgetful.data_dir, forgetful.log, forgetful.store)
    assert said == f"1 messages that were sent again are refused for good: see {directory}/refused"
    assert forgetful.messages(CHECKS, PARTITION)[-1].value == b"behind it"
    assert resend.send_to_new_log(forgetful.data_dir, forgetful.log, forgetful.store) is None


def test_many_letters_go_in_rounds_in_the_order_of_the_log(kept: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once."""
    monkeypatch.setattr("forewarn.commands.dead_letters.LETTERS_A_ROUND", 3)
    before = len(kept.messages(CHECKS, 5))
    put(kept, *(letter(f"n{number}", b"%d" % number, partition=5, offset=100 - number) for number in range(8)))
    assert kept.replay("--all") == 0
    assert [one.value for one in kept.messages(CHECKS, 5)[before:]] == [b"%d" % number for number in range(7, -1, -1)]


def test_a_log_that_forgets_is_given_a_letter_again_until_all_readers_have_it(
    forgetful: Here, installed: tuple[TansuBroker, StoreSettings], capsys: pytest.CaptureFixture[str]
) -> None:
    """Once a log, however often somebody calls; the one after a crash gets it too; with the marks it is forgotten."""
    put(forgetful, letter("one", b"x"), letter("two", b"y", topic=VERDICTS, partition=0))
    assert forgetful.replay("--id", "one") == 0
    assert forgetful.listed(capsys) == ["two"]
    before = len(forgetful.messages(CHECKS, PARTITION))
    assert forgetful.replay("--id", "two") == 0
    assert len(forgetful.messages(CHECKS, PARTITION)) == before, "another call sends it to the same log no more"

    broker, _ = installed
    broker.kill()
    broker.start()
    log = LogSettings(bootstrap=(broker.bootstrap,), forgetful=True)
    create_topics(log)
    for _ in range(2):
        resend.send_to_new_log(forgetful.data_dir, log, forgetful.store)
    assert [one.value for one in forgetful.messages(CHECKS, PARTITION)] == [b"x"]
    assert [one.value for one in forgetful.messages(VERDICTS)] == [b"y"]

    directory = forgetful.data_dir / "outbox" / resend.OUTBOX_ID
    with Outbox(directory, outbox_id=resend.OUTBOX_ID, max_bytes=10**6) as outbox:
        assert [record.value for record in outbox.pending()] == [b"x", b"y"]
        outbox_id = outbox.id
    readers = {CHECKS: ("sink", "detect"), VERDICTS: ("sink", "incidents")}
    rows = [(CHECKS, PARTITION, 1), (VERDICTS, 0, 2)]
    marks = ClickHouseMarks(forgetful.store)
    for topic, partition, seq in rows:
        marks.keep_marks([Mark(outbox_id, topic, partition, seq, "e", reader) for reader in readers[topic]])
    marks.close()
    resend.send_to_new_log(forgetful.data_dir, log, forgetful.store)
    with Outbox(directory, outbox_id=resend.OUTBOX_ID, max_bytes=10**6) as outbox:
        assert outbox.records == 0


def test_one_at_a_time_and_what_was_taken_is_not_lost_by_an_end(
    kept: Here, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ended before the record: the letter is still open, its message goes out once more at the next call."""
    put(kept, letter("one", b"ended"))

    def ended(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(resend.Resender, "_record", ended)
        assert kept.replay("--all") == 130
    assert kept.listed(capsys) == ["one"]
    directory = kept.data_dir / "outbox" / resend.OUTBOX_ID
    with Outbox(directory, outbox_id=resend.OUTBOX_ID, max_bytes=10**6):
        assert kept.replay("--all") == 4
    assert "in use by another process" in capsys.readouterr().err
    assert kept.replay("--all") == 0
    assert kept.listed(capsys) == []
    assert kept.replay() == 2, "nothing is left of it"


def test_store_check_reads_what_the_groups_have_committed(kept: Here) -> None:
    """By group, topic and partition, with the topic's epoch; a group that never committed is not in it."""
    with closing(KafkaConsumer(bootstrap_servers=kept.log.bootstrap[0], group_id="detect")) as consumer:
        consumer.subscribe([VERDICTS])
        while not consumer.assignment():
            consumer.poll(timeout_ms=200)
        consumer.seek_to_end()
        end = consumer.position(TopicPartition(VERDICTS, 0))
        consumer.commit()
    assert read_committed(kept.log) == {("detect", VERDICTS, 0): (read_epochs(kept.log, [VERDICTS])[VERDICTS], end)}
