"""The command line's groups of commands: what looks after the store and the dead letters. See `forewarn.cli_app`."""

# The docstrings here are the help texts; `\\b` keeps a paragraph's line breaks.
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from forewarn.cli_options import DEFAULT_CONFIG, DEFAULT_DATA_DIR, AsJson, ConfigFile, DataDir
from forewarn.cli_parts import app

__all__ = ["app"]

_store = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
app.add_typer(_store, name="store", short_help="Look after the store: check, repair.")


@_store.callback(
    epilog="""\b
Example:
  forewarn store check --help"""
)
def store(context: typer.Context) -> None:
    """Look after the store."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


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


_letters = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
app.add_typer(_letters, name="dead-letters", short_help="List messages that could not be used; send them again.")


@_letters.callback(
    epilog="""\b
Examples:
  forewarn dead-letters
  forewarn dead-letters --limit 5 --json
  forewarn dead-letters replay --help"""
)
def dead_letters(
    context: typer.Context,
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, max=100_000, help="The newest N.")] = 50,
    replayed: Annotated[bool, typer.Option("--all", help="Also those that were sent again.")] = False,
    as_json: AsJson = False,
    config: ConfigFile = DEFAULT_CONFIG,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """List messages that could not be used and were not sent again, with position and reason."""
    if context.invoked_subcommand is not None:
        sources = (context.get_parameter_source(name) for name in context.params)
        if any(source is not None and source.name == "COMMANDLINE" for source in sources):
            raise typer.BadParameter(f"options stand after `{context.invoked_subcommand}`")
        return
    from forewarn.commands.dead_letters import dead_letters as run

    run(config, data_dir, limit=limit, replayed=replayed, as_json=as_json)


@_letters.command(
    short_help="Send dead letters again.",
    epilog="""\b
Examples:
  forewarn dead-letters replay --id 8b66d40e3a3b90d1708718ea
  forewarn dead-letters replay --topic checks --reason far_future --since 2h
  forewarn dead-letters replay --id 8b66d40e3a3b90d1708718ea --edit good.json

\b
Each goes to the topic, partition and key that it came from. What is stored
already is replaced by itself. What cannot be used now either becomes a dead
letter again, with its reason. A letter that was sent again is not listed
any more, and is refused here without --again. One of more than 1,000,000
bytes can only be sent with --edit; the others are sent.""",
)
def replay(
    *,
    ids: Annotated[list[str] | None, typer.Option("--id", metavar="ID", help="This one; may be repeated.")] = None,
    topic: Annotated[str | None, typer.Option("--topic", "-t", metavar="NAME", help="Those of this topic.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", metavar="WORD", help="Those with this reason.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Refused since: 2h, or 2026-10-01T12:00 UTC.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are open.")] = False,
    edit: Annotated[
        Path | None, typer.Option("--edit", metavar="FILE", help="Send this instead of the message; with one --id.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Also what was sent again before.")] = False,
    config: ConfigFile = DEFAULT_CONFIG,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Send dead letters again, as they were or repaired."""
    from forewarn.commands.dead_letters import Choice
    from forewarn.commands.dead_letters import replay as run

    choice = Choice(ids=tuple(ids or ()), topic=topic, reason=reason, since=since, everything=everything)
    run(config, data_dir, choice, edit=edit, again=again)
