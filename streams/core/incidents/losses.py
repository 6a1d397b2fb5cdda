"""How many of its checks a location loses lately, over all targets that it reports.

A network that loses packets fails every target now and then and none for good, so no one moment explains the
failures, and at any tick most targets are well. What tells it from targets that fail is that many begin to fail within
minutes, at more than one moment, and come back: a hoster that is down takes many targets too, but they stay down; and
one moment without a network is no trouble.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from streams.core.failures.chance import rare_run
from streams.policy import IncidentPolicy

TICKS: Final = 10
"""How many of a target's last ticks count as lately."""

OPENS, LASTS = 4, 8
"""A location loses checks when more than a quarter of its targets lost one lately, and until not an eighth did. Of
checks that are lost by themselves that takes one in 35, all the time and of all targets."""

COME_BACK: Final = 4
"""A quarter of those that lost a check must be well again."""

_ALL: Final = (1 << TICKS) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Loser:
    """A target that began to fail from a location lately.

    Attributes:
        lost: Bit k is set if the k-th last tick failed.
        ticked_us: Its last tick.
    """

    target: str
    address: str
    lost: int
    ticked_us: int
    interval_us: int
    failure: str | None

    @property
    def is_back(self) -> bool:
        """Whether it is well again."""
        return not self.lost & 1

    @property
    def begun_us(self) -> list[int]:
        """When it began to fail, newest first."""
        beginnings = begun(self.lost)
        return [self.ticked_us - k * self.interval_us for k in range(TICKS) if beginnings >> k & 1]

    @property
    def share(self) -> float:
        """Of its checks since the first one that was lost: rather more than the truth, as a loss begins it."""
        return self.lost.bit_count() / self.lost.bit_length()


def aged(lost: int, ticks: int) -> int:
    """Return what was lost lately some ticks later. A tick that was not published was like the last one."""
    fails = lost & 1
    if ticks >= TICKS:
        return _ALL if fails else 0
    return (lost << ticks | ((1 << ticks) - 1) * fails) & _ALL


def since(lost: int, ticks: int) -> int:
    """Return what was lost of the last so many ticks; a failure that goes on since before them is none of theirs."""
    if ticks >= TICKS:
        return lost
    kept = lost & ((1 << max(ticks, 0)) - 1)
    # The run that reaches back beyond them ends at the oldest tick that was not lost.
    while kept != 0 and lost >> (kept.bit_length()) & 1:
        kept &= ~(1 << (kept.bit_length() - 1))
    return kept


def begun(lost: int) -> int:
    """Return the ticks at which failures began. Of the oldest tick that is not known."""
    return lost & ~(lost >> 1) & (_ALL >> 1)


def loses(losers: Sequence[Loser], reporting: int, policy: IncidentPolicy) -> bool:
    """Say whether a location has begun to lose checks.

    Args:
        losers: Those that began to fail lately.
        reporting: So many targets does the location report.
        policy: Of the installation.
    """
    return (
        len(losers) >= policy.trouble_targets
        and OPENS * len(losers) > reporting
        and come_back(losers)
        and len({loser.address for loser in losers}) >= policy.trouble_addresses
        and _at_two_moments(losers, policy.trouble_targets)
    )


def still_loses(losers: Sequence[Loser], reporting: int) -> bool:
    """Say whether a location that lost checks goes on doing so."""
    return LASTS * len(losers) > reporting


def come_back(losers: Sequence[Loser]) -> bool:
    """Say whether those that fail come back: some checks are lost, and not all."""
    return COME_BACK * sum(loser.is_back for loser in losers) >= len(losers)


def longest_run(losers: Sequence[Loser], reporting: int) -> int:
    """Return so many failures in a row that the location's losses do not explain more."""
    return rare_run(sum(loser.share for loser in losers) / max(reporting, 1))


def _at_two_moments(losers: Sequence[Loser], times: int) -> bool:
    """Say whether failures began at one moment some times, and as often more than an interval after it."""
    begun_us = sorted((at_us, loser.interval_us) for loser in losers for at_us in loser.begun_us)
    if len(begun_us) < 2 * times:
        return False
    first_us = begun_us[times - 1][0]
    return sum(at_us > first_us + interval_us for at_us, interval_us in begun_us) >= times
