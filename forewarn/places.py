"""Where a command finds the config, the log and the store."""

import contextlib
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from analytics.settings import ReportSettings, StoreSettings
from forewarn.cli_options import DEFAULT_CONFIG
from forewarn.config.config import Config, Part, load
from forewarn.errors import NotRunningError
from forewarn.runtime import Runtime, read_runtime
from producers.settings import LogSettings

STORE_DIRECTORY: Final = "store"
RESENT_DIRECTORY: Final = Path("outbox") / "dead-letters"
"""Outbox of dead letters that were sent again."""

_STORE: Final[tuple[Part, ...]] = ("store",)


def load_if_there(path: Path, *, parts: Collection[Part]) -> Config | None:
    """Return the config; None if the default file is not there, for broker and store may be the embedded ones.

    Raises:
        ConfigError: It is refused, or a file that was asked for by name is not there.
    """
    if path == DEFAULT_CONFIG and not path.exists():
        return None
    return load(path, parts=parts)


def find_log(config: Config | None, data_dir: Path) -> LogSettings:
    """Return the config's Kafka, else the embedded broker of the `forewarn up` that runs on `data_dir`.

    Raises:
        NotRunningError: None runs there.
    """
    if config is not None and config.has_log:
        return config.log_settings()
    runtime = read_runtime(data_dir)
    return _embedded_log(runtime) if config is None else config.log_settings(runtime)


def find_store(config: Config | None, data_dir: Path) -> StoreSettings:
    """Return the config's ClickHouse, else the embedded store of the `forewarn up` that runs on `data_dir`.

    Raises:
        NotRunningError: None runs there.
    """
    if config is not None and config.has_store:
        return config.store_settings()
    runtime = read_runtime(data_dir)
    if config is None:
        return StoreSettings(url=runtime.store_url, token=runtime.store_token)
    return config.store_settings(runtime)


def _embedded_log(runtime: Runtime) -> LogSettings:
    return LogSettings(bootstrap=(runtime.bootstrap,), forgetful=True)


@contextlib.contextmanager
def open_store(config_file: Path, data_dir: Path) -> Iterator[StoreSettings]:
    """Yield how to reach the store; the embedded one is started for as long as it is needed if none runs.

    Raises:
        ConfigError: The config is refused.
        NotRunningError: There is no store to start: nothing was ever stored in `data_dir`.
        DataDirectoryError: A `forewarn up` is just starting or ending there.
    """
    try:
        found = find_store(load_if_there(config_file, parts=_STORE), data_dir)
    except NotRunningError:
        if not (data_dir / STORE_DIRECTORY).is_dir():
            raise
    else:
        yield found
        return
    with _started_store(data_dir) as settings:
        yield settings


@contextlib.contextmanager
def _started_store(data_dir: Path) -> Iterator[StoreSettings]:
    from forewarn.embedded.store_process import StoreProcess  # noqa: PLC0415 - only where it is needed
    from forewarn.up import lock_data_dir  # noqa: PLC0415

    lock = lock_data_dir(data_dir)  # a `forewarn up` that starts meanwhile is refused, in one line
    store = StoreProcess(data_dir / STORE_DIRECTORY)
    try:
        store.start()
        yield store.settings
    finally:
        store.stop()
        lock.close()


def report_settings(config_file: Path) -> ReportSettings:
    """Return the accounting policy of the config; the default one if the default file is not there."""
    config = load_if_there(config_file, parts=())
    return ReportSettings() if config is None else config.report_settings()


def now_us() -> int:
    """Return the time, microseconds UTC."""
    return time.time_ns() // 1000
