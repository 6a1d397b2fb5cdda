"""A plain webhook: POST of one JSON object. The whole address counts as a secret, because many carry one in the path.

POST <webhook_url>
Idempotency-Key: <key>
{"key", "kind", "title", "text", "page", "incident": {…}}    any 2xx means taken
A digest of several has all of them in "incidents" too.
"""

from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import httpx
import msgspec

from streams.channels.message import Message
from streams.errors import DeliveryError

WORTH_TRYING_AGAIN: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


class Webhook:
    """Posts alerts to one address. Redirects are not followed: an alert goes where the config says, or nowhere."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._host = _host(url)
        self._client = httpx.AsyncClient(follow_redirects=False)

    async def deliver(self, message: Message, *, timeout_s: float) -> None:
        """See Sending."""
        body = msgspec.json.encode(
            {
                "key": message.key,
                "kind": message.kind,
                "title": message.title,
                "text": message.text,
                "page": message.incident.page,
                "incident": message.incident,
                **({"incidents": message.incidents} if message.incidents else {}),
            }
        )
        headers = {"Content-Type": "application/json", "Idempotency-Key": message.key}
        try:
            answer = await self._client.post(self._url, content=body, headers=headers, timeout=timeout_s)
        except httpx.TimeoutException as error:
            raise DeliveryError(f"webhook at {self._host}: no answer in {timeout_s:g} s", permanent=False) from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
            raise DeliveryError(f"webhook at {self._host}: its address is not usable", permanent=True) from error
        except httpx.HTTPError as error:
            # The error's own text may hold the address.
            raise DeliveryError(f"webhook at {self._host}: {type(error).__name__}", permanent=False) from error
        if not answer.is_success:
            status = answer.status_code
            permanent = not answer.is_server_error and status not in WORTH_TRYING_AGAIN
            raise DeliveryError(f"webhook at {self._host}: status {status}", permanent=permanent)

    async def close(self) -> None:
        """See Sending."""
        await self._client.aclose()


def _host(url: str) -> str:
    """Return what of the address may be shown."""
    try:
        return urlsplit(url).hostname or "?"
    except ValueError:
        return "?"
