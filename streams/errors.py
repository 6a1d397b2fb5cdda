"""What can go wrong on our side in the streams. `exit_code` is what the process ends with."""

from typing import Final

from producers.errors import ForewarnError

EXIT_BUG: Final = 70
EXIT_START_AGAIN: Final = 75


class DeliveryError(ForewarnError):
    """A channel did not take an alert.

    Attributes:
        permanent: Trying again would not help: the channel said no to this message.
    """

    def __init__(self, text: str, *, permanent: bool) -> None:
        super().__init__(text)
        self.permanent = permanent


class EpochChangedError(ForewarnError):
    """The log under our topics is another one than at the start. The process ends and its supervisor starts it."""

    exit_code = EXIT_START_AGAIN


class StateFoundError(ForewarnError):
    """The true state of a partition can be had again, or a person must see why not: the process starts again."""

    exit_code = EXIT_START_AGAIN


class MessagesSkippedError(ForewarnError):
    """The client left out messages that the log has. The process ends before anything is lost, and reads them again."""

    exit_code = EXIT_START_AGAIN


class WorkerFailedError(ForewarnError):
    """A bug of ours or of Faust's stopped the worker; nothing of the message at hand was acknowledged."""

    exit_code = EXIT_BUG
