"""The shape of the config file: one pydantic model a section, each key described where it stands.

The descriptions are what `forewarn schema` gives to editors and what docs/config.md lists. Defaults that belong to a
contract are taken from there, not repeated.
"""

from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from analytics.settings import ReportSettings, StoreSettings
from forewarn.config.policy import Budgets, Detection, Incidents, TargetDetection, TargetIncidents
from forewarn.config.probes import AnchorSection, ProbeSection, Section
from forewarn.config.text import duration_text, split_url
from forewarn.config.types import (
    AppriseUrl,
    Bootstrap,
    Duration,
    EnvText,
    ExistingFile,
    HttpUrl,
    Identifier,
    Interval,
    Name,
    Secret,
    SecretFile,
    Size,
    StoreUrl,
    TargetRef,
    Timeout,
    TimeZone,
    WholeDays,
)
from producers.settings import LogSettings, ProducerSettings
from streams.policy import AlertPolicy

_LOG: Final = LogSettings(bootstrap=())
_STORE: Final = StoreSettings(url="")
_PRODUCER: Final = ProducerSettings(name="", location="", targets=(), spool_dir=Path())
_ALERTS: Final = AlertPolicy()
_REPORT: Final = ReportSettings()
DAY_US: Final = 86_400 * 10**6


def _shown(default: object, text: str) -> Any:
    """Return a field whose default is shown in the schema as a config writes it."""
    return Field(default=default, json_schema_extra={"default": text})


def _one(**secrets: str | None) -> None:
    if sum(value is not None for value in secrets.values()) > 1:
        raise ValueError(f"expected only one of {' and '.join(secrets)}")


class Location(Section):
    """A place that checks are run from."""

    name: Name
    """Unique among the locations."""
    anchor: AnchorSection | None = None
    """A check of something that always answers: when it fails, this location is in trouble, not the targets."""


class Log(Section):
    """How to reach Kafka. Absent: the embedded broker of `forewarn up`."""

    bootstrap: Bootstrap
    """Brokers as host:port; a list, or one text with commas. May hold ${NAME}."""
    security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = _LOG.security
    """How the connection is secured."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = _LOG.sasl_mechanism
    """How the user proves who it is."""
    username: EnvText | None = None
    """With sasl_plaintext and sasl_ssl. May hold ${NAME}."""
    password: Secret | None = None
    """Its password. May hold ${NAME}."""
    password_file: SecretFile | None = None
    """A file that holds the password."""
    ca_file: ExistingFile | None = None
    """PEM file of the authority of the brokers' certificates. Default: the public ones."""
    partitions: Annotated[int, Field(ge=1, le=1024)] = _LOG.partitions
    """Partitions of the topic checks; fixed when it is made, another number is refused."""
    replication_factor: Annotated[int, Field(ge=1, le=15)] = _LOG.replication_factor
    """Copies of each partition that are asked for when topics are made."""
    retention: Duration = _shown(_LOG.retention_us, duration_text(_LOG.retention_us))
    """How long messages are kept; longer than the longest store outage that must not lose anything."""

    @model_validator(mode="after")
    def _credentials(self) -> Self:
        _one(password=self.password, password_file=self.password_file)
        secret = self.password if self.password is not None else self.password_file
        sasl = self.security.startswith("sasl_")
        if sasl and (self.username is None or secret is None):
            raise ValueError(f"security {self.security} needs username and password (or password_file)")
        if not sasl and (self.username is not None or secret is not None):
            raise ValueError(f"username and password need security sasl_ssl or sasl_plaintext, not {self.security}")
        return self


class Store(Section):
    """How to reach ClickHouse over HTTP. Absent: the embedded store of `forewarn up`."""

    url: StoreUrl
    """http or https address of the server. May hold ${NAME}."""
    database: Identifier = _STORE.database
    """Database of forewarn's tables."""
    user: EnvText | None = None
    """May hold ${NAME}."""
    password: Secret | None = None
    """May hold ${NAME}."""
    password_file: SecretFile | None = None
    """A file that holds the password."""
    token: Secret | None = None
    """Bearer token instead of user and password. May hold ${NAME}."""
    token_file: SecretFile | None = None
    """A file that holds the token."""
    ca_file: ExistingFile | None = None
    """PEM file of the authority of the server's certificate. Default: the public ones."""
    checks_ttl: WholeDays = _shown(_STORE.checks_ttl_days * DAY_US, f"{_STORE.checks_ttl_days}d")
    """Raw checks older than this are dropped. Verdicts, incidents, alerts and rollups never are."""
    summaries_ttl: WholeDays = _shown(_STORE.summaries_ttl_days * DAY_US, f"{_STORE.summaries_ttl_days}d")
    """The same for slot summaries, producers' health and dead letters."""

    @model_validator(mode="after")
    def _credentials(self) -> Self:
        _one(password=self.password, password_file=self.password_file, token=self.token, token_file=self.token_file)
        secret = self.password if self.password is not None else self.password_file
        token = self.token if self.token is not None else self.token_file
        if secret is not None and self.user is None:
            raise ValueError("a password needs a user")
        if token is not None and self.user is not None:
            raise ValueError("expected either user and password, or a token")
        return self


class Embedded(Section):
    """The embedded store of `forewarn up` (with a `store` section: its own keys)."""

    store_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Port on 127.0.0.1 of its ClickHouse HTTP interface; 0 takes a free one."""
    checks_ttl: WholeDays = _shown(_STORE.checks_ttl_days * DAY_US, f"{_STORE.checks_ttl_days}d")
    """Raw checks older than this are dropped. Verdicts, incidents, alerts and rollups never are."""
    summaries_ttl: WholeDays = _shown(_STORE.summaries_ttl_days * DAY_US, f"{_STORE.summaries_ttl_days}d")
    """The same for slot summaries, producers' health and dead letters."""


class Producer(Section):
    """Bounds of each producer process."""

    concurrency: Annotated[int, Field(ge=1, le=10_000)] = _PRODUCER.concurrency
    """The most checks under way at once."""
    spool_max: Size = _shown(_PRODUCER.spool_max_bytes, "512MiB")
    """Size of the spool on disk; at this bound the oldest messages go, counted and alarmed."""
    pack: Duration = _shown(_PRODUCER.pack_us, duration_text(_PRODUCER.pack_us))
    """How long a message may wait for more checks."""


class Channel(Section):
    """Where alerts go: exactly one of apprise and webhook."""

    name: Name
    """Unique among the channels."""
    apprise: AppriseUrl | None = None
    """URL of one of the services that Apprise knows (mail, chat, telephone, ...). May hold ${NAME}; never shown."""
    apprise_file: SecretFile | None = None
    """A file that holds this URL."""
    webhook: HttpUrl | None = None
    """http or https address that gets a JSON object by POST. May hold ${NAME}; never shown."""
    webhook_file: SecretFile | None = None
    """A file that holds this address."""
    pages: bool = False
    """true: wakes a person, so it gets only what pages. Others get everything."""

    @field_validator("webhook_file")
    @classmethod
    def _webhook_in_file(cls, value: str | None) -> str | None:
        if value is not None:
            split_url(value)
        return value

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        addresses = (self.apprise, self.apprise_file, self.webhook, self.webhook_file)
        if sum(address is not None for address in addresses) != 1:
            raise ValueError("a channel needs exactly one of apprise, apprise_file, webhook and webhook_file")
        return self


def _never(value: object) -> object:
    return None if value == "never" else value


class Alerts(Section):
    """Who is told."""

    reminder: Annotated[
        Duration | None, BeforeValidator(_never, json_schema_input_type=Duration | Literal["never"])
    ] = _shown(_ALERTS.reminder_us, "1h")
    """An open, unacknowledged outage is told again after this; `never` is possible."""
    timeout: Timeout = _shown(_ALERTS.timeout_us, duration_text(_ALERTS.timeout_us))
    """Deadline of one delivery."""
    give_up: Duration = _shown(_ALERTS.give_up_us, duration_text(_ALERTS.give_up_us))
    """A delivery that fails is tried again for so long, then recorded as given up."""
    channels: list[Channel] = Field(default_factory=list)
    """Where alerts go. None: alerts are recorded, nobody is told."""


class Watchdog(Section):
    """A dead-man's ping to a service outside, which alarms when it stops: sent while all works, probe to stored row."""

    ping_url: HttpUrl | None = None
    """http or https address that is asked by GET, such as one of Healthchecks. May hold ${NAME}; never shown."""
    ping_url_file: SecretFile | None = None
    """A file that holds this address."""
    interval: Interval = _shown(60 * 10**6, "1m")
    """Time between two pings; the service's grace should be some minutes more."""

    @field_validator("ping_url_file")
    @classmethod
    def _url_in_file(cls, value: str | None) -> str | None:
        if value is not None:
            split_url(value)
        return value

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        _one(ping_url=self.ping_url, ping_url_file=self.ping_url_file)
        if self.ping_url is None and self.ping_url_file is None:
            raise ValueError("expected ping_url or ping_url_file")
        return self


class Report(Section):
    """The accounting policy of SLA reports."""

    time_zone: TimeZone = _REPORT.time_zone
    """IANA name; months begin and end at midnight there."""
    unknown: Literal["excluded", "up", "down"] = _REPORT.unknown
    """What unknown time counts as: out of numerator and denominator, up, or down."""
    objective: Annotated[float, Field(gt=0, le=1)] = _REPORT.objective
    """Availability that is promised, 0.999 for 99.9 %."""


class Defaults(Section):
    """What targets have that do not say otherwise."""

    interval: Interval = _shown(30 * 10**6, "30s")
    """Time between two checks, 1s to 1d."""
    timeout: Timeout | None = None
    """Deadline of one check. Default: 10s, or half of the interval if that is shorter."""
    locations: Annotated[list[Name], Field(min_length=1)] | None = None
    """Where probes run. Default: all locations (a host probe names its own)."""


class Target(Section):
    """What is watched. Short form: `url: https://example.org` alone."""

    name: Name | None = None
    """Unique within the customer. Default, with `url`: the URL's host."""
    customer: Name = "main"
    """Whose it is. `customer/name` is the target's id."""
    url: HttpUrl | None = None
    """Short form instead of `probes`: an http probe, and for https a tls probe beside it."""
    interval: Interval | None = None
    """Time between two checks, 1s to 1d. Default: `defaults.interval`."""
    timeout: Timeout | None = None
    """Deadline of one check, less than the interval. Default: `defaults.timeout`."""
    locations: Annotated[list[Name], Field(min_length=1)] | None = None
    """Where the probes run. Default: `defaults.locations`."""
    group: Name | None = None
    """What it shares with others (a cluster, a hoster): those of one group that fail together are one incident."""
    depends_on: Annotated[list[TargetRef], Field(min_length=1)] | None = None
    """Targets whose failure explains this one's: it is recorded then, and wakes nobody. `name`, or `customer/name`."""
    detection: TargetDetection | None = None
    """Overrides single keys of the top's `detection`."""
    incidents: TargetIncidents | None = None
    """Overrides single keys of the top's `incidents`."""
    probes: Annotated[list[ProbeSection], Field(min_length=1)] | None = None
    """What is run against it."""


class Root(Section):
    """The config of forewarn."""

    version: Literal[1] = 1
    """Version of this file's form."""
    locations: Annotated[list[Location], Field(min_length=1)] | None = None
    """Places that checks are run from. Default: one, named local."""
    log: Log | None = None
    """Kafka. Absent: the embedded broker."""
    store: Store | None = None
    """ClickHouse. Absent: the embedded store."""
    embedded: Embedded = Embedded()
    """The embedded store."""
    producer: Producer = Producer()
    """Bounds of each producer process."""
    policy: Budgets = Budgets()
    """How much noise is allowed."""
    detection: Detection = Detection()
    """How series are judged."""
    incidents: Incidents = Incidents()
    """When incidents open, escalate, resolve, and page."""
    alerts: Alerts = Alerts()
    """Who is told."""
    watchdog: Watchdog | None = None
    """A ping to a service outside while all works."""
    report: Report = Report()
    """Accounting policy of SLA reports."""
    defaults: Defaults = Defaults()
    """What targets have that do not say otherwise."""
    targets: Annotated[list[Target], Field(min_length=1)]
    """What is watched."""
