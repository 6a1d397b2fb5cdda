"""The incidents worker on a real broker: killed in the middle, it publishes what the pure core says."""

import shutil
import time
from pathlib import Path

from producers import topics
from streams import codec
from streams.contract import TickSummary, Verdict
from streams.core.incidents.incidents import Incidents
from streams.policy import DetectPolicy, Expectations, IncidentPolicy
from tests.streams.conftest import StartWorker
from tests.streams.stream_of_checks import PARTITIONS, POLICY, SECOND_US, judged, messages
from tests.streams.worker_process import TestLog, wait_until

TICKS = 240


def verdicts() -> list[bytes]:
    """Return what detection says of the stream of checks, partitions interleaved."""
    now_us = time.time_ns() // 1000
    start_us = (now_us // SECOND_US - TICKS - 10) * SECOND_US
    policy = DetectPolicy(**(POLICY | {"slot_us": 10 * SECOND_US}))  # type: ignore[arg-type]  # a test's numbers
    found: list[Verdict | TickSummary] = []
    for partition in range(PARTITIONS):
        log = [(value, now_us) for value in messages(partition, start_us=start_us, ticks=TICKS)]
        found += judged(partition, log, policy)[1]
    at_us = [one.tick_us if isinstance(one, Verdict) else one.closed_through_us for one in found]
    order = sorted(range(len(found)), key=lambda row: at_us[row])
    return [codec.encode(found[row]) for row in order]


def test_a_worker_that_is_killed_in_the_middle_publishes_what_the_pure_core_says(
    log: TestLog, start_worker: StartWorker
) -> None:
    """Each revision of each incident, none else, and the same content however often."""
    written = verdicts()
    half = len(written) // 2
    log.write(topics.VERDICTS, written[:half])
    worker = start_worker("incidents")
    kept = worker.log_file.parent / "store" / "incidents" / "0"
    wait_until(lambda: len(list(kept.glob("*.snapshot"))) >= 1, what="a snapshot")
    log.write(topics.VERDICTS, [b"rubbish", *written[half : half + 5]])
    worker.kill()
    log.write(topics.VERDICTS, written[half + 5 :])
    core = Incidents(IncidentPolicy(), Expectations(), partitions=PARTITIONS)
    expected: dict[str, bytes] = {}
    for value in written:
        event = codec.decode(topics.VERDICTS, value)
        assert isinstance(event, Verdict | TickSummary)
        expected |= {one.id: codec.encode(one) for one in core.apply(event)}
    assert any(b'"outage"' in value for value in expected.values()), "the stream has an outage in it"
    assert any(b'"resolved"' in value for value in expected.values()), "and its end"
    worker = start_worker("incidents")
    wait_until(lambda: {one.id for one in log.events(topics.INCIDENTS)} >= expected.keys(), what="all incidents")
    assert worker.terminate() == 0, worker.log()
    found = [(codec.decode(topics.INCIDENTS, value).id, value) for value in log.read(topics.INCIDENTS)]
    assert dict(found) == expected
    assert all(expected[key] == value for key, value in found)
    assert len(log.events(topics.DEAD_LETTERS)) == 1


def test_a_worker_whose_snapshots_are_all_gone_makes_its_state_from_the_log_again(
    log: TestLog, start_worker: StartWorker
) -> None:
    """So an incident that was open then is resolved under its own id, as if nothing had been."""
    written = verdicts()
    core = Incidents(IncidentPolicy(), Expectations(), partitions=PARTITIONS)
    opened = 0
    expected: dict[str, bytes] = {}
    for row, value in enumerate(written):
        event = codec.decode(topics.VERDICTS, value)
        assert isinstance(event, Verdict | TickSummary)
        expected |= {one.id: codec.encode(one) for one in core.apply(event)}
        opened = row if any(one.kind == "outage" for one in core.open()) else opened
    worker = start_worker("incidents")
    kept = worker.log_file.parent / "store" / "incidents" / "0"
    for part in range(6):
        known = {one.name for one in kept.glob("*.snapshot")}
        log.write(topics.VERDICTS, written[opened * part // 6 : opened * (part + 1) // 6])
        wait_until(lambda known=known: {one.name for one in kept.glob("*.snapshot")} - known, what="one more")  # type: ignore[misc]
    assert worker.terminate() == 0, worker.log()
    shutil.rmtree(kept)
    shutil.rmtree(Path(worker.options.data_dir) / "snapshots")
    log.write(topics.VERDICTS, written[opened:])
    worker = start_worker("incidents")
    wait_until(lambda: {one.id for one in log.events(topics.INCIDENTS)} >= expected.keys(), what="all incidents")
    assert worker.terminate() == 0, worker.log()
    assert worker.said("a state is lost"), worker.log()
    found = [(codec.decode(topics.INCIDENTS, value).id, value) for value in log.read(topics.INCIDENTS)]
    assert dict(found) == expected
    assert all(expected[key] == value for key, value in found)
