"""`forewarn producer`: probes the targets of one location, until SIGTERM."""

import asyncio
import dataclasses
import signal
from pathlib import Path
from typing import Final

from forewarn.config.config import Part, load
from forewarn.places import find_log, find_store
from producers.clock import Clock
from producers.outbox import OutboxMarks
from producers.probes.run import run_probe
from producers.producer import run_producer
from producers.scheduler import RunProbe
from producers.settings import LogSettings, ProducerSettings
from producers.telemetry import configure_logging

_STORE: Final[tuple[Part, ...]] = ("store",)


def producer(
    location: str,
    config_file: Path,
    data_dir: Path,
    *,
    name: str | None = None,
    observe_host: str = "127.0.0.1",
    observe_port: int | None = None,
    clock: Clock | None = None,
    probe: RunProbe = run_probe,
) -> None:
    """Run it; return after an orderly end. `clock` and `probe` are for those who play checks back.

    Raises:
        ForewarnError: The config is refused, the spool is another process's, or the log refuses us.
    """
    configure_logging()
    config = load(config_file, parts=("log", "probes"))
    settings = config.producer_settings(location, data_dir, name=name, observe_port=observe_port)
    settings = dataclasses.replace(settings, observe_host=observe_host)
    log = find_log(config, data_dir)
    marks: OutboxMarks | None = None
    if log.forgetful:  # with Kafka a producer needs no store, and has no rights there
        from analytics.marks import ClickHouseMarks  # noqa: PLC0415

        with_store = load(config_file, parts=_STORE) if config.has_store else config
        marks = ClickHouseMarks(find_store(with_store, data_dir))
    asyncio.run(_until_told(settings, log, marks, clock, probe))


async def _until_told(
    settings: ProducerSettings, log: LogSettings, marks: OutboxMarks | None, clock: Clock | None, probe: RunProbe
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run_producer(settings, log, marks=marks, stop=stop, clock=clock, probe=probe)
