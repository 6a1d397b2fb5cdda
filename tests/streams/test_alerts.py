"""The alerts worker on a real broker with a real receiver: once each, again after a kill, never for what is old."""

import time
from collections.abc import Iterator

import msgspec
import pytest

from producers import topics
from streams import codec
from streams.contract import VERSION, Action, Alert, Incident
from streams.schemas.messages import INCIDENT
from tests.streams.conftest import StartWorker
from tests.streams.hook_server import HookServer
from tests.streams.worker_process import TestLog, WorkerProcess, wait_until


@pytest.fixture
def hook() -> Iterator[HookServer]:
    """A receiver."""
    with HookServer() as server:
        yield server


def revision(incident_id: str, number: int, **changes: object) -> bytes:
    """Return a message of a revision, of now."""
    now_us = time.time_ns() // 1000
    told = {
        "id": f"{incident_id}.{number}", "incident_id": incident_id, "revision": number, "began_at_us": now_us,
        "opened_at_us": now_us, "updated_at_us": now_us, "warned_at_us": now_us,
    } | changes  # fmt: skip
    return codec.encode(msgspec.structs.replace(INCIDENT, **told))


def outage(incident_id: str, number: int = 1, **changes: object) -> bytes:
    """Return a message of an outage that pages."""
    return revision(
        incident_id, number, **({"kind": "outage", "page": True, "outage_at_us": 1, "caused_by": None} | changes)
    )


def resolved(incident_id: str, number: int = 2) -> bytes:
    """Return a message of an outage that is over."""
    return outage(incident_id, number, effect="resolved", resolved_at_us=time.time_ns() // 1000)


def records(log: TestLog) -> list[Alert]:
    """Return the records of alerts, each id once."""
    return [one for one in log.events(topics.ALERTS) if isinstance(one, Alert)]


def test_one_initial_reminders_until_acknowledged_one_resolved(
    log: TestLog, start_worker: StartWorker, hook: HookServer
) -> None:
    """And a record of each, with its key."""
    worker = start_worker(
        "alerts", channels=[{"name": "ops", "webhook_url": hook.url()}], alerts={"reminder_us": 2_000_000}
    )
    log.write(topics.INCIDENTS, [outage("i1")])
    wait_until(lambda: hook.kinds() == ["initial"], what="the initial alert")
    wait_until(lambda: hook.kinds()[:2] == ["initial", "reminder"], what="a reminder")
    acknowledged = Action(
        v=VERSION, id="a1", kind="acknowledge", at_us=1, person="anna", incident_id="i1", text="on it"
    )
    log.write(topics.ACTIONS, [codec.encode(acknowledged)])
    time.sleep(1)
    before = len(hook.received)
    time.sleep(4)
    assert len(hook.received) == before, "an acknowledged incident was reminded of"
    log.write(topics.INCIDENTS, [resolved("i1")])
    wait_until(lambda: hook.kinds()[-1] == "resolved", what="the resolved alert")
    wait_until(lambda: len(records(log)) == len(hook.received), what="a record of each")
    assert worker.terminate() == 0, worker.log()
    assert hook.kinds().count("initial") == hook.kinds().count("resolved") == 1
    assert [one.id for one in records(log)] == [body["key"] for body in hook.bodies()]
    assert all(one.delivered and one.stage == "outage" for one in records(log))


def test_a_channel_that_hangs_delays_no_other(log: TestLog, start_worker: StartWorker, hook: HookServer) -> None:
    """Ten incidents reach the good channel while the other waits for its first answer; and the worker ends in order."""
    hook.hang = {"/hangs"}
    channels = [
        {"name": "hangs", "webhook_url": hook.url("/hangs")},
        {"name": "good", "webhook_url": hook.url("/good")},
    ]
    worker = start_worker("alerts", channels=channels, alerts={"timeout_us": 60_000_000})
    wait_until(lambda: worker.said('"reading"'), what="it has begun: what it finds at its start is one message")
    log.write(topics.INCIDENTS, [outage(f"i{number}") for number in range(10)])
    wait_until(lambda: len(hook.bodies("/good")) == 10, what="ten alerts at the good one", within_s=30)
    assert len(hook.bodies("/hangs")) == 1
    assert worker.terminate() == 0, worker.log()


def test_a_channel_that_refuses_for_good_is_given_up_and_one_that_fails_is_tried_again(
    log: TestLog, start_worker: StartWorker, hook: HookServer
) -> None:
    """404 once and for all; 503, 503, then taken: one record each."""
    hook.answers = [404]
    worker = start_worker("alerts", channels=[{"name": "ops", "webhook_url": hook.url()}])
    log.write(topics.INCIDENTS, [outage("i1")])
    wait_until(lambda: len(records(log)) == 1, what="a record of what was given up")
    assert (records(log)[0].delivered, records(log)[0].attempts) == (False, 1)
    assert "404" in (records(log)[0].error or "")
    hook.answers = [503, 503]
    log.write(topics.INCIDENTS, [outage("i2")])
    wait_until(lambda: len(records(log)) == 2, what="a record of what was tried again")
    assert (records(log)[1].delivered, records(log)[1].attempts) == (True, 3)
    assert worker.terminate() == 0, worker.log()


def test_a_kill_between_delivery_and_record_repeats_that_one_with_the_same_key_and_nothing_else(
    log: TestLog, start_worker: StartWorker, hook: HookServer
) -> None:
    """At least once for each key; what has a record is not sent again, whatever the snapshot knew."""
    channels = [{"name": "ops", "webhook_url": hook.url()}]
    worker = start_worker("alerts", channels=channels)
    log.write(topics.INCIDENTS, [outage("done")])
    wait_until(lambda: len(records(log)) == 1, what="the first record")
    hook.hang = {"/hook"}  # it takes the message, and its answer never comes
    log.write(topics.INCIDENTS, [outage("cut")])
    wait_until(lambda: len(hook.received) == 2, what="the second delivery")
    worker.kill()
    hook.hang = set()
    log.write(topics.INCIDENTS, [outage("over"), resolved("over")])
    worker = start_worker("alerts", channels=channels)
    wait_until(lambda: len(records(log)) == 2, what="the second record")
    log.write(topics.INCIDENTS, [outage("new")])
    wait_until(lambda: len(records(log)) == 3, what="the record of a new one")
    assert worker.terminate() == 0, worker.log()
    sent = [body["incident"]["incident_id"] for body in hook.bodies()]
    assert sent == ["done", "cut", "cut", "new"], "an alert of before came again, or one of what was over"
    keys = [body["key"] for body in hook.bodies()]
    assert keys[1] == keys[2]
    assert len(set(keys)) == 3


def test_two_workers_share_no_work_and_the_second_takes_over(
    log: TestLog, start_worker: StartWorker, hook: HookServer
) -> None:
    """All three topics are at one of them; each alert goes out once although both run."""
    channels = [{"name": "ops", "webhook_url": hook.url()}]
    first = start_worker("alerts", name="one", channels=channels)
    second = start_worker("alerts", name="two", channels=channels)
    wait_until(lambda: first.said('"reading"') and second.said('"reading"'), what="both are members")
    time.sleep(3)
    log.write(topics.INCIDENTS, [outage("i1")])
    wait_until(lambda: len(records(log)) == 1, what="the first record")
    active = first if "incidents.v1[0]@" in last_places(first) else second
    assert "actions.v1[0]@" in last_places(active)
    assert "alerts.v1[0]@" in last_places(active)
    active.kill()
    log.write(topics.INCIDENTS, [outage("i2")])
    wait_until(lambda: len(records(log)) == 2, what="the record by the other one")
    assert [body["incident"]["incident_id"] for body in hook.bodies()] == ["i1", "i2"]


def test_what_a_sender_finds_open_at_its_start_is_one_message_with_a_record_for_each(
    log: TestLog, start_worker: StartWorker, hook: HookServer
) -> None:
    """And none of what is over; the end of each is told by itself."""
    log.write(topics.INCIDENTS, [outage("i1"), outage("over"), outage("i2"), resolved("over")])
    worker = start_worker("alerts", channels=[{"name": "ops", "webhook_url": hook.url()}])
    wait_until(lambda: len(records(log)) == 2, what="the records")
    log.write(topics.INCIDENTS, [resolved("i2")])
    wait_until(lambda: len(records(log)) == 3, what="the end of one")
    assert worker.terminate() == 0, worker.log()
    digest, end = hook.bodies()
    assert sorted(one["incident_id"] for one in digest["incidents"]) == ["i1", "i2"]
    assert (end["kind"], end["incident"]["incident_id"]) == ("resolved", "i2")
    found = [(one.incident_id, one.kind, one.delivered, one.title) for one in records(log)]
    assert sorted(found[:2]) == [("i1", "initial", True, digest["title"]), ("i2", "initial", True, digest["title"])]


def last_places(worker: WorkerProcess) -> str:
    """Return what a worker said of the places that it was given last."""
    return [line for line in worker.log().splitlines() if '"reading"' in line][-1]


def test_what_cannot_be_used_goes_to_the_dead_letters(
    log: TestLog, start_worker: StartWorker, hook: HookServer
) -> None:
    """And the next incident is told."""
    worker = start_worker("alerts", channels=[{"name": "ops", "webhook_url": hook.url()}])
    log.write(topics.INCIDENTS, [b"rubbish", outage("i1")])
    log.write(topics.ACTIONS, [b'{"v":9}'])
    wait_until(lambda: hook.kinds() == ["initial"], what="the alert")
    wait_until(lambda: len(log.events(topics.DEAD_LETTERS)) == 2, what="two dead letters")
    assert worker.terminate() == 0, worker.log()
    assert hook.url() not in worker.log(), "the address is a secret"


def test_an_incident_is_the_message_that_the_contract_says() -> None:
    """The test's own messages decode."""
    assert isinstance(codec.decode(topics.INCIDENTS, resolved("x")), Incident)
