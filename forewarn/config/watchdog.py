"""What the dead-man's ping needs of a config: where to, how often, and which locations must report how often."""

from collections.abc import Iterable
from typing import Final

from analytics.settings import WatchdogSettings
from forewarn.config.model import Watchdog
from producers.settings import Target

SLACK_US: Final = 60 * 10**6
"""On top of two intervals: the check's deadline, packing, and the way into the store."""


def watchdog_settings(section: Watchdog | None, targets: Iterable[Target]) -> WatchdogSettings | None:
    """Return them; None without a section. A location reports as often as its most frequent probe."""
    if section is None:
        return None
    shortest_us: dict[str, int] = {}
    for target in targets:
        for probe in target.probes:
            for location in probe.locations:
                shortest_us[location] = min(probe.interval_us, shortest_us.get(location, probe.interval_us))
    url = section.ping_url if section.ping_url is not None else section.ping_url_file
    assert url is not None
    return WatchdogSettings(
        ping_url=url,
        interval_us=section.interval,
        locations={location: 2 * interval_us + SLACK_US for location, interval_us in shortest_us.items()},
    )
