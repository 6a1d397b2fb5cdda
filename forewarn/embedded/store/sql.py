"""What the front end must know of a statement before the engine sees it, read from tokens outside strings and comments.

Grants keep a statement from reaching outside (see `access`). A few ways out ask for no grant in this engine; those are
refused here by their tokens: INTO OUTFILE, FROM INFILE, file(), python() and the like, disk(), ATTACH ... FROM.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from forewarn.embedded.store.errors import refused

Kind = Literal["rows", "insert", "session", "other", "empty"]

# Whatever the engine's lexer skips as a string or a comment, this one must skip in the same way: a quote read
# otherwise would hide what follows. Anything not named here is a symbol, which hides nothing.
_TOKEN: Final = re.compile(
    rb"""(?P<space>[\s\0]+|--[^\n]*|\#[ !][^\n]*|/\*.*?\*/)
    |(?P<string>[xXbB]'[^']*'|'(?:[^'\\]|\\.|'')*'|\xe2\x80\x98.*?\xe2\x80\x99|(?P<doc>\$\w*\$).*?(?P=doc))
    |(?P<name>`(?:[^`\\]|\\.|``)*`|"(?:[^"\\]|\\.|"")*"|\xe2\x80\x9c.*?\xe2\x80\x9d)
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<number>[0-9][A-Za-z0-9_]*)
    |(?P<symbol>.)""",
    re.VERBOSE | re.DOTALL,
)
_ROWS: Final = frozenset(
    {"SELECT", "WITH", "FROM", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "CHECK", "KILL", "VALUES", "("}
)
_SESSION: Final = frozenset({"SET", "USE"})
# What the engine would open without asking for a grant, functions and table engines, and a few that it asks for late.
_OUTSIDE: Final = frozenset(
    {"file", "python", "executable", "executablepool", "arrowstream", "eval", "disk", "filelog", "embeddedrocksdb"}
    | {"keepermap", "queryrunner", "mongodb", "redis", "bigquery", "ytsaurus", "cluster", "clusterallreplicas"}
)
_STREAMED_FIRST: Final = frozenset({"SELECT", "WITH", "FROM", "("})
_VALUES_TOKEN: Final = re.compile(rb"'(?:[^'\\]|\\.|'')*'|[^';]+|;|'", re.DOTALL)
_PYTHON_FORMATS: Final = frozenset({"dataframe", "datastore", "arrowtable"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One token: `kind` is the group's name, `text` as written, `end` its end in bytes."""

    kind: str
    text: str
    start: int
    end: int

    @property
    def upper(self) -> str:
        """The text to compare keywords with; a quoted name is no keyword."""
        return self.text.upper() if self.kind in ("word", "symbol") else ""

    @property
    def called(self) -> str:
        """The name as a function's, unquoted."""
        return (self.text.strip('`"“”') if self.kind in ("word", "name") else "").lower()


def tokens(text: bytes) -> Iterator[Token]:
    """Yield the tokens, without spaces and comments."""
    for found in _TOKEN.finditer(text):
        if (kind := found.lastgroup or "symbol") == "doc":
            kind = "string"
        if kind != "space":
            yield Token(kind=kind, text=found[0].decode("utf-8", "replace"), start=found.start(), end=found.end())


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What was found.

    Attributes:
        kind: `rows` is answered with rows; `insert` carries its rows after `head`; `session` sets what later queries
            of the session see; `other` (definitions, INSERT ... SELECT) has no result.
        head: The statement; of an `insert` without its FORMAT clause.
        format: The format named in the statement; None if none is.
        data_at: Where an insert's rows begin in the text.
        streams: The engine can yield its rows block by block.
    """

    kind: Kind
    head: bytes
    format: str | None = None
    data_at: int = 0
    streams: bool = False


def read_statement(text: bytes) -> Statement:
    """Read one statement, with an insert's first rows behind it perhaps.

    Raises:
        QueryError: If it would reach outside of the store, or is several statements.
    """
    found: list[Token] = []
    stream = tokens(text)
    for token in stream:
        found.append(token)
        if token.upper == "INSERT" and len(found) == 1:
            insert = _read_insert(found, stream, text)
            if insert is not None:
                _refuse_outside(found)
                return insert
    if not found:
        return Statement(kind="empty", head=text)
    _refuse_outside(found)
    while found and found[-1].text == ";":
        found.pop()
    if any(token.text == ";" and token.kind == "symbol" for token in found):
        raise refused(62, "Syntax error: several statements in one request; send them one by one")
    end = found[-1].end if found else 0
    word = found[0].upper if found else ""
    kind: Kind = "rows" if word in _ROWS else "session" if word in _SESSION else "other"
    if word == "WITH" and _is_insert(found):
        kind = "other"
    named = _trailing_format(found) if kind == "rows" else None
    return Statement(kind=kind, head=text[:end], format=named, streams=kind == "rows" and word in _STREAMED_FIRST)


def check_values(rows: bytes) -> None:
    """See that nothing follows a semicolon: the engine's parser of Values would stop there and be content.

    Raises:
        QueryError: If something does.
    """
    ended = False
    for found in _VALUES_TOKEN.finditer(rows):
        if ended and found[0].strip() not in (b"", b";"):
            raise refused(62, "Syntax error: something follows the semicolon after the values")
        ended = ended or found[0] == b";"


def _read_insert(found: list[Token], stream: Iterator[Token], text: bytes) -> Statement | None:
    """Read up to where an insert's rows begin; None if they come from a SELECT."""
    depth = 0
    for token in stream:
        found.append(token)
        word = token.upper
        if len(found) <= 3 or found[-2].text == ".":
            continue  # INSERT INTO [TABLE] name: a table may be called as a keyword
        depth += (word == "(") - (word == ")")
        if depth or (word in {"(", ")"}):
            continue
        if word in ("SELECT", "WITH", "FROM"):
            return None
        if word == "VALUES" and found[-2].text != "=":
            return Statement(kind="insert", head=text[: token.start], format="Values", data_at=token.end)
        if word == "FORMAT" and found[-2].text != "=":
            name = next(stream, None)
            if name is None or name.kind not in ("word", "name"):
                raise refused(62, "Syntax error: FORMAT without a name")
            return Statement(
                kind="insert", head=text[: token.start], format=name.text, data_at=_after_format(text, name.end)
            )
    if found[-1].text == ";":
        return Statement(kind="insert", head=text[: found[-1].start], data_at=len(text))
    return Statement(kind="insert", head=text, data_at=len(text))


def _after_format(text: bytes, at: int) -> int:
    """Return where rows begin, as ClickHouse finds it: past blanks and one line end."""
    while text[at : at + 1] in (b" ", b"\t", b"\f"):
        at += 1
    at += text[at : at + 1] == b"\r"
    return at + (text[at : at + 1] == b"\n")


def _is_insert(found: list[Token]) -> bool:
    return any(token.upper == "INSERT" and after.upper == "INTO" for token, after in itertools.pairwise(found))


def _trailing_format(found: list[Token]) -> str | None:
    """Return the name after the statement's own FORMAT, which may be followed by SETTINGS."""
    depth, name = 0, None
    for token, after in itertools.pairwise(found):
        depth += (token.text == "(") - (token.text == ")")
        if depth == 0 and token.upper == "FORMAT" and after.kind == "word":
            name = after.text
    return name


def _refuse_outside(found: list[Token]) -> None:
    for token, after in itertools.pairwise(found):
        if (token.upper, after.upper) in {("INTO", "OUTFILE"), ("FROM", "INFILE")}:
            raise refused(497, f"{token.upper} {after.upper} is blocked: the embedded store reads and writes no files")
        if after.text == "(" and token.called in _OUTSIDE:
            raise refused(497, f"{token.called}() is blocked: the embedded store reaches nothing outside")
        if token.upper == "FORMAT" and after.called in _PYTHON_FORMATS:
            raise refused(36, f"Format {after.text} does not exist over HTTP")
    if found[0].upper == "ATTACH" and any(token.upper == "FROM" for token in found):
        raise refused(497, "ATTACH ... FROM is blocked: the embedded store reads no other directory")
    if found[0].upper == "CREATE" and [token.upper for token in found[1:4] if token.upper == "TEMPORARY"]:
        raise refused(48, "Temporary tables do not exist in the embedded store: each request has its own connection")


def quoted(text: str) -> str:
    """Return a string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def quoted_name(text: str) -> str:
    """Return a quoted identifier."""
    escaped = text.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"
