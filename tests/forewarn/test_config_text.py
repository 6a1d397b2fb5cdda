"""Texts of the config: durations, and variables of the environment in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forewarn.config.text import duration_text, parse_duration, substitute
from streams.policy import DAY_US, SECOND_US


@given(
    st.one_of(
        st.integers(1, 10**6).map(lambda n: n * 1000),
        st.integers(1, 10**5).map(lambda n: n * SECOND_US),
        st.integers(1, 36_000).map(lambda n: n * DAY_US),
    )
)
def test_durations_are_written_as_they_are_read(duration_us: int) -> None:
    """`duration_text` is the inverse of `parse_duration`."""
    assert parse_duration(duration_text(duration_us)) == duration_us


@given(st.text(), st.dictionaries(st.from_regex(r"[A-Z_]{1,5}", fullmatch=True), st.text(min_size=1)))
def test_a_text_without_variables_is_never_changed(text: str, env: dict[str, str]) -> None:
    """And what a variable holds is not looked into again."""
    plain = text.replace("${", "")
    assert substitute(plain, env) == plain
    assert substitute("${V}", {"V": text}) == text


def test_environment_substitution_follows_the_shell() -> None:
    """A default stands in for what is not set or empty; `$${` is `${`; a lone dollar is a dollar."""
    env = {"A": "a", "EMPTY": ""}
    assert substitute("${A}-${B:-b}-${EMPTY:-e}-${B:-}-$A-$${A}", env) == "a-b-e--$A-${A}"
    with pytest.raises(ValueError, match="B is not set"):
        substitute("${B}", env)
    with pytest.raises(ValueError, match=r"expected \$\{NAME\}"):
        substitute("${1}", env)
