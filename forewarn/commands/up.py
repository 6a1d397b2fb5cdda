"""`forewarn up`: everything on this machine, until Ctrl-C."""

import signal
from pathlib import Path
from types import FrameType

from forewarn.config.config import load
from forewarn.live import Screen
from forewarn.output import console
from forewarn.up import ENDING, Installation, end_undisturbed


class _Ended(Exception):  # noqa: N818 - it is no error: somebody asks for the end
    """Ctrl-C, SIGTERM, or the terminal was closed."""


def _end(_number: int, _frame: FrameType | None) -> None:
    raise _Ended


def up(config_file: Path, data_dir: Path, *, observe_host: str = "127.0.0.1", observe_port: int | None = None) -> None:
    """Run broker, store, workers and one producer for each location until SIGTERM or Ctrl-C.

    Args:
        observe_host: What /healthz and /metrics bind to.
        observe_port: Of `up` itself; its children take the following ones. None: nothing is served.

    Raises:
        ForewarnError: It cannot start; what was started is ended again.
    """
    config = load(config_file)
    installation = Installation(config, config_file, data_dir, observe_host=observe_host, observe_port=observe_port)
    for number in ENDING:
        signal.signal(number, _end)
    try:
        try:
            installation.start()
            with Screen(console(), installation, from_start=False) as screen:
                watched = len(config.targets())
                screen.say(f"watching {watched} target{'s'[: watched != 1]}; data in {data_dir}; end with Ctrl-C")
                if installation.observed:
                    ports = ", ".join(f"{name} {port}" for name, port in installation.observed.items())
                    screen.say(f"/healthz and /metrics on {observe_host}: up {observe_port}, {ports}")
                while True:
                    screen.show(3600.0)
        except _Ended:
            console().print("ending ...", style="dim")
    finally:
        end_undisturbed()
        for said in installation.stop():
            console().print(said, style="yellow")
