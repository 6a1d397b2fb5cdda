"""Checks that wait for their tick to close: one structured array, so that taking rows out is one operation."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from producers.contract import PHASES, CheckColumns
from streams.core.table import Bools, Ints, Rows

ROW: Final = np.dtype(
    [
        ("uid", "<i8"),
        ("lane", "<i8"),
        ("group", "<i8"),
        ("tick_us", "<i8"),
        ("started_us", "<i8"),
        ("duration_us", "<f8"),
        ("phases", "<f8", (len(PHASES),)),
        ("outcome", "u1"),
        ("disturbed", "?"),
        ("times", "?"),  # its duration says something of the target
        ("reason", "<i4"),
        ("status", "<i4"),
        ("address", "<i4"),
    ]
)
READING: Final = np.dtype([("uid", "<i8"), ("series", "<i8"), ("value", "<f8")])
"""A metric's value, beside the check that brought it."""

Structured = npt.NDArray[Any]

NO_TEXT: Final = -1


class Texts:
    """Numbers for texts that repeat (reasons, addresses)."""

    def __init__(self, known: list[str] | None = None) -> None:
        self.known = list(known or ())
        self._numbers: dict[str | None, int] = {None: NO_TEXT}
        self._numbers |= {text: number for number, text in enumerate(self.known)}

    def number(self, texts: list[str | None]) -> npt.NDArray[np.int32]:
        """Return the number of each text, NO_TEXT for None. Shape (n,)."""
        if texts.count(None) == len(texts):  # by identity, so at once
            return np.full(len(texts), NO_TEXT, dtype=np.int32)
        try:
            return self._numbers_of(texts)
        except KeyError:
            for text in dict.fromkeys(texts):
                if text is not None and text not in self._numbers:
                    self._numbers[text] = len(self.known)
                    self.known.append(text)
            return self._numbers_of(texts)

    def _numbers_of(self, texts: list[str | None]) -> npt.NDArray[np.int32]:
        return np.fromiter(map(self._numbers.__getitem__, texts), dtype=np.int32, count=len(texts))

    def text(self, number: int) -> str | None:
        """Return the text of a number, None for NO_TEXT."""
        return None if number == NO_TEXT else self.known[number]


def rows_of(
    columns: CheckColumns, *, lane: Rows, group: Rows, first_uid: int, reasons: Texts, addresses: Texts
) -> Structured:
    """Return n checks as rows.

    Args:
        columns: The checks.
        lane: The lane of each, shape (n,).
        group: The group of each, shape (n,).
        first_uid: Number of the first row; the others follow.
        reasons: Gets the reasons.
        addresses: Gets the addresses.
    """
    count = len(columns)
    rows = np.zeros(count, dtype=ROW)
    rows["uid"] = np.arange(first_uid, first_uid + count)
    rows["lane"], rows["group"] = lane, group
    rows["tick_us"], rows["started_us"] = columns.scheduled_at_us, columns.started_at_us
    rows["duration_us"], rows["outcome"] = columns.duration_us, columns.outcome
    rows["disturbed"] = columns.disturbed
    for place, phase in enumerate(PHASES):
        values = columns.phases.get(phase)
        if values is not None:
            rows["phases"][:, place] = np.where(values > 0, values, 0.0)
    rows["times"] = True if "host" not in columns.kind else [kind != "host" for kind in columns.kind]
    rows["reason"] = reasons.number(columns.reason)
    rows["address"] = addresses.number(columns.address)
    status = columns.http_status
    if status.count(status[0]) == count:
        rows["status"] = NO_TEXT if status[0] is None else status[0]
    else:
        rows["status"] = [NO_TEXT if each is None else each for each in status]
    return rows


def ordered(rows: Structured) -> tuple[Structured, Bools]:
    """Return rows by (group, tick, lane, start), and which of them another, earlier one makes superfluous.

    The rest of the key only breaks ties, so that the order of arrival decides nothing.
    """
    group = rows["group"]
    if (group[1:] > group[:-1]).all():  # one each and in order, as a message brings them that all others resemble
        return rows, np.zeros(rows.size, dtype=np.bool_)
    rows = rows[np.lexsort((rows["started_us"], rows["lane"], rows["tick_us"], group))]
    twice = _twice(rows)
    if twice.any():
        keys = (
            rows["disturbed"], rows["reason"], rows["duration_us"], rows["outcome"], rows["started_us"],
            rows["lane"], rows["tick_us"], rows["group"],
        )  # fmt: skip
        rows = rows[np.lexsort(keys)]
    return rows, twice  # the same places: each (lane, tick) has as many rows as before


def _twice(rows: Structured) -> Bools:
    twice = np.zeros(rows.size, dtype=np.bool_)
    twice[1:] = (rows["lane"][1:] == rows["lane"][:-1]) & (rows["tick_us"][1:] == rows["tick_us"][:-1])
    return twice


@dataclass(slots=True)
class Runs:
    """Rows of some groups cut into runs, one a (group, tick), and for each group the run that is next.

    Attributes:
        rows: Ordered, none superfluous.
        group, tick_us, start, stop: By run.
        groups: The groups, ascending; head and end: by group, its next run and the one past its last.
    """

    rows: Structured
    group: Rows
    tick_us: Ints
    start: Rows
    stop: Rows
    groups: Rows
    head: Rows
    end: Rows

    @classmethod
    def of(cls, rows: Structured) -> "Runs":
        """Cut ordered rows."""
        group, tick_us = rows["group"], rows["tick_us"]
        first = np.ones(rows.size, dtype=np.bool_)
        first[1:] = (group[1:] != group[:-1]) | (tick_us[1:] != tick_us[:-1])
        start = np.flatnonzero(first)
        run_group = group[start].astype(np.intp)
        begins = np.ones(run_group.size, dtype=np.bool_)
        begins[1:] = run_group[1:] != run_group[:-1]
        head = np.flatnonzero(begins)
        return cls(
            rows=rows,
            group=run_group,
            tick_us=np.ascontiguousarray(tick_us[start]),
            start=start,
            stop=np.append(start[1:], rows.size),
            groups=run_group[head],
            head=head,
            end=np.append(head[1:], run_group.size),
        )

    def rest(self) -> Structured:
        """Return the rows of the runs that were not closed."""
        if np.array_equal(self.head, self.end):
            return self.rows[:0]
        size = np.diff(np.append(self.start, self.rows.size))
        run = np.arange(self.start.size)
        place = np.searchsorted(self.groups, self.group)
        return self.rows[np.repeat(run >= self.head[place], size)]


def joined(one: Structured, other: Structured) -> Structured:
    """Return both, one after the other. Joining structured arrays costs much, and mostly one is empty."""
    if one.size == 0 or other.size == 0:
        return other if one.size == 0 else one
    return np.concatenate([one, other])


def expand(start: Rows, stop: Rows) -> Rows:
    """Return the numbers of all ranges [start, stop), one after the other."""
    length = stop - start
    total = int(length.sum())
    offset = np.repeat(start - np.concatenate(([0], np.cumsum(length)[:-1])), length)
    return np.arange(total, dtype=np.intp) + offset
