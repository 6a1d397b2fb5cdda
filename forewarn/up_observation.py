"""/healthz and /metrics of `forewarn up`: its children, broker and store, as one answer.

`up` itself waits for its screen and its children, so this is served from a thread that only reads.
"""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from forewarn.embedded.child import Child
from producers import telemetry
from producers.errors import ForewarnError

START_S = 10.0


class UpObservation:
    """The server; listens from `start` to `stop`."""

    def __init__(self, host: str, port: int, health: telemetry.Health) -> None:
        self.port = port
        self._host = host
        self._health = health
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._bound = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name="observation", daemon=True)

    def start(self) -> None:
        """Listen.

        Raises:
            ForewarnError: The port is taken, or the address is not ours.
        """
        self._thread.start()
        if not self._bound.wait(START_S):
            raise ForewarnError(f"/healthz and /metrics did not start on {self._host}:{self.port} in {START_S:.0f} s")
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Stop listening; harmless when it never began."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join(START_S)

    def _serve(self) -> None:
        self._loop.run_until_complete(self._until_ended())
        self._loop.close()

    async def _until_ended(self) -> None:
        try:
            observation = await telemetry.serve_observation(self._host, self.port, self._health)
        except ForewarnError as error:
            self._failure = error
            self._bound.set()
            return
        self.port = observation.port
        self._bound.set()
        await self._ended.wait()
        await observation.close()


def health(running: Mapping[str, bool], children: Sequence[Child]) -> dict[str, Any]:
    """Return what /healthz of `up` shows, and export it as metrics.

    Args:
        running: Whether broker and store live, by name.
        children: Workers and producers; each has its own /healthz beside this one.
    """
    found = dict(running) | {child.name: child.running for child in children}
    for name, lives in found.items():
        telemetry.CHILD_RUNNING.labels(name).set(lives)
    for child in children:
        telemetry.CHILD_RESTARTS.labels(child.name).set(child.restarts)
    ended = sorted(name for name, lives in found.items() if not lives)
    return {
        "ok": not ended,
        "reason": f"not running: {', '.join(ended)}" if ended else None,
        "restarts": {child.name: child.restarts for child in children},
    }
