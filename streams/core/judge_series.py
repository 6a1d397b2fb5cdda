"""The detectors of series in one round: latency, failures and forecasts are judged, what they found is collected."""

import numpy as np

from producers.contract import OUTCOME_SUCCESS
from streams.contract import Deviation
from streams.core.pending import Runs, expand
from streams.core.round import Round
from streams.core.said import deviations, deviations_latency, deviations_metric
from streams.core.state import State
from streams.core.table import Bools, Rows


class SeriesJudge:
    """Calls every detector with the rows of a round that concern it; holds nothing but what one call collects."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._deviations: list[Deviation] = []
        self._readings: tuple[Rows, Rows, Rows, Rows] | None = None

    def begin(self, runs: Runs) -> None:
        """Sort the readings of waiting rows by their run."""
        readings = self._state.readings
        self._state.metric_readings.sort(runs)
        self._readings = None
        if readings.size == 0:
            return
        uids = runs.rows["uid"]
        by_uid = np.argsort(uids)
        place = np.minimum(np.searchsorted(uids, readings["uid"], sorter=by_uid), uids.size - 1)
        row = by_uid[place]
        found = np.flatnonzero(uids[row] == readings["uid"])
        run = np.searchsorted(runs.start, row[found], side="right") - 1
        order = np.lexsort((readings["series"][found], run))
        bounds = np.searchsorted(run[order], np.arange(runs.start.size + 1))
        self._readings = (bounds[:-1], bounds[1:], found[order], row[found][order])

    def judge(self, turn: Round, runs: Runs, places: Rows, failing: Bools) -> Bools:
        """Judge the series of one round.

        Args:
            turn: The round.
            runs: Where it was taken from.
            places: The groups in `runs.groups` that it is about.
            failing: Which groups fail by quorum, shape (m,).

        Returns:
            Which groups' forecasts, metrics or times left changed, shape (m,).
        """
        changed = self._latencies(turn)
        self._failures(turn, failing)
        return changed | self._forecasts(turn, runs, places) | self._metrics(turn, runs, places)

    def take(self) -> list[Deviation]:
        """Return the deviations since the last call, by tick and name."""
        found, self._deviations = self._deviations, []
        found.sort(key=lambda each: (each.tick_us, each.target, each.probe, each.location or "", each.metric, each.id))
        return found

    def _latencies(self, turn: Round) -> Bools:
        """Judge latencies; say which groups' time left is to be told. Shape (m,)."""
        state, rows = self._state, turn.rows
        changed = np.zeros(turn.groups.size, dtype=np.bool_)
        if turn.failed.any():
            state.latency.failed(turn.lanes[turn.failed], turn.groups[turn.local[turn.failed]])
        says = turn.reported & (rows["outcome"] == OUTCOME_SUCCESS) & rows["times"] & ~rows["disturbed"]
        says &= np.isfinite(rows["duration_us"]) & (rows["duration_us"] >= 0)
        if not says.any():
            return changed
        lanes, groups, at_us = turn.lanes[says], turn.groups[turn.local[says]], turn.at_us[says]
        interval_us = state.ticks.groups.interval_us[groups]
        duration_us, phases = rows["duration_us"][says], rows["phases"][says]
        limit_us = state.registry.timeout_us[groups]
        changes = state.latency.update(lanes, groups, at_us, interval_us, duration_us, phases, limit_us)
        if changes is not None:
            self._deviations += deviations_latency.of_latency(state, changes)
            changed[np.searchsorted(turn.groups, state.registry.group_of[changes.nearer])] = True
        return changed

    def _failures(self, turn: Round, failing: Bools) -> None:
        state = self._state
        ticks = state.ticks.groups
        interval_us = ticks.interval_us[turn.groups]
        changes = state.failures.update(turn, failing, interval_us, ticks.ring, ticks.closings)
        if changes is not None:
            for places, active in ((changes.left, True), (changes.back, False)):
                for place in places.tolist():
                    group, tick_us = int(turn.groups[place]), int(turn.tick_us[place])
                    self._deviations.append(deviations.of_failures(state, group, tick_us, active=active))
        outage, lost = state.failures.outage(turn.groups, turn.total(turn.reported)), state.failures.lost(turn.groups)
        flaps = state.flaps.update(turn, failing, outage, lost, interval_us)
        if flaps is not None:
            for places, active in ((flaps.left, True), (flaps.back, False)):
                for place in places.tolist():
                    group, tick_us = int(turn.groups[place]), int(turn.tick_us[place])
                    self._deviations.append(deviations.of_flaps(state, group, tick_us, active=active))

    def _metrics(self, turn: Round, runs: Runs, places: Rows) -> Bools:
        """Judge the levels of a round's metrics; say which groups have other ones off their norm. Shape (m,)."""
        changed = np.zeros(turn.groups.size, dtype=np.bool_)
        state = self._state
        readings = state.metric_readings.round(runs, places, state.ticks.lanes.active_us)
        if readings is None:
            return changed
        series, groups, tick_us, value = readings.series, readings.groups, readings.tick_us, readings.value
        interval_us = state.ticks.groups.interval_us[groups]
        changes = state.metrics_judged.update(series, groups, tick_us, interval_us, value)
        if changes is not None:
            self._deviations += deviations_metric.of_metrics(state, readings, changes)
            for there, step in ((changes.left, 1), (changes.back, -1), (changes.rebased, -1)):
                np.add.at(state.lanes.metrics, readings.lanes[there], step)
                changed[np.searchsorted(turn.groups, readings.groups[there])] = True
        return changed

    def _forecasts(self, turn: Round, runs: Runs, places: Rows) -> Bools:
        """Take in the readings of a round; say which groups' forecasts changed. Shape (m,)."""
        changed = np.zeros(turn.groups.size, dtype=np.bool_)
        if self._readings is None:
            return changed
        state = self._state
        start, stop, reading, row = self._readings
        run = runs.head[places]
        here = expand(start[run], stop[run])
        if here.size == 0:
            return changed
        rows = runs.rows[row[here]]
        counts = state.ticks.lanes.active_us[rows["lane"]] <= rows["tick_us"]
        rows, reading = rows[counts], reading[here][counts]
        series, value = state.readings["series"][reading], state.readings["value"][reading]
        changes = state.forecasts.update(series, rows["group"], rows["tick_us"], value)
        for place in changes.turned.tolist():
            group, tick_us = int(rows["group"][place]), int(rows["tick_us"][place])
            self._deviations.append(deviations.of_forecast(state, int(series[place]), tick_us))
            state.groups.forecasts[group] += 1 if state.forecasts.table.active[series[place]] else -1
            changed[np.searchsorted(turn.groups, group)] = True
        changed[np.searchsorted(turn.groups, rows["group"][changes.nearer])] = True
        return changed
