"""From pydantic's errors to lines that name file, line, key, what was wrong and what was expected."""

import difflib
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from forewarn.config.probes import Section
from forewarn.config.text import shown
from forewarn.config.yaml import Document, KeyPath, Tree, dotted
from forewarn.errors import Problem

SECRET_KEYS: Final = frozenset(
    ("headers", "body", "send", "password", "token", "apprise", "webhook", "username", "user", "url")
)
"""Below these keys a value is never repeated in an error."""

_KINDS: Final[Mapping[str, str]] = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "model_attributes_type": "keys and values",
}


def problems_of(
    error: ValidationError,
    model: type[BaseModel],
    document: Document,
    *,
    only: Callable[[Mapping[str, Any]], bool] = lambda _: True,
) -> list[Problem]:
    """Return one problem for each of pydantic's errors, or `only` of some."""
    found: list[Problem] = []
    for one in filter(only, error.errors(include_url=False, include_input=True)):
        path: KeyPath = tuple(part for part in one["loc"] if part != "[key]")
        text = _text(one, path, model)
        found.append(Problem(line=document.line(path), key=dotted(path), text=text))
    return found


def _text(one: Mapping[str, Any], path: KeyPath, model: type[BaseModel]) -> str:
    kind, context = str(one["type"]), one.get("ctx") or {}
    got = "" if _is_secret(path) else f", got {shown(one['input'])}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return "required key is missing" + _purpose(path, model)
    if kind == "extra_forbidden":
        return unknown_key(str(path[-1]), tuple(_fields_at(model, path[:-1])))
    if kind in _KINDS:
        return f"expected {_KINDS[kind]}{got}"
    if kind == "literal_error":
        return f"expected {str(context['expected']).replace(chr(39), '')}{got}"
    if kind in {"too_short", "string_too_short"}:
        return "is empty, expected at least one" if kind == "too_short" else "is empty"
    bounds = {"greater_than": "more than", "greater_than_equal": "at least", "less_than": "less than"}
    bounds["less_than_equal"] = "at most"
    if kind in bounds:
        limit = next(context[key] for key in ("gt", "ge", "lt", "le") if key in context)
        return f"expected {bounds[kind]} {limit:g}{got}"
    if kind == "string_pattern_mismatch":
        return f"expected a text of the form {context['pattern']}{got}"
    return str(one["msg"]).replace("Input should be", "expected") + got


def _is_secret(path: KeyPath) -> bool:
    return any(part in SECRET_KEYS for part in path)


def _purpose(path: KeyPath, model: type[BaseModel]) -> str:
    field = _fields_at(model, path[:-1]).get(str(path[-1]))
    if field is None or field.description is None:
        return ""
    return f": {field.description.splitlines()[0].rstrip('.')}"


def unknown_key(key: str, known: typing.Sequence[str]) -> str:
    """Return the text for an unknown key, with the nearest known one."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if near:
        return f"unknown key, did you mean {near[0]}?"
    return f"unknown key, expected one of: {', '.join(known)}" if known else "unknown key"


def _fields_at(model: type[BaseModel], path: KeyPath) -> Mapping[str, Any]:
    """Return the fields of the section at `path`, empty where there is none."""
    current: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, int) or current is None:
            continue
        field = current.model_fields.get(part)
        current = None if field is None else next(_sections(field.annotation), None)
    return {} if current is None else current.model_fields


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _sections(argument)


def written(root: Mapping[str, Tree]) -> dict[str, Tree]:
    """Return the content without top keys that begin with `x-` (a place for YAML anchors) and without empty ones.

    A section whose keys are all commented out is a section that is not there.
    """
    return {key: value for key, value in root.items() if not key.startswith("x-") and value is not None}
