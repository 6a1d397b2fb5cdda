"""The part of the config's shape that says what is probed: targets and their probes."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from forewarn.config.text import split_host_port
from forewarn.config.types import (
    AbsolutePath,
    ExistingFile,
    HeaderName,
    HeaderValue,
    Host,
    HttpUrl,
    Interval,
    Name,
    Port,
    Secret,
    StatusList,
    Timeout,
    substituted,
)
from producers.settings import ProbeKind

KINDS: Final[tuple[ProbeKind, ...]] = ("http", "tls", "tcp", "host")


class Section(BaseModel):
    """What all sections share: exact types, no unknown keys, descriptions from the docstrings below the keys."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )


class HttpSection(Section):
    """An HTTP request, and what a good response is."""

    url: HttpUrl
    """http or https address. May hold ${NAME}; userinfo and query values are masked wherever it is shown."""
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET"
    """Request method."""
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    """Request headers. Values may hold ${NAME} and are never shown."""
    body: Secret | None = None
    """Request body, sent as UTF-8. May hold ${NAME} (write $${ for ${ itself); never shown."""
    expect_status: StatusList = Field(default=[(200, 299)], json_schema_extra={"default": ["200-299"]})
    """Accepted statuses, single ones and ranges."""
    body_contains: Annotated[str, Field(min_length=1)] | None = None
    """The response must contain this text."""
    follow_redirects: bool = False
    """Follow up to 5 redirects instead of judging the first response."""
    verify_tls: bool = True
    """false accepts any certificate (its days left are still read)."""
    max_response_bytes: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1_000_000
    """A larger response is a failure."""
    ca_file: ExistingFile | None = None
    """PEM file of the authorities to trust instead of the public ones."""


class TlsSection(Section):
    """The certificate of any TLS port. Short form: `tls: example.org:443`."""

    host: Host
    """Host name or IP address. May hold ${NAME}."""
    port: Port = 443
    """TCP port."""
    server_name: Annotated[str, Field(min_length=1)] | None = None
    """Name that is asked for (SNI) and that the certificate must match. Default: the host."""
    verify: bool = True
    """false accepts any chain and name (the days left are still read)."""
    min_days_left: Annotated[float, Field(ge=0)] | None = None
    """Fewer days left are a failure. Default: none; `detection.certificate_horizon` warns earlier."""
    ca_file: ExistingFile | None = None
    """PEM file of the authorities to trust instead of the public ones."""


class TcpSection(Section):
    """A TCP connection, with an optional exchange. Short form: `tcp: example.org:25`."""

    host: Host
    """Host name or IP address. May hold ${NAME}."""
    port: Port
    """TCP port."""
    send: Secret | None = None
    """Sent first, as UTF-8. May hold ${NAME}; never shown."""
    expect: Annotated[str, Field(min_length=1)] | None = None
    """Must be within the first 4 KiB that come back."""


class HostSection(Section):
    """Load, memory and disks of the machine that the producer itself runs on."""

    mounts: Annotated[list[AbsolutePath], Field(min_length=1)] = ["/"]
    """Mount points whose free space and inodes are read."""


def _address(value: object, info: ValidationInfo) -> object:
    resolved = substituted(value, info)
    if not isinstance(resolved, str):
        return value
    host, port = split_host_port(resolved)
    return {"host": host, "port": port}


_Http = Annotated[
    HttpSection,
    BeforeValidator(
        lambda value: {"url": value} if isinstance(value, str) else value, json_schema_input_type=str | HttpSection
    ),
]
_Tls = Annotated[TlsSection, BeforeValidator(_address, json_schema_input_type=str | TlsSection)]
_Tcp = Annotated[TcpSection, BeforeValidator(_address, json_schema_input_type=str | TcpSection)]
_Host = Annotated[
    HostSection | None,  # `host:` with nothing behind it is the whole probe
    BeforeValidator(lambda value: {} if value is None else value, json_schema_input_type=HostSection | None),
]


class AnchorSection(Section):
    """One probe: exactly one of http, tls, tcp and host, and how often it runs."""

    http: _Http | None = None
    """An HTTP request. Short form: its URL."""
    tls: _Tls | None = None
    """The certificate of a TLS port. Short form: host:port."""
    tcp: _Tcp | None = None
    """A TCP connection. Short form: host:port."""
    host: _Host = None
    """The machine that the producer runs on."""
    interval: Interval | None = None
    """Time between two checks, 1s to 1d. Default: the target's, else `defaults.interval`."""
    timeout: Timeout | None = None
    """Deadline of one check, less than the interval."""


class ProbeSection(AnchorSection):
    """One probe of a target: exactly one of http, tls, tcp and host."""

    name: Name | None = None
    """Unique within the target. Default: the kind of the probe."""
    locations: Annotated[list[Name], Field(min_length=1)] | None = None
    """Where it runs. Default: the target's, else `defaults.locations`."""
