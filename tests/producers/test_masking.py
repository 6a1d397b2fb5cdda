"""Secrets in URLs never come out; what remains says where a URL points."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.masking import MASK, mask_text, mask_url

# Letters that nothing but a secret has in these tests, and every sign that a URL gives a meaning to.
SECRETS = st.text(alphabet="QXZ%&=;:~!$,.'()*+-_", min_size=1).map(lambda text: f"QZ{text}ZQ")
NAMES = st.text(alphabet=string.ascii_lowercase, min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("https://shop.example", "https://shop.example"),
        ("https://shop.example:8443/a/b.html", "https://shop.example:8443/a/b.html"),
        ("https://bob:pw@shop.example/", "https://***@shop.example/"),
        ("https://token@shop.example/", "https://***@shop.example/"),
        ("https://b@b:p@ss@shop.example/", "https://***@shop.example/"),
        ("http://bob:pa/ss@shop.example/x", "http://***@shop.example/x"),
        ("http://[::1]:80/@name", "http://[::1]:80/@name"),
        ("https://social.example/@name/post", "https://social.example/@name/post"),
        ("https://shop.example/?card=42&name=bob", "https://shop.example/?card=***&name=***"),
        ("https://shop.example/?secret", "https://shop.example/?***"),
        ("https://shop.example/?a=&b", "https://shop.example/?a=&***"),
        ("https://shop.example/?a=1=2;b=3", "https://shop.example/?a=***"),
        ("https://shop.example/#access_token=42", "https://shop.example/#***"),
        ("https://shop.example/?", "https://shop.example/?"),
        ("tgram://12345:abcdef/678", "tgram://***"),
        ("bob:pw@shop.example/x?y=z", "***@shop.example/x?y=***"),
        ("//bob:pw@shop.example/x", "//***@shop.example/x"),
        ("shop.example/x", "shop.example/x"),
        ("", ""),
        ("not a url at all", "not a url at all"),
        ("http://", "http://"),
    ],
)
def test_masks_userinfo_query_values_and_fragment_and_keeps_the_rest(url: str, masked: str) -> None:
    """Each case is a form in which a URL is met."""
    assert mask_url(url) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("no connection to http://a:b@c/, twice", "no connection to http://***@c/, twice"),
        ("see https://shop.example/help.", "see https://shop.example/help."),
        ("(https://shop.example/?a=b)", "(https://shop.example/?a=***"),
        ("'https://x/?a=1' and \"wss://y:z@h\"", '\'https://x/?a=*** and "wss://***@h"'),
        ("no url: at all", "no url: at all"),
    ],
)
def test_masks_the_urls_inside_a_text(text: str, masked: str) -> None:
    """A sign at a URL's end is masked with it where it may belong to a secret."""
    assert mask_text(text) == masked


@given(user=SECRETS, password=SECRETS, name=NAMES, value=SECRETS, fragment=SECRETS, host=NAMES)
def test_no_secret_comes_out(user: str, password: str, name: str, value: str, fragment: str, host: str) -> None:
    """Whatever signs secrets have, neither form of masking lets a piece of them through."""
    # "&" begins another pair, and "=" ends a pair's name: such a value is names to every reader of the URL.
    value = value.replace("&", "").replace("=", "")
    url = f"https://{user}:{password}@{host}/path?{name}={value}#{fragment}"
    for masked in (mask_url(url), mask_text(f"failed: {url} again")):
        assert f"https://{MASK}@{host}/path?{name}={MASK}#{MASK}" in masked
        assert "Q" not in masked
        assert "Z" not in masked


@given(st.text())
def test_never_raises_and_masking_twice_changes_nothing_more(text: str) -> None:
    """Any text at all may be given, for example a URL that a user mistyped."""
    assert mask_url(mask_url(text)) == mask_url(text)
    assert mask_text(mask_text(text)) == mask_text(text)


@given(st.text(alphabet="ab:/?#@&=[]."))
def test_masking_twice_changes_nothing_more_for_url_like_texts(text: str) -> None:
    """The same for texts of the signs that matter."""
    url = f"http://{text}"
    assert mask_url(mask_url(url)) == mask_url(url)
    assert mask_text(mask_text(url)) == mask_text(url)
