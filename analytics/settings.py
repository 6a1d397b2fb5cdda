"""The part of the config that the store and the reports need, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """How to reach ClickHouse over HTTP.

    Attributes:
        url: `http://127.0.0.1:8123` or `https://...`; no userinfo in it.
        token: Bearer token of the embedded server, or a JWT of ClickHouse Cloud; else user and password.
        checks_ttl_days: Raw checks older than this are dropped; what people need for years is kept for ever.
        summaries_ttl_days: The same for summaries, producers' health, marks and dead letters.
    """

    url: str
    database: str = "forewarn"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    checks_ttl_days: int = 100
    summaries_ttl_days: int = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchdogSettings:
    """When the dead-man's ping goes out.

    Attributes:
        ping_url: Is asked by GET; whoever knows it can ping, so it is a secret.
        locations: By each location that must report: how old its newest stored check may be, microseconds.
    """

    ping_url: str = field(repr=False)
    interval_us: int = 60_000_000
    locations: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSettings:
    """The accounting policy that a report prints.

    Attributes:
        time_zone: IANA name; months begin and end at midnight there.
        unknown: What unknown time counts as: `excluded` (out of numerator and denominator), `up`, or `down`.
        objective: Availability promised, 0..1.
    """

    time_zone: str = "UTC"
    unknown: Literal["excluded", "up", "down"] = "excluded"
    objective: float = 0.999
