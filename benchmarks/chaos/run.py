"""One run: start everything, play the hour, hit one part after the other, let it come to rest, look at the evidence."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.chaos import evidence
from benchmarks.chaos.arrivals import Arrivals, late_checks
from benchmarks.chaos.evidence import Found
from benchmarks.chaos.faults import Done, Fault, strike
from benchmarks.chaos.installations import DETECTS, LOCATIONS, MACHINES, Chaos, Fronts, Play, start
from benchmarks.chaos.recording import Recording
from forewarn.config import load
from producers.topics import CHECKS
from tests.integration.judging import Judged, judge
from tests.integration.local import Local
from tests.integration.reading import query, read_log
from tests.integration.waiting import wait_for

FILLED: Final = 0.92
"""Share of the hour in which faults begin: the rest is for the last ones to be over."""

START_S: Final = 180.0
BEGIN_US: Final = 1_000_000
BETWEEN_S: Final = 1.0
REST_S: Final = 120.0
LOOK_EVERY_S: Final = 1.0

PAUSED: Final = "Thread keepalive is not responding"
"""Faust's own line, as an error, in a process that goes on after a pause. Nothing follows from it."""

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is run.

    Attributes:
        log: `tansu` or `kafka`.
        interval_s: Between two ticks as they are played.
    """

    log: str
    recording: Recording
    faults: Sequence[Fault]
    interval_s: int


@dataclass(kw_only=True)
class Result:
    """What came of it.

    Attributes:
        wrong: Lines by check; an empty list is a check that held.
        counts: How much there was.
    """

    done: list[Done] = field(default_factory=list)
    wrong: dict[str, list[str]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


def run(plan: Plan, directory: Path, tell: Tell) -> Result:
    """Run it in a directory, which keeps everything."""
    directory.mkdir(parents=True, exist_ok=True)
    play = Play(plan.recording, directory, interval_us=plan.interval_s * 1_000_000)
    result = Result()
    with ExitStack() as stack:
        local = stack.enter_context(Local())
        fronts = stack.enter_context(Fronts())
        deployment = MACHINES[plan.log](directory, local, fronts, play)
        stack.callback(deployment.stop)
        start(deployment)
        arrivals = stack.enter_context(Arrivals(deployment.log, lambda: deployment.epoch))
        wait_for("everything runs", lambda: _all_report(deployment, play), within_s=START_S)
        play.begin(time.time_ns() // 1000 + BEGIN_US)
        tell("everything runs")
        result.done = _strike_all(deployment, play, plan.faults, tell)
        _sleep_until(play.end_us + 2 * play.interval_us)
        _look(deployment, play, arrivals, result, tell)
    return result


def _strike_all(deployment: Chaos, play: Play, faults: Sequence[Fault], tell: Tell) -> list[Done]:
    done = []
    for fault in faults:
        _sleep_until(play.start_us + int(fault.at * FILLED * (play.end_us - play.start_us)))
        done.append(strike(deployment, fault))
        last = done[-1]
        seconds = (last.until_us - last.from_us) / 1e6
        tell(f"{fault.how:<4}  {fault.name:<12} {seconds:5.1f} s")
        if deployment.failure is not None:
            raise deployment.failure
        time.sleep(BETWEEN_S)
    return done


def _all_report(deployment: Chaos, play: Play) -> bool:
    """Whether every worker reads, and every series has a stored check."""
    if not (deployment.workers_read() and all('"reading"' in deployment.output(name) for name in DETECTS)):
        return False
    sql = "SELECT uniqExact(target, location) AS n FROM checks"
    return int(query(deployment.store, sql)[0]["n"]) == play.recording.targets * len(LOCATIONS)


def _sleep_until(at_us: int) -> None:
    time.sleep(max(0.0, at_us / 1e6 - time.time()))


def _rests(look: Callable[[], bool]) -> bool:
    """Whether `look` becomes true in time."""
    deadline_s = time.monotonic() + REST_S
    while not look():
        if time.monotonic() >= deadline_s:
            return False
        time.sleep(LOOK_EVERY_S)
    return True


def _look(deployment: Chaos, play: Play, arrivals: Arrivals, result: Result, tell: Tell) -> None:
    config = load(deployment.config_file, parts=())
    through_us = play.end_us - 1
    sql = "SELECT count() AS n FROM checks WHERE toUnixTimestamp64Micro(scheduled_at) BETWEEN %(start)s AND %(through)s"
    expected = play.recording.targets * len(LOCATIONS) * play.recording.ticks

    def stored() -> int:
        return int(query(deployment.store, sql, start=play.start_us, through=through_us)[0]["n"])

    _rests(lambda: stored() >= expected)
    for location in LOCATIONS:
        deployment.end(f"producer {location}")
    tell("the producers have ended")
    _rests(lambda: _is_still(deployment))
    if arrivals.failure is not None:
        raise arrivals.failure
    messages = arrivals.messages if deployment.log.forgetful else read_log(deployment.log, CHECKS)
    late = late_checks(config, messages, partitions=deployment.log.partitions)
    found = _read(deployment, late)
    judged = judge(config, found.in_time)
    _rests(lambda: judged.changes().keys() <= {row["id"] for row in query(deployment.store, "SELECT id FROM verdicts")})
    _rests(lambda: _is_still(deployment))
    _weigh(_read(deployment, late), judged, play, deployment, result)


def _is_still(deployment: Chaos) -> bool:
    views = ("checks", "deviations", "verdicts", "incident_revisions", "alerts")
    sql = " UNION ALL ".join(f"SELECT count() AS n FROM {view}" for view in views)  # noqa: S608 - names of ours

    def counts() -> list[int]:
        return sorted(row["n"] for row in query(deployment.store, sql))

    before = counts()
    time.sleep(4)
    return before == counts()


def _read(deployment: Chaos, late: set[tuple[str, str, str, int]]) -> Found:
    def rows(view: str) -> list[dict[str, object]]:
        return query(deployment.store, f"SELECT * FROM {view}")  # noqa: S608 - names of ours

    return Found(
        checks=rows("checks"),
        deviations=rows("deviations"),
        verdicts=rows("verdicts"),
        incidents=rows("incidents"),
        alerts=rows("alerts"),
        summaries=rows("verdict_summaries"),
        posted=deployment.local.posted(),
        late=late,
    )


def _weigh(found: Found, judged: Judged, play: Play, deployment: Chaos, result: Result) -> None:
    """Put every check's lines into the result."""
    ends = ("alerts", "broker") if deployment.log.forgetful else ("alerts",)
    ends_us = [one.from_us for one in result.done if one.fault.how == "kill" and one.fault.name in ends]
    repeats, unexplained = evidence.repeated(found, ends_us)
    letters = query(deployment.store, "SELECT reason, detail FROM dead_letters")
    proved = deployment.command("replay", "store", "check")
    result.wrong = {
        "every check stored once": evidence.completeness(found, play, play.end_us - 1),
        "checks as recorded": evidence.truth(found, play),
        "missed ticks where a producer was hit": evidence.missed(found, result.done),
        "summaries count the checks": evidence.summed_up(found, play),
        "verdicts of the core": evidence.verdicts(found, judged),
        "deviations of the core": evidence.deviations(found, judged),
        "incidents of the core": evidence.incidents(found, judged),
        "alerts told": evidence.told(found),
        "requests repeated for cause only": unexplained,
        "no dead letters": [str(letter) for letter in letters],
        "store check": [] if proved.returncode == 0 else (proved.stdout + proved.stderr).splitlines(),
        "no errors in the processes' logs": [line for line in deployment.errors() if PAUSED not in line],
    }
    result.counts = {
        "checks": len(found.checks),
        "missed": sum(row["outcome"] == "missed" for row in found.checks),
        "late": len(found.late),
        "deviations": len(judged.deviations),
        "verdict_changes": len(judged.changes()),
        "incidents": len(judged.incidents),
        "silences": sum(row["kind"] == "silence" for row in found.incidents),
        "alerts": len(found.alerts),
        "requests": len(found.posted),
        "requests_repeated": repeats,
        "sender_ends": len(ends_us),
        "skips_noticed": sum(text.count("were skipped: reading them again") for text in deployment.outputs().values()),
    }
