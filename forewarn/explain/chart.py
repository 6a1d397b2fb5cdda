"""A series as a drawing of characters: what was measured, what is normal, the limit, the score."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import log
from statistics import median
from typing import Final

from rich.text import Text

from forewarn.explain.explain import SeriesStory, Story
from streams.contract import Verdict
from streams.core.alerting.text import quantity

ROWS: Final = 7
LEFT: Final = 11
"""Width of the labels at the left."""

BARS: Final = "▁▂▃▄▅▆▇█"
FLAT: Final = 0.02
"""What varies less and has no band is no drawing."""

LOG_RATIO: Final = 6.0
"""What spans more than this is drawn by its logarithm."""

_LETTERS: Final = {"healthy": ("h", "green"), "degraded": ("d", "yellow"), "failing": ("F", "bold red")}
_UNKNOWN: Final = ("u", "magenta")


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The window cut into columns of the drawing."""

    from_us: int
    until_us: int
    width: int

    def of(self, at_us: int) -> int | None:
        """Return the column of a time, None outside of the window."""
        if not self.from_us <= at_us < self.until_us:
            return None
        return (at_us - self.from_us) * self.width // (self.until_us - self.from_us)

    def end_us(self, column: int) -> int:
        """Return when a column ends."""
        return self.from_us + (column + 1) * (self.until_us - self.from_us) // self.width

    def sort(self, points: Sequence[tuple[int, float]]) -> list[list[float]]:
        """Return the values of each column."""
        found: list[list[float]] = [[] for _ in range(self.width)]
        for at_us, value in points:
            column = self.of(at_us)
            if column is not None:
                found[column].append(value)
        return found


def chart(series: SeriesStory, metric: str, columns: Columns) -> list[Text]:
    """Return the lines of a drawing: values as dots, normal as a line, the band's ends as dashes."""
    seen = columns.sort(series.seen)
    normal = _levels([(at_us, view.normal) for at_us, view in series.views], columns)
    upper = _levels([(at_us, view.upper) for at_us, view in series.views], columns)
    lower = _levels([(at_us, view.lower) for at_us, view in series.views], columns)
    marks = [median(values) for values in seen if values]
    lines = [value for levels in (normal, upper, lower) for value in levels if value is not None]
    if not marks or (not lines and max(marks) - min(marks) <= FLAT * abs(max(marks))):
        return []  # nothing to see
    scale = _Scale(min(marks + lines), max(marks + lines))
    rows = [[" "] * columns.width for _ in range(ROWS)]
    for levels, mark in ((upper, "┄"), (lower, "┄"), (normal, "─")):
        for column, value in enumerate(levels):
            if value is not None:
                rows[scale.row(value)][column] = mark
    for column, values in enumerate(seen):
        if values:
            rows[scale.row(max(values))][column] = "·"
            rows[scale.row(median(values))][column] = "•"
    drawn: list[Text] = []
    for number, row in enumerate(rows):
        label = quantity(metric, scale.value(number)) if number in (0, ROWS // 2, ROWS - 1) else ""
        line = Text(f"{label:>{LEFT - 2}} ┤" if label else f"{'':>{LEFT - 2}} │")
        for mark in row:
            line.append(mark, _STYLES.get(mark, ""))
        drawn.append(line)
    return drawn


def failures(series: SeriesStory, columns: Columns) -> Text | None:
    """Return the line of failed checks, None if there is none."""
    found = columns.sort([(at_us, 1.0) for at_us in series.failures])
    if not any(found):
        return None
    line = Text(f"{'failed':>{LEFT - 2}} │")
    line.append("".join("×" if values else " " for values in found), "bold red")
    return line


def scores(series: SeriesStory, columns: Columns) -> Text | None:
    """Return the score of each column against its limit, full height at the limit; None without a limit."""
    parts = [
        (at_us, view.score / view.limit)
        for at_us, view in series.views
        if view.score is not None and view.limit is not None and view.limit > 0
    ]
    if not parts:
        return None
    line = Text(f"{'score':>{LEFT - 2}} │")
    flagged = columns.sort([(at_us, 1.0) for at_us, view in series.views if view.flagged])
    for values, off in zip(columns.sort(parts), flagged, strict=True):
        height = max(min(max(values, default=0.0), 1.0), 0.0)
        bar = BARS[min(int(height * len(BARS)), len(BARS) - 1)] if values else " "
        line.append(bar, "bold red" if off else "cyan")
    return line


def verdicts(story: Story, columns: Columns) -> Text:
    """Return the target's verdict at the end of each column: h, d, F, u, and a dot before the first."""
    line = Text(f"{'verdict':>{LEFT - 2}} │")
    waiting: list[Verdict] = sorted(story.verdicts, key=lambda verdict: verdict.tick_us)
    # What stood at the window's begin is what its first verdict says it was before.
    now: str | None = waiting[0].previous if waiting else story.verdict.verdict if story.verdict is not None else None
    for column in range(columns.width):
        while waiting and waiting[0].tick_us < columns.end_us(column):
            now = waiting.pop(0).verdict
        letter, style = (".", "") if now is None else _LETTERS.get(now, _UNKNOWN)
        line.append(letter, style)
    return line


def axis(at_us: int, columns: Columns) -> list[Text]:
    """Return the time's line, and a mark under the time that is asked for."""
    marks = [" "] * columns.width
    column = columns.of(at_us)
    if column is not None:
        marks[column] = "▲"
    ends = [_clock(columns.from_us), _clock(columns.until_us)]
    between = max(columns.width - len(ends[0]) - len(ends[1]), 1)
    return [
        Text(f"{'':>{LEFT - 2}} └" + "".join(marks).rstrip()),
        Text(f"{'':>{LEFT}}{ends[0]}{' ' * between}{ends[1]}", "dim"),
    ]


_STYLES: Final = {"•": "bold", "·": "dim", "─": "green", "┄": "yellow"}


class _Scale:
    """From values to rows, the highest on top."""

    def __init__(self, low: float, high: float) -> None:
        self._log = low > 0 and high > low * LOG_RATIO
        self._low, self._high = (log(low), log(high)) if self._log else (low, high)

    def row(self, value: float) -> int:
        if self._high <= self._low:
            return ROWS - 1
        value = log(max(value, 1e-300)) if self._log else value
        place = round((self._high - value) / (self._high - self._low) * (ROWS - 1))
        return max(min(place, ROWS - 1), 0)

    def value(self, row: int) -> float:
        value = self._high - row * (self._high - self._low) / (ROWS - 1)
        return float(2.718281828459045**value) if self._log else value


def _levels(points: Sequence[tuple[int, float | None]], columns: Columns) -> list[float | None]:
    known = [(at_us, value) for at_us, value in points if value is not None]
    return [values[-1] if values else None for values in columns.sort(known)]


def _clock(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%m-%d %H:%M:%S")
