"""`forewarn init`: writes a commented example config."""

import sys
from importlib.resources import files
from pathlib import Path

from forewarn.errors import CommandError
from forewarn.output import print_line


def example() -> str:
    """Return the example config."""
    return files("forewarn").joinpath("example.yaml").read_text(encoding="utf-8")


def init(path: str, *, force: bool) -> None:
    """Write it to `path`; `-` is stdout.

    Raises:
        CommandError: The file is there already, or cannot be written.
    """
    if path == "-":
        sys.stdout.write(example())
        return
    target = Path(path)
    try:
        with target.open("w" if force else "x", encoding="utf-8") as file:
            file.write(example())
    except FileExistsError as error:
        raise CommandError(f"{target} is there already; --force overwrites it") from error
    except OSError as error:
        raise CommandError(f"{target} cannot be written: {error.strerror}") from error
    print_line(f"wrote {target}")
    named = "" if target == Path("forewarn.yaml") else f" --config {target}"
    print_line(f"next: put your sites into it, then: forewarn validate{named} && forewarn up{named}")
