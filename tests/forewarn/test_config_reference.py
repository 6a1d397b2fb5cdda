"""docs/config.md is what the model says."""

import re
from pathlib import Path

import yaml

from forewarn.config.config import load_text
from forewarn.config_reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "config.md"


def test_the_page_is_that_of_the_model() -> None:
    """After a change: python -m forewarn.config_reference > docs/config.md."""
    assert PAGE.read_text() == reference()


def test_every_key_is_explained() -> None:
    """No cell of the last column is empty, and each section's heading is there once."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert len(rows) > 90
    assert [row for row in rows if row.endswith("|  |")] == []
    headings = re.findall(r"^## (.*)$", PAGE.read_text(), flags=re.MULTILINE)
    assert len(headings) == len(set(headings)) == 21


def test_its_example_is_a_config() -> None:
    """The shortest one."""
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert yaml.safe_load(example) == {"targets": [{"url": "https://example.org"}]}
    assert len(load_text(example.encode(), path=Path("f.yaml"), env={}).targets()) == 1
