"""Time as the scheduler sees it: injected, so that steps of the wall clock can be tested."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Iterator
from typing import Final, Protocol

from producers import telemetry

LAG_PERIOD_S: Final = 0.02
IDLE_PERIOD_S: Final = 0.5
"""How often it is measured while no check is under way: waking up is most of what an idle producer does."""

LAG_WINDOW_S: Final = 120.0
LAG_NOISE_S: Final = 0.005
"""Under this it is the timer's own jitter."""

LAG_LIMIT_S: Final = 0.05
LAG_SHARE: Final = 0.1


class Clock(Protocol):
    """What the scheduler needs of time."""

    def now_us(self) -> int:
        """Return the wall clock, microseconds UTC. It may step in both directions."""

    def monotonic_s(self) -> float:
        """Return seconds that never step."""

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds that never step."""


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        """See Clock."""
        return time.time_ns() // 1000

    def monotonic_s(self) -> float:
        """See Clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See Clock."""
        await asyncio.sleep(seconds)


class LoopLag:
    """How late the event loop runs what is due: measured by a sleeper that should wake in time.

    A probe measures times on this loop, so a check during which the loop lagged says little about its target. It is
    measured closely while checks are under way, and now and then at other times.
    """

    def __init__(self) -> None:
        self._lags: deque[tuple[float, float]] = deque()  # (when it was seen, seconds), oldest first
        self._due_s = time.monotonic() + LAG_PERIOD_S
        self._largest_s = 0.0
        self._watched = 0  # checks under way
        self._begun = asyncio.Event()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Measure closely: a check is under way."""
        if self._watched == 0:
            self._due_s = min(self._due_s, time.monotonic() + LAG_PERIOD_S)
            self._begun.set()
        self._watched += 1
        try:
            yield
        finally:
            self._watched -= 1

    async def measure(self) -> None:
        """Run until cancelled."""
        shown_s = time.monotonic()
        worst_s = 0.0
        while True:
            await self._sleep()
            now_s = time.monotonic()
            lag_s = max(0.0, now_s - self._due_s)
            worst_s = max(worst_s, lag_s)
            self._largest_s = max(self._largest_s, lag_s)
            if lag_s > LAG_NOISE_S:
                self._lags.append((now_s, lag_s))
            while self._lags and self._lags[0][0] < now_s - LAG_WINDOW_S:
                self._lags.popleft()
            if now_s - shown_s >= 1:
                telemetry.EVENT_LOOP_LAG.set(worst_s)
                shown_s, worst_s = now_s, 0.0

    async def _sleep(self) -> None:
        """Sleep until what is due; a check that begins wakes it."""
        if self._watched:
            self._due_s = time.monotonic() + LAG_PERIOD_S
            await asyncio.sleep(LAG_PERIOD_S)
            return
        self._begun.clear()
        self._due_s = time.monotonic() + IDLE_PERIOD_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(IDLE_PERIOD_S):
                await self._begun.wait()

    def largest_since(self, start_s: float) -> float:
        """Return the largest lag that overlapped the time since `start_s` (monotonic), seconds."""
        # A lag that ends right now: what was blocked is woken together with the sleeper, in either order.
        largest = max(0.0, time.monotonic() - self._due_s)
        for seen_s, lag_s in reversed(self._lags):
            if seen_s < start_s:
                break
            largest = max(largest, lag_s)
        return largest

    def disturbs(self, start_s: float) -> bool:
        """Return whether a check that began at `start_s` (monotonic) and ends now was disturbed."""
        largest = self.largest_since(start_s)
        share = largest / max(time.monotonic() - start_s, 1e-9)
        return largest > LAG_LIMIT_S or (largest > LAG_NOISE_S and share > LAG_SHARE)

    def take_largest_us(self) -> int:
        """Return the largest lag since the last call, microseconds."""
        largest, self._largest_s = self._largest_s, 0.0
        return round(largest * 1_000_000)
