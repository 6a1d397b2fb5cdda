"""What the windows of latency remember (`windows`): by lane and by group, and what one round hands on."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streams.core.season import HOURS
from streams.core.table import Bools, Column, Floats, Ints, Rows, Table
from streams.core.watermark import NEVER

MEAN, TAIL, DNS, CONNECT = range(4)
KINDS: Final = 4
WINDOWS: Final = 3

Small = npt.NDArray[np.float32]


class WindowLanes(Table):
    """State by lane.

    Attributes:
        count, sums: Checks of the open block, and sums of their four values.
        centre: Slow means, nan before the first block; age_us: time in blocks that were learned.
        windows: Means by window and kind.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "count": Column(np.int32, 0),
        "sums": Column(np.float64, 0.0, (KINDS,)),
        "centre": Column(np.float64, np.nan, (KINDS,)),
        "age_us": Column(np.int64, 0),
        "windows": Column(np.float64, np.nan, (WINDOWS, KINDS)),
    }
    count: npt.NDArray[np.int32]
    sums: Floats
    centre: Floats
    age_us: Ints
    windows: Floats


class WindowGroups(Table):
    """State by group.

    Attributes:
        began_us, ticks: Of the open block.
        age_us: Time in blocks.
        above: By window and kind, what a quorum of locations has above its centre.
        flagged, since_us: A window is above its limit, since that tick; what: which one is furthest (-1 before any);
            part: and how many limits above its centre.
        rising_us: Since when a window is suspicious; NEVER if none is.
        cool: Blocks in a row that were calm; rest_us: how long it has been at rest while flagged;
            rest: where it was at the beginning of that, by kind.
        spoiled: A row of failures came with the episode.
        excused, pending: By hour of day, how many limits innocent episodes have reached, and the one that lasts.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "began_us": Column(np.int64, NEVER),
        "ticks": Column(np.int32, 0),
        "age_us": Column(np.int64, 0),
        "above": Column(np.float64, 0.0, (WINDOWS, KINDS)),
        "flagged": Column(np.bool_, 0),
        "since_us": Column(np.int64, NEVER),
        "what": Column(np.int8, -1),
        "part": Column(np.float64, 0.0),
        "rising_us": Column(np.int64, NEVER),
        "cool": Column(np.int16, 0),
        "rest_us": Column(np.int64, 0),
        "rest": Column(np.float64, 0.0, (KINDS,)),
        "spoiled": Column(np.bool_, 0),
        "excused": Column(np.float32, 0.0, (HOURS,)),
        "pending": Column(np.float32, 0.0, (HOURS,)),
    }
    began_us: Ints
    ticks: npt.NDArray[np.int32]
    age_us: Ints
    above: Floats
    flagged: Bools
    since_us: Ints
    what: npt.NDArray[np.int8]
    part: Floats
    rising_us: Ints
    cool: npt.NDArray[np.int16]
    rest_us: Ints
    rest: Floats
    spoiled: Bools
    excused: Small
    pending: Small


class WindowChanges(NamedTuple):
    """Groups that were flagged, that are no longer, and those of the latter whose new level is the norm."""

    left: Rows
    back: Rows
    rebased: Rows


class Checks(NamedTuple):
    """Successful, undisturbed checks of one round.

    Attributes:
        lanes: Shape (n,), each at most once.
        duration_us: Shape (n,).
        phases: Microseconds, shape (n, 5).
    """

    lanes: Rows
    duration_us: Floats
    phases: Floats


class Ended(NamedTuple):
    """Blocks that ended: of m groups, with all k lanes of each, -1 where a group has fewer.

    Attributes:
        groups, at_us, length_us: Shape (m,).
        lanes: Shape (m, k); there: it had checks in the block, shape (m, k).
    """

    groups: Rows
    at_us: Ints
    length_us: Ints
    lanes: Rows
    there: Bools
