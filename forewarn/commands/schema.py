"""`forewarn schema`: the JSON Schema of the config, for editors."""

import json
import sys
from typing import Any

from forewarn.config.model import Root


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a config file."""
    schema = Root.model_json_schema(mode="validation")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "forewarn.yaml"
    # As in compose files: a place for YAML anchors.
    schema["patternProperties"] = {"^x-": {"description": "Ignored: a place for YAML anchors."}}
    _without_titles(schema)
    schema["title"] = "forewarn.yaml"
    return schema


def _without_titles(node: Any) -> None:
    """Remove the titles that are made from key names: editors show them instead of the description."""
    if isinstance(node, dict):
        if isinstance(node.get("title"), str):
            del node["title"]
        for child in node.values():
            _without_titles(child)
    elif isinstance(node, list):
        for child in node:
            _without_titles(child)


def schema() -> None:
    """Print it."""
    json.dump(config_schema(), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")
