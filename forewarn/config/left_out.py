"""The parts of a config that a process has no secrets of: their values are left out, what is wrong in them is not."""

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError

from forewarn.config.masking import without_secrets
from forewarn.config.model import Root
from forewarn.config.problems import problems_of
from forewarn.config.types import Surroundings
from forewarn.config.yaml import Document, Tree
from forewarn.errors import Problem


def without(tree: Mapping[str, Tree], left_out: Collection[str]) -> dict[str, Tree]:
    """Return the content without the sections of these parts; without `probes`: without what targets send."""
    kept = {key: value for key, value in tree.items() if key not in left_out}
    if "probes" in left_out:
        for key in ("locations", "targets"):
            if key in kept:
                kept[key] = without_secrets(kept[key])
    return kept


def problems_left_out(
    tree: Mapping[str, Tree], left_out: Collection[str], document: Document, surroundings: Surroundings
) -> list[Problem]:
    """Return what is wrong in the sections that are left out.

    Not looked at is what a variable or a file holds: this process may be without both.
    """
    sections = {key: value for key, value in tree.items() if key in left_out}
    try:
        Root.model_validate(sections, context=surroundings)
    except ValidationError as error:
        return problems_of(error, Root, document, only=lambda one: _in_file(one) and one["loc"][0] in sections)
    return []


def _in_file(one: Mapping[str, Any]) -> bool:
    """Whether one of pydantic's errors is about what the config says itself."""
    place, value = one["loc"], one["input"]
    if not place or one["type"] != "value_error":  # what a variable or a file makes of a value is always the latter
        return bool(place)
    return not str(place[-1]).endswith("_file") and not (isinstance(value, str) and "${" in value)
