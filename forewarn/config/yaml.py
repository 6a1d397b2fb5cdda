"""YAML with line numbers: a plain tree of values, and the line of each key and item."""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from forewarn.errors import ConfigError, Problem

MAX_BYTES: Final = 16 * 1024 * 1024
MAX_NODES: Final = 500_000
"""Aliases multiply: a few lines can stand for more nodes than memory holds."""
MAX_DEPTH: Final = 32

KeyPath = tuple[str | int, ...]
Scalar = str | int | float | bool | None
Tree = Scalar | list["Tree"] | dict[str, "Tree"]

_PREFIX: Final = "tag:yaml.org,2002:"
_SCALARS: Final = frozenset(f"{_PREFIX}{name}" for name in ("str", "int", "float", "bool", "null"))
_MERGE: Final = f"{_PREFIX}merge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A YAML file that was read.

    Attributes:
        root: Its content, before environment substitution.
        lines: The 1-based line of each key and item, by path.
    """

    name: str
    root: dict[str, Tree]
    lines: Mapping[KeyPath, int] = field(repr=False)

    def line(self, path: KeyPath) -> int:
        """Return the line of `path`, or of the nearest key above it that is written."""
        for length in range(len(path), 0, -1):
            if (line := self.lines.get(path[:length])) is not None:
                return line
        return 1


def dotted(path: KeyPath) -> str:
    """Return `targets[0].probes[1].http.url`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def parse(text: bytes, *, name: str) -> Document:
    """Read one YAML document.

    Args:
        text: UTF-8.
        name: Of the file, for errors.

    Raises:
        ConfigError: It is not YAML, a key is there twice, or its values are of a kind that no config has.
    """
    reader = _Reader(name)
    if len(text) > MAX_BYTES:
        raise ConfigError(name, [Problem(line=0, key="", text=f"larger than {MAX_BYTES // 1024 // 1024} MiB")])
    node = _compose(text, name)
    root: Tree = {} if node is None else reader.read(node, ())
    if not isinstance(root, dict):
        problem = Problem(line=1, key="", text="expected keys at the top, such as `targets:`; see forewarn init")
        raise ConfigError(name, [problem])
    if reader.problems:
        raise ConfigError(name, reader.problems)
    return Document(name=name, root=root, lines=reader.lines)


def _compose(text: bytes, name: str) -> Node | None:
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise ConfigError(name, [Problem(line=line, key="", text="not UTF-8 text")]) from error
    try:
        node: Node | None = YAML(typ="safe", pure=True).compose(io.StringIO(decoded))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = " ".join(str(part) for part in (error.problem, error.context) if part)
        problem = Problem(line=mark.line + 1 if mark else 0, key="", text=f"not YAML: {said}{_hint(decoded, mark)}")
        raise ConfigError(name, [problem]) from error
    except RecursionError:
        raise ConfigError(name, [Problem(line=0, key="", text="not YAML: nested too deeply")]) from None
    except (YAMLError, ValueError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(name, [Problem(line=0, key="", text=f"not YAML: {said}")]) from error
    return node


def _hint(text: str, mark: object) -> str:
    """Say what beginners meet most: a tab, which YAML forbids as indentation."""
    number = getattr(mark, "line", None)
    lines = text.splitlines()
    if isinstance(number, int) and number < len(lines) and lines[number].lstrip(" ").startswith("\t"):
        return " (indent with spaces, not with tabs)"
    return ""


class _Reader:
    """Turns nodes into plain values and notes their lines; collects what is wrong instead of stopping at it."""

    def __init__(self, name: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.problems: list[Problem] = []
        self._constructor = YAML(typ="safe", pure=True).constructor
        self._name = name
        self._nodes = 0

    def read(self, node: Node, path: KeyPath) -> Tree:
        self._nodes += 1
        if self._nodes > MAX_NODES or len(path) > MAX_DEPTH:
            problem = Problem(line=_line(node), key=dotted(path[:4]), text="too large or nested too deeply")
            raise ConfigError(self._name, [problem])
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return self._sequence(node, path)
        return self._scalar(node, path)

    def _sequence(self, node: SequenceNode, path: KeyPath) -> Tree:
        items: list[Tree] = []
        for index, child in enumerate(node.value):
            self.lines[(*path, index)] = _line(child)
            items.append(self.read(child, (*path, index)))
        return items

    def _mapping(self, node: MappingNode, path: KeyPath) -> Tree:
        values: dict[str, Tree] = {}
        written: dict[str, int] = {}
        merged: list[tuple[ScalarNode, Node]] = []
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                merged += self._merged(value_node, path)
                continue
            key = self._key(key_node, path)
            if key is None:
                continue
            if key in written:
                text = f"the key is there twice, first in line {written[key]}"
                self._problem(key_node, (*path, key), text)
                continue
            written[key] = self.lines[(*path, key)] = _line(key_node)
            values[key] = self.read(value_node, (*path, key))
        for key_node, value_node in merged:
            key = self._key(key_node, path)
            if key is not None and key not in values:
                self.lines[(*path, key)] = _line(key_node)
                values[key] = self.read(value_node, (*path, key))
        return values

    def _merged(self, node: Node, path: KeyPath) -> list[tuple[ScalarNode, Node]]:
        """Return the pairs that `<<` brings in; the earlier one wins, and a key that is written beats both."""
        nodes = node.value if isinstance(node, SequenceNode) else [node]
        pairs: list[tuple[ScalarNode, Node]] = []
        for child in nodes:
            if isinstance(child, MappingNode):
                pairs += child.value
            else:
                self._problem(node, (*path, "<<"), "expected an alias of a mapping")
        return pairs

    def _key(self, node: Node, path: KeyPath) -> str | None:
        if isinstance(node, ScalarNode) and node.tag == f"{_PREFIX}str":
            return str(node.value)
        shown = node.value if isinstance(node, ScalarNode) else "a list or mapping"
        self._problem(node, path, f"the key {shown} is not a text, expected a name")
        return None

    def _scalar(self, node: Node, path: KeyPath) -> Tree:
        tag = str(node.tag)
        if tag not in _SCALARS:
            if tag == f"{_PREFIX}timestamp":  # a date in quotes or not: no key of ours wants a date object
                return str(node.value)
            self._problem(node, path, f"YAML tag {tag.removeprefix(_PREFIX)} has no meaning here")
            return None
        try:
            value: Scalar = self._constructor.construct_object(node)
        except (YAMLError, ValueError):
            self._problem(node, path, f"cannot be read as {tag.removeprefix(_PREFIX)}")
            return None
        if isinstance(value, float) and not math.isfinite(value):
            self._problem(node, path, "not a finite number")
        return value

    def _problem(self, node: Node, path: KeyPath, text: str) -> None:
        self.problems.append(Problem(line=_line(node), key=dotted(path), text=text))


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1
