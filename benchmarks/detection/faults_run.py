"""The work of the benchmark of faults: each installation is made and judged by itself, by one process or by several.

What an installation gives does not depend on the others, and results are added up in the order of installations: the
number of processes changes nothing but the time.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from benchmarks.detection.noise import Material, read_material
from benchmarks.detection.save import save
from benchmarks.detection.scenario import Plan, make, planned
from benchmarks.detection.scoring import Score
from benchmarks.detection.systems import SYSTEMS

MAKING = "making"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is to be done with each installation.

    Attributes:
        folder: Of the recorded series.
        systems: Names, of `systems.SYSTEMS`.
        save_to: Where installations are written; None: nowhere.
    """

    folder: Path
    plan: Plan
    seed: int
    systems: tuple[str, ...]
    save_to: Path | None = None


@dataclass(slots=True, kw_only=True)
class Result:
    """What came of some installations.

    Attributes:
        scores: By system.
        cpu_s: Processor time, by system, and of making them.
    """

    scores: dict[str, Score] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)

    def take(self, other: "Result") -> None:
        """Add what came of other installations."""
        for name, score in other.scores.items():
            self.scores.setdefault(name, Score()).take(score)
        for name, seconds in other.cpu_s.items():
            self.cpu_s[name] = self.cpu_s.get(name, 0.0) + seconds


def run(task: Task, *, months: float, jobs: int) -> Result:
    """Make and judge installations of so many target-months, in so many processes."""
    numbers = planned(task.plan, seed=task.seed, months=months)
    whole = Result()
    for number, result in zip(numbers, _results(task, numbers, jobs), strict=True):
        whole.take(result)
        print(f"installation {number + 1} of {len(numbers)}: {sum(result.cpu_s.values()):.0f} s", file=sys.stderr)
    return whole


def _results(task: Task, numbers: Sequence[int], jobs: int) -> Iterator[Result]:
    if jobs == 1:
        yield from map(partial(_judge, read_material(task.folder), task), numbers)
        return
    # Started anew, so that they share nothing with this one.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_begin, initargs=(task,)) as pool:
        yield from pool.map(_judge_one, numbers)


_given: tuple[Material, Task] | None = None
"""Of a process of the pool: what all its installations are made from."""


def _begin(task: Task) -> None:
    global _given  # noqa: PLW0603 - a pool hands its processes nothing else
    _given = read_material(task.folder), task


def _judge_one(number: int) -> Result:
    assert _given is not None
    return _judge(*_given, number)


def _judge(material: Material, task: Task, number: int) -> Result:
    result = Result()
    with _timed(result, MAKING):
        scenario = make(material, task.plan, seed=task.seed, number=number)
        twin = make(material, task.plan, seed=task.seed, number=number, shared=False)
    if task.save_to is not None:
        save(scenario, task.save_to)
    for name in task.systems:
        with _timed(result, name):
            result.scores[name] = Score()
            result.scores[name].add(scenario, SYSTEMS[name](scenario), without=SYSTEMS[name](twin))
    return result


@contextmanager
def _timed(result: Result, name: str) -> Iterator[None]:
    began = time.process_time()
    yield
    result.cpu_s[name] = result.cpu_s.get(name, 0.0) + time.process_time() - began
