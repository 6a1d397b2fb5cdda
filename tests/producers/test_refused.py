"""A record that the log refuses for good, on real brokers: it is kept aside, and those after it go on."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kafka.admin import ConfigResource, ConfigResourceType

from producers import link as link_module
from producers.codec import decode
from producers.contract import Check, CheckBatch, Outcome
from producers.log import create_topics, open_admin
from producers.outbox import Outbox
from producers.outbox_aside import Aside
from producers.publisher import Publisher, restore_ledger
from producers.sender import Sender
from producers.settings import LogSettings
from producers.ticks import Ledger
from producers.topics import CHECKS, partition_of
from tests.integration.brokers import start_plain
from tests.producers.brokers import PARTITIONS, read_all, replace_by_empty, running_broker, settings_of
from tests.producers.test_sender import Marks, sending, wait_until

TOO_LARGE = b"x" * 2_000_000
LIMIT = 20_000
T0_US = 1_760_000_000_000_000


@pytest.fixture(scope="module")
def small_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogSettings]:
    """Apache Kafka whose `checks` takes messages of LIMIT bytes."""
    kafka = start_plain(tmp_path_factory.mktemp("kafka"))
    try:
        log = LogSettings(bootstrap=kafka.log.bootstrap, partitions=PARTITIONS)
        create_topics(log)
        with open_admin(log) as admin:
            limit = {"max.message.bytes": str(LIMIT)}
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, CHECKS, configs=limit)])
        yield log
    finally:
        kafka.broker.stop()


def checks(count: int, *, detail: int = 190) -> list[Check]:
    """Return checks of as many targets, each unlike the others, so that they do not compress well."""
    return [
        Check(
            target=f"main/t{number}",
            probe="http",
            kind="http",
            location="paris",
            scheduled_at_us=T0_US,
            started_at_us=T0_US + number,
            duration_us=1000 + 7919 * number % 10_007,
            outcome=Outcome.FAILURE,
            reason="timeout",
            detail=bytes(33 + (number * 31 + place * place * 7) % 90 for place in range(detail)).decode(),
            metrics={"days": float(number)} if number % 3 == 0 else {},
            disturbed=number % 5 == 0,
        )
        for number in range(count)
    ]


@contextmanager
def producing(directory: Path, log: LogSettings) -> Iterator[tuple[Outbox, Publisher, Sender]]:
    """Run publisher and sender over a spool, as a producer does."""
    outbox = Outbox(directory, outbox_id="paris", max_bytes=1 << 28)
    publisher = Publisher(outbox, producer="paris", partitions=PARTITIONS, pack_us=100_000, ledger=Ledger())
    sender = Sender(outbox, log, topics=[CHECKS], marks=None, repack=publisher.repack)
    publisher.start()
    sender.start()
    try:
        yield outbox, publisher, sender
    finally:
        publisher.stop(timeout_s=10)
        sender.stop(flush_s=0)
        outbox.close()


def test_a_record_too_large_for_any_log_holds_nobody_up(tmp_path: Path) -> None:
    """Those before and after it arrive in order, on one connection; it is kept with its place, and sent no more."""
    with running_broker(tmp_path / "broker") as broker:
        log = settings_of(broker, forgetful=False)
        with sending(tmp_path / "spool", log, None) as (outbox, sender):
            for value in (b"1", TOO_LARGE, b"3", TOO_LARGE, b"5"):
                outbox.append(CHECKS, 0, b"key", value)
            wait_until(lambda: sender.all_acknowledged)
            wait_until(lambda: outbox.records == 0)
            assert [message.value for message in read_all(broker)] == [b"1", b"3", b"5"]
            assert sender.trouble is None
            assert sorted(sender.refused) == [2, 4]
            assert "2,000,000 bytes and the key" in sender.refused[2]
            assert outbox.refused == 2
        aside = tmp_path / "spool" / "refused"
        row = json.loads((aside / f"{2:020d}.json").read_text())
        assert (row["topic"], row["partition"], row["key"], row["bytes"]) == (CHECKS, 0, "a2V5", 2_000_000)
        assert (aside / f"{4:020d}.message").read_bytes() == TOO_LARGE


def test_each_new_epoch_of_a_log_that_forgets_passes_over_it(tmp_path: Path) -> None:
    """It is pending no more although the store's marks do not cover it: not in a new log, nor after a restart."""
    with running_broker(tmp_path / "broker") as broker:
        log = settings_of(broker, forgetful=True)
        with sending(tmp_path / "spool", log, Marks()) as (outbox, sender):
            outbox.append(CHECKS, 0, None, b"1")
            outbox.append(CHECKS, 0, None, TOO_LARGE)
            wait_until(lambda: sender.all_acknowledged)
            assert (outbox.records, outbox.refused) == (1, 1)
            replace_by_empty(broker)
            wait_until(lambda: len(read_all(broker)) == 1)
            assert outbox.refused == 1
        with sending(tmp_path / "spool", log, Marks()) as (outbox, sender):
            outbox.append(CHECKS, 0, None, b"3")
            wait_until(lambda: sender.all_acknowledged)
            assert (outbox.records, outbox.refused) == (2, 0)
            assert [record.value for record in outbox.pending()] == [b"1", b"3"]


def test_a_record_of_a_partition_that_is_not_there_is_set_aside(tmp_path: Path) -> None:
    """An outbox may be older than the topic."""
    with (
        running_broker(tmp_path / "broker") as broker,
        sending(tmp_path / "spool", settings_of(broker, forgetful=False), None) as (outbox, sender),
    ):
        outbox.append(CHECKS, PARTITIONS, None, b"1")
        outbox.append(CHECKS, 0, None, b"2")
        wait_until(lambda: sender.all_acknowledged)
        assert [message.value for message in read_all(broker)] == [b"2"]
        assert sender.refused == {1: "topic checks.v1 has 3 partitions: there is no 3"}


def test_checks_of_a_spool_of_more_partitions_go_to_those_of_now(tmp_path: Path) -> None:
    """None is lost, each comes to the partition of its target."""
    spool = tmp_path / "spool"
    made = checks(40)
    with Outbox(spool, outbox_id="paris", max_bytes=1 << 28) as outbox:
        before = Publisher(outbox, producer="paris", partitions=9, pack_us=1, ledger=Ledger())
        before.start()
        for check in made:
            before.put(check)
        assert before.stop(timeout_s=10)
        assert {record.partition for record in outbox.pending()} > set(range(PARTITIONS))
    with (
        running_broker(tmp_path / "broker") as broker,
        producing(spool, settings_of(broker, forgetful=False)) as (outbox, _, sender),
    ):
        wait_until(lambda: sender.all_acknowledged)
        assert (outbox.refused, sender.refused) == (0, {})
        found = [(one, place.partition) for place in read_all(broker) for one in batch_of(place.value).target]
    assert sorted(found) == sorted((check.target, partition_of(check.target, PARTITIONS)) for check in made)


def batch_of(value: bytes) -> CheckBatch:
    """Return what a message holds."""
    message = decode(value, log_timestamp_us=1 << 61)
    assert isinstance(message, CheckBatch)
    return message


@pytest.mark.kafka
def test_a_broker_that_takes_less_gets_the_same_checks_in_smaller_messages(
    tmp_path: Path, small_kafka: LogSettings
) -> None:
    """Nothing is lost or set aside, each check comes once with all that it holds; what follows is packed smaller."""
    made = checks(500)
    with producing(tmp_path / "spool", small_kafka) as (outbox, publisher, sender):
        for check in made:
            publisher.put(check)
        wait_until(lambda: outbox.last_seq > 0 and sender.all_acknowledged)
        wait_until(lambda: outbox.records == 0)
        assert (outbox.refused, sender.trouble) == (0, None)
        found = [batch_of(one.value) for one in read_all(small_kafka)]
        assert sorted(one for batch in found for one in batch.target) == sorted(check.target for check in made)
        details: dict[str, str] = {}
        for batch in found:
            assert batch.detail is not None
            details |= zip(batch.target, batch.detail.values, strict=True)
        assert details == {check.target: check.detail for check in made}
        days = {batch.target[row] for batch in found for row in batch.metrics["days"].rows}
        assert days == {check.target for check in made if check.metrics}
        disturbed = {batch.target[row] for batch in found for row in batch.disturbed}
        assert disturbed == {check.target for check in made if check.disturbed}
        largest = max(len(record.value) for record in outbox.after_checkpoint())
    with Outbox(tmp_path / "spool", outbox_id="paris", max_bytes=1 << 28) as outbox:
        assert largest > LIMIT, "one was refused"
        assert all(restore_ledger(outbox).last((check.target, "http")) == T0_US for check in made)


@pytest.mark.kafka
def test_a_single_check_that_a_broker_refuses_is_set_aside_and_those_after_it_arrive(
    tmp_path: Path, small_kafka: LogSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be made smaller; its neighbours in the same request and partition arrive in order."""
    monkeypatch.setitem(link_module._OPTIONS, "compression_type", None)
    with sending(tmp_path / "spool", small_kafka, None) as (outbox, sender):
        values = [b"%d" % number if number % 7 else b"x" * (LIMIT + 1) for number in range(1, 40)]
        for value in values:
            outbox.append(CHECKS, 1, None, value)
        wait_until(lambda: sender.all_acknowledged)
        assert sorted(sender.refused) == [7, 14, 21, 28, 35]
        assert "takes no message of that size" in sender.refused[7]
        assert outbox.refused == 5
        seen = [one.value for one in read_all(small_kafka) if one.outbox == outbox.id]
        assert list(dict.fromkeys(seen)) == [value for value in values if len(value) < LIMIT]


def test_what_is_set_aside_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go, counted as dropped."""
    monkeypatch.setattr("producers.outbox_aside.MAX_BYTES", 250)
    with Outbox(tmp_path, outbox_id="paris", max_bytes=1 << 20) as outbox:
        for number in range(4):
            outbox.append(CHECKS, 0, None, b"%d" % number * 100)
        for record in list(outbox.pending()):
            outbox.set_aside(record, "no")
        assert (outbox.refused, outbox.dropped, outbox.records) == (4, 2, 0)
        assert sorted(Aside(tmp_path, outbox.id).places) == [3, 4]
