"""One run: start everything, play the hour, hit one part after the other, let it come to rest, look at the evidence."""

import datetime as dt
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.chaos import evidence
from benchmarks.chaos.arrivals import Arrivals, Check, late_checks
from benchmarks.chaos.evidence import Found
from benchmarks.chaos.faults import Done, Fault, strike
from benchmarks.chaos.installations import DETECTS, LOCATIONS, MACHINES, Chaos, Fronts, Play, start
from benchmarks.chaos.recording import Recording
from forewarn.config.config import load
from tests.integration.judging import Judged, judge
from tests.integration.local import Local
from tests.integration.reading import Row, query
from tests.integration.waiting import comes_true, wait_for

FILLED: Final = 0.92
"""Share of the hour in which faults begin: the rest is for the last ones to be over."""

START_S: Final = 180.0
BEGIN_US: Final = 1_000_000
BETWEEN_S: Final = 1.0
REST_S: Final = 300.0
NOTHING_NEW_S: Final = 40.0
LOOK_EVERY_S: Final = 1.0

PAUSED: Final = "Thread keepalive is not responding"
"""Faust's own line, as an error, in a process that goes on after a pause. Nothing follows from it."""

WITHOUT_STATE: Final = "the store and the local copy are missing: judging without what is normal"
"""A partition changed hands while the store was away: said as an error, as it must be, where the store was hit."""

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
    interval_s: int


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What runs while something happens to it."""

    deployment: Chaos
    play: Play
    arrivals: Arrivals
    tell: Tell


@dataclass(kw_only=True)
class Result:
    """What came of it.

    Attributes:
        done: The faults.
        wrong: Lines by check; an empty list is a check that held.
        counts: How much there was.
    """

    done: list[Done] = field(default_factory=list)
    wrong: dict[str, list[str]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What must be found beside the ordinary.

    Attributes:
        is_excused: Whether a location need not have a tick: its clock was wrong.
        refusals: Reasons that dead letters may have.
        said: Parts of error lines that the processes were given cause for.
    """

    is_excused: Callable[[str, int], bool] = lambda _location, _tick: False
    refusals: frozenset[str] = frozenset()
    said: tuple[str, ...] = ()


@contextmanager
def on_stage(plan: Plan, directory: Path, tell: Tell, prepare: Callable[[Chaos], None]) -> Iterator[Stage]:
    """Start everything in a directory, which keeps everything, and begin to play.

    Args:
        plan: What is played.
        directory: Is made.
        tell: Gets a line for each step.
        prepare: Is called before anything has started.
    """
    directory.mkdir(parents=True, exist_ok=True)
    play = Play(plan.recording, directory, interval_us=plan.interval_s * 1_000_000)
    with ExitStack() as stack:
        local = stack.enter_context(Local())
        fronts = stack.enter_context(Fronts())
        deployment = MACHINES[plan.log](directory, local, fronts, play)
        stack.callback(deployment.stop)
        prepare(deployment)
        start(deployment)
        arrivals = stack.enter_context(Arrivals(deployment.log, lambda: deployment.epoch))
        wait_for("everything runs", lambda: _all_report(deployment, play), within_s=START_S)
        play.begin(time.time_ns() // 1000 + BEGIN_US)
        tell("everything runs")
        yield Stage(deployment=deployment, play=play, arrivals=arrivals, tell=tell)


def run(plan: Plan, faults: Sequence[Fault], directory: Path, tell: Tell) -> Result:
    """Play the recording, and let the faults happen."""
    with on_stage(plan, directory, tell, lambda _: None) as stage:
        return finish(stage, _strike_all(stage.deployment, stage.play, faults, tell), Expected())


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
    """Whether every worker reads, every series has a stored check, and every partition tells its summaries.

    A partition tells them from the first time that its worker wrote into it on: what came before is in none.
    """
    if not (deployment.workers_read() and all('"reading"' in deployment.output(name) for name in DETECTS)):
        return False
    sql = "SELECT uniqExact(target, location) AS n FROM checks"
    if int(query(deployment.store, sql)[0]["n"]) != play.recording.targets * len(LOCATIONS):
        return False
    sql = "SELECT uniqExact(checks_partition) AS n FROM verdict_summaries"
    return int(query(deployment.store, sql)[0]["n"]) == deployment.log.partitions


def _sleep_until(at_us: int) -> None:
    time.sleep(max(0.0, at_us / 1e6 - time.time()))


def _rests(look: Callable[[], bool]) -> bool:
    """Whether `look` becomes true in time."""
    return comes_true(look, within_s=REST_S, every_s=LOOK_EVERY_S)


def finish(stage: Stage, done: list[Done], expected: Expected) -> Result:
    """Play to the end, let everything come to rest, and look at what there is."""
    deployment, play = stage.deployment, stage.play
    _sleep_until(play.end_us + 2 * play.interval_us)
    config = load(deployment.config_file, parts=())
    _rests(_Complete(deployment, play))
    for location in LOCATIONS:
        deployment.end(f"producer {location}")
    stage.tell("the producers have ended")
    ended_us = time.time_ns() // 1000
    _rests(lambda: _is_still(deployment))
    assert _rests(lambda: stage.arrivals.has_all_until(ended_us)), "the log of checks was not read to its end"
    late = late_checks(config, stage.arrivals.messages, partitions=deployment.log.partitions)
    judged = judge(config, _read(deployment, late, ended_us).in_time)
    changes = judged.changes().keys()
    _rests(lambda: changes <= {row["id"] for row in query(deployment.store, "SELECT id FROM verdicts")})
    _rests(lambda: _is_still(deployment))
    stage.tell("everything has come to rest")
    return _weigh(_read(deployment, late, ended_us), judged, stage, done, expected)


class _Complete:
    """Whether the store has all checks of the recording, or has got none of those that lack for a while."""

    def __init__(self, deployment: Chaos, play: Play) -> None:
        self._deployment = deployment
        self._play = play
        self._expected = play.recording.targets * len(LOCATIONS) * play.recording.ticks
        self._last = 0
        self._since_s = time.monotonic()

    def __call__(self) -> bool:
        sql = "SELECT count() AS n FROM checks WHERE toUnixTimestamp64Micro(scheduled_at) >= %(start)s"
        sql += " AND toUnixTimestamp64Micro(scheduled_at) < %(end)s"
        times = {"start": self._play.start_us, "end": self._play.end_us}
        count = int(query(self._deployment.store, sql, **times)[0]["n"])
        if count != self._last:
            self._last, self._since_s = count, time.monotonic()
        return count >= self._expected or time.monotonic() - self._since_s > NOTHING_NEW_S


def _is_still(deployment: Chaos) -> bool:
    views = ("checks", "deviations", "verdicts", "incident_revisions", "alerts")
    sql = " UNION ALL ".join(f"SELECT count() AS n FROM {view}" for view in views)  # noqa: S608 - names of ours

    def counts() -> list[int]:
        return sorted(row["n"] for row in query(deployment.store, sql))

    before = counts()
    time.sleep(4)
    return before == counts()


def _read(deployment: Chaos, late: set[Check], ended_us: int) -> Found:
    """Read the store. What it says of the time after the producers' end (five minutes later: silence) is left out."""

    def rows(view: str) -> list[Row]:
        return query(deployment.store, f"SELECT * FROM {view}")  # noqa: S608 - names of ours

    return Found(
        checks=rows("checks"),
        deviations=rows("deviations"),
        verdicts=[row for row in rows("verdicts") if row["tick_at"] <= ended_us],
        incidents=[row for row in rows("incidents") if row["opened_at"] <= ended_us],
        alerts=rows("alerts"),
        summaries=rows("verdict_summaries"),
        posted=deployment.local.posted(),
        late=late,
    )


def _away_us(deployment: Chaos, done: Sequence[Done]) -> list[tuple[int, int]]:
    """Return when alerts did not read: while it was stopped, or it or the broker was cut off, and after each end of it.

    The last from the fault before to the time at which it says that it reads.
    """
    hits = [one.from_us for one in done if one.fault.name in {"alerts", "broker", "store"}]
    found = [
        (one.from_us, one.until_us)
        for one in done
        if one.fault.name in {"alerts", "broker"} and one.fault.how != "kill"
    ]
    for line in deployment.output("alerts").splitlines():
        if '"event": "reading"' in line:
            at_us = int(dt.datetime.fromisoformat(json.loads(line)["timestamp"]).timestamp() * 1e6)
            found.append((max((hit for hit in hits if hit < at_us), default=at_us), at_us))
    return found


def _weigh(found: Found, judged: Judged, stage: Stage, done: list[Done], expected: Expected) -> Result:
    """Hold what was found against each rule."""
    deployment, play = stage.deployment, stage.play
    ends = ("alerts", "broker") if deployment.log.forgetful else ("alerts",)
    ends_us = [one.from_us for one in done if one.fault.how == "kill" and one.fault.name in ends]
    repeats, unexplained = evidence.repeated(found, ends_us)
    letters = query(deployment.store, "SELECT reason, source_topic, detail FROM dead_letters")
    proved = deployment.command("replay", "store", "check")
    store_was_hit = any(one.fault.name == "store" for one in done)
    quiet = (PAUSED, *expected.said, *((WITHOUT_STATE,) if store_was_hit else ()))
    wrong = {
        "every check stored once": evidence.completeness(found, play, expected.is_excused),
        "checks as recorded": evidence.truth(found, play),
        "missed ticks where a producer was hit": evidence.missed(found, done),
        "silences where a producer was away for long": evidence.silences(found, done),
        "summaries count the checks": evidence.summed_up(found, play),
        "verdicts of the core": evidence.verdicts(found, judged),
        "deviations of the core": evidence.deviations(found, judged),
        "incidents of the core": evidence.incidents(found, judged),
        "alerts told": evidence.told(found, _away_us(deployment, done)),
        "requests repeated for cause only": unexplained,
        "dead letters": [str(letter) for letter in letters if letter["reason"] not in expected.refusals],
        "store check": [] if proved.returncode == 0 else (proved.stdout + proved.stderr).splitlines(),
        "no errors in the processes' logs": [
            line for line in deployment.errors() if not any(part in line for part in quiet)
        ],
    }
    counts = {
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
        "skips_noticed": sum(
            text.count("messages did not come: reading them again") for text in deployment.outputs().values()
        ),
        "dead_letters": len(letters),
    }
    return Result(done=done, wrong=wrong, counts=counts)
