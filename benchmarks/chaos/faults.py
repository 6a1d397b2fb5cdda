"""What happens to which part, and when: planned from a seed, then carried out on living processes."""

import os
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from benchmarks.chaos.front import EVERYBODY
from benchmarks.chaos.installations import DETECTS, Chaos
from tests.integration.waiting import wait_for

How = Literal["kill", "stop", "cut"]

PARTS: Final = ("producer", "broker", "detect", "incidents", "sink", "store", "alerts")

SECONDS: Final = (1.0, 8.0)
"""How long a part is stopped or cut off."""

AGAIN_S: Final = 120.0
"""Within this a part that was killed must run again."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One part is hit.

    Attributes:
        at: When, as a share of the time that is played.
        name: The process: `detect 2`, `producer ams`, `broker`, ...
        seconds: How long it is stopped or cut off; a killed one is away until its supervisor has started it again.
    """

    at: float
    name: str
    how: How
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Done:
    """A fault that was carried out, from when until when, microseconds UTC."""

    fault: Fault
    from_us: int
    until_us: int


def plan(seed: int, *, kills: int, locations: Sequence[str], silence_s: float | None = None) -> list[Fault]:
    """Return so many kills, and half as many stops and cuts, at moments spread over the time that is played.

    Args:
        seed: The same seed, the same plan.
        kills: How many parts are killed.
        locations: Those of the producers.
        silence_s: One producer is also stopped for so long that it must be noticed; None: none is.
    """
    chance = random.Random(seed)
    kinds: tuple[How, How, How] = ("kill", "stop", "cut")
    hows = [how for how, times in zip(kinds, (kills, kills // 4, kills // 4), strict=True) for _ in range(times)]
    chance.shuffle(hows)
    moments = sorted(chance.random() for _ in hows)
    found: list[Fault] = []
    deck: list[str] = []
    for at, how in zip(moments, hows, strict=True):
        deck = deck or chance.sample(PARTS, len(PARTS))  # each part once, then each once more
        seconds = chance.uniform(*SECONDS)
        found.append(Fault(at=at, name=_name(deck.pop(), chance, locations), how=how, seconds=seconds))
    if silence_s is not None:
        silent = Fault(at=0.5, name=f"producer {locations[-1]}", how="stop", seconds=silence_s)
        found = sorted([*found, silent], key=lambda fault: fault.at)
    return found


def _name(part: str, chance: random.Random, locations: Sequence[str]) -> str:
    if part == "producer":
        return f"producer {chance.choice(locations)}"
    return chance.choice(DETECTS) if part == "detect" else part


def strike(deployment: Chaos, fault: Fault) -> Done:
    """Carry a fault out; return when its part runs again."""
    pid = wait_for(f"{fault.name} runs", lambda: deployment.pids().get(fault.name), within_s=AGAIN_S)
    from_us = time.time_ns() // 1000

    def is_another() -> bool:
        if deployment.failure is not None:
            raise deployment.failure
        return deployment.pids().get(fault.name, pid) != pid

    if fault.how == "kill":
        os.kill(pid, signal.SIGKILL)
        wait_for(f"{fault.name} runs again", is_another, within_s=AGAIN_S)
    elif fault.how == "stop":
        os.kill(pid, signal.SIGSTOP)
        time.sleep(fault.seconds)
        os.kill(pid, signal.SIGCONT)
    else:
        _cut(deployment, fault, pid)
    return Done(fault=fault, from_us=from_us, until_us=time.time_ns() // 1000)


def _cut(deployment: Chaos, fault: Fault, pid: int) -> None:
    fronts = deployment.fronts
    if fault.name != "store":
        fronts.broker.cut(EVERYBODY if fault.name == "broker" else (pid,))
    if fault.name != "broker":
        fronts.store.cut(EVERYBODY if fault.name == "store" else (pid,))
    time.sleep(fault.seconds)
    fronts.heal()
