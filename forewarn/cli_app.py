"""The command line: every command's arguments and help. What a command does is imported when it runs, so that
`forewarn --help` is fast and a part that cannot be imported breaks no other command.
"""

# The docstrings here are the help texts; `\\b` keeps a paragraph's line breaks.
# ruff: noqa: PLC0415, D205

from pathlib import Path
from typing import Annotated

import typer

from forewarn.cli_options import DEFAULT_CONFIG, DEFAULT_DATA_DIR, AsJson, ConfigFile, DataDir, ObserveHost, Topic
from forewarn.errors import EXIT_CODES

_EXITS = "\n".join(f"  {code.value:>3}  {meaning}" for code, meaning in EXIT_CODES)

app = typer.Typer(
    name="forewarn",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog=f"""\b
Start here:
  forewarn demo                          see it warn before an outage
  forewarn init && forewarn up           watch your own sites
  forewarn check https://example.org     run one check now

\b
Exit codes:
{_EXITS}""",
)


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer's form of a callback
    if wanted:
        from importlib.metadata import version

        typer.echo(f"forewarn {version('forewarn')}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="FOREWARN_DEBUG", help="Print the traceback of an error, too.")
    ] = False,
) -> None:
    """Watches sites and servers from several places and warns before an outage."""


@app.command(
    epilog="""\b
Examples:
  forewarn init                  writes forewarn.yaml
  forewarn init shop.yaml
  forewarn init -                prints it"""
)
def init(
    path: Annotated[str, typer.Argument(metavar="[FILE]", help="Where to; - is stdout.")] = str(DEFAULT_CONFIG),
    *,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
) -> None:
    """Write a commented example config."""
    from forewarn.commands.init import init as run

    run(path, force=force)


@app.command(
    epilog="""\b
Examples:
  forewarn validate
  forewarn validate shop.yaml && forewarn up --config shop.yaml

\b
Every problem is a line: file:line: key: what was wrong, what was expected."""
)
def validate(
    path: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="The config file.  [default: that of --config]")
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Check a config and say what it would do."""
    from forewarn.commands.validate import validate as run

    run(path or config)


@app.command(
    epilog="""\b
Examples:
  forewarn schema > forewarn.schema.json

\b
Editors with the YAML language server take it from the config's first line:
  # yaml-language-server: $schema=forewarn.schema.json"""
)
def schema() -> None:
    """Print the JSON Schema of the config."""
    from forewarn.commands.schema import schema as run

    run()


@app.command(
    epilog="""\b
Examples:
  forewarn check https://example.org
  forewarn check example.org             the same
  forewarn check tls://example.org:443   the certificate only
  forewarn check tcp://example.org:25    the connection only
  forewarn check host                    this machine's load, memory, disks
  forewarn check https://example.org --expect-status 200-399 --json"""
)
def check(
    target: Annotated[
        str, typer.Argument(metavar="URL", help="http(s)://..., tls://HOST:PORT, tcp://HOST:PORT, or host.")
    ],
    *,
    timeout: Annotated[str, typer.Option("--timeout", metavar="TIME", help="Deadline, such as 500ms or 10s.")] = "10s",
    expect_status: Annotated[
        str, typer.Option("--expect-status", metavar="CODES", help="Accepted statuses, such as 200-299,301.")
    ] = "200-299",
    follow_redirects: Annotated[
        bool, typer.Option("--follow-redirects", "-L", help="Follow up to 5 redirects.")
    ] = False,
    insecure: Annotated[bool, typer.Option("--insecure", "-k", help="Accept any certificate.")] = False,
    ca_file: Annotated[
        Path | None,
        typer.Option("--ca-file", metavar="FILE", help="Trust these authorities instead of the public ones."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run one check now and print its phases. Ends with 1 when the check failed."""
    from forewarn.commands.check import CheckOptions
    from forewarn.commands.check import check as run

    options = CheckOptions(
        timeout=timeout,
        expect_status=expect_status,
        follow_redirects=follow_redirects,
        insecure=insecure,
        ca_file=ca_file,
    )
    run(target, options, as_json=as_json)


@app.command(
    short_help="Run everything on this machine until Ctrl-C.",
    epilog="""\b
Examples:
  forewarn up
  forewarn up --config shop.yaml --data-dir /var/lib/forewarn
  forewarn up --observe-port 9100""",
)
def up(
    config: ConfigFile = DEFAULT_CONFIG,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    *,
    observe_host: ObserveHost = "127.0.0.1",
    observe_port: Annotated[
        int | None,
        typer.Option(
            "--observe-port",
            metavar="PORT",
            min=1,
            max=65000,
            help="Serve /healthz and /metrics: of `up` here, of each worker and producer on the ports after it.",
        ),
    ] = None,
) -> None:
    """Run everything on this machine until Ctrl-C: broker, store, workers, producers."""
    from forewarn.commands.up import up as run

    run(config, data_dir, observe_host=observe_host, observe_port=observe_port)


@app.command(
    short_help="See it warn before an outage, in two minutes.",
    epilog="""\b
Example:
  forewarn demo""",
)
def demo(
    data_dir: Annotated[
        Path, typer.Option("--data-dir", "-d", metavar="DIR", help="Where its files lie; emptied first.")
    ] = Path("demo-data"),
) -> None:
    """See it warn before an outage: a small shop slows down, fails and recovers, in two minutes."""
    from forewarn.commands.demo import demo as run

    run(data_dir)


@app.command(
    epilog="""\b
Examples:
  forewarn sql 'SHOW TABLES'
  forewarn sql "SELECT target, count() FROM checks GROUP BY target"
  forewarn sql --format CSVWithNames 'SELECT * FROM incidents' > incidents.csv
  echo 'SELECT 1' | forewarn sql -
  forewarn sql --write "DELETE FROM checks_log WHERE target = 'main/old'"

\b
Formats: table (default), or any of ClickHouse's, such as CSVWithNames, TSV,
JSONEachRow, Vertical, Markdown, Parquet:
https://clickhouse.com/docs/interfaces/formats
If no `forewarn up` runs on DIR, its store is started for this one query."""
)
def sql(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="The statement; - reads it from stdin.")],
    *,
    output_format: Annotated[str, typer.Option("--format", "-f", metavar="NAME", help="Form of the answer.")] = "table",
    write: Annotated[bool, typer.Option("--write", help="Let the statement change the store.")] = False,
    config: ConfigFile = DEFAULT_CONFIG,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Query the store in ClickHouse's SQL. Reads only, unless --write says otherwise."""
    from forewarn.commands.sql import sql as run

    run(query, config, data_dir, output_format=output_format, write=write)


@app.command(
    short_help="Show checks, verdicts and incidents as they come.",
    epilog="""\b
Examples:
  forewarn tail
  forewarn tail --topic incidents --from-start
  forewarn tail --target 'acme/*'
  forewarn tail --topic checks --json --limit 10 | jq .duration_us""",
)
def tail(
    *,
    topic: Annotated[Topic, typer.Option("--topic", "-t", help="What to show.")] = Topic.ALL,
    from_start: Annotated[bool, typer.Option("--from-start", help="From the oldest message that is kept.")] = False,
    target: Annotated[
        str | None, typer.Option("--target", metavar="GLOB", help="Only targets like this, such as 'acme/*'.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", metavar="N", min=1, help="End after N lines.")] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", metavar="N", min=0, help="End after N seconds.")] = None,
    as_json: AsJson = False,
    config: ConfigFile = DEFAULT_CONFIG,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Show checks, deviations, verdicts, incidents and alerts as they come, a line each."""
    from forewarn.commands.tail import TailOptions
    from forewarn.commands.tail import tail as run

    options = TailOptions(
        topic=topic.value, from_start=from_start, target=target, limit=limit, seconds=seconds, as_json=as_json
    )
    run(config, data_dir, options)


@app.command(
    epilog="""\b
Examples:
  forewarn report --month 2026-10
  forewarn report --month 2026-10 --customer acme --out acme.html"""
)
def report(
    month: Annotated[
        str, typer.Option("--month", "-m", metavar="YYYY-MM", help="The month, in the config's time zone.")
    ],
    *,
    customer: Annotated[str, typer.Option("--customer", metavar="NAME", help="Only this one's targets.")] = "",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where to.  [default: sla-YYYY-MM.html]")
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Write the SLA report of a month as HTML."""
    from forewarn.commands.report import report as run
    from forewarn.places import open_store, report_settings

    with open_store(config, data_dir) as store:
        path = run(store, report_settings(config), month=month, customer=customer, out=out)
    typer.echo(str(path))


@app.command(
    short_help="Show why a target was or was not flagged.",
    epilog="""\b
Examples:
  forewarn explain shop --at now
  forewarn explain acme/shop --at 2026-11-22T10:00:05
  forewarn explain acme/shop --at 2026-11-22T11:00+01:00 --metric latency
  forewarn explain web-1 --at now --probe host --hours 24

\b
Its stored checks are replayed through the same detection, from DAYS before;
what was published then is shown beside. Times are UTC unless they say
otherwise.""",
)
def explain(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Its id, customer/name, or its name alone.")],
    *,
    at: Annotated[str, typer.Option("--at", metavar="TIME", help="ISO 8601, or now.")],
    probe: Annotated[str | None, typer.Option("--probe", metavar="NAME", help="Only this probe.")] = None,
    location: Annotated[
        str | None, typer.Option("--location", "-l", metavar="NAME", help="Only seen from here.")
    ] = None,
    metric: Annotated[str | None, typer.Option("--metric", metavar="NAME", help="Only this one.")] = None,
    hours: Annotated[
        float, typer.Option("--hours", metavar="N", min=0.05, max=168, help="Show so much before TIME.")
    ] = 3.0,
    days: Annotated[
        float, typer.Option("--days", metavar="N", min=0.01, max=90, help="Replay so much before that.")
    ] = 7.0,
    config: ConfigFile = DEFAULT_CONFIG,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Show why a target was or was not flagged at a time: series, baseline band, scores, verdict."""
    from forewarn.commands.explain import ExplainOptions
    from forewarn.commands.explain import explain as run

    options = ExplainOptions(at=at, probe=probe, location=location, metric=metric, hours=hours, days=days)
    run(target, config, data_dir, options)
