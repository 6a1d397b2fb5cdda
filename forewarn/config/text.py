"""How values of a config are written: durations, sizes, hosts, URLs, statuses, environment variables.

Plain functions from text to value. They raise ValueError with the sentence that the user reads, and never repeat a
value that may hold a secret.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, urlsplit

DURATION_PATTERN: Final = r"^[0-9]{1,9}(ms|s|m|h|d)$"
SIZE_PATTERN: Final = r"^[0-9]{1,9}(B|KiB|MiB|GiB)$"

_DURATION_UNITS_US: Final = {"ms": 1_000, "s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6, "d": 86_400 * 10**6}
_SIZE_UNITS: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_VARIABLE: Final = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|\$\{")
_HOST_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_MAX_DURATION_US: Final = 100 * 366 * 86_400 * 10**6


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
            raise ValueError(f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}")
        return found

    return _VARIABLE.sub(value, text)


def expected(kind: str, value: object) -> ValueError:
    """Return the error for a value that is something else."""
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
        raise expected("a duration such as 30s, 5m, 1h or 7d", value)
    digits = value.rstrip("msdh")
    duration_us = int(digits) * _DURATION_UNITS_US[value[len(digits) :]]
    if duration_us > _MAX_DURATION_US:
        raise expected("a duration of at most 100 years", value)
    return duration_us


def duration_text(duration_us: int) -> str:
    """Return a duration as a config writes it: the largest unit that divides it."""
    for unit, size_us in reversed(_DURATION_UNITS_US.items()):
        if duration_us % size_us == 0 and duration_us:
            return f"{duration_us // size_us}{unit}"
    return f"{duration_us / 10**6:g}s"


def parse_size(value: object) -> object:
    """Return bytes for `64KiB`, `512MiB`.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, str) or re.fullmatch(SIZE_PATTERN, value) is None:
        raise expected("a size such as 64KiB or 512MiB", value)
    digits = value.rstrip("BKMGi")
    return int(digits) * _SIZE_UNITS[value[len(digits) :]]


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


def checked_host(value: str) -> str:
    """Return a host name or IP address, an IPv6 one without its brackets.

    Raises:
        ValueError: It is none.
    """
    if (problem := host_problem(value)) is not None:
        raise ValueError(f"{problem}, got {shown(value)}")
    return value.strip("[]")


def split_url(text: str) -> SplitResult:
    """Return the parts of an http or https URL.

    Raises:
        ValueError: It is none. The text does not repeat it, for it may hold a secret.
    """
    wanted = "expected a URL such as https://example.org/path"
    if re.search(r"[\s\x00-\x1f\x7f\\]", text):
        raise ValueError(f"a URL holds no blanks, control characters or backslashes, {wanted}")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"not a URL ({str(error)[:60]}), {wanted}") from error
    if parts.scheme not in {"http", "https"}:
        said = f"scheme '{parts.scheme}'" if "://" in text else "no scheme"
        raise ValueError(f"{said}, {wanted}")
    if not host:
        raise ValueError(f"no host in the URL, {wanted}")
    if (problem := host_problem(host)) is not None:
        raise ValueError(f"wrong host in the URL: {problem}")
    if port == 0:
        raise ValueError("port 0 in the URL, expected 1 to 65535")
    return parts


def split_host_port(text: str) -> tuple[str, int]:
    """Return host and port of `example.org:443` or `[::1]:443`.

    Raises:
        ValueError: It is none.
    """
    host, colon, port = text.rpartition(":")
    numeric = re.fullmatch(r"[0-9]{1,5}", port) is not None and 1 <= int(port) <= 65535
    if not colon or not numeric or (":" in host and not host.startswith("[")):
        raise expected("host:port such as example.org:443 or [::1]:443", text)
    return checked_host(host), int(port)


def status_range(value: object) -> tuple[int, int]:
    """Return the first and the last status of `204` or `200-299`.

    Raises:
        ValueError: It is no such range.
    """
    low, high = value, value
    if isinstance(value, str) and (match := re.fullmatch(r"([0-9]{3})(?:-([0-9]{3}))?", value)) is not None:
        low, high = int(match[1]), int(match[2] or match[1])
    if isinstance(low, bool) or not isinstance(low, int) or not isinstance(high, int):
        raise expected("a status such as 204 or a range such as 200-299", value)
    if not 100 <= low <= high <= 599:
        raise expected("statuses from 100 to 599, the lower one first", value)
    return (low, high)


def parse_statuses(text: str) -> frozenset[int]:
    """Return the statuses of `200-299,301`.

    Raises:
        ValueError: It is no such list.
    """
    found: set[int] = set()
    for part in text.split(","):
        low, high = status_range(part.strip())
        found.update(range(low, high + 1))
    return frozenset(found)
