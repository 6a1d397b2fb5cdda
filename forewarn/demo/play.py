"""Plays the demo: starts everything, lets the shop slow down, fail and recover, and judges what came of it."""

import contextlib
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analytics.client import connect
from forewarn.config.config import load
from forewarn.demo.config import FRONT, LOCATIONS, SHOP, TARGETS, WARM_UP_CHECKS, write_config
from forewarn.demo.judge import Findings, clock, find
from forewarn.errors import CommandError, ExitCode
from forewarn.live import Screen
from forewarn.log_reader import LogReader
from forewarn.up import Installation, end_undisturbed
from producers.topics import DEVIATIONS, INCIDENTS, VERDICTS
from streams.contract import SERVICE, Deviation, Incident, Verdict

HEALTHY_S: Final = 12.0
SLOW_S: Final = 38.0
FAIL_S: Final = 12.0
WAIT_S: Final = 40.0
"""The longest wait for what must come: the first checks, the resolution, the last rows."""

POLL_S: Final = 0.2
QUIET_POLLS: Final = 5
"""A topic is read to its end when so many polls in a row have brought nothing."""


class DemoFault(CommandError):  # noqa: N818 - it is the demo that has a fault to show
    """The demo cannot go on."""

    def __init__(self, text: str) -> None:
        super().__init__(text, ExitCode.NEGATIVE)


@contextmanager
def open_shop(directory: Path) -> Iterator[tuple[dict[str, str], Callable[[str], int]]]:
    """Run the shop in a process of its own.

    Yields:
        Its ports and certificate, and a function that tells it a word and returns when (microseconds UTC).
    """
    process = subprocess.Popen(  # noqa: S603 - our own module, no shell
        [sys.executable, "-m", "forewarn.demo.shop", "--directory", str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin = process.stdin

    def tell(word: str) -> int:
        at_us = time.time_ns() // 1000
        try:
            stdin.write(f"{word}\n")
            stdin.flush()
        except OSError as error:  # a broken pipe that nobody caught would read as: our own reader has enough
            raise DemoFault(f"the shop has ended with {process.poll()}") from error
        return at_us

    try:
        yield json.loads(process.stdout.readline()), tell
    finally:
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            stdin.close()
        process.stdout.close()
        try:
            process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def play(data_dir: Path, console: Console) -> bool:
    """Play the demo in an empty or absent directory.

    Returns:
        Whether it showed what it promises.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    config_file = data_dir / "forewarn.yaml"
    began_s = time.monotonic()
    with open_shop(data_dir / "shop") as (shop, tell):
        write_config(
            config_file,
            http_port=int(shop["http"]),
            tls_port=int(shop["tls"]),
            ca_file=Path(shop["ca"]).absolute(),
        )
        config = load(config_file)
        console.print(f"forewarn demo: starting broker, store, workers and producers in {data_dir} ...")
        installation = Installation(config, config_file, data_dir)
        try:
            installation.start()
            findings, report = _act(installation, console, tell, config_file, data_dir)
        finally:
            end_undisturbed()
            installation.stop()
    _show(console, findings, report, data_dir, seconds=time.monotonic() - began_s)
    return not findings.faults()


def _act(
    installation: Installation,
    console: Console,
    tell: Callable[[str], int],
    config_file: Path,
    data_dir: Path,
) -> tuple[Findings, Path | None]:
    with Screen(console, installation, from_start=True) as screen:
        slow_at_us, fail_at_us = _scenes(screen, tell)
    # The producers end first, so that nothing is under way while the rows are counted.
    installation.stop_producers()
    store = connect(installation.store_settings())
    deadline_s = time.monotonic() + WAIT_S
    while True:
        findings = find(
            store,
            slow_at_us=slow_at_us,
            fail_at_us=fail_at_us,
            log_checks=screen.board.checks,
            log_ids=_log_ids(installation),
        )
        if not findings.faults() or time.monotonic() > deadline_s:
            break
        time.sleep(0.5)
    report = _report(config_file, data_dir)
    return replace(findings, report_made=report is not None), report


def _log_ids(installation: Installation) -> dict[str, frozenset[str]]:
    """Return the ids of everything that the workers have published so far, by the names that `find` uses."""
    found: dict[str, set[str]] = {"deviations": set(), "verdicts": set(), "incident steps": set()}
    reader = LogReader(installation.log_settings(), (DEVIATIONS, VERDICTS, INCIDENTS), from_start=True)
    with contextlib.closing(reader):
        quiet = 0
        while quiet < QUIET_POLLS:
            quiet += 1
            for event in reader.poll(timeout_s=POLL_S):
                quiet = 0
                match event:
                    case Deviation():
                        found["deviations"].add(event.id)
                    case Verdict():
                        found["verdicts"].add(event.id)
                    case Incident():
                        found["incident steps"].add(event.id)
    return {name: frozenset(ids) for name, ids in found.items()}


def _scenes(screen: Screen, tell: Callable[[str], int]) -> tuple[int, int]:
    """Let the shop be healthy, slow down, fail and recover.

    Returns:
        When it was told to slow down and to fail.

    Raises:
        DemoFault: The checks do not come.
    """
    screen.say(f"the shop is well; baselines warm up ({WARM_UP_CHECKS} checks from each of {len(LOCATIONS)} locations)")
    if not screen.show(WAIT_S, until=lambda: _warm(screen)):
        raise DemoFault("the checks of all targets from all locations did not come; see logs/ in the data directory")
    screen.show(HEALTHY_S)
    slow_at_us = tell("slow")
    screen.say("the shop begins to slow down, little by little")
    screen.show(SLOW_S)
    fail_at_us = tell("fail")
    screen.say("the shop answers 502")
    screen.show(FAIL_S)
    tell("recover")
    screen.say("the shop has recovered")
    screen.show(WAIT_S, until=lambda: _resolved(screen))
    screen.show(2.0)
    return slow_at_us, fail_at_us


def _warm(screen: Screen) -> bool:
    """Whether every latency has as many checks as its warm-up needs."""
    counts = [count for (_, _, probe), count in screen.board.counts().items() if probe == FRONT]
    return len(counts) == len(TARGETS) * len(LOCATIONS) and min(counts) >= WARM_UP_CHECKS


def _resolved(screen: Screen) -> bool:
    """Whether the shop has had an incident of its service, and has none that is open."""
    ended = [
        incident.resolved_at_us is not None
        for incident in screen.incidents.values()
        if incident.target == SHOP and incident.subject == SERVICE
    ]
    return bool(ended) and all(ended)


def _report(config_file: Path, data_dir: Path) -> Path | None:
    """Make this month's SLA report with the ordinary command; None (and its words on stderr) if it could not."""
    path = data_dir / "report.html"
    words = ("report", "--month", f"{datetime.now(UTC):%Y-%m}", "--out", str(path))
    command = [
        sys.executable,
        "-m",
        "forewarn",
        *words,
        "--config",
        str(config_file),
        "--data-dir",
        str(data_dir),
    ]
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL)  # noqa: S603 - our own command
    return path if done.returncode == 0 else None


def _command(*words: str) -> str:
    """Return a command of ours as its user would call it, for a line that can be copied."""
    called = Path(sys.argv[0])
    return shlex.join([str(called) if called.name == "forewarn" else "forewarn", *words])


def _show(console: Console, findings: Findings, report: Path | None, data_dir: Path, *, seconds: float) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0), title="\nWhat happened", title_justify="left")
    warned_at_us, failed_at_us = findings.warned_at_us, findings.failed_at_us
    lead = "none"
    if warned_at_us is not None and failed_at_us is not None:
        lead = f"{(failed_at_us - warned_at_us) / 1e6:.0f} s before the first failing check"
    rows = ", ".join(f"{count} {name}" for name, count in findings.rows.items())
    for name, value in (
        ("slow-down began", clock(findings.slow_at_us)),
        ("early warning", f"{clock(warned_at_us)}: {findings.warning}"),
        ("outage began", f"{clock(failed_at_us)} (declared {clock(findings.outage_at_us)})"),
        ("lead time", Text(lead, "bold red" if lead == "none" else "bold green")),
        ("resolved", clock(findings.resolved_at_us)),
        ("certificate", f"apart from that: {findings.certificate}"),
        ("control target", "raised nothing" if not findings.control_raised else "raised something"),
        ("rows stored", f"{rows}; {findings.missing} missing"),
        ("SLA report", "not made" if report is None else str(report)),
        ("took", f"{seconds:.0f} s"),
        ("query the store", _command("sql", "--data-dir", str(data_dir), "SHOW TABLES")),
    ):
        table.add_row(name, value)
    console.print(table)
    for fault in findings.faults():
        console.print(f"demo failed: {fault}", style="bold red")
