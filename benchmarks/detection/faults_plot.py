"""Pictures of the benchmark of faults: how much each kind is warned of, and what single faults look like.

    python -m benchmarks.detection.faults_plot --data DIR [--seed N] --to docs/images/faults_examples.svg

draws one ramp, one target that flaps and one disk, each made as the benchmark makes them, with the band outside of
which the core flags a series and the moments at which it warned and at which the outage began. What is drawn is made
of recorded noise, so the databases it comes from are named in the picture.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.detection.kinds import KINDS
from benchmarks.detection.noise import HOUR_US, SECOND_US, Floats, Material, read_material
from benchmarks.detection.render import ABSENT, Series
from benchmarks.detection.report import AIM_WARNED, all_faults
from benchmarks.detection.scenario import Fault, Plan, Scenario, make
from benchmarks.detection.scoring import FaultScore, Score, wilson
from benchmarks.detection.systems import Alarm, configured
from producers.contract import OUTCOME_FAILURE, OUTCOME_SUCCESS
from streams.core.detect import Detector

SOURCE: Final = (
    "Made of residuals of Upptime's public status pages (databases of their authors, ODbL 1.0) and of Microsoft's "
    "cloud monitoring set."
)
OURS, WARNED, DOWN, GREY = "#2a6f97", "#e07a1f", "#b3261e", "#b8c4ce"
MARKS: Final = ("o", "s", "^", "D", "v")
EXAMPLES: Final = ("ramp", "flapping", "disk")
AROUND: Final = 0.35
"""So much of the time from onset to outage is shown before and after."""


def recall(scores: Mapping[str, Score], path: Path) -> None:
    """Draw the share of warnable outages that were warned of, by kind and system, beside chance."""
    figure = Figure(figsize=(8.0, 5.2))
    axes = figure.add_subplot()
    (name, own), *others = scores.items()
    kinds = [kind for kind in sorted(own.faults, reverse=True) if own.faults[kind].warnable]
    rows = ["all", *kinds]
    for place, kind in enumerate(rows):
        one = all_faults(own) if kind == "all" else own.faults[kind]
        low, high = wilson(one.warned, one.warnable)
        axes.plot([low, high], [place, place], color=OURS, linewidth=5, alpha=0.35, solid_capstyle="butt")
        # Over the others: where all have warned of as many, ours is seen.
        axes.plot(one.warned / one.warnable, place, "o", color=OURS, zorder=3, label=_once(name, place))
        axes.plot(one.chance / one.warnable, place, "|", color="black", markersize=11, label=_once("chance", place))
        for mark, (other, score) in zip(MARKS[1:], others, strict=False):
            theirs = all_faults(score) if kind == "all" else score.faults.get(kind, FaultScore())
            if theirs.warnable:
                axes.plot(theirs.warned / theirs.warnable, place, mark, color=GREY, label=_once(other, place))
    axes.axvline(AIM_WARNED, color="black", linewidth=0.6, linestyle=":")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("share of warnable outages that were warned of before they began (bars: 95 %; dots: the aim)")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def _once(label: str, place: int) -> str | None:
    return label if place == 0 else None


@dataclass(slots=True)
class Band:
    """What the detector held for normal, hour by hour.

    Attributes:
        at_us, normal, upper: Of the series that is looked at; NaN where it says nothing.
    """

    target: str
    metric: str
    at_us: list[int] = field(default_factory=list)
    normal: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)

    def look(self, core: Detector, at_us: int) -> None:
        """Note what the first location's series is held against."""
        for view in core.series(at_us):
            if view.target == self.target and view.metric == self.metric:
                self.at_us.append(at_us)
                self.normal.append(np.nan if view.normal is None else view.normal)
                self.upper.append(np.nan if view.upper is None else view.upper)
                return


def examples(material: Material, path: Path, *, seed: int) -> None:
    """Draw one fault of each kind of EXAMPLES that was warned of."""
    figure = Figure(figsize=(8.0, 8.4))
    for place, kind in enumerate(EXAMPLES):
        axes = figure.add_subplot(len(EXAMPLES), 1, place + 1)
        scenario, fault, alarms, band = _example(material, kind, seed)
        _DRAWN[kind](axes, scenario, fault, band)
        _moments(axes, fault, alarms)
        axes.set_title(f"{kind}: {_told(alarms, fault)}", fontsize=8, loc="left", wrap=True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.text(0.01, 0.004, SOURCE, fontsize=6)
    _save(figure, path)


def _example(material: Material, kind: str, seed: int) -> tuple[Scenario, Fault, list[Alarm], Band]:
    """Return the first installation of a seed in which a fault of this kind was warned of, and the fault."""
    plan = Plan(
        targets=2,
        days=(5.0, 5.5),
        kinds=tuple(one for one in KINDS if one.name == kind),
        traps=(),
        shared=(),
        intervals=((0.0, 0.0, 1.0),),
    )
    for number in range(20):
        scenario = make(material, plan, seed=seed, number=number)
        fault = scenario.faults[0]
        band = Band(fault.target, "latency")
        alarms = [alarm for alarm in configured(scenario, band.look) if alarm.target == fault.target]
        if fault.warnable and _first(alarms, fault) is not None:
            return scenario, fault, alarms, band
    raise SystemExit(f"no {kind} of seed {seed} was warned of")


def _first(alarms: Sequence[Alarm], fault: Fault) -> Alarm | None:
    outage_us = fault.end_us if fault.outage_us is None else fault.outage_us
    in_time = [
        alarm for alarm in alarms if alarm.warned_at_us is not None and fault.onset_us <= alarm.warned_at_us < outage_us
    ]
    return min(in_time, key=lambda alarm: alarm.opened_at_us, default=None)


def _told(alarms: Sequence[Alarm], fault: Fault) -> str:
    first = _first(alarms, fault)
    return first.cause if first is not None else ""


def _hours(at_us: object, fault: Fault) -> Floats:
    return np.asarray((np.asarray(at_us, dtype=np.float64) - fault.onset_us) / HOUR_US)


def _window(fault: Fault) -> tuple[float, float]:
    assert fault.outage_us is not None
    length_us = fault.outage_us - fault.onset_us
    return fault.onset_us - AROUND * length_us, fault.outage_us + AROUND * length_us


def _moments(axes: Axes, fault: Fault, alarms: Sequence[Alarm]) -> None:
    assert fault.outage_us is not None
    first = _first(alarms, fault)
    assert first is not None
    axes.axvline(0.0, color=GREY, linewidth=1, label="onset")
    axes.axvline(float(_hours(first.opened_at_us, fault)), color=WARNED, linewidth=1.5, label="warned")
    axes.axvspan(
        float(_hours(fault.outage_us, fault)),
        float(_hours(fault.end_us, fault)),
        color=DOWN,
        alpha=0.25,
        linewidth=0,
        label="down",
    )
    start, stop = _window(fault)
    axes.set_xlim(float(_hours(start, fault)), float(_hours(stop, fault)))
    axes.set_xlabel("hours from the onset")
    axes.legend(loc="upper left", fontsize=7, frameon=False, ncols=6)


def _of(scenario: Scenario, fault: Fault, probe: str) -> Series:
    return next(series for series in scenario.series if series.target == fault.target and series.probe == probe)


def _latency(axes: Axes, scenario: Scenario, fault: Fault, band: Band) -> None:
    series = _of(scenario, fault, "http")
    shown = np.flatnonzero((series.tick_us >= _window(fault)[0]) & (series.tick_us <= _window(fault)[1]))
    shown = shown[:: max(shown.size // 1500, 1)]
    good = series.outcome[shown, 0] == OUTCOME_SUCCESS
    seconds = series.duration_us[shown, 0][good] / SECOND_US
    axes.plot(_hours(series.tick_us[shown][good], fault), seconds, ".", color=GREY, markersize=2)
    hours = _hours(band.at_us, fault)
    axes.plot(hours, np.array(band.normal) / SECOND_US, color=OURS, linewidth=1, label="normal")
    axes.plot(hours, np.array(band.upper) / SECOND_US, color=OURS, linewidth=1, linestyle="--", label="limit")
    axes.set_yscale("log")
    axes.set_ylim(*np.quantile(seconds, [0.001, 0.999]) * np.array([0.7, 2.0]))
    axes.set_ylabel("latency, s")


def _failures(axes: Axes, scenario: Scenario, fault: Fault, band: Band) -> None:
    del band
    series = _of(scenario, fault, "http")
    there = (series.outcome != ABSENT).sum(axis=1)
    failed = (series.outcome == OUTCOME_FAILURE).sum(axis=1)
    axes.vlines(_hours(series.tick_us[failed > 0], fault), 0, (failed / np.maximum(there, 1))[failed > 0], color=OURS)
    axes.set_ylim(0, 1.35)
    axes.set_ylabel("share of locations\nthat failed")


def _disk(axes: Axes, scenario: Scenario, fault: Fault, band: Band) -> None:
    del band
    series = _of(scenario, fault, "host")
    (metric,) = (name for name in series.metrics if name.startswith("disk"))
    axes.plot(_hours(series.tick_us, fault), series.metrics[metric], color=OURS, linewidth=1)
    axes.set_ylim(0.0, 1.25 * float(series.metrics[metric].max()))
    axes.set_ylabel("free share of the disk")


_DRAWN: Final[Mapping[str, Callable[[Axes, Scenario, Fault, Band], None]]] = {
    "ramp": _latency,
    "flapping": _failures,
    "disk": _disk,
}


def _save(figure: Figure, path: Path) -> None:
    figure.tight_layout(rect=(0, 0.015, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None})


def main() -> None:
    """Draw the examples."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection.faults_plot", description=__doc__)
    parser.add_argument("--data", dest="folder", type=Path, required=True, help="the folder of the recorded series")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--to", type=Path, required=True, help="the picture")
    options = parser.parse_args()
    examples(read_material(options.folder), options.to, seed=options.seed)


if __name__ == "__main__":
    main()
