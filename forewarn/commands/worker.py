"""`forewarn worker`: one of the stream workers, until SIGTERM."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from analytics.marks import ClickHouseMarks
from analytics.settings import StoreSettings
from analytics.state import ClickHouseStateStore
from forewarn.config.config import Config, Part, load
from forewarn.places import find_log, find_store
from producers.settings import LogSettings
from producers.telemetry import configure_logging
from streams.settings import SESSION_TIMEOUT_ALONE_S, STOP_TIMEOUT_ALONE_S, WorkerSettings

Name = Literal["detect", "incidents", "alerts", "sink"]
_OWN_PARTS: Final[Mapping[Name, tuple[Part, ...]]] = {"alerts": ("alerts",), "sink": ("watchdog",)}


def worker(
    name: Name,
    config_file: Path,
    data_dir: Path,
    *,
    observe_host: str = "127.0.0.1",
    observe_port: int | None = None,
    skip_gaps: bool = False,
) -> None:
    """Run it; return after an orderly end.

    Raises:
        ForewarnError: As from `streams.worker.run_worker`, or the config is refused.
    """
    configure_logging()
    config = load(config_file, parts=("log", "store", *_OWN_PARTS.get(name, ())))
    if name == "alerts":
        config.check_channels()
    log, store = find_log(config, data_dir), find_store(config, data_dir)
    settings = WorkerSettings(
        data_dir=data_dir / "workers" / name,
        observe_host=observe_host,
        observe_port=observe_port,
        skip_gaps=skip_gaps,
    )
    if log.forgetful:
        settings = replace(settings, session_timeout_s=SESSION_TIMEOUT_ALONE_S, stop_timeout_s=STOP_TIMEOUT_ALONE_S)
    if name == "sink":
        import analytics.sink  # noqa: PLC0415 - a worker loads its own part only
        from analytics.lean_arrow import leave_pandas_out  # noqa: PLC0415

        leave_pandas_out()
        analytics.sink.run(log, store, settings, watchdog=config.watchdog_settings())
    else:
        _run_judging(name, config, log, store, settings)


def _run_judging(name: Name, config: Config, log: LogSettings, store: StoreSettings, settings: WorkerSettings) -> None:
    state = ClickHouseStateStore(store)
    # With Kafka the broker's acknowledgement is enough; the embedded broker forgets everything.
    marks = ClickHouseMarks(store) if log.forgetful else None
    expectations = config.expectations()
    if name == "detect":
        import streams.detect  # noqa: PLC0415 - as above
        from analytics.history import StoredChecks  # noqa: PLC0415 - as above
        from analytics.session import Session  # noqa: PLC0415 - as above

        policy = config.detect_policy
        streams.detect.run(
            log,
            settings,
            policy=policy,
            expectations=expectations,
            store=state,
            history=StoredChecks(Session(store)),
            marks=marks,
        )
    elif name == "incidents":
        import streams.incidents  # noqa: PLC0415 - as above

        streams.incidents.run(
            log,
            settings,
            policy=config.incident_policy,
            settle_ticks=config.detect_policy.settle_ticks,
            expectations=expectations,
            store=state,
            marks=marks,
        )
    else:
        import streams.alerts  # noqa: PLC0415 - as above

        streams.alerts.run(log, settings, alerts=config.alert_policy(), store=state, marks=marks)
