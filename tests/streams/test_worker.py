"""The frame of all workers: what is private in Faust, ports, the broker and the store going away, epochs, bugs."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import aiokafka.client
import faust
import psutil

from forewarn.embedded.broker import TansuBroker, free_port
from producers import topics
from streams import faust_internals
from streams.contract import Verdict
from streams.errors import EXIT_BUG, EXIT_START_AGAIN
from tests.streams.conftest import StartWorker
from tests.streams.stream_of_checks import PARTITIONS, POLICY, SECOND_US, messages
from tests.streams.worker_process import TestLog, WorkerOptions, WorkerProcess, wait_until

TICKS = 240
BACKLOG = 3000


def stream(partition: int = 0) -> list[bytes]:
    """Return a stream of checks that is over by now."""
    start_us = (time.time_ns() // 1000 // SECOND_US - TICKS - 10) * SECOND_US
    return list(messages(partition, start_us=start_us, ticks=TICKS))


def reads(worker: WorkerProcess) -> bool:
    """Whether it has its places."""
    return worker.said('"reading"')


def test_another_version_of_faust_is_refused_at_import() -> None:
    """Its private calls are known for one version: raise it only together with these tests."""
    code = "import faust; faust.__version__ = '0.15.4'; import streams.faust_internals"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ImportError: faust-streaming 0.15.4 is installed" in done.stderr


def test_what_is_private_in_faust_is_there() -> None:
    """Every private name that we use; the other tests show that it still does what it did."""
    from faust.transport.consumer import Consumer  # noqa: PLC0415 - beside what it is about
    from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread  # noqa: PLC0415

    assert faust.__version__ == faust_internals.FAUST_VERSION == "0.15.3"
    assert callable(Consumer._commit_offsets)
    assert aiokafka.client.MetadataRequest(["x"])._allow_auto_topic_creation is False
    assert callable(AIOKafkaConsumerThread._ensure_consumer)
    assert faust_internals._DaemonThread.__mro__[1] is AIOKafkaConsumerThread.Worker
    assert callable(AIOKafkaConsumerThread._fetch_records)


def test_a_worker_binds_its_observation_and_nothing_else(log: TestLog, start_worker: StartWorker) -> None:
    """Faust's web server, on all addresses by default, is not there; /healthz and /metrics answer on loopback."""
    log.write(topics.CHECKS, stream())
    worker = start_worker("detect", detect=POLICY)
    wait_until(lambda: len(log.read(topics.VERDICTS)) > 0, what="verdicts")
    listening = [one for one in psutil.Process(worker.process.pid).net_connections() if one.status == "LISTEN"]
    assert [one.laddr.ip for one in listening] == ["127.0.0.1"]
    port = listening[0].laddr.port
    health = json.loads(urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).read())
    assert health["ok"] is True
    assert health["group"] == "detect"
    assert health["positions"]["checks.v1[0]"] >= TICKS
    metrics = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
    assert re.search(r'forewarn_events_total\{group="detect",topic="checks.v1"\} [1-9]', metrics)
    began = time.monotonic()
    assert worker.terminate() == 0, worker.log()
    assert time.monotonic() - began < 10  # generous: it is about 0.3 s


def test_partitions_of_a_backlog_are_read_side_by_side(log: TestLog, start_worker: StartWorker) -> None:
    """Whatever a fetch brings of one: the other one is not left alone until that is done."""
    for partition in range(PARTITIONS):
        log.write(topics.CHECKS, [b"%d" % partition] * BACKLOG, partition=partition)
    start_worker("broken")
    everything = PARTITIONS * BACKLOG
    wait_until(lambda: len(log.read(topics.DEVIATIONS)) == everything, what="all is published", within_s=100.0)
    order = log.read(topics.DEVIATIONS)
    firsts = [order.index(b"%d" % partition) for partition in range(PARTITIONS)]
    assert max(firsts) < BACKLOG / 2


def test_with_the_store_away_detection_goes_on_and_commits_wait_until_it_is_back(
    log: TestLog, start_worker: StartWorker, tmp_path: Path
) -> None:
    """Nothing is lost: a kill meanwhile and a restart read again what was not committed, from the local copy on."""
    wanted = stream()
    log.write(topics.CHECKS, wanted[:300])
    worker = start_worker("detect", detect=POLICY)
    kept = tmp_path / "store" / "detect" / "0"
    wait_until(lambda: len(list(kept.glob("*.snapshot"))) >= 1, what="a snapshot in the store")
    before = sorted(path.name for path in kept.glob("*.snapshot"))
    kept.rename(kept.with_name("away"))
    kept.write_text("a file: the store cannot write here")
    log.write(topics.CHECKS, wanted[300:])
    wait_until(lambda: len(log.read(topics.VERDICTS)) > 0, what="verdicts without the store")
    wait_until(lambda: worker.said("the store is away; commits wait"), what="it says so")
    local = tmp_path / "detect-one" / "snapshots" / "detect" / "0"
    wait_until(lambda: max(path.name for path in local.glob("*.snapshot")) > before[-1], what="a newer local copy")
    worker.kill()
    worker = start_worker("detect", detect=POLICY)
    wait_until(lambda: worker.log().count('"reading"') == 2, what="it starts from its local copy")
    kept.unlink()
    kept.with_name("away").rename(kept)
    assert "checks.v1[0]@-1" not in worker.log().splitlines()[-1]
    assert worker.terminate() == 0, worker.log()


def test_a_new_log_under_the_same_address_ends_the_worker_with_75_and_its_state_goes_on(
    broker: TansuBroker, log: TestLog, start_worker: StartWorker
) -> None:
    """The embedded broker was killed and is empty: what was published and is not stored comes again from the outbox."""
    log.write(topics.CHECKS, stream())
    worker = start_worker("detect", detect=POLICY, forgetful=True)
    wait_until(lambda: len(log.events(topics.VERDICTS)) > 3, what="verdicts")
    wait_until(lambda: any(Path(worker.options.store_dir).glob("detect/0/*.snapshot")), what="a snapshot")
    before = {one.id for one in log.events(topics.VERDICTS)}
    broker.kill()
    broker.start()
    again = TestLog(broker.bootstrap, forgetful=True)  # the worker may have asked for the topics first
    assert worker.wait() == EXIT_START_AGAIN, worker.log()
    worker = start_worker("detect", detect=POLICY, forgetful=True)
    wait_until(lambda: {one.id for one in again.events(topics.VERDICTS)} >= before, what="all of it in the new log")
    assert worker.said("publishing again what the new log does not have")
    again.write(topics.CHECKS, stream(1)[:3], partition=1)
    wait_until(lambda: worker.log().count('"reading"') >= 2, what="it reads the new log")
    assert worker.terminate() == 0, worker.log()
    assert not worker.said("messages are missing")
    again.close()


def test_a_short_outage_of_a_broker_that_remembers_is_survived(
    broker: TansuBroker, log: TestLog, start_worker: StartWorker
) -> None:
    """The broker stands still for 3 s, as a paused machine does: the same worker goes on, nothing is missing."""
    wanted = stream()
    log.write(topics.CHECKS, wanted[:400])
    worker = start_worker("detect", detect=POLICY)
    wait_until(lambda: reads(worker), what="it reads")
    assert broker.process is not None
    paused = psutil.Process(broker.process.pid)
    paused.suspend()
    time.sleep(3)
    paused.resume()
    log.write(topics.CHECKS, wanted[400:])
    wait_until(lambda: any(b'"failing"' in one for one in log.read(topics.VERDICTS)), what="the outage is seen")
    assert worker.terminate() == 0, worker.log()


def test_an_orderly_end_without_a_broker_is_still_an_end(
    broker: TansuBroker, log: TestLog, start_worker: StartWorker
) -> None:
    """What is not acknowledged is not waited for longer than the settings say; one line tells of the broker."""
    log.write(topics.CHECKS, stream()[:300])
    worker = start_worker("detect", detect=POLICY)
    wait_until(lambda: reads(worker), what="it reads")
    broker.kill()
    wait_until(lambda: worker.said("waiting for it"), what="it says that the broker is away")
    assert worker.terminate() == 0, worker.log()
    assert not worker.said("Traceback"), worker.log()
    assert worker.log().count("cannot reach the broker") == 1


def test_a_worker_that_does_not_end_by_itself_is_ended_and_says_where_it_was(
    log: TestLog, start_worker: StartWorker
) -> None:
    """One that neither works nor ends would be taken for one that works."""
    log.write(topics.CHECKS, [b"1"])
    worker = start_worker("stubborn", end_timeout_s=1.0)
    wait_until(lambda: reads(worker), what="it reads")
    assert worker.terminate(within_s=30) == 1, worker.log()
    assert worker.said("Timeout (0:00:01)!"), worker.log()
    assert worker.said("streams/worker.py"), worker.log()


def test_a_broker_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    """After the time that the settings give it; a broker that comes within that time is waited for."""
    broker = TansuBroker(tmp_path / "none", port=free_port())
    broker.bootstrap = f"127.0.0.1:{broker._port}"
    options = WorkerOptions(
        group="detect", bootstrap=broker.bootstrap, data_dir=str(tmp_path / "w"), store_dir=str(tmp_path / "s"),
        start_timeout_s=1.5,
    )  # fmt: skip
    with WorkerProcess(options) as worker:
        assert worker.wait() == 1
        assert "ended: cannot reach the broker at 127.0.0.1" in worker.log()
        assert "Traceback" not in worker.log()


def test_two_workers_share_the_partitions_and_one_takes_over(log: TestLog, start_worker: StartWorker) -> None:
    """The second joins, the first is killed: the second sees the outages in both partitions."""
    wanted = [stream(partition) for partition in range(PARTITIONS)]
    for partition in range(PARTITIONS):
        log.write(topics.CHECKS, wanted[partition][:400], partition=partition)
    first = start_worker("detect", name="one", detect=POLICY)
    wait_until(lambda: reads(first), what="the first reads")
    second = start_worker("detect", name="two", detect=POLICY)
    wait_until(lambda: reads(second), what="the second reads")
    first.kill()
    for partition in range(PARTITIONS):
        log.write(topics.CHECKS, wanted[partition][400:], partition=partition)

    def failing() -> set[str]:
        found = log.events(topics.VERDICTS)
        return {one.target for one in found if isinstance(one, Verdict) and one.verdict == "failing"}

    wait_until(lambda: len(failing()) == PARTITIONS, what="the outages in both partitions")
    assert second.terminate() == 0, second.log()
    assert not second.said("messages are missing")


def test_what_the_client_does_not_hand_over_is_read_again_without_a_restart(
    log: TestLog, start_worker: StartWorker
) -> None:
    """The client has passed 40 messages of each partition; every message is published once, in the log's order."""
    wanted = [[f"{partition}-{number}".encode() for number in range(200)] for partition in range(PARTITIONS)]
    for partition in range(PARTITIONS):
        log.write(topics.CHECKS, wanted[partition], partition=partition)
    worker = start_worker("broken", withheld=(60, 99))

    def published() -> list[bytes]:
        return log.read(topics.DEVIATIONS)

    wait_until(lambda: len(published()) >= sum(map(len, wanted)), what="all of them, with those that were passed")
    for partition in range(PARTITIONS):
        assert [one for one in published() if one.startswith(b"%d-" % partition)] == wanted[partition]
    assert worker.log().count("messages did not come: reading them again") == PARTITIONS
    assert worker.terminate() == 0, worker.log()


def test_a_bug_ends_the_process_loudly_before_anything_is_acknowledged(log: TestLog, start_worker: StartWorker) -> None:
    """Exit code 70 with the error's name; every start comes to the same message again, and none past it."""
    log.write(topics.CHECKS, [b"one", b"two", b"bug", b"three"])
    for _ in range(2):
        worker = start_worker("broken")
        assert worker.wait() == EXIT_BUG, worker.log()
        assert worker.said("ended: broken: ZeroDivisionError: a bug at checks.v1[0]@2")
    assert set(log.read(topics.DEVIATIONS)) <= {b"one", b"two"}


def test_a_damaged_newest_snapshot_means_an_older_one_and_no_gap(
    log: TestLog, start_worker: StartWorker, tmp_path: Path
) -> None:
    """The committed offset is that of the oldest of three, so the older one finds all that comes after it."""
    wanted = stream()
    worker = start_worker("detect", detect=POLICY)
    wait_until(lambda: reads(worker), what="it reads")
    for part in range(6):
        log.write(topics.CHECKS, wanted[part * 60 : (part + 1) * 60])
        time.sleep(1.2)  # longer than the interval of snapshots
    kept = list((tmp_path / "store" / "detect" / "0").glob("*.snapshot"))
    assert len(kept) == 3
    worker.kill()
    for folder in (tmp_path / "store", tmp_path / "detect-one" / "snapshots"):
        newest = max((folder / "detect" / "0").glob("*.snapshot"))
        newest.write_bytes(newest.read_bytes()[:-7])
    worker = start_worker("detect", detect=POLICY)
    log.write(topics.CHECKS, wanted[360:])
    wait_until(lambda: any(b'"failing"' in one for one in log.read(topics.VERDICTS)), what="the outage is seen")
    assert worker.terminate() == 0, worker.log()
    assert worker.said("a snapshot is damaged")
    assert not worker.said("messages are missing")
    assert not worker.said("no snapshot reaches the committed offsets")
