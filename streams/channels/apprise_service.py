"""Any of the more than a hundred services that apprise knows. Its address is a secret and never shown."""

from typing import Final

import apprise

from streams.blocking import in_thread
from streams.channels.message import Message
from streams.errors import DeliveryError

TYPES: Final = {"outage": apprise.NotifyType.FAILURE, "early_warning": apprise.NotifyType.WARNING}
"""How an open incident looks (colour, icon) by its kind; others are for information."""


def notify_type(message: Message) -> apprise.NotifyType:
    """Return how the service is asked to show a message."""
    if message.kind == "resolved":
        return apprise.NotifyType.SUCCESS
    return TYPES.get(message.incident.kind, apprise.NotifyType.INFO)


class AppriseService:
    """Sends alerts through apprise, in a thread: it blocks."""

    def __init__(self, url: str) -> None:
        self._service = apprise.Apprise()
        self._usable = bool(self._service.add(url))

    async def deliver(self, message: Message, *, timeout_s: float) -> None:
        """See Sending. A call that hangs is left behind in its thread."""
        del timeout_s  # the caller's own timeout ends the waiting; apprise has timeouts of its own
        if not self._usable:
            raise DeliveryError("apprise does not know this kind of address", permanent=True)
        taken = await in_thread(lambda: self._send(message))
        if not taken:
            raise DeliveryError("apprise: the service did not take it", permanent=False)

    def _send(self, message: Message) -> bool:
        try:
            done = self._service.notify(body=message.text, title=message.title, notify_type=notify_type(message))
        except Exception as error:  # a plugin of a hundred may raise anything; its text may hold the address
            raise DeliveryError(f"apprise: {type(error).__name__}", permanent=False) from error
        return bool(done)

    async def close(self) -> None:
        """See Sending."""
