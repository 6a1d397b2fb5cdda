"""What can go wrong with the store, in two kinds: it will pass, or somebody must act."""

from producers.errors import ForewarnError, TransientError


class StoreUnavailableError(TransientError):
    """The store cannot be reached, does not answer in time, or is overloaded."""


class StoreRefusedError(ForewarnError):
    """The store answers, and says no: wrong credentials, no right, no such table, a query or rows that it rejects.

    Attributes:
        code: ClickHouse's number; None if there is none.
        said: Its own words on one line, without who and where.
    """

    def __init__(self, text: str, *, code: int | None = None, said: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.said = said or text


class MigrationError(ForewarnError):
    """The migrations on disk and those in the store do not fit together, or one of them failed."""
