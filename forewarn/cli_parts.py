"""The rest of the command line: replay, and the parts that production runs one by one. See `forewarn.cli_app`."""

# The docstrings here are the help texts; `\\b` keeps a paragraph's line breaks.
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from forewarn.cli_app import app
from forewarn.cli_options import DEFAULT_CONFIG, DEFAULT_DATA_DIR, ConfigFile, DataDir, ObserveHost, ObservePort, Worker

__all__ = ["app"]


@app.command(
    short_help="Run recorded checks through the same detection.",
    epilog="""\b
Examples:
  forewarn replay checks.parquet --out replayed
  forewarn replay checks.csv --config forewarn.yaml --out replayed

\b
Columns:  target, location, probe, scheduled_at_us (microseconds), outcome
Optional: duration_us (without it no latency is judged), reason, address,
          phase_dns_us, phase_connect_us, phase_tls_us, phase_wait_us,
          phase_transfer_us, http_status, metric_<name>
Written are deviations.parquet and incidents.parquet in DIR. Neither broker
nor store is needed.""",
)
def replay(
    checks: Annotated[Path, typer.Argument(metavar="CHECKS", help="A .parquet or .csv file of checks.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where the results go.")],
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", help="Intervals, locations and policies; not needed."),
    ] = None,
) -> None:
    """Run recorded checks through the same detection and write what would have come of it."""
    from forewarn.commands.replay import replay as run

    run(checks, out=out, config=config)


@app.command(
    short_help="Probe the targets of one location.",
    epilog="""\b
Example:
  forewarn producer --location ams --config forewarn.yaml --observe-port 9100""",
)
def producer(
    location: Annotated[str, typer.Option("--location", "-l", metavar="NAME", help="The location to probe from.")],
    *,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Of this producer, where several run at one location.")
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    observe_host: ObserveHost = "127.0.0.1",
    observe_port: ObservePort = None,
) -> None:
    """Probe the targets of one location and publish the checks, until SIGTERM."""
    from forewarn.commands.producer import producer as run

    run(location, config, data_dir, name=name, observe_host=observe_host, observe_port=observe_port)


@app.command(
    short_help="Run one of the stream workers.",
    epilog="""\b
Examples:
  forewarn worker detect --observe-port 9100
  forewarn worker sink --config forewarn.yaml

\b
detect     judges checks; several share the partitions
incidents  opens, escalates and resolves incidents
alerts     tells the channels
sink       stores everything in ClickHouse""",
)
def worker(
    which: Annotated[Worker, typer.Argument(metavar="detect|incidents|alerts|sink", help="Which one.")],
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    observe_host: ObserveHost = "127.0.0.1",
    observe_port: ObservePort = None,
    skip_gaps: Annotated[
        bool,
        typer.Option("--skip-gaps", help="Go on where messages are missing in a kept state and in the log."),
    ] = False,
) -> None:
    """Run one of the stream workers, until SIGTERM."""
    from forewarn.commands.worker import worker as run

    run(which.value, config, data_dir, observe_host=observe_host, observe_port=observe_port, skip_gaps=skip_gaps)


@app.command(
    short_help="Create or update topics and tables.",
    epilog="""\b
Example:
  forewarn migrate --config forewarn.yaml""",
)
def migrate(
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Create or update topics and tables, and record the config as a numbered version. Safe to repeat."""
    from forewarn.commands.migrate import migrate as run

    run(config, data_dir)


@app.command(
    short_help="Ask a running process whether it is well.",
    epilog="""\b
Example, in a Dockerfile:
  HEALTHCHECK CMD ["forewarn", "healthcheck", "--port", "9100"]""",
)
def healthcheck(
    port: Annotated[int, typer.Option("--port", "-p", metavar="PORT", min=1, max=65535, help="Its --observe-port.")],
    *,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Its --observe-host.")] = "127.0.0.1",
    timeout: Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="Longest wait.")] = 3.0,
) -> None:
    """Ask a running producer or worker whether it is well. Ends with 1 when it is not."""
    from forewarn.commands.healthcheck import healthcheck as run

    run(host, port, timeout_s=timeout)
