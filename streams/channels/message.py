"""What a channel is given, and what it is."""

from dataclasses import dataclass
from typing import Protocol

from streams.contract import AlertKind, Incident


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One alert as it is sent.

    Attributes:
        key: The same however often it is tried: a receiver that knows it can drop the second one.
        page: It wakes a person.
        incident: What it is about; of a digest the worst one.
        incidents: Of a digest all of them.
    """

    key: str
    kind: AlertKind
    title: str
    text: str
    page: bool
    incident: Incident
    incidents: tuple[Incident, ...] = ()


class Sending(Protocol):
    """A channel that is ready to send."""

    async def deliver(self, message: Message, *, timeout_s: float) -> None:
        """Send one message; return when the other side has taken it.

        Raises:
            DeliveryError: It has not; `permanent` if trying again would not help. Its text holds no secret.
        """

    async def close(self) -> None:
        """Let go of connections."""
