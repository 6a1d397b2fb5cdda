"""From the config's channel to one that sends."""

from streams.channels.apprise_service import AppriseService
from streams.channels.message import Sending
from streams.channels.webhook import Webhook
from streams.policy import Channel


def open_channel(channel: Channel) -> Sending:
    """Return the channel, ready to send.

    Raises:
        ValueError: It has neither or both of `apprise_url` and `webhook_url`.
    """
    if (channel.apprise_url is None) == (channel.webhook_url is None):
        raise ValueError(f"channel {channel.name}: exactly one of apprise_url and webhook_url is set")
    if channel.webhook_url is not None:
        return Webhook(channel.webhook_url)
    assert channel.apprise_url is not None
    return AppriseService(channel.apprise_url)
