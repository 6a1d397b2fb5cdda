"""What the installation watches and what it alerts: real HTTP servers on loopback, in a loop of their own."""

import asyncio
import json
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

from tests.servers import Answer, HttpServer

WELL: Final = Answer()
BROKEN: Final = Answer(status=502, body=b"bad gateway")
START_S: Final = 10.0

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Posted:
    """An alert that the webhook got.

    Attributes:
        key: Of its header Idempotency-Key.
        message: Its JSON body.
        at_us: When it came, microseconds UTC.
    """

    key: str
    message: dict[str, Any]
    at_us: int


class Local:
    """The site with one path a target, and the webhook. Use it as a context.

    Attributes:
        site: Its answers may be changed any time.
        hook: Takes every POST.
    """

    def __init__(self) -> None:
        self.site = HttpServer()
        self.hook = HttpServer(Answer(body=b"taken"))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="local servers", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        for server in (self.site, self.hook):
            self._run(server.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self.site, self.hook):
            self._run(server.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=START_S)

    def break_(self, name: str) -> None:
        """Let the target of this name answer 502 from now on."""
        self.site.paths[f"/{name}"] = BROKEN

    def mend(self, name: str) -> None:
        """Let it answer 200 again."""
        self.site.paths[f"/{name}"] = WELL

    def posted(self) -> list[Posted]:
        """Return all that the webhook got so far, in order."""
        return [
            Posted(key=request.headers["idempotency-key"], message=json.loads(request.body), at_us=request.at_us)
            for request in list(self.hook.requests)
        ]
