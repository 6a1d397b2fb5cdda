"""The watermark: up to which event time this partition has seen what there is to see.

One wrong clock must not move it and one dead location must not stop it:

    watermark = max(watermark before, lower median of the live locations' newest ticks, clock - PATIENCE)

A location is live if its newest tick is younger than PATIENCE by the clock. The lower median of two is the older
one, so of two locations one that is ahead moves nothing; of three, one wrong one in any direction moves nothing. A
single live location is followed, but never further than PATIENCE past the clock. With everything dead, the clock
alone moves it. PATIENCE also is how long a pause of all producers (a broker that restarts) makes no check late.

When a log begins anew (a broker that forgets was restarted) each producer delivers again what is not safe yet, in its
own time: the others would carry the watermark past the last one by more than its checks may be late. So they are
gathered first: the vote is that of the live location that is furthest behind, until each has sent something newer than
before and all of them are together again, or until two times PATIENCE are over. Who begins with such a log knows of
none that is live, so it awaits all that the config names: whatever it had judged before is lost with the state that was
not kept yet, and comes again.

When the log stood still (the broker was away, or the machine slept) the same is done, for those that were live before.
And time stands still with it: until all are gathered the clock is behind by as long as the log stood still, or the
first clock event would make everything late that was checked meanwhile.
"""

from typing import Final

import numpy as np

from streams.core.table import Bools, Column, Ints, Rows, Table

NEVER: Final = -(2**61)
"""Before every time; far enough from the type's end to be added to."""

FOREVER: Final = -NEVER
"""After every time."""


class LocationTable(Table):
    """What is known of each location in this partition.

    Attributes:
        newest_us: The newest tick that it reported.
        stopped_us: When its producer announced an orderly stop.
        before_us: Its newest tick when the log began anew. One sends in order, so what is newer follows all that comes
            again.
        awaited: The state began with this log, and knew of it from the config alone.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "newest_us": Column(np.int64, NEVER),
        "stopped_us": Column(np.int64, NEVER),
        "before_us": Column(np.int64, NEVER),
        "awaited": Column(np.bool_, 0),
    }
    newest_us: Ints
    stopped_us: Ints
    before_us: Ints
    awaited: Bools


def report(locations: LocationTable, location: Rows, tick_us: Ints) -> None:
    """Note the ticks of n checks. Shapes (n,)."""
    np.maximum.at(locations.newest_us, location, tick_us)


def advance(
    locations: LocationTable,
    *,
    before_us: int,
    clock_us: int,
    patience_us: int,
    gathering: bool = False,
    behind_us: int = 0,
) -> int:
    """Return the watermark, never less than `before_us`.

    Args:
        locations: Their newest ticks.
        before_us: The last watermark, or NEVER.
        clock_us: The newest clock event, or NEVER.
        patience_us: After so long without a tick a location has no vote.
        gathering: The log has begun anew or stood still, and not all locations have delivered again.
        behind_us: How far the clock is behind, because the log stood still.
    """
    if gathering and _awaits(locations):
        return max(before_us, clock_us - patience_us)
    newest_us = locations.newest_us[: locations.rows]
    return _vote(newest_us, before_us, clock_us, patience_us, gathering=gathering, behind_us=behind_us)


def any_live(locations: LocationTable, *, clock_us: int, quiet_us: int) -> bool:
    """Say whether any location has delivered lately. Arguments: see `gathered`."""
    return _live(locations.newest_us[: locations.rows], clock_us, quiet_us).size > 0


def gathered(
    locations: LocationTable,
    *,
    since_us: int,
    clock_us: int,
    behind_us: int,
    patience_us: int,
    quiet_us: int,
    together_us: int,
) -> bool:
    """Say whether all live locations have delivered again since the log began anew or went on, or had time enough to.

    Args:
        locations: Their newest ticks.
        since_us: How far time had come then; FOREVER before the first clock event of all.
        clock_us: The newest clock event.
        behind_us: How far the clock is behind, because the log stood still.
        patience_us: Half of the time that they have.
        quiet_us: A location that is live delivers within it.
        together_us: How far apart they may be.
    """
    if clock_us >= since_us + 2 * patience_us:
        return True
    if _awaits(locations):
        return False
    newest_us, before_us = locations.newest_us[: locations.rows], locations.before_us[: locations.rows]
    live = _live(newest_us, clock_us, quiet_us)
    if live.size == 0 or live[0] <= since_us or _median(live) - live[0] > together_us:
        return False
    if live[0] <= clock_us + behind_us - quiet_us:
        return False  # what was checked while the log stood still has not all come
    # Who was ahead of the others when the log before this one ended has not delivered again by that.
    waited_for = _live(newest_us[newest_us <= before_us], clock_us, quiet_us)
    return waited_for.size == 0


def foreseen(
    locations: LocationTable, location: Rows, tick_us: Ints, *, before_us: int, clock_us: int, patience_us: int
) -> int:
    """Return the watermark that `advance` would return after a `report` of n more checks; nothing is changed."""
    newest_us = locations.newest_us[: locations.rows].copy()
    np.maximum.at(newest_us, location, tick_us)
    return _vote(newest_us, before_us, clock_us, patience_us, gathering=False)


def _awaits(locations: LocationTable) -> bool:
    """Say whether one that is awaited has not delivered yet."""
    known = slice(locations.rows)
    return bool((locations.awaited[known] & (locations.newest_us[known] == NEVER)).any())


def _live(newest_us: Ints, clock_us: int, patience_us: int) -> Ints:
    """Return the newest ticks of the live locations, ascending."""
    return np.sort(newest_us[newest_us > clock_us - patience_us])


def _median(live: Ints) -> int:
    return int(live[(live.size - 1) // 2])


def _vote(
    newest_us: Ints, before_us: int, clock_us: int, patience_us: int, *, gathering: bool, behind_us: int = 0
) -> int:
    live = _live(newest_us, clock_us, patience_us)
    mark_us = max(before_us, clock_us - patience_us)
    if live.size == 0:
        return mark_us
    vote_us = int(live[0]) if gathering else _median(live)
    if live.size == 1 and clock_us > NEVER:
        vote_us = min(vote_us, clock_us + behind_us + patience_us)
    return max(mark_us, vote_us)
