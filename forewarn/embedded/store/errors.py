"""ClickHouse's own form of errors: a code, a name, an HTTP status, one text."""

import re

from producers.errors import ForewarnError

# Codes that ClickHouse's HTTP handler answers with something else than 500, as its exceptionCodeToHTTPStatus does.
_BAD_REQUEST = frozenset({6, 26, 27, 33, 36, 38, 41, 43, 53, 62, 69, 70, 72, 117, 130, 131, 427, 457, 622})
_NOT_FOUND = frozenset({16, 46, 47, 50, 56, 60, 73, 78, 81, 115})
STATUS = {
    **dict.fromkeys(_BAD_REQUEST, 400),
    **dict.fromkeys(_NOT_FOUND, 404),
    48: 501,
    112: 400,
    158: 400,
    159: 408,
    194: 401,
    202: 503,
    216: 409,
    344: 400,
    373: 409,
    396: 413,
    452: 400,
    497: 403,
    516: 401,
    1001: 413,
}
NAMES = {
    36: "BAD_ARGUMENTS",
    48: "NOT_IMPLEMENTED",
    62: "SYNTAX_ERROR",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    236: "ABORTED",
    373: "SESSION_IS_LOCKED",
    396: "TOO_MANY_ROWS_OR_BYTES",
    497: "ACCESS_DENIED",
    372: "SESSION_NOT_FOUND",
    516: "AUTHENTICATION_FAILED",
    1000: "POCO_EXCEPTION",
    1001: "STD_EXCEPTION",
}
_CODE = re.compile(r"Code: (\d+)\. DB::Exception: ")
_VERSION = re.compile(r" \(version [^()]*(\([^()]*\))?\)\s*$")


class QueryError(Exception):
    """What a query is answered with instead of a result.

    Attributes:
        code: ClickHouse's number; goes out as X-ClickHouse-Exception-Code.
        status: HTTP status.
    """

    def __init__(self, code: int, text: str, *, status: int | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.status = STATUS.get(code, 500) if status is None else status
        self.text = text

    def body(self, version: str) -> str:
        """Return the text as ClickHouse writes it: code, message, name, version."""
        return f"{self.text} (version {version})\n"


def refused(code: int, message: str, *, status: int | None = None) -> QueryError:
    """Return an error of ours in ClickHouse's form."""
    return QueryError(code, f"Code: {code}. DB::Exception: {message}. ({NAMES[code]})", status=status)


def from_engine(error: BaseException) -> QueryError:
    """Return the engine's error, without the wrappers around it and without its version."""
    text = str(error)
    found = _CODE.search(text)
    if found is None:
        return QueryError(1001, f"Code: 1001. DB::Exception: {text.strip() or 'no text'}. (STD_EXCEPTION)", status=500)
    return QueryError(int(found[1]), _VERSION.sub("", text[found.start() :]).rstrip())


class StoreStartError(ForewarnError):
    """The store cannot start: its directory or its port is taken, or not writable."""
