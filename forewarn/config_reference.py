"""Makes docs/config.md from the model: `python -m forewarn.config_reference > docs/config.md`. Tested."""

import sys
from collections.abc import Iterator
from typing import Any, Final

from forewarn.commands.schema import config_schema
from forewarn.config.text import DURATION_PATTERN, SIZE_PATTERN

_INTRODUCTION: Final = """\
# The config file

One YAML file, `forewarn.yaml`. `forewarn init` writes a commented one, `forewarn validate` checks one and names file,
line, key, and what was expected, `forewarn schema` prints its JSON Schema for editors. This page is made from the same
model; `python -m forewarn.config_reference > docs/config.md` writes it anew.

The shortest config:

```yaml
targets:
  - url: https://example.org
```

- **Durations** are written `500ms`, `30s`, `5m`, `1h`, `7d`; **sizes** `64KiB`, `512MiB`.
- **Variables**: where a key says so, `${NAME}` is replaced from the environment, `${NAME:-default}` has a default, and
  `$${` is `${` itself. Everywhere else `${` is what is written. A variable that is not set is refused.
- **Secrets from files**: `password_file` and its like hold the path of a file whose content is the secret.
- **Relative files** lie beside the config.
- **Nothing is guessed**: an unknown key, a key that is there twice, a wrong type, an empty list are refused. Only a
  top section without any key below it counts as absent.
- Top keys that begin with `x-` are ignored: a place for YAML anchors, which may be merged with `<<`.
- **The nearest wins**: a probe's `interval`, `timeout` and `locations` before the target's before `defaults`.
- **In production a process needs only its own secrets.** With a `log` section, `forewarn producer` starts without those
  of `store`, `alerts` and `watchdog`, workers without what probes send (`headers`, `body`, `send`), all but
  `forewarn worker alerts` without those of `alerts`, and all but `forewarn worker sink` without those of `watchdog`.
  Variables in a target's `url` and `host` are needed by all.
- An accepted config is recorded by `forewarn migrate` (which `forewarn up` runs) as a numbered version, in the table
  `config_versions`, with its secrets masked.
"""

_SECTIONS: Final = (
    ("", "Root"),
    ("targets[]", "Target"),
    ("targets[].probes[]", "ProbeSection"),
    ("targets[].probes[].http", "HttpSection"),
    ("targets[].probes[].tls", "TlsSection"),
    ("targets[].probes[].tcp", "TcpSection"),
    ("targets[].probes[].host", "HostSection"),
    ("defaults", "Defaults"),
    ("locations[]", "Location"),
    ("locations[].anchor", "AnchorSection"),
    ("alerts", "Alerts"),
    ("alerts.channels[]", "Channel"),
    ("watchdog", "Watchdog"),
    ("report", "Report"),
    ("policy", "Budgets"),
    ("detection", "Detection"),
    ("incidents", "Incidents"),
    ("producer", "Producer"),
    ("log", "Log"),
    ("store", "Store"),
    ("embedded", "Embedded"),
)


def reference() -> str:
    """Return docs/config.md."""
    schema = config_schema()
    models: dict[str, Any] = {**schema["$defs"], "Root": schema}
    parts = [_INTRODUCTION]
    for path, name in _SECTIONS:
        model = models[name]
        parts.append(
            f"\n## {f'`{path}`' if path else 'Top keys'}\n\n{_described(path, model)}\n\n{_table(model, models)}\n"
        )
    return "".join(parts)


def _described(path: str, model: dict[str, Any]) -> str:
    return str(model["description"]) if path else "Only `targets` must be there."


def _table(model: dict[str, Any], models: dict[str, Any]) -> str:
    required = frozenset(model.get("required", ()))
    rows = ["| key | value | default | |", "|---|---|---|---|"]
    for key, value in model["properties"].items():
        kinds = ", or ".join(dict.fromkeys(_kinds(value)))
        default = "**required**" if key in required else _default(value)
        rows.append(f"| `{key}` | {kinds} | {default} | {_text(value, models)} |")
    return "\n".join(rows)


def _text(value: dict[str, Any], models: dict[str, Any]) -> str:
    # A key whose section says the same of itself has no description of its own.
    described = value if "description" in value else models[value["$ref"].rpartition("/")[2]]
    return str(described["description"]).replace("|", "\\|").replace("\n", " ")


def _default(value: dict[str, Any]) -> str:
    default = value.get("default")
    if default is None or isinstance(default, dict):
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, list):
        return f"`[{', '.join(map(str, default))}]`" if default else ""
    if isinstance(default, float) and default.is_integer():
        return f"`{int(default)}`"
    return f"`{default}`"


def _kinds(value: dict[str, Any]) -> Iterator[str]:
    if "anyOf" in value:
        for one in value["anyOf"]:
            if one.get("type") != "null":
                yield from _kinds(one)
    elif "$ref" in value:
        yield "section"
    elif "enum" in value:
        yield ", ".join(f"`{one}`" for one in value["enum"])
    elif "const" in value:
        yield f"`{value['const']}`"
    elif value.get("type") == "array":
        kinds = list(dict.fromkeys(_kinds(value["items"])))
        yield "list of these" if len(kinds) > 1 else f"list of {kinds[0]}s"
    elif value.get("type") == "object":
        yield "names and texts"
    else:
        yield _plain(value)


def _plain(value: dict[str, Any]) -> str:
    pattern = value.get("pattern")
    if pattern == DURATION_PATTERN:
        return "duration"
    if pattern == SIZE_PATTERN:
        return "size"
    if value["type"] == "boolean":
        return "`true`, `false`"
    if value["type"] == "string":
        return "statuses such as `200-299`" if "-[1-5]" in (pattern or "") else "text"
    least = value.get("minimum", value.get("exclusiveMinimum"))
    most = value.get("maximum", value.get("exclusiveMaximum"))
    least, most = (int(bound) if isinstance(bound, float) and bound.is_integer() else bound for bound in (least, most))
    named = "whole number" if value["type"] == "integer" else "number"
    if least is None or most is None:
        return named
    open_ended = " (without the ends)" if "exclusiveMinimum" in value and "exclusiveMaximum" in value else ""
    above = "above " if "exclusiveMinimum" in value and not open_ended else ""
    if (least, most) == (100, 599):
        return "status such as `200`"
    return f"{named}, {above}{least:,} to {most:,}{open_ended}"


if __name__ == "__main__":
    sys.stdout.write(reference())
