"""Latency of a target over windows of ten minutes, half an hour and hours, judged over all its locations at once.

Checks are gathered into blocks of ten minutes. Of each lane and block there are four means: of log latency; of how far
checks lie above the lane's centre, clipped (its tail); of log time for dns; of log time to connect. The block itself
and two exponential means of blocks, less the lane's slow centre, are the windows. Over the locations of a group the
one counts that a quorum reaches: one location's slowness is not the target's, and what most of them see a little is
seen long before any of them is sure. A group is flagged when a window is above its limit, which is calibrated on the
window's own largest values (`calibration`): a group that wanders, or swings with the day, has a higher one.

Centres stand still while the group is flagged and follow at a quarter while it is suspicious, and no block counts as
more than CLIP from them. An episode that ends without a row of failures was innocent: what it reached is excused in
the hours that it covered, and limits move. What has come to rest for REST_US is the new norm.

Source:
    Exponential means as charts (Roberts 1959), several windows at once (Siegmund & Venkatraman 1995); the limit: see
    `calibration`; the quorum as an order statistic over locations, a median of means (Nemirovsky & Yudin 1983).
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from producers.contract import PHASES
from streams.core import baseline
from streams.core.calibration import Tails
from streams.core.policies import Policies
from streams.core.quorum import majority
from streams.core.season import HOUR_US, HOURS
from streams.core.table import Bools, Floats, Ints, Rows
from streams.core.watermark import NEVER
from streams.core.window_tables import (
    DNS,
    KINDS,
    MEAN,
    TAIL,
    WINDOWS,
    Checks,
    Ended,
    WindowChanges,
    WindowGroups,
    WindowLanes,
)

BLOCK_US: Final = 600 * 1_000_000
LEAST_TICKS: Final = 5
"""A block is over after this time and so many ticks."""

HALF_LIVES_US: Final = np.array([0.0, 0.5, 3.0]) * HOUR_US
"""Of the means; the first one is the block itself."""

CELLS: Final = WINDOWS * KINDS

SLOW_US: Final = 72 * HOUR_US
"""Half-life of the centres."""

BLOCKS_US: Final = (2 * HOUR_US, 6 * HOUR_US, 24 * HOUR_US)
"""The largest value of so long a time is one of those by which the limit of each window is calibrated."""

CALIBRATED: Final = (6, 18, 72)
"""And of so many blocks at least."""

BUDGET_SHARE: Final = 4.0
"""Of a series' false warnings, by kind and window. That adds up to more than all of them: largest values of these means
have lighter tails than the exponential ones that the limit supposes, so far fewer come (measured: see the README)."""

PRIOR_MEAN: Final = 0.1
PRIOR_SCALE: Final = 0.05
LEAST: Final = np.array([0.1, 0.07, 0.5, 0.4])
"""Least excess, log: nobody is warned of a tenth more, nor of a name server's milliseconds."""

LEAST_PART: Final = 0.1
"""A phase must have grown by this part of the whole check."""

CLIP: Final = 0.5
TAIL_CLIP: Final = 12.0
LEAST_TAIL_CLIP: Final = 0.3
"""A check counts as so far above the centre at most: in means of the tail, and in log latency."""

YOUNG_US: Final = 6 * HOUR_US
DAY_US: Final = 24 * HOUR_US
"""Before YOUNG_US nothing is said, and before a day was seen limits are up to twice as far."""

BACK: Final = 0.5
"""Part of the limit under which a window is back, and from which it is suspicious."""

COOL_BLOCKS: Final = 3
SUSPICIOUS_RATE: Final = 0.25
EXCUSED: Final = 1.2
BY_THE_HOUR_US: Final = 12 * HOUR_US
"""What lasts longer is no matter of the hour."""

REST: Final = 0.1
REST_US: Final = 12 * HOUR_US


class Windows:
    """The detector of windows.

    Attributes:
        lanes, groups, tails: All are part of the snapshot; the rows of a tail are groups × kinds.
    """

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self.lanes, self.groups = WindowLanes(), WindowGroups()
        budget = policies.distinct[0].false_warnings_per_series_week
        self.tails = [
            Tails(
                mean=PRIOR_MEAN,
                scale=PRIOR_SCALE,
                budget=BUDGET_SHARE * budget,
                block_us=BLOCKS_US[window],
                least=CALIBRATED[window],
            )
            for window in range(WINDOWS)
        ]

    def grow(self, groups: int, lanes: int) -> None:
        """Make room for so many."""
        self.lanes.grow(lanes)
        self.groups.grow(groups)
        for tail in self.tails:
            tail.table.grow(KINDS * groups)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return everything for a snapshot."""
        found = {**self.lanes.arrays("window_lane"), **self.groups.arrays("window_group")}
        for window, tail in enumerate(self.tails):
            found.update(tail.table.arrays(f"window_tail_{window}"))
        return found

    def load(self, arrays: Mapping[str, npt.NDArray[Any]], groups: int, lanes: int) -> None:
        """Take over the arrays of a snapshot of so many groups and lanes.

        Raises:
            ValueError: If one is missing or has another form.
        """
        self.lanes.load("window_lane", arrays, lanes)
        self.groups.load("window_group", arrays, groups)
        for window, tail in enumerate(self.tails):
            tail.table.load(f"window_tail_{window}", arrays, KINDS * groups)

    def failed(self, groups: Rows) -> None:
        """These groups fail for good: an episode of theirs was not innocent."""
        self.groups.spoiled[groups] = True

    def update(
        self, groups: Rows, tick_us: Ints, interval_us: Ints, members: tuple[Rows, Ints, Ints], checks: Checks
    ) -> WindowChanges | None:
        """Take in a round.

        Args:
            groups: Shape (m,), each at most once.
            tick_us, interval_us: Of them, shape (m,).
            members: Lanes, where among them each group's begin, and how many these are.
            checks: What there is of them.

        Returns:
            What changed; None if nothing did.
        """
        self._gather(checks)
        table = self.groups
        began_us = table.began_us[groups]
        began_us = np.where(began_us == NEVER, tick_us, began_us)
        ticks = table.ticks[groups] + 1
        length_us = tick_us - began_us + interval_us
        over = (length_us >= BLOCK_US) & (ticks >= LEAST_TICKS)
        table.began_us[groups] = np.where(over, NEVER, began_us)
        table.ticks[groups] = np.where(over, 0, ticks)
        if not over.any():
            return None
        # A gap is no part of what was observed.
        length_us = np.minimum(length_us, 2 * ticks * interval_us)
        every, first, sizes = members[0], members[1][over], members[2][over]
        place = first[:, None] + np.arange(int(sizes.max()))
        inside = np.arange(place.shape[1]) < sizes[:, None]
        lanes = np.where(inside, every[np.minimum(place, every.size - 1)], -1)
        there = inside & (self.lanes.count[lanes] > 0)
        return self._judge(Ended(groups[over], tick_us[over], length_us[over], lanes, there))

    def limits(self, groups: Rows, at_us: Ints) -> Floats:
        """Return the limits of these groups at this hour. Shape (m, WINDOWS, KINDS)."""
        rows = KINDS * groups[:, None] + np.arange(KINDS)
        limit = np.maximum(np.stack([tail.limit(rows) for tail in self.tails], axis=1), LEAST)
        hour = (at_us // HOUR_US % HOURS).astype(np.intp)
        excused = self.groups.excused
        most = np.maximum(excused[groups, hour], excused[groups, (hour + 1) % HOURS])
        most = np.maximum(most, excused[groups, (hour - 1) % HOURS])
        unseen = 1.0 + np.maximum(1.0 - self.groups.age_us[groups] / DAY_US, 0.0)
        scaled: Floats = limit * np.maximum(EXCUSED * most, 1.0)[:, None, None] * unseen[:, None, None]
        return scaled

    def cell(self, group: int) -> tuple[int, int]:
        """Return window and kind of what is furthest above its limit, or was last; of the block's mean before any."""
        return divmod(max(int(self.groups.what[group]), 0), KINDS)

    def said(self, lane: int, window: int, kind: int) -> tuple[float, float]:
        """Return (now, normally) of one lane in microseconds; of the tail what the slower half of checks takes."""
        now, normal = float(self.lanes.windows[lane, window, kind]), float(self.lanes.centre[lane, kind])
        if kind == TAIL:
            # The mean over all checks of what only half of them have.
            middle = float(self.lanes.centre[lane, MEAN])
            return float(np.exp(middle + 2.0 * now)), float(np.exp(middle + 2.0 * normal))
        jitter_us = 0.0 if kind == MEAN else baseline.JITTER_US
        return max(float(np.exp(now)) - jitter_us, 0.0), max(float(np.exp(normal)) - jitter_us, 0.0)

    def above(self, lanes: Rows, window: int, kind: int) -> Floats:
        """Return how far these lanes are above their centres, log. Shape (n,)."""
        above: Floats = self.lanes.windows[lanes, window, kind] - self.lanes.centre[lanes, kind]
        return above

    def _gather(self, checks: Checks) -> None:
        table, lanes = self.lanes, checks.lanes
        if lanes.size == 0:
            return
        log_us = np.log(np.maximum(checks.duration_us, 1.0))
        centre = table.centre[lanes]
        # Before there is a centre nothing is far above it.
        above = np.maximum(np.where(np.isnan(centre[:, MEAN]), 0.0, log_us - centre[:, MEAN]), 0.0)
        most = np.fmax(TAIL_CLIP * centre[:, TAIL], LEAST_TAIL_CLIP)
        columns = [PHASES.index("dns"), PHASES.index("connect")]
        phases = np.log(checks.phases[:, columns] + baseline.JITTER_US)
        table.sums[lanes] += np.concatenate([np.stack([log_us, np.minimum(above, most)], axis=1), phases], axis=1)
        table.count[lanes] += 1

    def _judge(self, ended: Ended) -> WindowChanges | None:
        self._slide(ended)
        groups, table = ended.groups, self.groups
        table.age_us[groups] += ended.length_us
        above, limit = self._above(ended), self.limits(groups, ended.at_us)
        part = np.where(np.isfinite(above), above, 0.0) / limit
        part[:, :, DNS:] *= self._counts(ended)[:, None, :]
        table.above[groups] = np.where(np.isfinite(above), above, table.above[groups])
        # Over is what this block and the last half hour show no more: long windows forget slowly.
        short = np.where(np.isfinite(above), above, np.inf)[:, :2] / limit.min(axis=1)[:, None]
        calm = np.all(short.min(axis=1) < BACK, axis=1)
        was = table.flagged[groups]
        left, back = self._flag(ended, part, calm)
        held = table.flagged[groups] | was
        most = table.part[groups]
        self._observe(ended, part * limit, held)
        self._note(ended, most, table.flagged[groups])
        rebased = self._rest(ended)
        self._learn(ended, ~held, most > BACK)
        ends = back | rebased
        self._release(groups[ends], ended.at_us[ends], innocent=back[ends])
        self._anew(ended, back)
        if not (left | ends).any():
            return None
        return WindowChanges(groups[left], groups[ends], groups[rebased])

    def _flag(self, ended: Ended, part: Floats, calm: Bools) -> tuple[Bools, Bools]:
        """Note who is off the norm now; return who was not before, and who is no longer."""
        table, groups = self.groups, ended.groups
        known = ended.there.any(axis=1) & (table.age_us[groups] >= YOUNG_US)
        most, was = part.max(axis=(1, 2)), table.flagged[groups]
        left = known & ~was & (most > 1.0)
        cool = np.where(was & known & calm, table.cool[groups] + 1, 0)
        back = was & (cool >= COOL_BLOCKS)
        flagged = (was | left) & ~back
        rising_us = table.rising_us[groups]
        began_us = np.where(rising_us == NEVER, ended.at_us - ended.length_us, rising_us)
        rising_us = np.where(most > BACK, began_us, NEVER)
        table.rising_us[groups], table.cool[groups] = rising_us, cool
        table.flagged[groups], table.part[groups] = flagged, most
        table.what[groups] = np.where(flagged, part.reshape(-1, CELLS).argmax(axis=1), table.what[groups])
        table.since_us[groups[left]], table.spoiled[groups[left]] = rising_us[left], False
        return left, back

    def _slide(self, ended: Ended) -> None:
        """Let the windows take in the block, and begin the next one."""
        table = self.lanes
        group, place = np.nonzero(ended.there)
        lane = ended.lanes[group, place]
        block = table.sums[lane] / table.count[lane][:, None]
        fresh = np.isnan(table.centre[lane, MEAN])
        # The tail of the first block is not known: the centre was not.
        table.centre[lane[fresh]] = block[fresh]
        windows = np.where(fresh[:, None, None], block[:, None, :], table.windows[lane])
        length_us = ended.length_us[group].astype(np.float64)
        age_us = table.age_us[lane] + length_us
        pace = 1.0 - 0.5 ** (length_us[:, None] / np.maximum(HALF_LIVES_US, 1.0))
        pace = np.maximum(pace, (length_us / age_us)[:, None])
        table.windows[lane] = windows + pace[:, :, None] * (block[:, None, :] - windows)
        every = ended.lanes[ended.lanes >= 0]
        table.count[every], table.sums[every] = 0, 0.0

    def _above(self, ended: Ended) -> Floats:
        """Return what a quorum of the locations that were there has above its centre; nan of none."""
        table, there = self.lanes, ended.there
        above = table.windows[ended.lanes] - table.centre[ended.lanes][:, :, None, :]
        above = np.where(there[:, :, None, None], above, -np.inf)
        count = there.sum(axis=1)
        least = ended.lanes.shape[1] - majority(count)
        rows = np.arange(ended.groups.size)
        found: Floats = np.sort(above, axis=1)[rows, np.minimum(least, ended.lanes.shape[1] - 1)]
        known: Floats = np.where((count > 0)[:, None, None], found, np.nan)
        return known

    def _counts(self, ended: Ended) -> Bools:
        """Say whose dns and connect have grown by enough of the whole check. Shape (m, 2)."""
        table = self.lanes
        normal = np.exp(table.centre[ended.lanes])
        grown = np.exp(table.windows[ended.lanes][:, :, :2].max(axis=2)) - normal
        enough = np.maximum(LEAST_PART * normal[:, :, [MEAN]], 5.0 * baseline.JITTER_US)
        counts: Bools = np.any(ended.there[:, :, None] & (grown[:, :, DNS:] >= enough), axis=1)
        return counts

    def _observe(self, ended: Ended, above: Floats, held: Bools) -> None:
        rows = (KINDS * ended.groups[:, None] + np.arange(KINDS)).ravel()
        budget = np.broadcast_to(self._policies.get("false_warnings_per_series_week", ended.groups), ended.groups.shape)
        for window, tail in enumerate(self.tails):
            tail.observe(
                rows,
                np.repeat(ended.at_us, KINDS),
                above[:, window].ravel(),
                np.repeat(held, KINDS),
                np.repeat(BUDGET_SHARE * budget, KINDS),
            )

    def _note(self, ended: Ended, most: Floats, flagged: Bools) -> None:
        hour = (ended.at_us // HOUR_US % HOURS).astype(np.intp)
        groups, hour, most = ended.groups[flagged], hour[flagged], most[flagged]
        # In limits as they are without an excuse.
        excused = self.groups.excused
        wider = np.maximum(excused[groups, hour], excused[groups, (hour + 1) % HOURS])
        wider = np.maximum(EXCUSED * np.maximum(wider, excused[groups, (hour - 1) % HOURS]), 1.0)
        self.groups.pending[groups, hour] = np.maximum(self.groups.pending[groups, hour], most * wider)

    def _rest(self, ended: Ended) -> Bools:
        """Follow who is at rest off the norm; say for whom that is the norm from now on, and make it so."""
        table, groups = self.groups, ended.groups
        flagged, above = table.flagged[groups], table.above[groups]
        # A slow leak looks as if at rest at any time, but not over all of it.
        rests = flagged & ((np.abs(above[:, 1] - above[:, 2]) < REST) & (above[:, 2] - table.rest[groups] < REST)).all(
            axis=1
        )
        table.rest[groups] = np.where(rests[:, None], table.rest[groups], above[:, 2])
        table.rest_us[groups] = np.where(rests, table.rest_us[groups] + ended.length_us, 0)
        done: Bools = table.rest_us[groups] >= REST_US
        if done.any():
            lane = ended.lanes[done]
            lane = lane[lane >= 0]
            self.lanes.centre[lane] = self.lanes.windows[lane][:, 2]
            table.rest_us[groups[done]], table.above[groups[done]], table.flagged[groups[done]] = 0, 0.0, False
        return done

    def _learn(self, ended: Ended, calm: Bools, suspicious: Bools) -> None:
        table = self.lanes
        group, place = np.nonzero(ended.there & calm[:, None])
        lane = ended.lanes[group, place]
        length_us = ended.length_us[group].astype(np.float64)
        age_us = table.age_us[lane] + length_us
        rate = np.maximum(1.0 - 0.5 ** (length_us / SLOW_US), length_us / age_us)
        rate *= np.where(suspicious[group], SUSPICIOUS_RATE, 1.0)
        centre = table.centre[lane]
        table.centre[lane] = centre + rate[:, None] * np.clip(table.windows[lane][:, 0] - centre, -CLIP, CLIP)
        table.age_us[lane] = age_us.astype(np.int64)

    def _release(self, groups: Rows, at_us: Ints, *, innocent: Bools) -> None:
        """End the episodes of these groups: the innocent excuse their hours, and are learned by the limits."""
        if groups.size == 0:
            return
        table = self.groups
        innocent = innocent & ~table.spoiled[groups]
        short = innocent & (at_us - table.since_us[groups] <= BY_THE_HOUR_US)
        who = groups[short]
        table.excused[who] = np.maximum(table.excused[who], table.pending[who])
        table.pending[groups] = 0.0
        rows = (KINDS * groups[:, None] + np.arange(KINDS)).ravel()
        budget = np.broadcast_to(self._policies.get("false_warnings_per_series_week", groups), groups.shape)
        for tail in self.tails:
            tail.release(rows, np.repeat(innocent, KINDS), np.repeat(BUDGET_SHARE * budget, KINDS))

    def _anew(self, ended: Ended, back: Bools) -> None:
        """Let the long windows of groups that are back forget what is over."""
        lane = ended.lanes[back]
        lane = lane[lane >= 0]
        self.lanes.windows[lane, 2] = self.lanes.windows[lane, 1]
