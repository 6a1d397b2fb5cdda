"""The embedded store as the tests start it: a process, a directory, a token."""

import json
import os
import secrets
import select
import subprocess
import sys
from pathlib import Path

from analytics.settings import StoreSettings

START_S = 30.0


class StoreProcess:
    """Starts, ends and kills one; a second start has the same directory, token and port."""

    def __init__(self, directory: Path, *, port: int = 0) -> None:
        self.directory = directory
        self.port = port
        self.token = secrets.token_urlsafe(16)
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> StoreSettings:
        """Start it and return how to reach it."""
        self.process = self.launch()
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], START_S)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            self.kill()
            raise AssertionError("the store did not start")
        self.port = json.loads(line)["port"]
        return StoreSettings(url=f"http://127.0.0.1:{self.port}", token=self.token)

    def launch(self, *, token: str | None = None) -> "subprocess.Popen[str]":
        """Start the process alone; an empty token leaves the variable out."""
        environment = {**os.environ, "FOREWARN_STORE_TOKEN": self.token if token is None else token}
        if token == "":
            del environment["FOREWARN_STORE_TOKEN"]
        return subprocess.Popen(
            [sys.executable, "-m", "forewarn.embedded.store", "--path", str(self.directory), "--port", str(self.port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if token is not None else None,
            text=True,
            env=environment,
            cwd=Path(__file__).parent.parent,
        )

    def stop(self) -> int:
        """End it in order and return its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self._ended()

    def kill(self) -> None:
        """End it as a crash does."""
        assert self.process is not None
        self.process.kill()
        self._ended()

    def _ended(self) -> int:
        assert self.process is not None
        try:
            return self.process.wait(timeout=10)
        finally:
            if self.process.stdout is not None:
                self.process.stdout.close()
