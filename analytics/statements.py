"""SQL files cut into statements, by tokens: a semicolon in a string, a quoted name or a comment cuts nothing."""

import re
from dataclasses import dataclass
from typing import Final

_TOKEN: Final = re.compile(
    r"""(?P<skip>--[^\n]*|\#[ !][^\n]*|/\*.*?\*/|\s+)
    |(?P<quoted>'(?:[^'\\]|\\.|'')*'|`(?:[^`\\]|\\.|``)*`|"(?:[^"\\]|\\.|"")*"|(?P<tag>\$\w*\$).*?(?P=tag))
    |(?P<open>/\*|['"`])
    |(?P<cut>;)
    |(?P<other>\w+|.)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlStatement:
    """One statement as it stands in its file, without its semicolon.

    Attributes:
        line: Where it begins, from 1.
    """

    text: str
    line: int


def split_statements(text: str) -> list[SqlStatement]:
    """Cut a file's text into its statements; comments between them are left out.

    Raises:
        ValueError: If a string, a quoted name or a comment is not closed; names its line.
    """
    found: list[SqlStatement] = []
    start = end = -1

    def cut() -> None:
        if start >= 0:
            found.append(SqlStatement(text=text[start:end], line=text.count("\n", 0, start) + 1))

    for token in _TOKEN.finditer(text):
        if token["open"] is not None:
            line = text.count("\n", 0, token.start()) + 1
            raise ValueError(f"line {line}: {token['open']} is not closed")
        if token["skip"] is not None:
            continue
        if token["cut"] is not None:
            cut()
            start = -1
            continue
        start = token.start() if start < 0 else start
        end = token.end()
    cut()
    return found
