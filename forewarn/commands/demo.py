"""`forewarn demo`: see it warn before an outage, in two minutes."""

import shutil
import signal
from pathlib import Path
from types import FrameType

from forewarn.demo.play import play
from forewarn.errors import CommandError, ExitCode
from forewarn.output import console
from forewarn.up import lock_data_dir

_MARK = "forewarn-demo"


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def demo(data_dir: Path) -> None:
    """Play the demo in `data_dir`, which is emptied first if an earlier demo made it.

    Raises:
        CommandError: The directory holds something else, or the demo did not show what it promises.
    """
    mark = data_dir / _MARK
    if data_dir.exists() and any(data_dir.iterdir()):
        if not mark.exists():
            raise CommandError(f"{data_dir} was not made by the demo: name another one with --data-dir")
        lock_data_dir(data_dir).close()  # refuses if a demo is running there
        shutil.rmtree(data_dir)
    data_dir.mkdir(parents=True, exist_ok=True)
    mark.touch()
    # Ctrl-C is an exception already. The others must be one too, or everything that was started would live on.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    if not play(data_dir, console()):
        raise CommandError("the demo did not show what it promises; see above", ExitCode.NEGATIVE)
