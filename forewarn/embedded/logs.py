"""Bounds the logs of the processes that we start."""

import os
import shutil
from pathlib import Path
from typing import Final

LOG_BYTES_KEPT: Final = 20_000_000


def cut_log(path: Path) -> None:
    """Keep what was said so far as `NAME.1` once it is past the bound; what comes begins anew."""
    if path.exists() and path.stat().st_size > LOG_BYTES_KEPT:
        # Copied and emptied, not renamed: a process that runs appends to the file that it has.
        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        os.truncate(path, 0)
