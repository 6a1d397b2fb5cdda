"""Secrets out of URLs, before a URL is shown, logged, published or stored.

Masked are the userinfo, the values of a query, and the fragment. What is left says where the URL points.
"""

import re
from typing import Final

MASK: Final = "***"

PLAIN_SCHEMES: Final = frozenset({"http", "https", "ws", "wss", "tcp", "tls", "ftp", "file", "clickhouse", "kafka"})
"""Schemes whose host and path are no secrets. In all others (`tgram://<token>/...`) anything may be one."""

_SCHEME = re.compile(r"\A(?:([A-Za-z][A-Za-z0-9+.-]*):)?//")
_USERINFO_WITHOUT_SCHEME = re.compile(r"\A[^/?#@\s]*@")
_PORT = re.compile(r":\d*\Z")
_IPV6 = re.compile(r"\A\[[^\]]*\](:\d*)?\Z")
_URL_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s<>\"]*")
_TRAILING_PUNCTUATION: Final = ".,;:!)]}"


def mask_url(url: str) -> str:
    """Return the URL with its userinfo, query values and fragment masked. Never raises, whatever the text is.

    `https://bob:pw@shop.example/pay?card=42&x#top` becomes `https://***@shop.example/pay?card=***&***#***`.
    """
    scheme = _SCHEME.match(url)
    if scheme is None:
        return _mask_rest(_USERINFO_WITHOUT_SCHEME.sub(f"{MASK}@", url))
    rest = url[scheme.end() :]
    if scheme.group(1) is not None and scheme.group(1).lower() not in PLAIN_SCHEMES:
        return scheme.group() + (MASK if rest else "")
    return scheme.group() + _mask_rest(_mask_userinfo(rest))


def mask_text(text: str) -> str:
    """Return the text with every URL in it masked as `mask_url` does. A URL ends at a space, `"`, `<` or `>`."""
    return _URL_IN_TEXT.sub(_mask_match, text)


def _mask_match(match: re.Match[str]) -> str:
    url = match.group()
    kept = len(url.rstrip(_TRAILING_PUNCTUATION))
    # A secret may end in punctuation: it stays outside only where nothing secret can reach it.
    if any(sign in url for sign in "@?#") or url[:kept].endswith("://"):
        return mask_url(url)
    return mask_url(url[:kept]) + url[kept:]


def _mask_userinfo(rest: str) -> str:
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    end = authority.rfind("@")
    if end < 0 and _has_no_port_but_a_colon(authority):
        # `user:pa/ss@host`: a password with an unescaped slash. A parser would take half of it for the path.
        end = rest.rfind("@")
    return rest if end < 0 else f"{MASK}@{rest[end + 1 :]}"


def _has_no_port_but_a_colon(authority: str) -> bool:
    return ":" in authority and _PORT.search(authority) is None and _IPV6.match(authority) is None


def _mask_rest(rest: str) -> str:
    before, fragment_sign, fragment = rest.partition("#")
    path, query_sign, query = before.partition("?")
    masked = "&".join(map(_mask_pair, query.split("&"))) if query else ""
    return path + query_sign + masked + fragment_sign + (MASK if fragment else "")


def _mask_pair(pair: str) -> str:
    name, equals, value = pair.partition("=")
    if not equals:
        return MASK if name else ""  # a lone word may be a token itself
    return f"{name}={MASK if value else ''}"
