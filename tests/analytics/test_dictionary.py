"""docs/data-dictionary.md says what the store says."""

from analytics.session import Session
from tests.analytics.dictionary import FILE, render


def test_the_data_dictionary_is_made_from_the_comments(session: Session) -> None:
    """A changed comment or column without a new page fails here; `python -m tests.analytics.dictionary` makes one."""
    assert render(session) == FILE.read_text(encoding="utf-8")
