"""The installation that is flooded by `overload`, and what floods it."""

import contextlib
import math
import time
import urllib.request
from pathlib import Path
from typing import Final

import numpy as np
import psutil
from kafka import KafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.throughput.load import LOCATION, MINUTE_US, PARTITIONS, Load
from forewarn.config.config import Config
from forewarn.embedded.broker import free_port
from forewarn.up import Installation
from producers.codec import encode
from producers.log_client import kafka_options
from producers.topics import CHECKS, partition_of
from tests.integration.config import Watched
from tests.integration.deployment import OneMachine
from tests.integration.local import Local

EARLY: Final = ("early",)
OVER: Final = ("over-1", "over-2", "over-3")
OPEN: Final = ("open-1", "open-2", "open-3")
"""Targets that are really probed: see `overload`."""

# Not the text of the integration tests: its long warm-up takes gigabytes with 20,000 series.
_TEXT: Final = """\
version: 1
locations: [{{name: {location}}}]
alerts:
  channels:
    - name: hook
      webhook: http://127.0.0.1:{hook}/told
defaults: {{interval: 5s, timeout: 900ms}}
targets:
"""
_TARGET: Final = """\
  - {{name: {name}, probes: [{{http: {{url: "http://127.0.0.1:{site}/{name}"}}, name: front}}]}}
"""


class Flooded(OneMachine):
    """An installation whose processes are observed."""

    def __init__(self, directory: Path, local: Local) -> None:
        self._first_port = free_port()
        text = _TEXT.format(location=LOCATION, hook=local.hook.port)
        text += "".join(_TARGET.format(name=name, site=local.site.port) for name in (*EARLY, *OVER, *OPEN))
        super().__init__(directory, local, Watched(text=text, locations=(LOCATION,)))

    def _install(self, config: Config, data_dir: Path) -> Installation:
        self._ours = Installation(config, self.config_file, data_dir, observe_port=self._first_port)
        return self._ours

    def metric(self, worker: str, name: str) -> float:
        """Return the sum of a metric over its labels, as a worker exports it; nan while it does not."""
        url = f"http://127.0.0.1:{self._ours.observed[worker]}/metrics"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=10) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            values = [sample.value for family in families for sample in family.samples if sample.name == name]
            return sum(values) if values else math.nan  # one that has just started has not looked yet
        return math.nan

    def resident_mb(self) -> dict[str, int]:
        """Return the resident memory of every process."""
        found = {}
        for name, pid in self.pids().items():
            with contextlib.suppress(psutil.NoSuchProcess):
                found[name] = psutil.Process(pid).memory_info().rss >> 20
        return found


class Feed:
    """Writes messages of one check each, of its own targets in turn."""

    def __init__(self, deployment: Flooded, targets: int) -> None:
        load = Load(series=targets, per_check=1, ticks=0, until_us=time.time_ns() // 1000, interval_us=MINUTE_US)
        rng = np.random.default_rng(3)
        self._batches = [load.batch(np.array([number]), np.zeros(1, dtype=np.int64), rng) for number in range(targets)]
        self._partitions = [partition_of(target, PARTITIONS) for target in load.targets]
        options = kafka_options(deployment.log)
        self._producer = KafkaProducer(**options, compression_type="lz4", linger_ms=20, acks="all")
        self._row = 0
        self.written = 0

    def write(self, count: int) -> None:
        """Write so many messages, each with the tick of now."""
        for _ in range(count):
            at_us = time.time_ns() // 1000
            batch = self._batches[self._row]
            batch.scheduled_at_us[0] = batch.started_at_us[0] = at_us
            self._producer.send(CHECKS, value=encode(batch), partition=self._partitions[self._row])
            self._row = (self._row + 1) % len(self._batches)
        self.written += count

    def flush(self) -> None:
        """Return when all is acknowledged."""
        self._producer.flush()
