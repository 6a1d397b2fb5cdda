"""The producer of one location, whose probes read a recording: `python -m benchmarks.chaos.player`.

All but the probes is the product's own: scheduler, spool, publisher, sender. So what is lost when it is killed, and
what it reports as missed when it comes back, is what a real producer loses and reports.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chaos.recording import Recording, address_of
from forewarn.commands.producer import producer
from forewarn.leash import follow_parent
from producers.clock import SystemClock
from producers.contract import Check, FailureReason, Outcome
from producers.settings import Probe, Target


@dataclass(frozen=True, kw_only=True)
class Player:
    """Answers for the probes.

    Attributes:
        start: A file that will say when the recording begins, a multiple of the interval, microseconds UTC: tick 0 is
            the first tick of a series at or after it. Until then all is well.
        interval_us: Between two ticks as they are played.
        clock: The producer's.
    """

    recording: Recording
    start: Path
    interval_us: int
    clock: SystemClock

    async def __call__(
        self, target: Target, probe: Probe, *, location: str, scheduled_at_us: int, deadline_s: float
    ) -> Check:
        """Return what was recorded for this tick; see `producers.scheduler.RunProbe`."""
        del deadline_s
        number = int(target.id.rpartition("/t")[2])
        tick = (scheduled_at_us - start_us(self.start)) // self.interval_us
        seen = self.recording.at(number, self.recording.locations.index(location), tick)
        return Check(
            target=target.id,
            probe=probe.name,
            kind=probe.kind,
            location=location,
            scheduled_at_us=scheduled_at_us,
            started_at_us=self.clock.now_us(),
            duration_us=seen.duration_us,
            outcome=Outcome.FAILURE if seen.failed else Outcome.SUCCESS,
            reason=FailureReason.HTTP_STATUS if seen.failed else None,
            address=address_of(number),
            http_status=502 if seen.failed else 200,
            phases={"wait": seen.duration_us},
        )


def start_us(file: Path) -> int:
    """Return when the recording begins; a day away while nobody has said so."""
    try:
        return int(file.read_text())
    except FileNotFoundError:
        return (time.time_ns() // 1000) + 86_400_000_000


class SteppedClock(SystemClock):
    """The machine's clock, and what a file says that it is wrong by, in seconds; without the file it is right."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._wrong_by_us = 0
        self._looked_s = float("-inf")

    def now_us(self) -> int:
        """See Clock."""
        now_s = time.monotonic()
        if now_s - self._looked_s > 0.1:
            self._looked_s = now_s
            self._wrong_by_us = int(self._file.read_text()) * 1_000_000 if self._file.exists() else 0
        return super().now_us() + self._wrong_by_us


def main() -> None:
    """Play until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--location", required=True)
    for name in ("--config", "--data-dir", "--recording", "--start"):
        parser.add_argument(name, required=True, type=Path)
    parser.add_argument("--interval-us", required=True, type=int)
    chosen = parser.parse_args()
    follow_parent()
    clock = SteppedClock(chosen.data_dir / f"clock-{chosen.location}")
    player = Player(
        recording=Recording.load(chosen.recording),
        start=chosen.start,
        interval_us=chosen.interval_us,
        clock=clock,
    )
    producer(chosen.location, chosen.config, chosen.data_dir, clock=clock, probe=player)


def line(location: str, *, config: Path, data_dir: Path, recording: Path, start: Path, interval_us: int) -> list[str]:
    """Return the words that follow the interpreter to start one."""
    return [
        *("-m", "benchmarks.chaos.player", "--location", location),
        *("--config", str(config), "--data-dir", str(data_dir)),
        *("--recording", str(recording), "--start", str(start), "--interval-us", str(interval_us)),
    ]


if __name__ == "__main__":
    main()
