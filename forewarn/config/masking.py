"""A config without its secrets, as the store keeps it."""

import io
import re
from typing import Final

from ruamel.yaml import YAML

from forewarn.config.yaml import Tree
from producers.masking import MASK, mask_url

_SECRET_KEYS: Final = frozenset(("password", "token", "body", "send", "headers", "username", "user"))
_SENT_KEYS: Final = frozenset(("headers", "body", "send"))
_ADDRESS_KEYS: Final = frozenset(("apprise", "webhook", "ping_url"))
_URL_KEYS: Final = frozenset(("url", "http"))


def masked_text(root: dict[str, Tree]) -> str:
    """Return the content as YAML: secrets as `***`, userinfo and query values of URLs masked.

    A variable (`${NAME}`) is not replaced, so that one can see where a secret comes from.
    """
    out = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment] # the file's order; declared as None
    yaml.allow_unicode = True
    yaml.dump(_masked(root, key=""), out)
    return out.getvalue()


def without_secrets(value: Tree) -> Tree:
    """Return targets or locations with what their probes send as `***`: for those who never send it."""
    if isinstance(value, list):
        return [without_secrets(child) for child in value]
    if not isinstance(value, dict):
        return value
    return {key: _hidden(child) if key in _SENT_KEYS else without_secrets(child) for key, child in value.items()}


def _hidden(value: Tree) -> Tree:
    if isinstance(value, dict):
        return {key: _hidden(child) for key, child in value.items()}
    return MASK if isinstance(value, str) else value


def _masked(value: Tree, *, key: str) -> Tree:
    if isinstance(value, dict):
        inner = key if key in _SECRET_KEYS else None
        return {name: _masked(child, key=inner or name) for name, child in value.items()}
    if isinstance(value, list):
        return [_masked(child, key=key) for child in value]
    if not isinstance(value, str):
        return MASK if key in _SECRET_KEYS and value is not None else value
    if key in _SECRET_KEYS:
        return value if _is_variable(value) else MASK
    if key in _ADDRESS_KEYS:
        return value if _is_variable(value) else _place_only(value)
    return mask_url(value) if key in _URL_KEYS else value


def _place_only(url: str) -> str:
    """Return where a secret address points; still an address, so that a stored config can be read again."""
    scheme, _, rest = mask_url(url).partition("://")
    host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    return f"{scheme}://{host}/{MASK}" if host not in {"", MASK} else f"{scheme}://{MASK}"


def _is_variable(text: str) -> bool:
    """A variable without a default: a default might be the secret."""
    return text.startswith("${") and text.endswith("}") and text.count("${") == 1 and ":-" not in text
