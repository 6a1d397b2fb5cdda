"""The kinds of values in a config: durations, sizes, names, addresses, secrets, files.

Each is an annotated type: pydantic validates it, and the JSON Schema describes it. Validators raise ValueError with
the sentence that the user reads; they never repeat a value that may hold a secret.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema

from forewarn.config.text import (
    DURATION_PATTERN,
    SIZE_PATTERN,
    checked_host,
    duration_text,
    expected,
    parse_duration,
    parse_size,
    split_host_port,
    split_url,
    status_range,
    substitute,
)

IDENTIFIER_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9_]{0,62}$"
NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
TARGET_PATTERN: Final = r"^([A-Za-z0-9][A-Za-z0-9._-]{0,99}/)?[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What values are resolved against.

    Attributes:
        env: Environment variables.
        directory: Of the config file; relative files lie there.
    """

    env: Mapping[str, str]
    directory: Path


def substituted(value: object, info: ValidationInfo) -> object:
    """Return a text with its environment variables replaced, anything else as it is."""
    if isinstance(value, str) and isinstance(info.context, Surroundings):
        return substitute(value, info.context.env)
    return value


def _within(least_us: int, most_us: int) -> AfterValidator:
    def check(duration_us: int) -> int:
        if duration_us < least_us:
            raise ValueError(f"expected at least {duration_text(least_us)}, got {duration_text(duration_us)}")
        if duration_us > most_us:
            raise ValueError(f"expected at most {duration_text(most_us)}, got {duration_text(duration_us)}")
        return duration_us

    return AfterValidator(check)


def _duration_schema(said: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": [said]})


_SECOND_US: Final = 10**6
_DAY_US: Final = 86_400 * _SECOND_US

Duration = Annotated[int, BeforeValidator(parse_duration), _within(1_000, 3660 * _DAY_US), _duration_schema("5m")]
Interval = Annotated[int, BeforeValidator(parse_duration), _within(_SECOND_US, _DAY_US), _duration_schema("30s")]
Timeout = Annotated[int, BeforeValidator(parse_duration), _within(10_000, _DAY_US), _duration_schema("10s")]
WholeDays = Annotated[int, BeforeValidator(parse_duration), _within(_DAY_US, 3660 * _DAY_US), _duration_schema("100d")]
Size = Annotated[
    int, BeforeValidator(parse_size), Field(ge=1), WithJsonSchema({"type": "string", "pattern": SIZE_PATTERN})
]


def _name(value: str) -> str:
    if re.fullmatch(NAME_PATTERN, value) is None:
        raise expected("a name of letters, digits, '.', '_' and '-' that begins with a letter or digit", value)
    return value


Name = Annotated[str, AfterValidator(_name), WithJsonSchema({"type": "string", "pattern": NAME_PATTERN})]


def _target_ref(value: str) -> str:
    if re.fullmatch(TARGET_PATTERN, value) is None:
        raise expected("a target's name, or customer/name", value)
    return value


TargetRef = Annotated[str, AfterValidator(_target_ref), WithJsonSchema({"type": "string", "pattern": TARGET_PATTERN})]
"""Another target: its name, where it is of the same customer, or its id."""


def _identifier(value: str) -> str:
    if re.fullmatch(IDENTIFIER_PATTERN, value) is None:
        raise expected("a name of letters, digits and '_' that begins with a letter", value)
    return value


Identifier = Annotated[
    str, AfterValidator(_identifier), WithJsonSchema({"type": "string", "pattern": IDENTIFIER_PATTERN})
]
"""What may stand in SQL as it is."""


def _time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise expected("an IANA time zone such as Europe/Berlin or UTC", value) from error
    return value


TimeZone = Annotated[str, AfterValidator(_time_zone), WithJsonSchema({"type": "string", "examples": ["Europe/Berlin"]})]


def _filled(value: str) -> str:
    if not value:
        raise ValueError("is empty")
    return value


EnvText = Annotated[str, BeforeValidator(substituted), AfterValidator(_filled)]
"""A text in which environment variables are replaced: an address or a user's name."""

Secret = Annotated[str, BeforeValidator(substituted), AfterValidator(_filled)]
"""The same, and never shown."""


HEADER_NAME_PATTERN: Final = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
"""A token of RFC 9110, section 5.6.2."""
_SET_BY_PROBE: Final = frozenset({"connection", "content-length", "transfer-encoding"})


def _header_name(value: str) -> str:
    if re.fullmatch(HEADER_NAME_PATTERN, value) is None:
        raise ValueError("not a header name, expected letters, digits and signs such as '-', without blanks and colons")
    if value.lower() in _SET_BY_PROBE:
        raise ValueError("the probe sets this header itself")
    return value


def _header_value(value: str) -> str:
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value) is not None:
        raise ValueError("the value holds a line break or another control character, expected one line of text")
    if value.strip(" \t") != value:
        raise ValueError("the value begins or ends with a blank, expected none there")
    return value


HeaderName = Annotated[
    str, AfterValidator(_header_name), WithJsonSchema({"type": "string", "pattern": HEADER_NAME_PATTERN})
]
HeaderValue = Annotated[Secret, AfterValidator(_header_value)]
"""Sent as UTF-8 and never shown; what RFC 9110, section 5.5 allows."""


Host = Annotated[str, BeforeValidator(substituted), AfterValidator(checked_host)]
Port = Annotated[int, Field(ge=1, le=65535)]


def _url(value: str) -> str:
    split_url(value)
    return value


def _store_url(value: str) -> str:
    parts = split_url(value)
    if parts.username is not None or parts.password is not None:
        raise ValueError("user and password do not belong into the URL, expected the keys user and password beside it")
    if parts.query or parts.fragment:
        raise ValueError("expected the server's address only, such as https://clickhouse.example.org:8443")
    return value


def _apprise_url(value: str) -> str:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://\S", value) is None:
        raise ValueError("expected an Apprise URL such as mailto://user:password@example.org or tgram://token/chat")
    return value


def _url_schema(example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "minLength": 1, "examples": [example]})


HttpUrl = Annotated[str, BeforeValidator(substituted), AfterValidator(_url), _url_schema("https://example.org/path")]
StoreUrl = Annotated[
    str, BeforeValidator(substituted), AfterValidator(_store_url), _url_schema("https://clickhouse:8443")
]
AppriseUrl = Annotated[str, BeforeValidator(substituted), AfterValidator(_apprise_url), _url_schema("${OPS_URL}")]


def _bootstrap_item(value: str) -> str:
    split_host_port(value)
    return value


def _comma_list(value: object, info: ValidationInfo) -> object:
    """Let one text name several brokers, as an environment variable does."""
    if isinstance(value, str):
        resolved = substituted(value, info)
        return [part.strip() for part in str(resolved).split(",") if part.strip()]
    return value


HostPort = Annotated[str, BeforeValidator(substituted), AfterValidator(_bootstrap_item)]
Bootstrap = Annotated[
    list[HostPort], BeforeValidator(_comma_list, json_schema_input_type=str | list[str]), Field(min_length=1)
]


def _resolved(value: object, info: ValidationInfo) -> Path:
    text = substituted(value, info)
    if not isinstance(text, str) or not text:
        raise expected("the path of a file", value)
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError(f"the home directory in {text} is not known") from error
    return info.context.directory / path if isinstance(info.context, Surroundings) else path


def _existing(value: object, info: ValidationInfo) -> object:
    path = _resolved(value, info)
    if not path.is_file():
        raise ValueError(f"the file {path} does not exist")
    return path


def _content(value: object, info: ValidationInfo) -> object:
    path = _resolved(value, info)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ValueError(f"the file {path} cannot be read: {cause}") from error
    secret = text.rstrip("\r\n")
    if not secret:
        raise ValueError(f"the file {path} is empty")
    return secret


def _absolute(value: str) -> str:
    if not value.startswith("/"):
        raise expected("an absolute path such as / or /srv", value)
    return value


AbsolutePath = Annotated[str, AfterValidator(_absolute), WithJsonSchema({"type": "string", "pattern": "^/"})]
_FILE_SCHEMA: Final[dict[str, Any]] = {"type": "string", "minLength": 1}
ExistingFile = Annotated[Path, BeforeValidator(_existing), WithJsonSchema(_FILE_SCHEMA)]
"""A file, relative to the config's directory."""

SecretFile = Annotated[str, BeforeValidator(_content), WithJsonSchema(_FILE_SCHEMA)]
"""The path of a file whose content is the secret, as Docker and Kubernetes mount it; holds the content."""


_STATUS_SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [
        {"type": "integer", "minimum": 100, "maximum": 599},
        {"type": "string", "pattern": "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$"},
    ]
}
StatusRange = Annotated[tuple[int, int], BeforeValidator(status_range), WithJsonSchema(_STATUS_SCHEMA)]
StatusList = Annotated[
    list[StatusRange],
    BeforeValidator(
        lambda value: value if isinstance(value, list) else [value],
        json_schema_input_type=StatusRange | list[StatusRange],
    ),
    Field(min_length=1),
]
