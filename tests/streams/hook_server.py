"""A real webhook receiver on loopback that can be slow, refuse, or hang."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class HookServer:
    """Keeps what it is sent.

    Attributes:
        received: (path, headers, body) of each request, in order.
        answers: Status codes for the next requests; 200 when empty.
        hang: Paths that get no answer while the server lives.
    """

    def __init__(self) -> None:
        self.received: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.answers: list[int] = []
        self.hang: set[str] = set()
        self.delay_s = 0.0
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._make_class())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def url(self, path: str = "/hook") -> str:
        """Return the address of a path."""
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def bodies(self, path: str | None = None) -> list[dict[str, Any]]:
        """Return what was sent to a path, or to all."""
        return [body for at, _, body in list(self.received) if path is None or at == path]

    def kinds(self, path: str | None = None) -> list[str]:
        """Return the kinds of what was sent."""
        return [body["kind"] for body in self.bodies(path)]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def _make_class(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Receiver(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.received.append((self.path, dict(self.headers), body))
                if self.path in outer.hang:
                    outer._closing.wait(60)
                    return
                time.sleep(outer.delay_s)
                self.send_response(outer.answers.pop(0) if outer.answers else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Receiver
