"""The one way to the store: clickhouse-connect over HTTP, to the embedded server and to a real one alike."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import clickhouse_connect
import urllib3.exceptions
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error, OperationalError
from clickhouse_connect.driver.httpclient import HttpClient
from urllib3.util import Timeout

from analytics.errors import StoreRefusedError, StoreUnavailableError
from analytics.settings import StoreSettings
from producers.errors import ForewarnError
from producers.masking import mask_url

CONNECT_TIMEOUT_S: Final = 5
FIRST_ANSWER_TIMEOUT_S: Final = 10
"""Of the question that a connection begins with: it costs the store nothing, so a late answer is none."""

ANSWER_TIMEOUT_S: Final = 300
# Codes that pass by themselves: time, memory, too many queries or parts, replicas that catch up, a server that ends.
_PASSING: Final = frozenset(
    {3, 159, 160, 202, 203, 209, 210, 225, 236, 241, 242, 243, 252, 279, 285, 319, 425, 439, 999}
)
LOGIN: Final = frozenset({192, 193, 194, 516})
"""Codes that say that the user, its password or the token are wrong."""
_NOT_MIGRATED: Final = frozenset({16, 47, 60, 81})
_SERVERS_TEXT: Final = re.compile(r"server response: (.*)", re.DOTALL)
_VERSION: Final = re.compile(r" \(version [^()]*(\([^()]*\))?\)| \(for url [^)]*\)")
_CODE: Final = re.compile(r"^Code: \d+\. DB::Exception: ")
_STATEMENT: Final = re.compile(r"[.:]? in scope .*", re.IGNORECASE)
_NO_TABLE: Final = re.compile(r"^Unknown table expression identifier '([^']+)'$")
_MOST_TEXT: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A store's URL, taken apart."""

    scheme: str
    host: str
    port: int
    path: str
    shown: str


def read_address(url: str) -> Address:
    """Take the store's URL apart.

    Raises:
        StoreRefusedError: If it is no http or https URL with a host.
    """
    shown = mask_url(url)
    try:
        parts = urlsplit(url)
        port = parts.port or (8443 if parts.scheme == "https" else 8123)
    except ValueError:
        raise StoreRefusedError(f"the store's URL is not valid: {shown}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise StoreRefusedError(f"the store's URL must begin with http:// or https:// and name a host: {shown}")
    return Address(scheme=parts.scheme, host=parts.hostname, port=port, path=parts.path.strip("/"), shown=shown)


def client_options(settings: StoreSettings, *, database: str | None) -> dict[str, Any]:
    """Return what `clickhouse_connect.get_client` and `get_async_client` need.

    UTC columns come back as aware datetimes; every insert and query is its own request without a session, so one
    client may be used by several threads at once.
    """
    address = read_address(settings.url)
    options: dict[str, Any] = {
        "interface": address.scheme,
        "host": address.host,
        "port": address.port,
        "database": database,
        "compress": "lz4",
        "tz_mode": "aware",
        "connect_timeout": CONNECT_TIMEOUT_S,
        "send_receive_timeout": ANSWER_TIMEOUT_S,
        "autogenerate_session_id": False,
        "client_name": "forewarn",
    }
    if address.path:
        options["proxy_path"] = address.path
    if settings.token is not None:
        options["access_token"] = settings.token
    else:
        options["username"] = settings.user or "default"
        options["password"] = settings.password or ""
    if settings.ca_file is not None:
        if not settings.ca_file.is_file():
            raise StoreRefusedError(f"the store's CA file does not exist: {settings.ca_file}")
        options["ca_cert"] = str(settings.ca_file)
    return options


def connect(settings: StoreSettings, *, use_database: bool = True) -> Client:
    """Return a client of the store, after a first question to it.

    Args:
        settings: Where it is and who we are.
        use_database: False leaves the server's default database: the migration runner has to create ours first.

    Raises:
        StoreUnavailableError: It does not answer, the first question within FIRST_ANSWER_TIMEOUT_S.
        StoreRefusedError: It answers and refuses: credentials, database, certificate's CA file, URL.
    """
    with store_errors(settings):
        options = client_options(settings, database=settings.database if use_database else None)
        client = clickhouse_connect.get_client(**options | {"send_receive_timeout": FIRST_ANSWER_TIMEOUT_S})
        assert isinstance(client, HttpClient)
        client.timeout = Timeout(connect=CONNECT_TIMEOUT_S, read=ANSWER_TIMEOUT_S)
        return client


@contextmanager
def store_errors(settings: StoreSettings) -> Iterator[None]:
    """Turn whatever clickhouse-connect raises inside into one of our two errors.

    Raises:
        StoreUnavailableError: It will pass: retry with a backoff.
        StoreRefusedError: It will not.
    """
    try:
        yield
    except ForewarnError:
        raise
    except Error as error:
        raise _ours(error, settings) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise _away(settings, _first_line(str(error))) from error


def _ours(error: Error, settings: StoreSettings) -> ForewarnError:
    shown = mask_url(settings.url)
    text = _servers_text(str(error))
    code = error.code
    if code in _PASSING:
        return StoreUnavailableError(f"the store at {shown} cannot answer now: {text}")
    if code in LOGIN or "HTTP status 401" in str(error) or "HTTP status 403" in str(error):
        who = "the token" if settings.token is not None else f"user {settings.user or 'default'!r} and its password"
        return StoreRefusedError(f"the store at {shown} refuses {who}", code=code)
    if code == 497:
        return StoreRefusedError(f"the store at {shown} grants too little: {text}", code=code, said=text)
    if code in _NOT_MIGRATED:
        hint = "(has `forewarn migrate` been run?)"
        # Our own statement, which ClickHouse repeats, says nothing to who runs a command; who wrote it reads `said`.
        brief = _NO_TABLE.sub(r"there is no table \1", _STATEMENT.sub("", _CODE.sub("", text)))
        return StoreRefusedError(f"the store at {shown}: {brief} {hint}", code=code, said=text)
    if code is not None:
        return StoreRefusedError(f"the store at {shown} refuses: {text}", code=code, said=text)
    if isinstance(error, OperationalError) or "HTTP status 5" in str(error):
        return _away(settings, text)
    return StoreRefusedError(f"the store at {shown}: {text}")


def _away(settings: StoreSettings, text: str) -> StoreUnavailableError:
    reason = "certificate not accepted" if "CERTIFICATE_VERIFY_FAILED" in text else _reason(text)
    return StoreUnavailableError(f"the store at {mask_url(settings.url)} cannot be reached: {reason}")


def _reason(text: str) -> str:
    """Return the last cause in urllib3's nested texts, or the text as it is."""
    for known in (
        "Connection refused",
        "timed out",
        "Name or service not known",
        "Connection reset",
        "No route to host",
    ):
        if known.lower() in text.lower():
            return known.lower()
    return text


def _servers_text(text: str) -> str:
    found = _SERVERS_TEXT.search(text)
    return _first_line(_VERSION.sub("", found[1] if found is not None else text))


def _first_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MOST_TEXT else f"{line[:_MOST_TEXT]}..."
