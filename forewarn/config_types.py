"""The kinds of values in a config: durations, sizes, names, addresses, secrets, files.

Each is an annotated type: pydantic validates it, and the JSON Schema describes it. Validators raise ValueError with
the sentence that the user reads; they never repeat a value that may hold a secret.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema

DURATION_PATTERN: Final = r"^[0-9]{1,9}(ms|s|m|h|d)$"
SIZE_PATTERN: Final = r"^[0-9]{1,9}(B|KiB|MiB|GiB)$"
IDENTIFIER_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9_]{0,62}$"
NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"

_DURATION_UNITS_US: Final = {"ms": 1_000, "s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6, "d": 86_400 * 10**6}
_SIZE_UNITS: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_VARIABLE: Final = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|\$\{")
_HOST_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_MAX_DURATION_US: Final = 100 * 366 * 86_400 * 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What values are resolved against.

    Attributes:
        env: Environment variables.
        directory: Of the config file; relative files lie there.
    """

    env: Mapping[str, str]
    directory: Path


def unset(name: str) -> ValueError:
    """Return the error for an environment variable that is not set."""
    return ValueError(f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}")


def substitute(text: str, env: Mapping[str, str]) -> str:
    """Return `text` with `${NAME}` and `${NAME:-default}` replaced; `$${` stands for `${` itself.

    Raises:
        ValueError: A variable is not set and has no default, or a `${` is not closed.
    """

    def value(match: re.Match[str]) -> str:
        if match.group() == "$${":
            return "${"
        name, default = match["name"], match["default"]
        if name is None:
            raise ValueError("expected ${NAME} or ${NAME:-default}; write $${ for ${ itself")
        found = env.get(name)
        if default is not None:  # as in a shell: an empty variable takes the default too
            return found or default
        if found is None:
            raise unset(name)
        return found

    return _VARIABLE.sub(value, text)


def _substituted(value: object, info: ValidationInfo) -> object:
    if isinstance(value, str) and isinstance(info.context, Surroundings):
        return substitute(value, info.context.env)
    return value


def _bad(kind: str, value: object) -> ValueError:
    return ValueError(f"expected {kind}, got {shown(value)}")


def shown(value: object) -> str:
    """Return a value as an error shows it: short, and as YAML writes it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "keys and values"
    if isinstance(value, str):
        return f"'{value[:60]}'" + ("…" if len(value) > 60 else "")
    return str(value)


def parse_duration(value: object) -> object:
    """Return microseconds for `500ms`, `30s`, `5m`, `1h`, `7d`.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, str) or re.fullmatch(DURATION_PATTERN, value) is None:
        raise _bad("a duration such as 30s, 5m, 1h or 7d", value)
    digits = value.rstrip("msdh")
    duration_us = int(digits) * _DURATION_UNITS_US[value[len(digits) :]]
    if duration_us > _MAX_DURATION_US:
        raise _bad("a duration of at most 100 years", value)
    return duration_us


def duration_text(duration_us: int) -> str:
    """Return a duration as a config writes it: the largest unit that divides it."""
    for unit, size_us in reversed(_DURATION_UNITS_US.items()):
        if duration_us % size_us == 0 and duration_us:
            return f"{duration_us // size_us}{unit}"
    return f"{duration_us / 10**6:g}s"


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


def _size(value: object) -> object:
    if not isinstance(value, str) or re.fullmatch(SIZE_PATTERN, value) is None:
        raise _bad("a size such as 64KiB or 512MiB", value)
    digits = value.rstrip("BKMGi")
    return int(digits) * _SIZE_UNITS[value[len(digits) :]]


_SECOND_US: Final = 10**6
_DAY_US: Final = 86_400 * _SECOND_US

Duration = Annotated[int, BeforeValidator(parse_duration), _within(1_000, 3660 * _DAY_US), _duration_schema("5m")]
Interval = Annotated[int, BeforeValidator(parse_duration), _within(_SECOND_US, _DAY_US), _duration_schema("30s")]
Timeout = Annotated[int, BeforeValidator(parse_duration), _within(10_000, _DAY_US), _duration_schema("10s")]
WholeDays = Annotated[int, BeforeValidator(parse_duration), _within(_DAY_US, 3660 * _DAY_US), _duration_schema("100d")]
Size = Annotated[int, BeforeValidator(_size), Field(ge=1), WithJsonSchema({"type": "string", "pattern": SIZE_PATTERN})]


def _name(value: str) -> str:
    if re.fullmatch(NAME_PATTERN, value) is None:
        raise _bad("a name of letters, digits, '.', '_' and '-' that begins with a letter or digit", value)
    return value


Name = Annotated[str, AfterValidator(_name), WithJsonSchema({"type": "string", "pattern": NAME_PATTERN})]


def _identifier(value: str) -> str:
    if re.fullmatch(IDENTIFIER_PATTERN, value) is None:
        raise _bad("a name of letters, digits and '_' that begins with a letter", value)
    return value


Identifier = Annotated[
    str, AfterValidator(_identifier), WithJsonSchema({"type": "string", "pattern": IDENTIFIER_PATTERN})
]
"""What may stand in SQL as it is."""


def _time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise _bad("an IANA time zone such as Europe/Berlin or UTC", value) from error
    return value


TimeZone = Annotated[str, AfterValidator(_time_zone), WithJsonSchema({"type": "string", "examples": ["Europe/Berlin"]})]


def _filled(value: str) -> str:
    if not value:
        raise ValueError("is empty")
    return value


EnvText = Annotated[str, BeforeValidator(_substituted), AfterValidator(_filled)]
"""A text in which environment variables are replaced: an address or a user's name."""

Secret = Annotated[str, BeforeValidator(_substituted), AfterValidator(_filled)]
"""The same, and never shown."""


def host_problem(host: str) -> str | None:
    """Return what is wrong with a host name or IP address, None if nothing."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        pass
    else:
        return None
    try:
        labels = host.rstrip(".").encode("idna").decode().split(".")
    except UnicodeError:
        labels = [""]
    if len(host) > 253 or not all(_HOST_LABEL.fullmatch(label) for label in labels):
        return "expected a host name or an IP address"
    if labels[-1].isdigit():
        return "expected a host name or an IP address; this looks like an address with a wrong number"
    return None


def _host(value: str) -> str:
    if (problem := host_problem(value)) is not None:
        raise ValueError(f"{problem}, got {shown(value)}")
    return value.strip("[]")


Host = Annotated[str, BeforeValidator(_substituted), AfterValidator(_host)]
Port = Annotated[int, Field(ge=1, le=65535)]


def split_url(text: str) -> SplitResult:
    """Return the parts of an http or https URL.

    Raises:
        ValueError: It is none. The text does not repeat it, for it may hold a secret.
    """
    expected = "expected a URL such as https://example.org/path"
    if re.search(r"[\s\x00-\x1f\x7f\\]", text):
        raise ValueError(f"a URL holds no blanks, control characters or backslashes, {expected}")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"not a URL ({str(error)[:60]}), {expected}") from error
    if parts.scheme not in {"http", "https"}:
        said = f"scheme '{parts.scheme}'" if "://" in text else "no scheme"
        raise ValueError(f"{said}, {expected}")
    if not host:
        raise ValueError(f"no host in the URL, {expected}")
    if (problem := host_problem(host)) is not None:
        raise ValueError(f"wrong host in the URL: {problem}")
    if port == 0:
        raise ValueError("port 0 in the URL, expected 1 to 65535")
    return parts


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


HttpUrl = Annotated[str, BeforeValidator(_substituted), AfterValidator(_url), _url_schema("https://example.org/path")]
StoreUrl = Annotated[
    str, BeforeValidator(_substituted), AfterValidator(_store_url), _url_schema("https://clickhouse:8443")
]
AppriseUrl = Annotated[str, BeforeValidator(_substituted), AfterValidator(_apprise_url), _url_schema("${OPS_URL}")]


def split_host_port(text: str) -> tuple[str, int]:
    """Return host and port of `example.org:443` or `[::1]:443`.

    Raises:
        ValueError: It is none.
    """
    host, colon, port = text.rpartition(":")
    numeric = re.fullmatch(r"[0-9]{1,5}", port) is not None and 1 <= int(port) <= 65535
    if not colon or not numeric or (":" in host and not host.startswith("[")):
        raise _bad("host:port such as example.org:443 or [::1]:443", text)
    return _host(host), int(port)


def _bootstrap_item(value: str) -> str:
    split_host_port(value)
    return value


def _comma_list(value: object, info: ValidationInfo) -> object:
    """Let one text name several brokers, as an environment variable does."""
    if isinstance(value, str):
        resolved = _substituted(value, info)
        return [part.strip() for part in str(resolved).split(",") if part.strip()]
    return value


HostPort = Annotated[str, BeforeValidator(_substituted), AfterValidator(_bootstrap_item)]
Bootstrap = Annotated[
    list[HostPort], BeforeValidator(_comma_list, json_schema_input_type=str | list[str]), Field(min_length=1)
]


def _resolved(value: object, info: ValidationInfo) -> Path:
    text = _substituted(value, info)
    if not isinstance(text, str) or not text:
        raise _bad("the path of a file", value)
    path = Path(text).expanduser()
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


_FILE_SCHEMA: Final[dict[str, Any]] = {"type": "string", "minLength": 1}
ExistingFile = Annotated[Path, BeforeValidator(_existing), WithJsonSchema(_FILE_SCHEMA)]
"""A file, relative to the config's directory."""

SecretFile = Annotated[str, BeforeValidator(_content), WithJsonSchema(_FILE_SCHEMA)]
"""The path of a file whose content is the secret, as Docker and Kubernetes mount it; holds the content."""


def _status_range(value: object) -> tuple[int, int]:
    low, high = value, value
    if isinstance(value, str) and (match := re.fullmatch(r"([0-9]{3})(?:-([0-9]{3}))?", value)) is not None:
        low, high = int(match[1]), int(match[2] or match[1])
    if isinstance(low, bool) or not isinstance(low, int) or not isinstance(high, int):
        raise _bad("a status such as 204 or a range such as 200-299", value)
    if not 100 <= low <= high <= 599:
        raise _bad("statuses from 100 to 599, the lower one first", value)
    return (low, high)


def parse_statuses(text: str) -> frozenset[int]:
    """Return the statuses of `200-299,301`.

    Raises:
        ValueError: It is no such list.
    """
    found: set[int] = set()
    for part in text.split(","):
        low, high = _status_range(part.strip())
        found.update(range(low, high + 1))
    return frozenset(found)


_STATUS_SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [
        {"type": "integer", "minimum": 100, "maximum": 599},
        {"type": "string", "pattern": "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$"},
    ]
}
StatusRange = Annotated[tuple[int, int], BeforeValidator(_status_range), WithJsonSchema(_STATUS_SCHEMA)]
StatusList = Annotated[
    list[StatusRange],
    BeforeValidator(lambda value: value if isinstance(value, list) else [value]),
    Field(min_length=1),
]
