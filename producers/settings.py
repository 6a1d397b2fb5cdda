"""The part of the config that producers need, as frozen values; `forewarn.config.config` reads them from YAML."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """What an http probe asks and expects.

    Attributes:
        url: http or https. Userinfo and query values are masked wherever it is shown.
        headers: Sent as they are; the values are never shown.
        body: Sent as UTF-8.
        expect_status: Accepted codes.
        body_contains: The response must contain this text, decoded by its declared charset.
        follow_redirects: Follow up to 5 redirects; each hop has its own connection, phases are summed.
        verify_tls: False accepts any certificate (its days left are still read).
        max_response_bytes: A larger response is a failure `response_too_large`.
    """

    url: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: str | None = field(default=None, repr=False)
    expect_status: frozenset[int] = frozenset(range(200, 300))
    body_contains: str | None = None
    follow_redirects: bool = False
    verify_tls: bool = True
    max_response_bytes: int = 1_000_000
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsOptions:
    """What a tls probe looks at.

    Attributes:
        server_name: The name in SNI that the certificate must match; the host by default.
        min_days_left: Fewer days are a failure; None leaves it to the forecast.
    """

    host: str
    port: int = 443
    server_name: str | None = None
    verify: bool = True
    min_days_left: float | None = None
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpOptions:
    """What a tcp probe connects to; `send` goes out first, then `expect` must be in the first 4 KiB."""

    host: str
    port: int
    send: str | None = field(default=None, repr=False)
    expect: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOptions:
    """What a host probe reads on the machine that the producer runs on."""

    mounts: tuple[str, ...] = ("/",)


ProbeOptions = HttpOptions | TlsOptions | TcpOptions | HostOptions
ProbeKind = Literal["http", "tls", "tcp", "host"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One probe of a target.

    Attributes:
        name: Unique within the target.
        timeout_us: The deadline of one check, less than the interval.
        locations: Where it runs.
    """

    name: str
    kind: ProbeKind
    interval_us: int
    timeout_us: int
    locations: tuple[str, ...]
    options: ProbeOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is watched. `id` is `customer/name`."""

    id: str
    probes: tuple[Probe, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """How to reach Kafka.

    Attributes:
        bootstrap: `host:port`, one or more.
        security: `plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`.
        sasl_mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.
        partitions: Of `checks`; another count at the broker is refused at start.
        forgetful: The broker keeps nothing over a restart (the embedded one), so an outbox is trimmed only
            when the store has what it holds.
    """

    bootstrap: tuple[str, ...]
    security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = "plaintext"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    partitions: int = 12
    replication_factor: int = 1
    retention_us: int = 7 * 86_400 * 1_000_000
    forgetful: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerSettings:
    """One producer process.

    Attributes:
        name: Unique among producers; the location's name unless several run at one location.
        concurrency: The most checks under way at once.
        spool_dir: Owned by this process alone.
        spool_max_bytes: At this bound the oldest go, counted and alarmed.
        pack_us: How long a message may wait for more checks.
        observe_port: Port of /healthz and /metrics on `observe_host`; 0 takes a free one, None has none.
    """

    name: str
    location: str
    targets: tuple[Target, ...]
    spool_dir: Path
    concurrency: int = 100
    spool_max_bytes: int = 512 * 1024 * 1024
    pack_us: int = 200_000
    observe_host: str = "127.0.0.1"
    observe_port: int | None = None
