"""Channels against real receivers: what is sent, and which refusals are for good."""

from dataclasses import replace

import msgspec
import pytest

from streams.channels.apprise_service import AppriseService
from streams.channels.message import Message
from streams.channels.opening import open_channel
from streams.channels.webhook import Webhook
from streams.contract import AlertKind, IncidentKind
from streams.errors import DeliveryError
from streams.policy import Channel
from streams.schemas.messages import INCIDENT
from tests.streams.hook_server import HookServer

MESSAGE = Message(
    key="abc", kind="initial", title="Early warning: main/shop", text="Target: main/shop", page=True, incident=INCIDENT
)
SECRET = "/services/T000/very-secret"


async def deliver(url: str, *, timeout_s: float = 5.0) -> None:
    """Send the message to a webhook."""
    channel = Webhook(url)
    try:
        await channel.deliver(MESSAGE, timeout_s=timeout_s)
    finally:
        await channel.close()


async def test_a_webhook_gets_the_whole_incident_and_a_key_to_drop_the_second_one() -> None:
    """One POST of one JSON object."""
    with HookServer() as server:
        await deliver(server.url())
        [(path, headers, body)] = server.received
    assert path == "/hook"
    assert headers["Idempotency-Key"] == "abc"
    assert headers["Content-Type"] == "application/json"
    assert (body["key"], body["kind"]) == ("abc", "initial")
    assert body["page"] is body["incident"]["page"] is INCIDENT.page  # the incident's: receivers route by it
    assert (body["title"], body["text"]) == (MESSAGE.title, MESSAGE.text)
    assert body["incident"]["reasons"][0]["baseline"] == 80_000.0
    assert body["incident"]["target"] == "main/shop"


@pytest.mark.parametrize(
    ("status", "permanent"),
    [(400, True), (401, True), (404, True), (410, True), (302, True),
     (408, False), (425, False), (429, False), (500, False), (502, False), (503, False)],
)  # fmt: skip
async def test_a_refusal_is_for_good_or_worth_trying_again(status: int, permanent: bool) -> None:
    """4xx but 408, 425 and 429 is for good; a redirect is not followed."""
    with HookServer() as server:
        server.answers = [status]
        with pytest.raises(DeliveryError, match=str(status)) as refusal:
            await deliver(server.url(SECRET))
        assert len(server.received) == 1
    assert refusal.value.permanent is permanent
    assert "very-secret" not in str(refusal.value)


async def test_no_answer_in_time_is_worth_trying_again() -> None:
    """The channel's own timeout ends it."""
    with HookServer() as server:
        server.hang = {"/hook"}
        with pytest.raises(DeliveryError, match=r"no answer in 0\.3 s") as refusal:
            await deliver(server.url(), timeout_s=0.3)
    assert refusal.value.permanent is False


@pytest.mark.parametrize(
    ("url", "permanent"),
    [("http://127.0.0.1:1" + SECRET, False), ("ftp://127.0.0.1" + SECRET, True), ("http://[::", True)],
)
async def test_an_address_that_takes_nothing(url: str, permanent: bool) -> None:
    """A closed port may open; a scheme that is none of ours will not. The address is never in the text."""
    with pytest.raises(DeliveryError) as refusal:
        await deliver(url)
    assert refusal.value.permanent is permanent
    assert "very-secret" not in str(refusal.value)


async def test_apprise_sends_title_and_text() -> None:
    """Through its own JSON plugin, to the same receiver."""
    with HookServer() as server:
        service = AppriseService(server.url("/apprise").replace("http:", "json:"))
        await service.deliver(MESSAGE, timeout_s=5)
        [(_, _, body)] = server.received
    assert body["title"] == MESSAGE.title
    assert body["message"] == MESSAGE.text


@pytest.mark.parametrize(
    ("kind", "stage", "shown"),
    [
        ("initial", "outage", "failure"),
        ("escalation", "outage", "failure"),
        ("reminder", "outage", "failure"),
        ("initial", "early_warning", "warning"),
        ("initial", "location_trouble", "info"),
        ("initial", "silence", "info"),
        ("resolved", "outage", "success"),
        ("resolved", "early_warning", "success"),
    ],
)
async def test_apprise_shows_how_bad_it_is(kind: AlertKind, stage: IncidentKind, shown: str) -> None:
    """An outage is a failure even if no warning came before it; what is over is a success."""
    incident = msgspec.structs.replace(INCIDENT, kind=stage)
    with HookServer() as server:
        service = AppriseService(server.url("/apprise").replace("http:", "json:"))
        await service.deliver(replace(MESSAGE, kind=kind, incident=incident), timeout_s=5)
        [(_, _, body)] = server.received
    assert body["type"] == shown


async def test_what_apprise_could_not_send_is_worth_trying_again() -> None:
    """The service answers 500."""
    with HookServer() as server:
        server.answers = [500, 500, 500]
        service = AppriseService(server.url("/apprise").replace("http:", "json:"))
        with pytest.raises(DeliveryError) as refusal:
            await service.deliver(MESSAGE, timeout_s=5)
    assert refusal.value.permanent is False


async def test_an_address_that_apprise_does_not_know_is_refused_for_good() -> None:
    """And not shown."""
    with pytest.raises(DeliveryError) as refusal:
        await AppriseService("teapot://very-secret").deliver(MESSAGE, timeout_s=5)
    assert refusal.value.permanent is True
    assert "very-secret" not in str(refusal.value)


def test_a_channel_has_exactly_one_address() -> None:
    """Neither none nor two."""
    with pytest.raises(ValueError, match="exactly one"):
        open_channel(Channel(name="x"))
    with pytest.raises(ValueError, match="exactly one"):
        open_channel(Channel(name="x", apprise_url="json://x", webhook_url="http://x"))
