"""The whole flow on a healthy machine: a site fails and recovers, and everybody who should know does."""

from collections import Counter
from typing import Any, Final

import pytest

from producers.topics import ALL_TOPICS
from tests.integration.cluster import Cluster
from tests.integration.completeness import assert_complete
from tests.integration.config import HOOK_SECRET, LOCATIONS, SITE_SECRET, TARGETS
from tests.integration.deployment import Deployment
from tests.integration.outage import outage_opened, outage_resolved, wait_until_watched
from tests.integration.reading import CHECKS_VIEW, VIEWS, differences, logged, query, read_log, stored
from tests.integration.waiting import wait_for

pytestmark = pytest.mark.timeout(300)

TARGET: Final = "flow"


def test_an_outage_goes_all_the_way(deployment: Deployment) -> None:
    """Opened after three failing ticks at both locations, resolved after two good ones, each told once.

    The webhook gets every key exactly once: nothing died in between, so nothing was sent again.
    """
    wait_until_watched(deployment, TARGET)
    deployment.local.break_(TARGET)
    outage_opened(deployment, TARGET)
    deployment.local.mend(TARGET)
    incident = outage_resolved(deployment, TARGET)
    assert incident["kind"] == "outage"
    assert incident["page"]
    assert set(incident["locations"]) == set(LOCATIONS)
    assert incident["began_at"] <= incident["outage_at"] < incident["resolved_at"]

    def told() -> list[Any]:
        mine = [
            one
            for one in deployment.local.posted()
            if one.message["incident"]["incident_id"] == incident["incident_id"]
        ]
        return mine if mine and mine[-1].message["kind"] == "resolved" else []

    posted = wait_for("the alert that it is over", told)
    assert posted[0].message["kind"] == "initial"
    assert "main/flow" in posted[0].message["title"]
    assert set(Counter(one.key for one in deployment.local.posted()).values()) == {1}
    keys = {one.key for one in posted}
    wait_for(
        "the records of these alerts in the store",
        lambda: keys <= {row["id"] for row in query(deployment.store, "SELECT id FROM alerts WHERE delivered")},
    )


def test_the_store_has_what_the_log_has(deployment: Deployment) -> None:
    """Every event of every topic is one row, equal field by field; and no row is of an event that is not there."""
    wait_until_watched(deployment, TARGET)
    views = (CHECKS_VIEW, *VIEWS.values())

    def whole() -> Any:
        found = logged(read_log(deployment.log, *ALL_TOPICS))
        return found if found[CHECKS_VIEW] and found["verdicts"] else None

    expected = wait_for("checks and verdicts in the log", whole)

    def all_stored() -> bool:
        return not any(differences(expected[view], stored(deployment.store, view)) for view in views)

    try:
        wait_for("everything of the log in the store", all_stored)
    finally:
        missing = {view: differences(expected[view], stored(deployment.store, view)) for view in views}
        assert {view: lines for view, lines in missing.items() if lines} == {}
    # Read after the store: what is stored by now was in the log before.
    rows = {view: stored(deployment.store, view) for view in views}
    everything = logged(read_log(deployment.log, *ALL_TOPICS))
    if not deployment.forgot:
        assert expected["actions"], "migrate records the config"
        assert {view: set(rows[view]) - set(everything[view]) for view in views} == {view: set() for view in views}


def test_every_tick_is_stored_once(deployment: Deployment) -> None:
    """From its first tick on, every series has each tick: run or reported as missed, never nothing, never twice."""
    for target in TARGETS:
        wait_until_watched(deployment, target)
    assert_complete(deployment)


def test_nothing_secret_is_written_down(deployment: Deployment) -> None:
    """Not in what the processes say, not in the log, not in the store: no password, token, query value, webhook."""
    wait_until_watched(deployment, TARGET)
    secrets = [SITE_SECRET, HOOK_SECRET, deployment.store.token or ""]
    if isinstance(deployment, Cluster):
        secrets += deployment.kafka.passwords.values()
    assert all(secrets)
    written = {name: text.encode() for name, text in deployment.outputs().items()}
    assert len(written) >= len(deployment.children)
    written |= {f"{one.topic}@{one.offset}": one.value for one in read_log(deployment.log, *ALL_TOPICS)}
    for row in query(deployment.store, "SELECT config_version, text FROM config_versions"):
        written[f"config version {row['config_version']}"] = row["text"].encode()
    assert [name for name, text in written.items() for secret in secrets if secret.encode() in text] == []


def test_a_failing_site_is_no_error_of_ours(deployment: Deployment) -> None:
    """No error and no traceback in any output."""
    wait_until_watched(deployment, TARGET)
    assert deployment.errors() == []
