"""What is put under chaos: on Tansu the product's own installation, on Apache Kafka each command on its own.

Both are those of the integration tests, with three workers of the group detect, players instead of probes, and a front
before broker and store, so that a single part can be cut off from them.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final, Self

from analytics.settings import StoreSettings
from benchmarks.chaos import player
from benchmarks.chaos.front import Front
from benchmarks.chaos.recording import Recording, target_name
from forewarn.config.config import Config
from forewarn.embedded.broker import TansuBroker, free_port
from forewarn.embedded.child import Child
from forewarn.embedded.process import Launch, Process, popen
from forewarn.embedded.store_process import StoreProcess
from forewarn.up import Installation
from tests.integration.brokers import start_plain
from tests.integration.cluster import Cluster
from tests.integration.config import Watched
from tests.integration.deployment import Deployment, OneMachine
from tests.integration.local import Local

DETECTS: Final = ("detect", "detect 2", "detect 3")
LOCATIONS: Final = ("ams", "fra", "nyc")

PACKED_FROM_S: Final = 10
"""From this interval on a message waits two seconds for more checks: lateness is ten times as long."""

_TEXT: Final = """\
version: 1
locations: [{locations}]
detection: {{warm_up_checks: 20, slot: {slot_s}s}}
producer: {{pack: {pack}}}
alerts:
  channels:
    - name: hook
      webhook: http://127.0.0.1:{hook}/told
defaults: {{interval: {interval_s}s, timeout: 900ms}}
targets:
"""
_TARGET: Final = """\
  - {{name: {name}, probes: [{{http: {{url: "http://{name}.test/"}}, name: front}}]}}
"""


class Play:
    """How a recording is played.

    Attributes:
        start_us: When its first tick is, once it has begun.
        interval_us: Between two ticks of a target.
    """

    def __init__(self, recording: Recording, directory: Path, *, interval_us: int) -> None:
        self.recording = recording
        self.start_us = 0
        self.interval_us = interval_us
        self._file = directory / "recording.npz"
        self._start = directory / "start"
        recording.save(self._file)

    def begin(self, at_us: int) -> None:
        """Begin at the first multiple of the interval after an instant, which must be some moments ahead."""
        self.start_us = (at_us // self.interval_us + 1) * self.interval_us
        written = self._start.with_suffix(".new")
        written.write_text(str(self.start_us))
        written.replace(self._start)

    @property
    def end_us(self) -> int:
        """When its last tick is over."""
        return self.start_us + self.recording.ticks * self.interval_us

    def watched(self, hook: int) -> Watched:
        """Return the config; `hook` is the port of the webhook."""
        interval_s = self.interval_us // 1_000_000
        text = _TEXT.format(
            locations=", ".join(f"{{name: {name}}}" for name in self.recording.locations),
            interval_s=interval_s,
            slot_s=min(interval_s, 10),
            pack="2s" if interval_s >= PACKED_FROM_S else "200ms",
            hook=hook,
        )
        names = map(target_name, range(self.recording.targets))
        return Watched(
            text=text + "".join(_TARGET.format(name=name) for name in names), locations=self.recording.locations
        )

    def line(self, location: str, *, config: Path, data_dir: Path) -> list[str]:
        """Return the command that plays one location."""
        words = player.line(
            location,
            config=config,
            data_dir=data_dir,
            recording=self._file,
            start=self._start,
            interval_us=self.interval_us,
        )
        return [sys.executable, *words]


class Fronts:
    """Before the broker and before the store."""

    def __init__(self) -> None:
        self.broker = Front()
        self.store = Front()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self.broker)
        self._stack.enter_context(self.store)
        self.broker.server_port = free_port()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def heal(self) -> None:
        """Let everything pass."""
        self.broker.heal()
        self.store.heal()


class FrontedStore(StoreProcess):
    """Everybody is told the front's address."""

    def __init__(self, directory: Path, front: Front, *, port: int = 0) -> None:
        super().__init__(directory, port=port)
        self._front = front
        self.direct = StoreSettings(url="")

    def wait_until_ready(self) -> None:
        """See StoreProcess."""
        super().wait_until_ready()
        self.direct = self.settings
        self._front.server_port = int(self.settings.url.rpartition(":")[2])
        self.settings = replace(self.settings, url=f"http://127.0.0.1:{self._front.port}")


class _Installation(Installation):
    def __init__(self, config: Config, config_file: Path, data_dir: Path, fronts: Fronts, play: Play) -> None:
        super().__init__(config, config_file, data_dir)
        self.broker = TansuBroker(data_dir, port=fronts.broker.server_port, advertised_port=fronts.broker.port)
        self._broker = self.broker
        self._store = FrontedStore(data_dir / "store", fronts.store)
        self._play = play
        self._fork: Launch = self._launch
        self._launch = self._start_one

    def _start_one(self, command: Sequence[str], log_file: Path, environment: Mapping[str, str]) -> Process:
        launch = popen if player.__name__ in command else self._fork
        return launch(command, log_file, environment)

    def _workers(self) -> list[Child]:
        # The other detect workers too: whoever holds positions of a log ends before the next one has a message.
        return [child for child in self.children if not child.name.startswith("producer")]

    def _command(self, *words: str) -> list[str]:
        if words[0] == "producer":
            return self._play.line(words[-1], config=self._config_file, data_dir=self._data_dir)
        return super()._command(*words)


class ChaosMachine(OneMachine):
    """On Tansu."""

    def __init__(self, directory: Path, local: Local, fronts: Fronts, play: Play) -> None:
        self.fronts = fronts
        self._play = play
        super().__init__(directory, local, play.watched(local.hook.port))

    def _install(self, config: Config, data_dir: Path) -> Installation:
        self._ours = _Installation(config, self.config_file, data_dir, self.fronts, self._play)
        return self._ours

    @property
    def epoch(self) -> str:
        """Which log the broker has: another one after each of its starts."""
        return self._ours.broker.epoch

    def data_dir(self, name: str) -> Path:
        """Return the data directory of a command."""
        del name
        return self._data_dir


class ChaosCluster(Cluster):
    """On Apache Kafka."""

    def __init__(self, directory: Path, local: Local, fronts: Fronts, play: Play) -> None:
        self.fronts = fronts
        self._play = play
        kafka = start_plain(directory / "broker", port=fronts.broker.server_port, advertised_port=fronts.broker.port)
        super().__init__(directory, local, kafka, play.watched(local.hook.port))

    def _make_store(self, directory: Path) -> StoreProcess:
        return FrontedStore(directory, self.fronts.store)

    def producer_line(self, location: str, data_dir: Path) -> list[str]:
        """See Deployment."""
        return self._play.line(location, config=self.config_file, data_dir=data_dir)

    @property
    def epoch(self) -> str:
        """Which log the broker has: always the same."""
        return self.kafka.broker.epoch


Chaos = ChaosMachine | ChaosCluster
MACHINES: Final[Mapping[str, Callable[[Path, Local, Fronts, Play], Chaos]]] = {
    "tansu": ChaosMachine,
    "kafka": ChaosCluster,
}


def start(deployment: Deployment) -> None:
    """Start everything, three detect workers among it."""
    deployment.start()
    for name in DETECTS[1:]:
        deployment.start_detect(name)
