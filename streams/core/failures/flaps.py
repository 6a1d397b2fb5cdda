"""Flap memory: a target that was down twice or more, briefly, is likely to be down again soon.

An episode is a run of ticks that fail by quorum, short or long, one of several locations never. What is a cluster of
episodes is decided by how rarely as many come together by chance: independent episodes with the rate that is normal
for the group (once a week until its own is known, and what lost checks make by chance where few locations report)
would make such clusters less often than the budget of false warnings allows. So a lone restart says nothing; two say
something when they are an hour apart and such a thing never happens, and three or more in a day nearly always do.
Two that come within a few minutes are one deployment.

A flag is back after a quiet time of three times the longest gap of its cluster, at least LEAST_QUIET_US. From then on
the cluster is one event. What is normal is the rate of such events, not of episodes.

Source:
    Scan statistics (Naus 1965) of a Poisson process, with the exact tail. Measured on public status pages: 21, 45 and
    69 % of outages begin within 1, 6 and 24 hours of the recovery of the same site.
"""

import math
from typing import Final

import numpy as np

from streams.core.failures.chance import poisson_tail, tail
from streams.core.failures.failures import FailureChanges
from streams.core.policies import Policies
from streams.core.quorum import majority
from streams.core.round import Round
from streams.core.table import Bools, Column, Floats, Ints, Table
from streams.core.wary import wariness, warned_falsely
from streams.core.watermark import NEVER
from streams.policy import DAY_US, HOUR_US, WEEK_US

FLAPPING: Final = "flapping"
KEPT: Final = 8
REACH_US: Final = DAY_US
"""A cluster is no longer than this."""

ONE_EVENT_US: Final = 10 * 60 * 1_000_000
"""Two episodes that are not further apart are one event."""

LEAST_QUIET_US: Final = HOUR_US
QUIET_GAPS: Final = 3
MEMORY_WEEKS: Final = 4.0
"""The normal rate of episodes is that of about this time."""

AGAIN: Final = 0.1
"""An episode of a cluster that is flagged counts so much for what is normal, for a day: what goes on for longer without
an outage may be what the target has become."""

LEAST_CHANCE: Final = 1e-300
"""So that a chance too small for a number has a logarithm."""

PRIOR_EPISODES: Final = 1.0
PRIOR_WEEKS: Final = 1.0
_QUANTUM: Final = 1e-5


class FlapTable(Table):
    """State by group.

    Attributes:
        down: Its last tick that said something failed by quorum.
        begins_us, ends_us: The last KEPT episodes, newest last.
        first_us: The first tick; episodes: so many began since, older ones counting less; counted_us: as of then.
        flagged, since_us: It flaps, since the first episode of the cluster; count: episodes of it.
        until_us: It is back then, if nothing happens.
        outage: Since it is flagged there was one.
        wary, wary_us: Limits are so many times as high since clusters that no outage followed, as of that tick.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "down": Column(np.bool_, 0),
        "begins_us": Column(np.int64, NEVER, (KEPT,)),
        "ends_us": Column(np.int64, NEVER, (KEPT,)),
        "first_us": Column(np.int64, NEVER),
        "episodes": Column(np.float64, 0.0),
        "counted_us": Column(np.int64, NEVER),
        "flagged": Column(np.bool_, 0),
        "since_us": Column(np.int64, NEVER),
        "count": Column(np.int64, 0),
        "until_us": Column(np.int64, NEVER),
        "outage": Column(np.bool_, 0),
        "wary": Column(np.float64, 1.0),
        "wary_us": Column(np.int64, 0),
    }
    down: Bools
    begins_us: Ints
    ends_us: Ints
    first_us: Ints
    episodes: Floats
    counted_us: Ints
    flagged: Bools
    since_us: Ints
    count: Ints
    until_us: Ints
    outage: Bools
    wary: Floats
    wary_us: Ints


class Flaps:
    """The detector `flapping`."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self.table = FlapTable()

    def update(
        self, turn: Round, failing: Bools, outage: Bools, lost: Floats, interval_us: Ints
    ) -> FailureChanges | None:
        """Take in one tick of each group.

        Args:
            turn: The round.
            failing: By group: the tick fails by quorum. Shape (m,).
            outage: By group: it has failed for so long that this is no chance any more. Shape (m,).
            lost: By group: the share of its checks that fail by themselves. Shape (m,).
            interval_us: Of the groups, shape (m,).

        Returns:
            What changed; None if nothing did.
        """
        table, group = self.table, turn.groups
        said = turn.total(turn.reported)
        new = table.first_us[group] == NEVER
        if new.any():
            table.first_us[group[new]] = turn.tick_us[new]
        was_down, was = table.down[group], table.flagged[group]
        if not (failing.any() or was_down.any() or was.any()):
            return None
        table.down[group] = np.where(said > 0, failing, was_down)
        ends = was_down & (said > 0) & ~failing
        if ends.any():
            table.ends_us[group[ends], -1] = turn.tick_us[ends]
            table.until_us[group[ends]] = np.maximum(table.until_us[group[ends]], turn.tick_us[ends] + LEAST_QUIET_US)
        for place in np.flatnonzero(failing & ~was_down):
            chance = _chance(int(said[place]), float(lost[place])) * WEEK_US / max(int(interval_us[place]), 1)
            self._begin(int(group[place]), int(turn.tick_us[place]), chance)
        back = was & ~failing & (turn.tick_us >= table.until_us[group])
        table.flagged[group[back]] = False
        table.outage[group] |= was & outage
        false = back & ~table.outage[group]
        warned_falsely(table, group[false], turn.tick_us[false])
        # From now on the whole cluster is one event: what comes next is no part of it by itself.
        table.begins_us[group[back], :-1] = table.ends_us[group[back], :-1] = NEVER
        now = table.flagged[group]
        if np.array_equal(was, now):
            return None
        return FailureChanges(np.flatnonzero(now & ~was), np.flatnonzero(was & ~now))

    def normal(self, group: int, at_us: int) -> float:
        """Return how many episodes a week are normal for a group; those of the last day are not counted."""
        table = self.table
        weeks = (at_us - int(table.first_us[group])) / WEEK_US
        observed = MEMORY_WEEKS * -math.expm1(-weeks / MEMORY_WEEKS)
        recent = int((table.begins_us[group] > at_us - REACH_US).sum())
        known = max(self._counted(group, at_us) - recent, 0.0)
        return (PRIOR_EPISODES + known) / (PRIOR_WEEKS + observed)

    def _counted(self, group: int, at_us: int) -> float:
        table = self.table
        if table.counted_us[group] == NEVER:
            return 0.0
        weeks = (at_us - int(table.counted_us[group])) / WEEK_US
        return float(table.episodes[group]) * math.exp(-weeks / MEMORY_WEEKS)

    def _begin(self, group: int, at_us: int, chance: float) -> None:
        """An episode begins: note it, and see whether it makes a cluster."""
        table = self.table
        # A cluster is one event: the rate of events is what is normal, however many episodes the last one had.
        one_event = table.flagged[group] and at_us - table.since_us[group] <= REACH_US
        table.episodes[group] = self._counted(group, at_us) + (AGAIN if one_event else 1.0)
        table.counted_us[group] = at_us
        begins, ends = table.begins_us[group], table.ends_us[group]
        begins[:-1], ends[:-1] = begins[1:], ends[1:]
        begins[-1], ends[-1] = at_us, NEVER
        rate = self.normal(group, at_us) + chance
        budget = float(self._policies.of(group).false_warnings_per_series_week)
        wary = wariness(table, np.array([group]), np.array([at_us]))
        limit = math.log(max(rate / budget, 1.0)) * float(wary[0])
        was = bool(table.flagged[group])
        for number in range(2, KEPT + 1):
            begun_us, ended_us = int(begins[-number]), int(ends[-number])
            if begun_us == NEVER or at_us - begun_us > REACH_US:
                break
            gap_us = at_us - max(ended_us, begun_us)
            if number == 2 and gap_us <= ONE_EVENT_US:
                continue
            if math.log(max(poisson_tail(number - 1, rate * gap_us / WEEK_US), LEAST_CHANCE)) >= -limit:
                continue
            longest_us = max(int(np.diff(begins[-number:]).max()), 0)
            quiet_us = min(max(QUIET_GAPS * longest_us, LEAST_QUIET_US), REACH_US)
            if not was:
                table.since_us[group], table.outage[group] = begun_us, False
            table.flagged[group], table.count[group] = True, number
            table.until_us[group] = at_us + quiet_us


def _chance(locations: int, lost: float) -> float:
    """Return the probability that a tick fails by quorum because checks fail by themselves."""
    if lost <= 0.0:
        return 0.0
    lost = max(round(lost / _QUANTUM), 1) * _QUANTUM
    return tail(majority(locations), locations, min(lost, 0.5))
