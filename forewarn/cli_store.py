"""The command line's groups of commands: what looks after the store and the dead letters. See `forewarn.cli_app`."""

# The docstrings here are the help texts; `\\b` keeps a paragraph's line breaks.
# ruff: noqa: PLC0415

from typing import Annotated

import typer

from forewarn.cli_options import DEFAULT_CONFIG, DEFAULT_DATA_DIR, AsJson, ConfigFile, DataDir
from forewarn.cli_parts import app

__all__ = ["app"]

_store = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look after the store.")
app.add_typer(_store, name="store", short_help="Look after the store: check, repair.")


@_store.command(
    short_help="Prove that rollups equal their checks, and more.",
    epilog="""\b
Examples:
  forewarn store check
  forewarn store check --repair
  forewarn store check --days 7 --json

\b
Compared are
  rollups    with the final rows of all checks that are kept
  snapshots  with their checksums; their positions with each other and with
             what the groups have committed to the log
  marks      with the outboxes of this machine
  incidents  for revisions that are missing

\b
Exit code 0: nothing differs, or all that differed was repaired.
Exit code 1: something differs. --repair computes rollups again, the rest
needs a person.""",
)
def check(
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Compute rollups again that differ.")] = False,
    days: Annotated[
        int | None,
        typer.Option("--days", metavar="N", min=1, max=20_000, help="Rollups of the last N days.  [default: all]"),
    ] = None,
    as_json: AsJson = False,
    config: ConfigFile = DEFAULT_CONFIG,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Prove that rollups equal their checks, and that what the next start relies on is whole."""
    from forewarn.commands.store import check as run

    run(config, data_dir, repair=repair, days=days, as_json=as_json)
