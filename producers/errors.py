"""What can go wrong on our side. A failing target is never an exception: it is a check with an outcome."""


class ForewarnError(Exception):
    """Root of all errors of ours. Its text is one line that a user can act on."""


class InvalidEvent(ForewarnError):  # noqa: N818 - the field's word; it is an event that is invalid
    """A message that cannot be used. It goes to the dead letters with `reason` and `detail`.

    Attributes:
        reason: One of `DEAD_LETTER_REASONS` in `producers.contract`.
        detail: What was wrong, for a person, without the message's content.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class TransientError(ForewarnError):
    """The outside is away for now (broker, store, this location's own network). Retried with a backoff."""


class LogUnavailableError(TransientError):
    """The broker cannot be reached, or does not answer in time."""


class LogRefusedError(ForewarnError):
    """The broker answers, and says no: wrong credentials, no right, another number of partitions."""


class RecordRefusedError(LogRefusedError):
    """The log can never take this one record: it is too large, or its partition is not there. Others it takes."""


class OutboxCorruptError(ForewarnError):
    """A file of an outbox is damaged in its middle (a damaged tail is cut off and reported instead)."""


class OutboxLockedError(ForewarnError):
    """Another process owns this outbox."""
