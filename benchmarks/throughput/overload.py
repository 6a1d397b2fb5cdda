"""Twice the capacity for a quarter of an hour: what a whole installation says of it, takes for it, and works off.

    python -m benchmarks.throughput.overload [--quick] [--seconds N] [--directory DIR]

`forewarn up` with one real producer, which probes some targets of a local site. First the capacity: reading is stopped,
a backlog of messages of one check each is written, and the time counts until detect has judged and the sink has stored
all of it. Then twice as many messages a second are written for N seconds, while some of the real targets fail:

- *early*: fails and recovers before that, when there is no lag. It is told as ever.
- *over*: fails while the lag is more than five minutes and is well again by the time that is read: recorded, not told.
- *open*: fails from then on. When all is worked off, one message tells of all of them.

What must hold: the lag is exported and a person is told of it; the memory of no worker grows with it; every message is
stored once; and the above. `--quick` writes for twenty seconds, of fewer targets, too short for a lag of minutes: it
looks at lag, memory and rows alone. Some twenty-five minutes. Ends with one line of JSON, and with exit code 1 if
anything is wrong.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.throughput.flooded import EARLY, OPEN, OVER, Feed, Flooded
from streams.contract import JUDGING
from streams.core.incidents.pace import BEHIND_US
from tests.integration.local import Local, Posted
from tests.integration.reading import query
from tests.integration.waiting import comes_true, wait_for

WORKERS: Final = ("detect", "incidents", "sink", "alerts")
FEED_S: Final = 0.1
SAMPLE_S: Final = 2.0
GROWTH_MB: Final = 100
"""So much more a worker may take at the end of the flood than after its first third: noise, not a backlog."""

CAUGHT_UP_S: Final = 20.0
TOLD_WITHIN_S: Final = 600.0
"""What the config does not name waits two minutes, a new log gathers for two."""

WITHIN_S: Final = 3600.0
SAID: Final = ("reading is behind", "Thread keepalive is not responding")
"""Error lines that the processes are given cause for: the last one by what is stopped while the backlog is written."""

_WRITTEN: Final = "SELECT count() AS n FROM checks_log WHERE startsWith(target, 'main/site-')"
_STORED_ONCE: Final = "SELECT count() AS n FROM checks WHERE startsWith(target, 'main/site-')"


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much of it.

    Attributes:
        seconds: How long twice the capacity is written.
        targets: Of whose checks.
        backlog: Messages of which the capacity is measured.
    """

    seconds: float
    targets: int = 20_000
    backlog: int = 40_000


QUICK: Final = Size(seconds=20.0, targets=2_000, backlog=20_000)
"""Of a smaller backlog the seconds until rows are stored and the lag is exported would be half of what is measured."""


@dataclass(kw_only=True)
class Seen:
    """What was looked at while the flood went on.

    Attributes:
        delay_s: The largest exported age of what is at hand, by worker; lag: the most messages that waited.
        first_mb, last_mb: Resident memory after a third of the flood, and at its end.
    """

    delay_s: dict[str, float] = field(default_factory=dict)
    lag: dict[str, float] = field(default_factory=dict)
    first_mb: dict[str, int] = field(default_factory=dict)
    last_mb: dict[str, int] = field(default_factory=dict)

    def look(self, deployment: Flooded) -> None:
        """Look once."""
        for worker in WORKERS:
            delay_s = deployment.metric(worker, "forewarn_consumer_delay_seconds")
            lag = deployment.metric(worker, "forewarn_consumer_lag_messages")
            self.delay_s[worker] = float(np.fmax(self.delay_s.get(worker, 0.0), round(delay_s, 1)))
            self.lag[worker] = float(np.fmax(self.lag.get(worker, 0.0), lag))


def capacity(deployment: Flooded, feed: Feed, size: Size) -> float:
    """Return how many messages a second are judged and stored."""
    feed.write(size.targets)  # every target is known
    _caught_up(deployment, feed)
    readers = [deployment.pids()[name] for name in ("detect", "sink")]
    for pid in readers:
        os.kill(pid, signal.SIGSTOP)
    try:
        feed.write(size.backlog)
        feed.flush()
    finally:
        for pid in readers:
            os.kill(pid, signal.SIGCONT)
    before_s = time.monotonic()
    _caught_up(deployment, feed)
    return size.backlog / (time.monotonic() - before_s)


def _caught_up(deployment: Flooded, feed: Feed) -> None:
    """Return when all that was written is stored, and judged."""
    feed.flush()
    wait_for("all is stored", lambda: _count(deployment, _WRITTEN) >= feed.written, within_s=WITHIN_S)
    judged = "forewarn_consumer_delay_seconds"
    wait_for("all is judged", lambda: deployment.metric("detect", judged) < CAUGHT_UP_S, within_s=WITHIN_S)


def _count(deployment: Flooded, sql: str) -> int:
    return int(query(deployment.store, sql)[0]["n"])


def flood(deployment: Flooded, feed: Feed, rate: float, seconds: float, *, events: Sequence[tuple[float, str]]) -> Seen:
    """Write at a rate; break (`-name`) and mend (`+name`) targets on the way."""
    seen, due = Seen(), sorted(events)
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(SAMPLE_S):
            seen.look(deployment)

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    began_s = time.monotonic()
    written = 0
    while (passed_s := time.monotonic() - began_s) < seconds:
        while due and due[0][0] <= passed_s:
            change, name = due[0][1][0], due.pop(0)[1][1:]
            (deployment.local.break_ if change == "-" else deployment.local.mend)(name)
        if passed_s > seconds / 3 and not seen.first_mb:
            seen.first_mb = deployment.resident_mb()
        count = int(passed_s * rate) - written
        feed.write(count)
        written += count
        time.sleep(FEED_S)
    feed.flush()
    seen.last_mb = deployment.resident_mb()
    ended.set()
    looking.join()
    return seen


def _events() -> Iterator[tuple[float, str]]:
    """When which target fails and recovers: *over* and *open* while more than BEHIND_US of lag have come together."""
    behind_s = BEHIND_US / 1e6
    for name in OVER:
        yield from ((1.4 * behind_s, f"-{name}"), (1.4 * behind_s + 60.0, f"+{name}"))
    for name in OPEN:
        yield 2.0 * behind_s, f"-{name}"


def _fails_and_recovers(deployment: Flooded) -> None:
    """Let *early* fail and recover; return when both are told."""
    local = deployment.local
    for name in EARLY:
        for change, kind in ((local.break_, "initial"), (local.mend, "resolved")):
            change(name)
            wait_for(f"{kind} of {name}", partial(_is_told, local, (name,), kind), within_s=TOLD_WITHIN_S)


def _of(posted: Sequence[Posted], name: str, kind: str) -> list[Posted]:
    return [
        one for one in posted if one.message["incident"]["target"] == f"main/{name}" and one.message["kind"] == kind
    ]


def _is_told(local: Local, names: Sequence[str], kind: str) -> bool:
    """Say whether the webhook has got this of each of these targets."""
    return all(_of(local.posted(), name, kind) for name in names)


def told(deployment: Flooded) -> dict[str, list[str]]:
    """Look at what the webhook got after a backlog, and how it ends when the targets that are open recover."""
    posted = wait_for("the open ones are told", lambda: _with_digest(deployment), within_s=WITHIN_S)
    local, expected = deployment.local, {f"main/{name}" for name in (*EARLY, *OVER, *OPEN)}
    for name in OPEN:
        local.mend(name)
    wait_for("they are over", partial(_is_told, local, OPEN, "resolved"), within_s=TOLD_WITHIN_S)
    # What lacks after that the evidence tells.
    comes_true(lambda: _judging(local.posted())[-1:] == ["resolved"], within_s=TOLD_WITHIN_S)
    comes_true(lambda: expected <= _recorded(deployment), within_s=TOLD_WITHIN_S, every_s=SAMPLE_S)
    posted = local.posted()
    digests = [one for one in posted if len(one.message.get("incidents", ())) > 1]
    listed = [sorted(one["target"] for one in digest.message["incidents"]) for digest in digests]
    behind = _judging(posted)
    shown = [json.dumps(one.message)[:200] for one in posted]
    return {
        "a person is told that judging is behind, and that it is not any more": []
        if behind == ["initial", "resolved"]
        else [str(behind), *shown],
        "what is over by then is told to nobody": [
            json.dumps(one.message)[:200] for one in posted if any(name in json.dumps(one.message) for name in OVER)
        ],
        "and recorded": sorted(expected - _recorded(deployment)),
        "what is open is one message": [] if listed == [[f"main/{name}" for name in OPEN]] else [str(listed), *shown],
    }


def _judging(posted: Sequence[Posted]) -> list[str]:
    """Return what was told of judging that is behind, without reminders."""
    kinds = [one.message["kind"] for one in posted if one.message["incident"]["subject"] == JUDGING]
    return [kind for kind in kinds if kind != "reminder"]


def _recorded(deployment: Flooded) -> set[str]:
    """Return the targets whose outage is stored, and over."""
    sql = "SELECT DISTINCT target FROM incidents WHERE kind = 'outage' AND resolved_at IS NOT NULL"
    return {row["target"] for row in query(deployment.store, sql)}


def _with_digest(deployment: Flooded) -> list[Posted]:
    posted = deployment.local.posted()
    return posted if any(len(one.message.get("incidents", ())) > 1 for one in posted) else []


def run(size: Size, directory: Path) -> dict[str, Any]:
    """Run; return the figures, with what is wrong by what must hold."""
    seconds = size.seconds
    long = seconds > 2.2 * BEHIND_US / 1e6
    with Local() as local:
        for name in (*EARLY, *OVER, *OPEN):
            local.mend(name)
        deployment = Flooded(directory, local)
        deployment.start()
        try:
            wait_for("every worker reads", deployment.workers_read)
            feed = Feed(deployment, size.targets)
            able = capacity(deployment, feed, size)
            _say(f"capacity: {able:.0f} messages of one check a second, load {os.getloadavg()[0]:.1f}")
            if long:
                _fails_and_recovers(deployment)
            before = feed.written
            seen = flood(deployment, feed, 2 * able, seconds, events=list(_events()) if long else ())
            rate = (feed.written - before) / seconds
            _say(f"written: {rate:.0f} a second for {seconds:.0f} s; most lag {seen.lag}; largest delay {seen.delay_s}")
            began_s = time.monotonic()
            _caught_up(deployment, feed)
            worked_off_s = time.monotonic() - began_s
            _say(f"worked off in {worked_off_s:.0f} s; resident MB {seen.first_mb}, then {seen.last_mb}")
            wrong = told(deployment) if long else {}
            stored, written = _count(deployment, _STORED_ONCE), feed.written
        finally:
            deployment.stop()
        wrong["every message is stored once"] = [] if stored == written else [f"{written} written, {stored} stored"]
        slower = max(("detect", "sink"), key=lambda name: seen.lag[name])
        lag, delay_s = seen.lag[slower], seen.delay_s[slower]
        grows = lag >= able * seconds / 4 and delay_s >= seconds / 4
        wrong["the lag grows, and is exported"] = [] if grows else [f"{slower}: {lag} messages, {delay_s} s"]
        wrong["the memory of no worker grows with it"] = [
            f"{name}: from {seen.first_mb[name]} to {seen.last_mb[name]} MB"
            for name in WORKERS
            if seen.last_mb[name] - seen.first_mb[name] > GROWTH_MB
        ]
        wrong["no other errors in the processes' logs"] = [
            line for line in deployment.errors() if not any(part in line for part in SAID)
        ]
    for name, lines in wrong.items():
        _say(f"{name:<75} {'ok' if not lines else f'{len(lines)} WRONG'}")
        for line in lines[:8]:
            _say(f"    {line[:300]}")
    return {
        "benchmark": "overload",
        "capacity_per_s": round(able),
        "written_per_s": round(rate),
        "seconds": seconds,
        "written": written,
        "lag_messages": seen.lag,
        "delay_s": seen.delay_s,
        "worked_off_s": round(worked_off_s),
        "resident_mb": {"after a third": seen.first_mb, "at the end": seen.last_mb},
        "wrong": {name: len(lines) for name, lines in wrong.items() if lines},
        "load_average": round(os.getloadavg()[0], 1),
    }


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run, print, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="under two minutes: no lag of minutes")
    parser.add_argument("--seconds", type=float, default=780.0, help="how long twice the capacity is written")
    parser.add_argument("--directory", type=Path, help="keep everything here")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="forewarn-overload-") as made:
        size = QUICK if chosen.quick else Size(seconds=chosen.seconds)
        figures = run(size, chosen.directory or Path(made))
    _say(json.dumps(figures))
    return 1 if figures["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
