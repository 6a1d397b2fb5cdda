"""A recorded hour of checks with faults in it: made once from a seed, played by the producers.

What is recorded is what each probe would have seen: outcome and duration by target, location and tick. When a tick is,
the player says.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

WARM_TICKS: Final = 24
"""Nothing but outages happens at first: baselines are being learned."""

QUIET_TICKS: Final = 12
"""Nothing happens at the end, so that everything that was opened is over by then."""

SPREAD: Final = 0.04
"""Standard deviation of the logarithm of a healthy latency."""

KINDS: Final = {"outage": 0.3, "restart": 0.2, "one location": 0.2, "slow": 0.2, "flapping": 0.1}
"""What happens to single targets, and how often."""

SHARING: Final = 2
"""So many targets stand on one address."""

Cells = npt.NDArray[np.bool_]
Latencies = npt.NDArray[np.int64]


class Seen(NamedTuple):
    """What a probe sees at one tick."""

    failed: bool
    duration_us: int


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What happens to each target, seen from each location.

    Attributes:
        locations: Their names.
        failed: Shape (targets, locations, ticks).
        duration_us: The same shape.
        events: How many of each kind of fault are in it, by name.
    """

    locations: tuple[str, ...]
    failed: Cells
    duration_us: Latencies
    events: dict[str, int]

    @property
    def targets(self) -> int:
        """How many targets."""
        return int(self.failed.shape[0])

    @property
    def ticks(self) -> int:
        """How long it is."""
        return int(self.failed.shape[2])

    def at(self, target: int, location: int, tick: int) -> Seen:
        """Return what is seen; before its first tick and after its last one everything is well, as it is at its end."""
        if not 0 <= tick < self.ticks:
            tick = self.ticks - 1 - tick % QUIET_TICKS
        return Seen(bool(self.failed[target, location, tick]), int(self.duration_us[target, location, tick]))

    def save(self, path: Path) -> None:
        """Write it to a file."""
        np.savez(path, locations=np.array(self.locations), failed=self.failed, duration_us=self.duration_us)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read it back; how many events it has is not kept."""
        with np.load(path) as kept:
            return cls(
                locations=tuple(kept["locations"].tolist()),
                failed=kept["failed"],
                duration_us=kept["duration_us"],
                events={},
            )


def target_name(number: int) -> str:
    """Return the name of a target."""
    return f"t{number:03d}"


def address_of(number: int) -> str:
    """Return the address that the checks of a target talk to."""
    host = number // SHARING
    return f"10.0.{host // 250}.{host % 250 + 1}"


def record(seed: int, *, targets: int, locations: tuple[str, ...], ticks: int) -> Recording:
    """Make an hour.

    Args:
        seed: The same seed, the same hour.
        targets: How many.
        locations: From where they are watched.
        ticks: How many times each is checked from each location; more than WARM_TICKS + QUIET_TICKS for faults.
    """
    random = np.random.default_rng(seed)
    shape = (targets, len(locations), ticks)
    normal_us = np.exp(random.uniform(np.log(20_000), np.log(200_000), size=(targets, len(locations), 1)))
    slower = np.ones(shape)
    failed = np.zeros(shape, dtype=np.bool_)
    events = dict.fromkeys((*KINDS, "location trouble"), 0)
    for target in random.permutation(targets)[: round(0.4 * targets)].tolist():
        kind = str(random.choice(list(KINDS), p=list(KINDS.values())))
        if _happen(kind, random, failed[target], slower[target]):
            events[kind] += 1
    if ticks > WARM_TICKS + QUIET_TICKS + 10:
        for location in random.permutation(len(locations))[:2].tolist():
            start = int(random.integers(WARM_TICKS, ticks - QUIET_TICKS - 6))
            failed[random.random(targets) < 0.6, location, start : start + 5] = True
            events["location trouble"] += 1
    duration_us = normal_us * slower * np.exp(random.normal(0, SPREAD, size=shape))
    return Recording(locations=locations, failed=failed, duration_us=duration_us.astype(np.int64), events=events)


def _happen(kind: str, random: np.random.Generator, failed: Cells, slower: npt.NDArray[np.float64]) -> bool:
    """Let something happen to one target (locations, ticks), if the hour has room for it."""
    ticks = failed.shape[1]
    lengths = {"outage": (5, 16), "restart": (1, 3), "one location": (6, 14), "slow": (10, 20), "flapping": (14, 20)}
    length = min(int(random.integers(*lengths[kind])), max(1, (ticks - QUIET_TICKS) // 2))
    earliest = WARM_TICKS if kind == "slow" else min(3, WARM_TICKS)
    latest = ticks - QUIET_TICKS - length
    if latest <= earliest:
        return False
    start = int(random.integers(earliest, latest))
    span = slice(start, start + length)
    if kind == "slow":
        slower[:, span] *= random.uniform(3, 8)
    elif kind == "one location":
        failed[int(random.integers(failed.shape[0])), span] = True
    elif kind == "flapping":
        failed[:, span] = np.arange(length) // 3 % 2 == 0
    else:
        failed[:, span] = True
    return True
