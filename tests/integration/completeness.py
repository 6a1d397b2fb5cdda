"""Nothing lost, nothing twice: what must hold of the stored checks after any fault."""

from collections import defaultdict
from itertools import pairwise

from producers.topics import CHECKS
from tests.integration.config import INTERVAL_US, LOCATIONS, TARGETS
from tests.integration.deployment import Deployment
from tests.integration.reading import CHECKS_VIEW, Row, logged, query, read_log
from tests.integration.waiting import wait_for

Series = tuple[str, str, str]


def ticks_by_series(deployment: Deployment) -> dict[Series, list[int]]:
    """Return the stored ticks of each (target, probe, location), ascending."""
    sql = "SELECT target, probe, location, scheduled_at FROM checks ORDER BY scheduled_at"
    found: dict[Series, list[int]] = defaultdict(list)
    for row in query(deployment.store, sql):
        found[row["target"], row["probe"], row["location"]].append(row["scheduled_at"])
    return found


def gaps(deployment: Deployment) -> list[str]:
    """Return a line for each gap or repetition in the stored ticks."""
    return [
        f"{series}: {after} follows {before}"
        for series, ticks in ticks_by_series(deployment).items()
        for before, after in pairwise(ticks)
        if after - before != INTERVAL_US
    ]


def assert_complete(deployment: Deployment) -> None:
    """Assert that every tick up to now is stored once, for every target at every location.

    What is under way between spool, log and store may take its time, so a gap must close; it must not stay.
    """
    through_us = max(ticks[-1] for ticks in ticks_by_series(deployment).values())

    def all_there() -> bool:
        newest = {series: ticks[-1] for series, ticks in ticks_by_series(deployment).items()}
        return min(newest.values()) >= through_us - INTERVAL_US and not gaps(deployment)

    wait_for("every tick in the store", all_there)
    expected = {(f"main/{target}", "front", location) for target in TARGETS for location in LOCATIONS}
    assert set(ticks_by_series(deployment)) >= expected


def probed_twice(deployment: Deployment) -> list[Row]:
    """Return the checks of the log whose tick was run more than once: copies of one run do not count."""
    first: dict[tuple[object, ...], Row] = {}
    twice = []
    for message in read_log(deployment.log, CHECKS):
        for key, row in logged([message])[CHECKS_VIEW].items():
            if first.setdefault(key, row)["started_at"] != row["started_at"]:
                twice.append(row)
    return twice
