"""All that judges latency: level, drift, what locations see together, tail, phases; and what an episode teaches.

All of these are one signal: a lane is off its norm while any of them says so. Such an **episode** ends when none does.
If no row of failures came with it, it was innocent: what it reached is learned, by the hour if it was shorter than
half a day (a nightly backup), and by the thresholds. If failures came, or a new norm was the end, it teaches nothing.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streams.core.latency import blocks, climb
from streams.core.latency.drift import DriftChanges, Drifts
from streams.core.latency.levels import LevelChanges, Levels
from streams.core.latency.phases import PhaseChanges, Phases
from streams.core.latency.samples import Samples
from streams.core.latency.season import SLOW_US, Seasons
from streams.core.latency.spread import SpreadChanges, Spreads
from streams.core.latency.together import Together, TogetherChanges
from streams.core.policies import Policies
from streams.core.table import Bools, Column, Floats, Ints, Rows, Table
from streams.core.watermark import NEVER
from streams.policy import HOUR_US

SPOILS: Final = 3
"""So many failures in a row, and an episode was not innocent."""

BY_THE_HOUR_US: Final = 12 * HOUR_US
"""What lasts longer is no matter of the hour."""


class EpisodeTable(Table):
    """State by lane.

    Attributes:
        off: Off its norm; began_us: since that tick; spoiled: failures or a new norm came with it.
        fails: Failures in a row.
    """

    COLUMNS = {  # noqa: RUF012 - a ClassVar of the base
        "off": Column(np.bool_, 0),
        "began_us": Column(np.int64, NEVER),
        "spoiled": Column(np.bool_, 0),
        "fails": Column(np.int64, 0),
    }
    off: Bools
    began_us: Ints
    spoiled: Bools
    fails: Ints


class LatencyChanges(NamedTuple):
    """What one round changed, by detector, as places among `lanes`; `at_us` are their ticks.

    Attributes:
        nearer: Lanes whose time left is to be told.
    """

    lanes: Rows
    at_us: Ints
    level: LevelChanges | None
    drift: DriftChanges | None
    together: TogetherChanges | None
    spread: SpreadChanges | None
    phase: PhaseChanges | None
    nearer: Rows


class Latency:
    """The detectors of latency of one partition."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self.seasons = Seasons()
        self.levels = Levels(policies)
        self.blocks = blocks.BlockTable()
        self.drifts = Drifts(policies)
        self.together = Together(policies)
        self.spreads = Spreads(policies)
        self.phases = Phases(policies)
        self.climbs = climb.ClimbTable()
        self.episodes = EpisodeTable()

    def grow(self, lanes: int, groups: int) -> None:
        """Make room for so many."""
        self.together.grow(lanes, groups)
        for part in (self.levels, self.drifts, self.spreads, self.phases):
            part.grow(lanes)
        for table in (self.seasons.table, self.blocks, self.climbs, self.episodes):
            table.grow(lanes)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return everything for a snapshot."""
        found = self.seasons.weeks.arrays("week")
        for prefix, table in (self._parts() | self._group_parts()).items():
            found.update(table.arrays(prefix))
        return found

    def load(self, arrays: Mapping[str, npt.NDArray[Any]], lanes: int, groups: int) -> None:
        """Take over the arrays of a snapshot of so many lanes and groups.

        Raises:
            ValueError: If one is missing or has another form.
        """
        for prefix, table in self._parts().items():
            table.load(prefix, arrays, lanes)
        for prefix, table in self._group_parts().items():
            table.load(prefix, arrays, groups)
        numbers = self.seasons.table.week[:lanes]
        self.seasons.weeks.load("week", arrays, int((numbers >= 0).sum()))

    def _parts(self) -> dict[str, Table]:
        """Every table by its name in a snapshot; rows are lanes."""
        return {
            "season": self.seasons.table,
            "level": self.levels.table,
            "level_tail": self.levels.tails.table,
            "block": self.blocks,
            "drift": self.drifts.table,
            "drift_tail": self.drifts.tails.table,
            "spread": self.spreads.table,
            "spread_tail": self.spreads.tails.table,
            "phase": self.phases.table,
            "phase_tail": self.phases.tails.table,
            "climb": self.climbs,
            "episode": self.episodes,
            "together_lane": self.together.lanes,
        }

    def _group_parts(self) -> dict[str, Table]:
        """The same of tables whose rows are groups."""
        return {"together_group": self.together.groups, "together_tail": self.together.tails.table}

    def failed(self, lanes: Rows, groups: Rows) -> None:
        """Checks of these lanes failed, which are of these groups. Shape (n,) each."""
        self.levels.failed(lanes)
        self.episodes.fails[lanes] += 1
        spoils = self.episodes.fails[lanes] >= SPOILS
        self.episodes.spoiled[lanes] |= spoils
        self.together.failed(lanes[spoils], groups[spoils])
        self.spreads.failed(lanes[spoils])
        self.phases.failed(lanes[spoils])

    def update(
        self,
        lanes: Rows,
        groups: Rows,
        at_us: Ints,
        interval_us: Ints,
        duration_us: Floats,
        phases: Floats,
        limit_us: Floats | None = None,
    ) -> LatencyChanges | None:
        """Take in successful, undisturbed checks, at most one a lane.

        Args:
            lanes: Shape (n,), each at most once.
            groups: Of the same.
            at_us: Of the checks, shape (n,).
            interval_us: Of their groups, shape (n,).
            duration_us: Finite, >= 0, shape (n,).
            phases: Microseconds, 0 where not reached, shape (n, 5).
            limit_us: From which their checks fail, inf where that is not known, shape (n,); None: of none.

        Returns:
            What changed; None if nothing did.
        """
        log_us = np.log(np.maximum(duration_us, 1.0))
        offset, excuse = self.seasons.offset(lanes, at_us), self.seasons.excuse(lanes, at_us)
        samples = Samples(lanes, groups, at_us, interval_us, log_us, offset, excuse, phases)
        self.episodes.fails[lanes] = 0
        warm = self.levels.warm(samples)
        if not warm.all():
            samples = samples.take(warm)
            if samples.lanes.size == 0:
                return None
            limit_us = None if limit_us is None else limit_us[warm]
        held = self.together.lanes.member[samples.lanes]
        level = self.levels.update(samples, held)
        if level is not None and level.rebased.size:
            self._moved(samples.lanes[level.rebased], level.before)
        drift = self._blocks(samples, held)
        off = self.levels.table.flagged[samples.lanes] | self.drifts.table.flagged[samples.lanes]
        together = self._together(samples, off)
        off |= self.together.lanes.member[samples.lanes]
        spread = self._spread(samples, off)
        off = off | self.spreads.table.flagged[samples.lanes]
        phase = self.phases.update(samples, learn=~off)
        off |= self.phases.table.flagged[samples.lanes]
        near = lanes[:0]
        if limit_us is not None and off.any():
            level_now = self.levels.table.level[samples.lanes] + samples.offset
            near = climb.follow(self.climbs, samples.lanes[off], samples.at_us[off], level_now[off], limit_us[off])
        self._episodes(samples, off)
        if near.size == 0 and all(part is None for part in (level, drift, together, spread, phase)):
            return None
        return LatencyChanges(samples.lanes, samples.at_us, level, drift, together, spread, phase, near)

    def _together(self, samples: Samples, off: Bools) -> TogetherChanges | None:
        table, lanes = self.levels.table, samples.lanes
        above = samples.log_us - samples.offset - table.centre[lanes]
        excused = np.maximum(samples.excuse - np.maximum(samples.offset, 0.0), 0.0)
        above = np.maximum(np.minimum(above, 0.0), above - excused)
        held, spoiled = off | self.spreads.table.flagged[lanes], self.episodes.spoiled[lanes]
        return self.together.update(samples, above, table.spread[lanes], held=held, spoiled=spoiled)

    def _spread(self, samples: Samples, held: Bools) -> SpreadChanges | None:
        lanes = samples.lanes
        # What innocent episodes have reached at this hour is no tail either.
        residual = samples.log_us - samples.offset - samples.excuse - self.levels.table.centre[lanes]
        # Nor is it one if the middle moves with it: that is a matter of the drift, which knows how a day swings. The
        # drift's mean follows by the half hour; until then a short swing shows in what is smoothed over minutes.
        quick = self.drifts.quick_level(lanes) - self.levels.table.centre[lanes]
        residual -= np.fmax(np.fmax(quick, self.together.lanes.excess[lanes]), 0.0)
        return self.spreads.update(lanes, samples.groups, samples.at_us, samples.interval_us, residual, held)

    def _blocks(self, samples: Samples, held: Bools) -> DriftChanges | None:
        """Let everything that looks at hours and days take in the blocks that ended."""
        levels = self.levels.table
        marked = levels.flagged[samples.lanes] | held
        ended = blocks.gather(self.blocks, samples, levels.level[samples.lanes], marked)
        if ended is None:
            return None
        lanes, seasons = ended.lanes, self.seasons
        for place in np.flatnonzero((seasons.table.week[lanes] < 0) & (samples.interval_us[ended.places] >= SLOW_US)):
            seasons.add_week(int(lanes[place]))
        offset = seasons.offset(lanes, ended.middle_us)
        excused = np.maximum(seasons.excuse(lanes, ended.middle_us) - np.maximum(offset, 0.0), 0.0)
        normal = self.drifts.slow_level(lanes)
        drift = self.drifts.update(ended, excused)
        if drift is not None and drift.rebased.size:
            self.episodes.spoiled[samples.lanes[drift.rebased]] = True
        known = np.isfinite(normal)
        if known.any():
            now_us = ended.at_us[known]
            before = seasons.offset(lanes[known], now_us)
            off = ended.marked | self.drifts.table.flagged[lanes]
            share = np.minimum(ended.length_us / HOUR_US, 1.0)
            above = ended.mean + offset - normal
            seasons.learn(lanes[known], ended.middle_us[known], above[known], share[known], off[known])
            self._reprofiled(lanes[known], before - seasons.offset(lanes[known], now_us))
        return drift

    def _moved(self, lanes: Rows, before: Floats) -> None:
        """The level of these lanes has a new norm: nobody else is to discover the step anew."""
        self.drifts.shift(lanes, self.levels.table.centre[lanes] - before)
        blocks.forget(self.blocks, lanes)
        self.spreads.forget(lanes)
        self.episodes.spoiled[lanes] = True

    def _reprofiled(self, lanes: Rows, by: Floats) -> None:
        """The hour's part of the latency is seen otherwise than before: what is left of it moves the other way."""
        moved = by != 0.0
        if moved.any():
            lanes, by = lanes[moved], by[moved]
            table = self.levels.table
            table.centre[lanes] += by
            table.level[lanes] += by
            table.recent[lanes] += by[:, None]
            self.drifts.table.quick[lanes] += by[:, None]

    def _episodes(self, samples: Samples, off: Bools) -> None:
        table, lanes = self.episodes, samples.lanes
        was = table.off[lanes]
        if not (off.any() or was.any()):
            return
        table.off[lanes] = off
        levels = self.levels.table
        above = levels.level[lanes[off]] + samples.offset[off] - levels.centre[lanes[off]]
        self.seasons.note(lanes[off], samples.at_us[off], above)
        begins = lanes[off & ~was]
        table.began_us[begins], table.spoiled[begins] = samples.at_us[off & ~was], False
        ended = was & ~off
        if not ended.any():
            return
        lane = lanes[ended]
        climb.forget(self.climbs, lane)
        innocent = ~table.spoiled[lane]
        length_us = samples.at_us[ended] - table.began_us[lane]
        self.seasons.release(lane, innocent & (length_us <= BY_THE_HOUR_US))
        self.levels.release(lane, samples.groups[ended], innocent)
        self.drifts.release(lane, samples.groups[ended], innocent)
        self.phases.release(lane, samples.groups[ended], innocent)
