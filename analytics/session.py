"""A connection to the store that comes back: made when it is needed, dropped after an error, one caller at a time."""

import contextlib
import threading
from collections.abc import Iterator

import pyarrow as pa
from clickhouse_connect.driver.client import Client

from analytics.client import connect, store_errors
from analytics.errors import StoreUnavailableError
from analytics.settings import StoreSettings


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
            except pa.ArrowException as error:
                self._drop()
                raise StoreUnavailableError(f"the store's answer broke off: {error}") from error
            except BaseException:
                self._drop()
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
