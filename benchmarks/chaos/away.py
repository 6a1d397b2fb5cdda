"""The store away for long, then the broker, while everything else runs: what goes on meanwhile, and what comes later.

Away is what a network makes of it: nothing passes between it and anybody, and nothing is refused. The time without a
broker is judged afterwards, as the core judges the stored rows.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """What happened while something was away.

    Attributes:
        told: Requests to the webhook.
        spooled: By how many bytes the producers' spools grew.
    """

    told: int
    spooled: int


@dataclass(frozen=True, kw_only=True)
class Part:
    """Something that can be away.

    Attributes:
        rule: What must go on without it.
        goes_on: Whether it did.
        afterwards: Returns what else must hold, with lines of what is wrong with it.
    """

    rule: str
    goes_on: Callable[[Meanwhile], bool]
    afterwards: Callable[[Stage, Done], dict[str, list[str]]]


SAID: Final = ("the store's marks cannot be read", "is not kept", "state was not kept", "reading is behind")
"""Error lines that the processes are given cause for."""


def run_away(
    seed: int, parts: Sequence[str], seconds: float, *, interval_s: int, log: str, directory: Path, tell: Tell
) -> Result:
    """Cut one part after the other off for so long.

    Args:
        seed: Of the recording.
        parts: Of PARTS.
        seconds: How long each is away.
        interval_s: Between two ticks of a target.
        log: `tansu` or `kafka`.
        directory: Keeps everything.
        tell: Gets a line for each step.
    """
    ticks = WARM_TICKS + len(parts) * (round(seconds / interval_s) + BETWEEN_TICKS) + QUIET_TICKS
    recording = record(seed, targets=TARGETS, locations=LOCATIONS, ticks=ticks)
    tell(f"{TARGETS} targets x {len(LOCATIONS)} locations, {ticks} ticks, {recording.events}")
    with on_stage(Plan(log=log, recording=recording, interval_s=interval_s), directory, tell, lambda _: None) as stage:
        time.sleep(WARM_TICKS * interval_s)
        done, wrong = [], {}
        for name in parts:
            before = _spooled(stage)
            away = strike(stage.deployment, Fault(at=0.0, name=name, how="cut", seconds=seconds))
            told, spooled = _told(stage, away), _spooled(stage) - before
            tell(f"without the {name}: {told} requests to the webhook, {spooled} bytes more in the spools")
            part, meanwhile = PARTS[name], Meanwhile(told=told, spooled=spooled)
            wrong[part.rule] = [] if part.goes_on(meanwhile) else [str(meanwhile)]
            done.append(away)
            time.sleep(BETWEEN_TICKS * interval_s)
        result = finish(stage, done, Expected(said=SAID))
        for away in done:
            wrong |= PARTS[away.fault.name].afterwards(stage, away)
    result.wrong |= wrong
    return result


def _spooled(stage: Stage) -> int:
    """Return the bytes of all producers' spools."""
    files = stage.deployment.directory.rglob("*.outbox")
    return sum(file.stat().st_size for file in files if "spool" in file.parts)


def _told(stage: Stage, away: Done) -> int:
    """Return how many requests the webhook got meanwhile."""
    return sum(away.from_us <= one.at_us <= away.until_us for one in stage.deployment.local.posted())


def _nothing_was_stored(stage: Stage, away: Done) -> dict[str, list[str]]:
    sql = "SELECT count() AS n FROM checks_log WHERE toUnixTimestamp64Micro(stored_at) BETWEEN %(from)s AND %(until)s"
    times = {"from": away.from_us + UNDER_WAY_US, "until": away.until_us - UNDER_WAY_US}
    count = int(query(stage.deployment.store, sql, **times)[0]["n"])
    return {"no row was stored without the store": [f"{count} checks"] if count else []}


def _judging_was_told(stage: Stage, away: Done) -> dict[str, list[str]]:
    """Look for the message that judging was behind, after the broker was back, and for the one that it is not."""
    if away.until_us - away.from_us <= BEHIND_US:
        return {}
    about = [one for one in stage.deployment.local.posted() if one.message["incident"]["subject"] == JUDGING]
    kinds = [one.message["kind"] for one in about if one.at_us >= away.until_us]
    wrong = [] if kinds == ["initial", "resolved"] else [f"{kinds} of {len(about)} requests about judging"]
    return {"a person is told that nothing was judged without the broker": wrong}


PARTS: Final = {
    "store": Part(
        rule="alerts go on without the store",
        goes_on=lambda meanwhile: meanwhile.told > 0,
        afterwards=_nothing_was_stored,
    ),
    "broker": Part(
        rule="probing goes on without the broker",
        goes_on=lambda meanwhile: meanwhile.spooled > 0,
        afterwards=_judging_was_told,
    ),
}
"""What can be away, in the order in which it is."""
