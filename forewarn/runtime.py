"""runtime.json: how the processes of one machine find the embedded broker and store of a running `forewarn up`."""

import json
import os
import tempfile
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Final

from forewarn.errors import CommandError, NotRunningError

FILE_NAME: Final = "runtime.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What a running `forewarn up` tells.

    Attributes:
        pid: Of `forewarn up`.
        bootstrap: `host:port` of the embedded broker.
        store_url: Of the embedded store.
        store_token: Equals the owner of the machine: the file is readable by its owner only.
    """

    pid: int
    bootstrap: str
    store_url: str
    store_token: str = field(repr=False)


def write_runtime(data_dir: Path, runtime: Runtime) -> None:
    """Write runtime.json, readable by the owner only; readers see the old file or the new one, never a part.

    Raises:
        OSError: The directory cannot be written.
    """
    # mkstemp makes the file with mode 0600 from its first moment.
    descriptor, name = tempfile.mkstemp(dir=data_dir, prefix=".runtime-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(runtime), file)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(data_dir / FILE_NAME)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def remove_runtime(data_dir: Path) -> None:
    """Remove runtime.json; harmless when it is gone."""
    (data_dir / FILE_NAME).unlink(missing_ok=True)


def read_runtime(data_dir: Path) -> Runtime:
    """Return what the `forewarn up` that runs on this data directory wrote.

    Raises:
        NotRunningError: None runs there.
        CommandError: The file cannot be read, or is none of ours.
    """
    path = data_dir / FILE_NAME
    not_running = f"no forewarn is running on {data_dir}: start `forewarn up`"
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise NotRunningError(not_running) from None
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from error
    runtime = _parsed(text, path)
    if not _lives(runtime.pid):
        raise NotRunningError(f"{not_running} (process {runtime.pid}, which wrote {FILE_NAME}, has ended)")
    return runtime


def _parsed(text: str, path: Path) -> Runtime:
    try:
        found = json.loads(text)
        values = {item.name: found[item.name] for item in fields(Runtime)}
    except (ValueError, KeyError, TypeError) as error:
        raise CommandError(f"{path} was not written by this forewarn: remove it and start `forewarn up`") from error
    if not isinstance(values["pid"], int) or not all(
        isinstance(value, str) for name, value in values.items() if name != "pid"
    ):
        raise CommandError(f"{path} was not written by this forewarn: remove it and start `forewarn up`")
    return Runtime(**values)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
