"""What commands print: aligned columns, colours on a terminal only, numbers and times as people read them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

OUTCOME_STYLES: Final = {"success": "green", "failure": "bold red", "missed": "magenta"}


@cache
def console() -> Console:
    """Return the console of stdout. Lines are never cut nor broken where it is no terminal."""
    made = Console(highlight=False, markup=False, emoji=False, soft_wrap=False)
    return made if made.is_terminal else Console(highlight=False, markup=False, emoji=False, width=10_000)


def print_line(line: str | Text) -> None:
    """Print one line, however long it is."""
    console().print(line, soft_wrap=True)


def table(columns: Sequence[tuple[str, bool]]) -> Table:
    """Return a table without a frame.

    Args:
        columns: Heading, and whether it holds numbers, which are aligned at their right.
    """
    made = Table(box=box.SIMPLE_HEAD if console().is_terminal else None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading, numeric in columns:
        made.add_column(heading, justify="right" if numeric else "left", overflow="fold", header_style="bold")
    return made


def ms(duration_us: float | None) -> str:
    """Return a duration in milliseconds with one decimal; a dash if there is none."""
    return "–" if duration_us is None else f"{duration_us / 1000:,.1f}"


def clock(at_us: int) -> str:
    """Return a time as `2026-10-01 12:34:56` UTC."""
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def cell(value: Any) -> str:
    """Return a value of the store as a table shows it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, datetime):
        text = value.astimezone(UTC) if value.tzinfo is not None else value
        return text.strftime("%Y-%m-%d %H:%M:%S.%f").rstrip("0").rstrip(".")
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(value)
