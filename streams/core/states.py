"""What each group and lane was at its last closed tick: what a change is told by."""

from typing import Final

import numpy as np
import numpy.typing as npt

from streams.core.pending import NO_TEXT
from streams.core.table import Bools, Column, Ints, Table
from streams.core.watermark import NEVER

FAILS: Final = 1
FAILS_IN_PART: Final = 2
MISSED: Final = 4
SLOW: Final = 8
FAILS_OFTEN: Final = 16
PART_SILENT: Final = 32
METRIC_OFF: Final = 64
FLAPS: Final = 128
"""Bits of `kinds`: which kinds of reasons a group has. Forecasts are counted apart."""


class GroupStates(Table):
    """State by group.

    Attributes:
        code: Of `quorum`; -1 before the first tick.
        settle: So many more ticks are published.
        silent: No tick had a check for its silence.
        born_us: When the group was first heard of, or missed, if the config names it; NEVER until the next clock event.
        address: The number of the address that was talked to last.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "code": Column(np.int8, -1),
        "kinds": Column(np.int64, 0),
        "forecasts": Column(np.int64, 0),
        "settle": Column(np.int64, 0),
        "silent": Column(np.bool_, 0),
        "born_us": Column(np.int64, NEVER),
        "address": Column(np.int64, NO_TEXT),
    }
    code: npt.NDArray[np.int8]
    kinds: Ints
    forecasts: Ints
    settle: Ints
    silent: Bools
    born_us: Ints
    address: Ints


class LaneStates(Table):
    """State by lane.

    Attributes:
        failing: It failed at the group's last closed tick.
        since_us: The first of its failed checks since its last success; NEVER if it failed none.
        metrics: So many of its metrics have left their norm.
        reason, status: Numbers of the last failure's reason, and its HTTP status.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "failing": Column(np.bool_, 0),
        "since_us": Column(np.int64, NEVER),
        "metrics": Column(np.int64, 0),
        "reason": Column(np.int64, NO_TEXT),
        "status": Column(np.int64, NO_TEXT),
    }
    failing: Bools
    since_us: Ints
    metrics: Ints
    reason: Ints
    status: Ints
