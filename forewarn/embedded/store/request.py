"""One HTTP request as ClickHouse's clients send it, read into values."""

import email.parser
import email.policy
import hmac
import itertools
import re
import uuid
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from forewarn.embedded.store.errors import refused
from forewarn.embedded.store.sql import Statement, check_values, read_statement

# What the front end itself understands, or what concerns only a server with users, quotas and progress headers.
_OURS: Final = frozenset(
    {"query", "database", "default_format", "session_id", "session_timeout", "session_check", "query_id", "quota_key"}
    | {"wait_end_of_query", "buffer_size", "user", "password", "role", "client_protocol_version", "log_comment"}
    | {"enable_http_compression", "http_zlib_compression_level", "send_progress_in_http_headers", "compress", "close"}
    | {"http_headers_progress_interval_ms", "cancel_http_readonly_queries_on_client_close", "decompress"}
    | {"http_wait_end_of_query", "add_http_cors_header", "http_response_headers"}
)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
# An insert's statement ends within this many bytes; other statements may be longer.
_HEAD_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a request asks for, before its body is read.

    Attributes:
        query: From the URL; None if it is in the body.
        settings: For the engine.
        parameters: Values of `{name:Type}`.
        whole: The reply waits for the query's end.
    """

    query: str | None
    database: str
    settings: dict[str, str]
    parameters: dict[str, str]
    format: str | None
    query_id: str
    session_id: str | None
    whole: bool
    compress: bool | None
    cancel_on_close: bool = False
    session_timeout_s: float = 60.0
    session_check: bool = False


def read_request(params: Mapping[str, str], headers: Mapping[str, str], *, database: str) -> Request:
    """Read the URL's parameters and ClickHouse's headers.

    Raises:
        QueryError: A name that is no setting's, or a form that is not supported.
    """
    for name in ("compress", "decompress"):
        if _on(params.get(name)):
            raise refused(48, f"{name}=1 (ClickHouse's own block compression) is not supported; use Content-Encoding")
    if params.get("role"):
        raise refused(48, "The embedded store has no roles")
    settings, parameters = {}, {}
    for name, value in params.items():
        if name.startswith("param_") and _NAME.fullmatch(name):
            parameters[name[6:]] = value
        elif name not in _OURS:
            if not _NAME.fullmatch(name):
                raise refused(36, f"'{name[:60]}' cannot be a setting's name")
            settings[name] = value
    timeout_text = params.get("session_timeout", "60")
    if not timeout_text.isdecimal() or int(timeout_text) > 3600:
        raise refused(36, "session_timeout must be seconds, at most 3600")
    compress = params.get("enable_http_compression")
    return Request(
        query=params.get("query"),
        database=params.get("database") or headers.get("X-ClickHouse-Database") or database,
        settings=settings,
        parameters=parameters,
        format=headers.get("X-ClickHouse-Format") or params.get("default_format"),
        query_id=params.get("query_id") or str(uuid.uuid4()),
        session_id=params.get("session_id"),
        whole=_on(params.get("wait_end_of_query")),
        compress=None if compress is None else _on(compress),
        cancel_on_close=_on(params.get("cancel_http_readonly_queries_on_client_close")),
        session_timeout_s=float(timeout_text),
        session_check=_on(params.get("session_check")),
    )


def _on(value: str | None) -> bool:
    return value is not None and value.lower() in ("1", "true", "yes", "on")


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A statement and, for an insert, its rows."""

    statement: Statement
    rows: Iterator[bytes] = field(default_factory=lambda: iter(()))


def read_work(query: str | None, pieces: Iterable[bytes]) -> Work:
    """Find the statement in the URL's query and the body behind it, as ClickHouse does: one after the other.

    Raises:
        QueryError: From the statement or from the body's decoder.
    """
    stream = iter(pieces)
    head = b"" if query is None else query.encode("utf-8", "surrogateescape")
    if query is not None and (first := next((piece for piece in stream if piece), None)) is not None:
        stream = itertools.chain((b"\n", first), stream)
    elif query is not None:
        stream = iter(())
    while len(head) < _HEAD_BYTES and (piece := next(stream, None)) is not None:
        head += piece
    statement = read_statement(head)
    if statement.kind == "insert":
        rows = itertools.chain((head[statement.data_at :],), stream)
        if (statement.format or "Values").lower() == "values":
            values = b"".join(rows)
            check_values(values)
            rows = itertools.chain((values,))
        return Work(statement=statement, rows=rows)
    if rest := b"".join(stream):
        statement = read_statement(head + rest)
    return Work(statement=statement)


def read_form(content_type: str, body: bytes) -> dict[str, str]:
    """Read a multipart form: clickhouse-connect can send query and parameters so.

    Raises:
        QueryError: If a part is a file (external data), or the form is damaged.
    """
    head = b"Content-Type: " + content_type.encode("latin-1", "replace") + b"\r\n\r\n"
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    fields = {}
    if not message.is_multipart():
        raise refused(36, "The multipart form is damaged")
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        if part.get_filename() is not None:
            raise refused(48, "External data (temporary tables sent with a query) is not supported")
        if not isinstance(name, str):
            raise refused(36, "A part of the multipart form has no name")
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        fields[name] = payload.decode("utf-8", "surrogateescape")
    return fields


def is_authorised(headers: Mapping[str, str], token: str) -> bool:
    """Return whether a request carries the token, in any of the three forms that tools have."""
    scheme, _, given = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            given = b64decode(given.strip(), validate=True).decode("utf-8").partition(":")[2]
        except (Base64Error, ValueError):
            return False
    elif scheme.lower() != "bearer":
        given = headers.get("X-ClickHouse-Key", "")
    return hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token.encode())


def is_local_host(header: str) -> bool:
    """Return whether the Host header names this machine: a page of another site cannot make a browser ask us."""
    name = header.rpartition(":")[0] if header.rpartition(":")[2].isdecimal() else header
    return name.lower() in ("127.0.0.1", "localhost", "[::1]")
