"""Checks gathered into blocks of ten minutes, for everything that looks at hours and days: one value a block.

The value is the mean of the running median of log latency, so that single wild checks leave no mark.
"""

from typing import Final, NamedTuple

import numpy as np

from streams.core.latency.samples import Samples
from streams.core.table import Bools, Column, Floats, Ints, Rows, Table
from streams.core.watermark import NEVER

BLOCK_US: Final = 600 * 1_000_000
LEAST_CHECKS: Final = 5


class BlockTable(Table):
    """The open block by lane.

    Attributes:
        began_us: Its first tick.
        count, total: Checks, and the sum of their running medians.
        marked: The series was off its level at one of them.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "began_us": Column(np.int64, NEVER),
        "count": Column(np.int64, 0),
        "total": Column(np.float64, 0.0),
        "marked": Column(np.bool_, 0),
    }
    began_us: Ints
    count: Ints
    total: Floats
    marked: Bools


class Blocks(NamedTuple):
    """Blocks that ended in a round. Shape (k,) each.

    Attributes:
        places: In the samples of the round.
        lanes, groups: Whose.
        at_us: The tick that ended it; middle_us: its middle; length_us: the time that its checks stand for.
        mean: Log microseconds less what the hour adds.
        marked: The series was off its level in it.
    """

    places: Rows
    lanes: Rows
    groups: Rows
    at_us: Ints
    middle_us: Ints
    length_us: Ints
    mean: Floats
    marked: Bools


def gather(table: BlockTable, samples: Samples, level: Floats, marked: Bools) -> Blocks | None:
    """Take in checks; return the blocks that ended, None without any.

    Args:
        table: Their open blocks.
        samples: The round.
        level: Running medians, log microseconds less what the hour adds, shape (n,).
        marked: The series is off its level, shape (n,).
    """
    lanes, interval_us = samples.lanes, samples.interval_us
    began_us = table.began_us[lanes]
    began_us = np.where(began_us == NEVER, samples.at_us, began_us)
    count, total = table.count[lanes] + 1, table.total[lanes] + level
    marked = table.marked[lanes] | marked
    length_us = samples.at_us - began_us + interval_us
    over = (length_us >= BLOCK_US) & (count >= LEAST_CHECKS)
    table.began_us[lanes] = np.where(over, NEVER, began_us)
    table.count[lanes], table.total[lanes] = np.where(over, 0, count), np.where(over, 0.0, total)
    table.marked[lanes] = marked & ~over
    if not over.any():
        return None
    return Blocks(
        places=np.flatnonzero(over),
        lanes=lanes[over],
        groups=samples.groups[over],
        at_us=samples.at_us[over],
        middle_us=(began_us + length_us // 2)[over],
        # A gap is no part of what was observed.
        length_us=np.minimum(length_us, 2 * count * interval_us)[over],
        mean=(total / count)[over],
        marked=marked[over],
    )


def forget(table: BlockTable, lanes: Rows) -> None:
    """Begin the open blocks of these lanes anew."""
    table.began_us[lanes], table.count[lanes], table.total[lanes], table.marked[lanes] = NEVER, 0, 0.0, False
