"""An HTTP proxy before the real store that answers inserts as if they were done, as a broken server once did."""

import http.client
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, Self
from urllib.parse import urlsplit

from analytics.settings import StoreSettings

HOP_BY_HOP: Final = frozenset({"transfer-encoding", "connection", "content-length", "keep-alive"})


class LyingStore:
    """Forwards everything but the first `swallow` inserts, which it confirms without passing them on.

    Attributes:
        settings: How to reach the proxy.
        inserts: How many inserts came.
    """

    def __init__(self, behind: StoreSettings, *, swallow: int) -> None:
        self.inserts = 0
        self.swallow = swallow
        self._behind = urlsplit(behind.url)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.settings = StoreSettings(
            url=f"http://127.0.0.1:{self._server.server_address[1]}", token=behind.token, database=behind.database
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._forward(b"")

            def do_POST(self) -> None:
                if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                    body = self._chunks()
                else:
                    body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if "INSERT" in self.path.upper() or body[:200].lstrip().upper().startswith(b"INSERT"):
                    store.inserts += 1
                    if store.inserts <= store.swallow:
                        self._confirm()
                        return
                self._forward(body)

            def _chunks(self) -> bytes:
                body = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def _confirm(self) -> None:
                self.send_response(200)
                self.send_header("X-ClickHouse-Summary", json.dumps({"written_rows": "1"}))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def _forward(self, body: bytes) -> None:
                away = http.client.HTTPConnection(store._behind.hostname or "", store._behind.port or 0, timeout=30)
                headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
                away.request(self.command, self.path, body, headers)
                answer = away.getresponse()
                content = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in HOP_BY_HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                away.close()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
                """Say nothing."""

        return Handler
