"""The detect worker on a real broker: killed, stopped, fed with rubbish. The pure core is the oracle."""

import shutil
import time
from pathlib import Path

from producers import topics
from producers.contract import MAX_MESSAGE_BYTES
from streams import codec
from streams.contract import DeadLetter
from streams.errors import EXIT_START_AGAIN
from streams.policy import DetectPolicy
from tests.streams.conftest import StartWorker
from tests.streams.stream_of_checks import PARTITIONS, POLICY, SECOND_US, judged, messages
from tests.streams.worker_process import TestLog, away_file, wait_until

TICKS = 240


def published(log: TestLog, topic: str) -> dict[str, bytes]:
    """Return each id's message; the same id must always have the same content."""
    found: dict[str, bytes] = {}
    for value in log.read(topic):
        key = codec.decode(topic, value).id
        assert found.setdefault(key, value) == value, f"id {key} has two contents"
    return found


def expected(log: TestLog) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return what the pure core says of the log as it is now, clock events included."""
    deviations: dict[str, bytes] = {}
    verdicts: dict[str, bytes] = {}
    for partition in range(PARTITIONS):
        records = [
            (record.value, record.timestamp * 1000) for record in log.records(topics.CHECKS, partition=partition)
        ]
        some, more = judged(partition, records, DetectPolicy(**POLICY))  # type: ignore[arg-type]  # a test's numbers
        deviations |= {one.id: codec.encode(one) for one in some}
        verdicts |= {one.id: codec.encode(one) for one in more}
    return deviations, verdicts


def write_part(log: TestLog, start_us: int, part: slice) -> None:
    """Write a part of each partition's stream."""
    for partition in range(PARTITIONS):
        log.write(topics.CHECKS, list(messages(partition, start_us=start_us, ticks=TICKS))[part], partition=partition)


def start_of_stream_us() -> int:
    """Return a tick so long ago that the stream is over by now."""
    return (time.time_ns() // 1000 // SECOND_US - TICKS - 10) * SECOND_US


def test_a_worker_that_is_killed_twice_in_the_middle_publishes_what_the_pure_core_says(
    log: TestLog, start_worker: StartWorker
) -> None:
    """Nothing is missing, nothing is extra, nothing differs; what was published twice has the same id and content."""
    start_us = start_of_stream_us()
    write_part(log, start_us, slice(0, 250))
    worker = start_worker("detect", detect=POLICY)
    snapshots = (worker.log_file.parent / "store").glob
    wait_until(lambda: len(list(snapshots("detect/*/*.snapshot"))) >= 2, what="first snapshots")
    write_part(log, start_us, slice(250, 500))
    wait_until(lambda: len(log.read(topics.VERDICTS)) > 0, what="verdicts")
    worker.kill()
    write_part(log, start_us, slice(500, 550))
    worker = start_worker("detect", detect=POLICY)
    wait_until(lambda: worker.log().count('"reading"') == 2, what="the second one reads")
    time.sleep(0.05)  # somewhere in the middle of what it has to do again
    worker.kill()
    write_part(log, start_us, slice(550, None))
    worker = start_worker("detect", detect=POLICY)
    deviations, verdicts = expected(log)
    wait_until(lambda: published(log, topics.VERDICTS).keys() >= verdicts.keys(), what="all verdicts")
    wait_until(lambda: published(log, topics.DEVIATIONS).keys() >= deviations.keys(), what="all deviations")
    assert worker.terminate() == 0, worker.log()
    deviations, verdicts = expected(log)
    assert any(b'"failing"' in value for value in verdicts.values()), "the stream has an outage in it"
    assert deviations, "the stream has a slow-down in it"
    assert published(log, topics.VERDICTS) == verdicts
    assert published(log, topics.DEVIATIONS) == deviations


def test_an_orderly_end_keeps_the_state_so_that_nothing_is_published_twice(
    log: TestLog, start_worker: StartWorker
) -> None:
    """SIGTERM, start, SIGTERM: as many messages as ids."""
    start_us = start_of_stream_us()
    write_part(log, start_us, slice(0, 540))
    worker = start_worker("detect", detect=POLICY)
    wait_until(lambda: len(log.read(topics.VERDICTS)) > 0, what="verdicts of the first half")
    wait_until(lambda: set(published(log, topics.VERDICTS)) >= set(expected(log)[1]), what="the first half")
    assert worker.terminate() == 0, worker.log()
    assert not worker.said("Traceback"), worker.log()
    write_part(log, start_us, slice(540, None))
    worker = start_worker("detect", detect=POLICY)
    wait_until(lambda: set(published(log, topics.VERDICTS)) >= set(expected(log)[1]), what="the second half")
    assert worker.terminate() == 0, worker.log()
    values = log.read(topics.VERDICTS)
    assert len(values) == len(set(values))


def test_what_cannot_be_used_goes_to_the_dead_letters_and_the_flow_goes_on(
    log: TestLog, start_worker: StartWorker
) -> None:
    """Malformed, empty, of an unknown version, of an unknown type: each with its place and reason, then good checks."""
    start_us = start_of_stream_us()
    rubbish = [
        b"{not json",
        b"",
        b"\xff\xfe",
        b'{"type":"checks","v":99}',
        b'{"type":"teapot","v":1}',
        b'{"type":"clock","v":1,"partition":0,"at_us":"now"}',
    ]
    log.write(topics.CHECKS, rubbish)
    write_part(log, start_us, slice(None))
    worker = start_worker("detect", detect=POLICY)
    wait_until(lambda: len(log.events(topics.DEAD_LETTERS)) >= len(rubbish), what="dead letters")
    wait_until(lambda: len(log.read(topics.VERDICTS)) > 0, what="verdicts")
    assert worker.terminate() == 0, worker.log()
    letters = log.events(topics.DEAD_LETTERS)
    found = {one.offset: one.reason for one in letters if isinstance(one, DeadLetter)}
    assert found == {
        0: "malformed",
        1: "malformed",
        2: "malformed",
        3: "unknown_version",
        4: "unknown_type",
        5: "malformed",
    }
    assert all(one.topic == topics.CHECKS and one.partition == 0 for one in letters if isinstance(one, DeadLetter))
    assert MAX_MESSAGE_BYTES == 1_000_000  # the broker's own bound: what is larger is refused before it is read


def test_with_store_and_local_copy_missing_failures_are_told_and_the_true_state_follows(
    log: TestLog, start_worker: StartWorker
) -> None:
    """Nothing is committed meanwhile: with the store back it ends with 75, and all is judged again with its state."""
    start_us = start_of_stream_us()
    worker = start_worker("detect", detect=POLICY)
    store = worker.log_file.parent / "store"
    for part in range(5):
        known = {one.name for one in store.glob("detect/0/*.snapshot")}
        write_part(log, start_us, slice(part * 100, (part + 1) * 100))
        wait_until(lambda known=known: {one.name for one in store.glob("detect/0/*.snapshot")} - known, what="one more")  # type: ignore[misc]
    worker.kill()
    shutil.rmtree(Path(worker.options.data_dir) / "snapshots")
    away_file(store).touch()
    write_part(log, start_us, slice(500, None))
    worker = start_worker("detect", detect=POLICY)
    wait_until(lambda: any(b'"failing"' in one for one in log.read(topics.VERDICTS)), what="the outage is told")
    assert worker.said("the store and the local copy are missing"), worker.log()
    away_file(store).unlink()
    assert worker.wait() == EXIT_START_AGAIN, worker.log()
    worker = start_worker("detect", detect=POLICY)
    wait_until(lambda: last_of(log, topics.VERDICTS).items() >= expected(log)[1].items(), what="all verdicts")
    wait_until(lambda: last_of(log, topics.DEVIATIONS) == expected(log)[0], what="all deviations")
    assert worker.terminate() == 0, worker.log()


def last_of(log: TestLog, topic: str) -> dict[str, bytes]:
    """Return each id's last message."""
    return {codec.decode(topic, value).id: value for value in log.read(topic)}
