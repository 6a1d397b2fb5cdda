"""The options that many commands share, and the words that arguments may be."""

import enum
from pathlib import Path
from typing import Annotated

import typer


class Worker(enum.StrEnum):
    """The workers, each a consumer group of its own."""

    DETECT = "detect"
    INCIDENTS = "incidents"
    ALERTS = "alerts"
    SINK = "sink"


class Topic(enum.StrEnum):
    """What `tail` shows."""

    CHECKS = "checks"
    DEVIATIONS = "deviations"
    VERDICTS = "verdicts"
    INCIDENTS = "incidents"
    ALERTS = "alerts"
    DEAD_LETTERS = "dead-letters"
    ALL = "all"


DEFAULT_CONFIG = Path("forewarn.yaml")
DEFAULT_DATA_DIR = Path("forewarn-data")
ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", metavar="FILE", envvar="FOREWARN_CONFIG", help="The config file.")
]
DataDir = Annotated[
    Path,
    typer.Option("--data-dir", "-d", metavar="DIR", envvar="FOREWARN_DATA_DIR", help="Where this machine's files lie."),
]
ObservePort = Annotated[
    int | None,
    typer.Option(
        "--observe-port", metavar="PORT", min=0, max=65535, help="Serve /healthz and /metrics; 0: a free port."
    ),
]
ObserveHost = Annotated[
    str, typer.Option("--observe-host", metavar="ADDRESS", help="The address that it is served on.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
