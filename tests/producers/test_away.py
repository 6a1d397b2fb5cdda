"""What is away for long is told once."""

import pytest

from producers.away import Away
from producers.telemetry import logger


def test_going_and_coming_back_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    """However often it is tried meanwhile, and again at the next time; what always answers is not told at all."""
    away = Away(logger("test"), "the store is away", "the store is back", group="detect")
    away.worked()
    for _ in range(2):
        for number in range(3):
            away.failed(OSError(f"refused {number}"), rows=7)
        away.worked()
        away.worked()
    said = capsys.readouterr().out
    counted = [said.count(text) for text in ("the store is away", "refused 0", "refused 1", "the store is back")]
    assert counted == [2, 2, 0, 2]
    assert said.count("detect") == 4
