"""A connection to the store that comes back: made when it is needed, dropped after an error, one caller at a time."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from analytics.client import connect, store_errors
from analytics.errors import StoreUnavailableError
from analytics.settings import StoreSettings

INSERT_SETTINGS: Final[dict[str, Any]] = {
    "async_insert": 0,  # an answer must mean that the rows are in the table
    "insert_deduplicate": 0,  # rows replace themselves; a block must never be dropped as a repeated one
    "optimize_on_insert": 0,  # looking for repeated rows inside of a block is more work than all the rest; merges do it
    "max_partitions_per_insert_block": 0,  # a clock that was far off must not stop the flow
}


class Session:
    """What talks to the store, from any thread. A second caller waits for the first.

    Attributes:
        settings: How to reach it.
    """

    def __init__(self, settings: StoreSettings) -> None:
        self.settings = settings
        self._client: Client | None = None
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def client(self) -> Iterator[Client]:
        """Lend the connection, connecting first where there is none.

        Raises:
            StoreUnavailableError: The store is away, slow, or cannot write now.
            StoreRefusedError: It says no.
        """
        with self._lock:
            try:
                with store_errors(self.settings):
                    if self._client is None:
                        self._client = connect(self.settings)
                    yield self._client
            except BaseException as error:
                self._drop()
                # By its name: judging workers do without pyarrow, which weighs more than they do.
                if type(error).__module__ == "pyarrow.lib":
                    raise StoreUnavailableError(f"the store's answer broke off: {error}") from error
                raise

    def close(self) -> None:
        """Close the connection. Harmless when done twice."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):  # what is broken already may fail again
                client.close()
