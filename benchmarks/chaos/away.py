"""The store away for long, then the broker, while everything else runs: what goes on meanwhile, and what comes later.

Away is what a network makes of it: nothing passes between it and anybody, and nothing is refused. What is judged of
the time without a broker comes too late for some of its checks: those are stored, and counted as late.
"""

import time
from pathlib import Path
from typing import Final

from benchmarks.chaos.faults import Done, Fault, strike
from benchmarks.chaos.installations import LOCATIONS
from benchmarks.chaos.recording import QUIET_TICKS, WARM_TICKS, record
from benchmarks.chaos.run import Expected, Plan, Result, Stage, Tell, finish, on_stage
from streams.contract import JUDGING
from streams.core.incidents.pace import BEHIND_US
from tests.integration.reading import query

TARGETS: Final = 100
BETWEEN_TICKS: Final = 12
"""From the end of one outage to the next, and from the last to the end."""

UNDER_WAY_US: Final = 2_000_000
"""What was on its way to the store when it was cut off may arrive."""

GOES_ON: Final = {"store": "alerts go on without the store", "broker": "probing goes on without the broker"}

SAID: Final = ("the store's marks cannot be read", "is not kept", "state was not kept", "reading is behind")
"""Error lines that the processes are given cause for."""


def run_away(seed: int, seconds: float, *, interval_s: int, log: str, directory: Path, tell: Tell) -> Result:
    """Cut the store off for so long, then the broker.

    Args:
        seed: Of the recording.
        seconds: How long each is away.
        interval_s: Between two ticks of a target.
        log: `tansu` or `kafka`.
        directory: Keeps everything.
        tell: Gets a line for each step.
    """
    ticks = WARM_TICKS + 2 * (round(seconds / interval_s) + BETWEEN_TICKS) + QUIET_TICKS
    recording = record(seed, targets=TARGETS, locations=LOCATIONS, ticks=ticks)
    tell(f"{TARGETS} targets x {len(LOCATIONS)} locations, {ticks} ticks, {recording.events}")
    with on_stage(Plan(log=log, recording=recording, interval_s=interval_s), directory, tell, lambda _: None) as stage:
        time.sleep(WARM_TICKS * interval_s)
        done, wrong = [], {}
        for name in ("store", "broker"):
            before = _spooled(stage)
            away = strike(stage.deployment, Fault(at=0.0, name=name, how="cut", seconds=seconds))
            told, after = _told(stage, away), _spooled(stage)
            tell(f"without the {name}: {told} requests to the webhook, spools from {before} to {after} bytes")
            went_on = {"store": told > 0, "broker": after > before}[name]
            wrong[GOES_ON[name]] = [] if went_on else [f"{told} requests, spools from {before} to {after} bytes"]
            done.append(away)
            time.sleep(BETWEEN_TICKS * interval_s)
        result = finish(stage, done, Expected(said=SAID))
        wrong["no row was stored without the store"] = _stored_meanwhile(stage, done[0])
        if seconds * 1e6 > BEHIND_US:
            wrong["a person is told that nothing was judged without the broker"] = _told_of_judging(stage, done[1])
    result.wrong |= wrong
    return result


def _spooled(stage: Stage) -> int:
    """Return the bytes of all producers' spools."""
    files = stage.deployment.directory.rglob("*.outbox")
    return sum(file.stat().st_size for file in files if "spool" in file.parts)


def _told(stage: Stage, away: Done) -> int:
    """Return how many requests the webhook got meanwhile."""
    return sum(away.from_us <= one.at_us <= away.until_us for one in stage.deployment.local.posted())


def _told_of_judging(stage: Stage, away: Done) -> list[str]:
    """Look for the message that judging was behind, after the broker was back, and for the one that it is not."""
    about = [one for one in stage.deployment.local.posted() if one.message["incident"]["subject"] == JUDGING]
    kinds = [one.message["kind"] for one in about if one.at_us >= away.until_us]
    return [] if kinds == ["initial", "resolved"] else [f"{kinds} of {len(about)} requests about judging"]


def _stored_meanwhile(stage: Stage, away: Done) -> list[str]:
    sql = "SELECT count() AS n FROM checks_log WHERE toUnixTimestamp64Micro(stored_at) BETWEEN %(from)s AND %(until)s"
    times = {"from": away.from_us + UNDER_WAY_US, "until": away.until_us - UNDER_WAY_US}
    count = int(query(stage.deployment.store, sql, **times)[0]["n"])
    return [f"{count} checks"] if count else []
