"""`forewarn replay`: recorded checks through the same detection, without broker or store."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from forewarn.replay.drive import Policies
from forewarn.replay.replay import Advance, ReplayResult
from forewarn.replay.replay import replay as run


def replay(checks: Path, *, out: Path, config: Path | None) -> None:
    """Replay a file; the summary goes to stdout, notes and progress to stderr.

    Args:
        checks: A .parquet or .csv file of checks.
        out: The directory of the outputs.
        config: Names intervals, locations and policies; what it does not name gets the defaults.

    Raises:
        UsageError: The file or the config cannot be used.
        CommandError: The outputs cannot be written.
    """
    policies = _policies(config)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with _progress(console) as advance:
        result = run(checks, out, policies, tell=lambda line: console.print(line, markup=False), advance=advance)
    sys.stdout.write(summary(result, out))


def summary(result: ReplayResult, out: Path) -> str:
    """Return what a replay came to, for a person; ends with a line break."""
    kinds = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in sorted(result.incidents.items()))
    lines = [
        f"checks      {result.rows:,} of {result.targets:,} targets, {result.series:,} series",
        f"deviations  {result.deviations:,}",
        f"incidents   {result.incidents.total():,}" + (f" ({kinds})" if kinds else ""),
        f"pages       {result.paged:,}",
        f"took        {result.seconds:.1f} s, {result.rows / max(result.seconds, 1e-9):,.0f} checks/s",
        f"written to  {out}",
    ]
    if result.redelivered:
        lines.insert(1, f"repeated    {result.redelivered:,} checks were there twice and counted once")
    if result.late:
        lines.insert(
            1, f"not judged  {result.late:,} checks: too late, or the first of a location that no config names"
        )
    return "\n".join(lines) + "\n"


def _policies(config: Path | None) -> Policies:
    if config is None:
        return Policies()
    from forewarn.config.config import load  # noqa: PLC0415 - pydantic and YAML only where a config is given

    loaded = load(config, parts=())
    return Policies(detect=loaded.detect_policy, incidents=loaded.incident_policy, expectations=loaded.expectations())


@contextmanager
def _progress(console: Console) -> Iterator[Advance]:
    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("replaying", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
