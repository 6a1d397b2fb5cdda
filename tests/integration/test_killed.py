"""kill -9 in the middle of an outage: of detect, of the store, of the broker. Nothing lost, nothing twice."""

import json
from typing import Any, Final

import pytest

from forewarn.config.config import load
from producers.topics import INCIDENTS, VERDICTS, partition_of
from tests.integration.completeness import assert_complete, probed_twice
from tests.integration.config import PARTITIONS
from tests.integration.deployment import Deployment, OneMachine
from tests.integration.judging import judge, stored_changes, stored_steps
from tests.integration.outage import (
    outage_opened,
    outage_resolved,
    outages_of,
    wait_until_watched,
)
from tests.integration.reading import CHECKS_VIEW, events, query, stored
from tests.integration.waiting import wait_for

pytestmark = pytest.mark.timeout(400)

SECOND_DETECT: Final = "detect 2"


def now_us(deployment: Deployment) -> int:
    """Return the newest stored tick: the time as the flow has it."""
    return int(query(deployment.store, "SELECT max(scheduled_at) AS at FROM checks")[0]["at"])


def assert_judged_as_stored(deployment: Deployment, target: str) -> None:
    """Assert that the pure core, run over the stored checks, comes to the stored verdicts and outages.

    Compared is what the checks alone decide: every change of the target's verdict with its id, and the outages with
    theirs. Two things are not: the ticks without a change that are published for a while after each change, because a
    worker that died publishes them again from its last state, the same ones or fewer; and the texts of causes.
    """
    target = f"main/{target}"

    def of_target(found: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
        return {key: one for key, one in found.items() if one[0] == target}

    def found() -> dict[str, tuple[Any, ...]]:
        return of_target(stored_changes(stored(deployment.store, "verdicts").values()))

    judged = judge(load(deployment.config_file, parts=()), list(stored(deployment.store, CHECKS_VIEW).values()))
    expected = of_target(judged.changes())
    assert expected
    wait_for("the verdicts of the core over the stored checks", lambda: expected.items() <= found().items())
    assert found() == expected
    outages = {key: one for key, one in of_target(judged.steps()).items() if one[1] == "outage"}
    assert stored_steps(outages_of(deployment, target[5:])) == outages


def assert_nothing_lost_or_twice(deployment: Deployment, target: str) -> None:
    """Assert what must hold after every fault."""
    assert_complete(deployment)
    assert probed_twice(deployment) == []
    assert_judged_as_stored(deployment, target)
    assert deployment.errors() == [], "what is away for a while is a warning, and nothing is missing"


def read_by(deployment: Deployment, name: str) -> set[int]:
    """Return the partitions of `checks` that a detect worker said last that it reads."""
    said = [json.loads(line) for line in deployment.output(name).splitlines() if line.startswith("{")]
    readings = [line["places"] for line in said if line.get("event") == "reading"]
    return {int(place.partition("[")[2].partition("]")[0]) for place in readings[-1]} if readings else set()


def test_detect_killed_in_the_middle_of_an_outage(deployment: Deployment) -> None:
    """Two share the partitions; the one that judges the target dies, and comes back. Verdicts are as if it had not."""
    target = "detect"
    partition = partition_of(f"main/{target}", PARTITIONS)
    wait_until_watched(deployment, target)
    deployment.start_detect(SECOND_DETECT)
    both = ("detect", SECOND_DETECT)

    def owner() -> str | None:
        shares = {name: read_by(deployment, name) for name in both}
        disjoint = all(shares.values()) and not set.intersection(*shares.values())
        return next((name for name in both if disjoint and partition in shares[name]), None)

    victim = wait_for("both detect workers read", owner)
    deployment.local.break_(target)
    wait_for("a failing verdict in the log", lambda: failing_since(deployment, target, 0))
    deployment.kill(victim)
    outage_opened(deployment, target)
    deployment.local.mend(target)
    outage_resolved(deployment, target)
    assert deployment.restarts()[victim] == 1
    assert_nothing_lost_or_twice(deployment, target)
    deployment.end(SECOND_DETECT)
    wait_for("one worker has all partitions again", lambda: len(read_by(deployment, "detect")) == PARTITIONS)


def failing_since(deployment: Deployment, target: str, since_us: int) -> bool:
    """Whether the log has a failing verdict of a target after a tick."""
    return any(
        verdict.target == f"main/{target}" and verdict.verdict == "failing" and verdict.tick_us > since_us
        for verdict in events(deployment.log, VERDICTS)
        if hasattr(verdict, "target")
    )


def test_the_store_killed_in_the_middle_of_an_outage(deployment: Deployment) -> None:
    """While it is away verdicts and incidents are made and alerts are sent; when it is back it gets everything."""
    target = "store"
    before = deployment.restarts()
    wait_until_watched(deployment, target)
    wait_for("all workers read", deployment.workers_read)  # one that starts needs the store, for its state
    since_us = now_us(deployment)
    with deployment.unattended():
        deployment.kill_and_reap("store")
        deployment.local.break_(target)
        wait_for("a failing verdict in the log", lambda: failing_since(deployment, target, since_us))
        wait_for("its incident in the log", lambda: incident_in_log(deployment, target, since_us))
        wait_for("its alert", lambda: alerted(deployment, target, since_us))
    wait_for("the store answers again", deployment.store_answers)
    outage_opened(deployment, target)
    deployment.local.mend(target)
    outage_resolved(deployment, target)
    assert deployment.restarts() == before
    assert_nothing_lost_or_twice(deployment, target)


def incident_in_log(deployment: Deployment, target: str, since_us: int) -> bool:
    """Whether the log has an outage of a target that was opened after a tick."""
    return any(
        incident.target == f"main/{target}" and incident.kind == "outage" and incident.opened_at_us > since_us
        for incident in events(deployment.log, INCIDENTS)
    )


def alerted(deployment: Deployment, target: str, since_us: int) -> bool:
    """Whether the webhook was told of an outage of a target that was opened after a tick."""
    told = [one.message["incident"] for one in deployment.local.posted()]
    return any(one["target"] == f"main/{target}" and one["opened_at_us"] > since_us for one in told)


def wait_until_kept(deployment: Deployment) -> None:
    """Return just after detect and incidents have kept their state."""

    def kept() -> dict[str, int]:
        sql = "SELECT group_name, max(taken_at) AS at FROM snapshots GROUP BY group_name"
        return {row["group_name"]: row["at"] for row in query(deployment.store, sql)}

    before = kept()
    groups = ("detect", "incidents")
    wait_for("a new snapshot", lambda: all(kept().get(name, 0) > before.get(name, 0) for name in groups))


def test_the_broker_killed_in_the_middle_of_an_outage(deployment: Deployment) -> None:
    """Probing goes on into the spools; when the broker is back, everything arrives, and the outage is told.

    Apache Kafka comes back with its log, and every process lives on. The embedded broker comes back empty: its
    supervisor starts the workers again, and what the store does not have yet is published once more.
    """
    target = "broker"
    wait_until_watched(deployment, target)
    before = deployment.restarts()
    wait_until_kept(deployment)
    # The hardest moment: all of the outage so far is stored, and nothing of it is in the kept state of any worker.
    deployment.local.break_(target)
    outage_opened(deployment, target)
    with deployment.unattended():
        deployment.kill_and_reap("broker")
        seen = len(deployment.local.site.requests)
        wait_for("probing goes on", lambda: len(deployment.local.site.requests) > seen + 20)
    deployment.local.mend(target)
    outage_resolved(deployment, target)
    producers = [name for name in before if name.startswith("producer")]
    lives_on = producers if isinstance(deployment, OneMachine) else list(before)
    assert {name: deployment.restarts()[name] for name in lives_on} == {name: before[name] for name in lives_on}
    assert_nothing_lost_or_twice(deployment, target)
