"""Runs the real command line as a process."""

import os
import subprocess
import sys
from pathlib import Path

DEADLINE_S = 60.0


def clean_environment(**variables: str) -> dict[str, str]:
    """Return this process's environment without what would steer forewarn, and with `variables`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FOREWARN_")}
    return kept | {"PYTHONPATH": str(Path(__file__).parents[2])} | variables


def forewarn(*words: str | Path, cwd: Path, stdin: str = "", **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run `forewarn words...` in a directory and return what it printed and its exit code."""
    return subprocess.run(
        [sys.executable, "-m", "forewarn", *map(str, words)],
        cwd=cwd,
        env=clean_environment(**variables),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def start(*words: str | Path, cwd: Path, **variables: str) -> "subprocess.Popen[str]":
    """Start it and return the process."""
    return subprocess.Popen(
        [sys.executable, "-m", "forewarn", *map(str, words)],
        cwd=cwd,
        env=clean_environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
