"""What the client did not hand over is read again: it goes back, and what comes too early meanwhile is let go.

Faust takes records from its client in one assignment and may hand them out in the next, as if they were of it, while it
has gone back to the committed offset. Then they lie ahead of where the group is; and what lies before them is dropped
as old when it comes. So somebody has to look at every gap, and to go back.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import faust
from aiokafka.errors import IllegalStateError
from faust.types import TP

from producers import telemetry
from streams import faust_internals
from streams.errors import MessagesSkippedError
from streams.group import Place

ATTEMPTS: Final = 30
PAUSE_S: Final = 2.0
"""What Faust still has from before may undo a way back once or twice; a busy way out may delay what comes of it."""

log_line = telemetry.logger(__name__)


class Rereading:
    """The places of which messages are read again.

    Attributes:
        wanted: By place the message that must come next; what comes later is to be let go.
    """

    def __init__(
        self,
        app: faust.App,
        *,
        positions: Callable[[], Mapping[Place, int]],
        fail: Callable[[BaseException], None],
    ) -> None:
        self.wanted: dict[Place, int] = {}
        self._app = app
        self._positions = positions
        self._fail = fail
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, place: Place, first: int, *, before: int) -> None:
        """Read a place from a message on, once more.

        Args:
            place: Ours, and loaded.
            first: The first message that did not come; the log has it.
            before: The message that came instead.
        """
        telemetry.REREADS.labels(place.topic).inc()
        log_line.warning("messages did not come: reading them again", place=str(place), first=first, before=before)
        self.wanted[place] = first
        task = asyncio.create_task(self._go_back(place, first))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        """Forget all of it: the places are lost, and are read from the committed offset by whoever gets them."""
        for task in self._tasks:
            task.cancel()
        self.wanted.clear()

    async def _go_back(self, place: Place, first: int) -> None:
        for _ in range(ATTEMPTS):
            try:
                await faust_internals.read_from(self._app, TP(*place), first)
            except IllegalStateError:
                return  # it is taken away at this moment: `stop` follows
            except Exception as error:  # noqa: BLE001 - it ends the worker: else the place would wait for ever, unheard
                self._fail(error)
                return
            await asyncio.sleep(PAUSE_S)
            if self._positions().get(place, -1) >= first:
                self.wanted.pop(place, None)
                return
        self._fail(MessagesSkippedError(f"{place}: {first} and what follows did not come: starting again"))
