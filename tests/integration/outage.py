"""An outage of one target, as the store tells it."""

from typing import Any

from tests.integration.config import LOCATIONS
from tests.integration.deployment import Deployment
from tests.integration.reading import Row, query
from tests.integration.waiting import wait_for

FIRST_CHECKS = 3


def wait_until_watched(deployment: Deployment, target: str, *, since_us: int = 0) -> None:
    """Return when the store has successful checks of a target from every location, after an instant."""
    sql = """
    SELECT location, count() AS checks FROM checks
    WHERE target = %(target)s AND outcome = 'success' AND toUnixTimestamp64Micro(scheduled_at) > %(since)s
    GROUP BY location
    """

    def watched() -> bool:
        rows = query(deployment.store, sql, target=f"main/{target}", since=since_us)
        return {row["location"] for row in rows if row["checks"] >= FIRST_CHECKS} >= set(LOCATIONS)

    wait_for(f"checks of {target} from {', '.join(LOCATIONS)}", watched)


def outages_of(deployment: Deployment, target: str) -> list[Row]:
    """Return the outages of a target in their last state, the oldest first."""
    sql = "SELECT * FROM incidents WHERE target = %(target)s AND kind = 'outage' ORDER BY opened_at"
    return query(deployment.store, sql, target=f"main/{target}")


def outage_opened(deployment: Deployment, target: str) -> Row:
    """Return the outage of a target that is not over, once it is stored that it pages."""

    def look() -> Any:
        return [row for row in outages_of(deployment, target) if row["resolved_at"] is None and row["page"]]

    found: list[Row] = wait_for(f"an outage of {target}", look)
    return found[-1]


def outage_resolved(deployment: Deployment, target: str) -> Row:
    """Return the last outage of a target, once it is over."""

    def look() -> Any:
        found = outages_of(deployment, target)
        return found if found and found[-1]["resolved_at"] is not None else None

    found: list[Row] = wait_for(f"the end of the outage of {target}", look)
    return found[-1]
