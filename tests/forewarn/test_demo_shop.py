"""The demo's shop as a real process: well, slow, failing, well again, and a certificate that soon expires."""

import asyncio
import datetime as dt
import json
import ssl
import stat
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509

from forewarn.demo.play import DemoFault, open_shop
from forewarn.demo.shop import DOUBLING_S, HEALTHY_S, SLOWEST_S, Shop

Tell = Callable[[str], int]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[tuple[dict[str, str], Tell]]:
    """Its ports, and how to tell it a word."""
    with open_shop(tmp_path / "shop") as opened:
        yield opened


def ask(port: str, path: str = "/") -> tuple[int, float]:
    """Return status and seconds of one request."""
    began_s = time.monotonic()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            answer.read()
            return answer.status, time.monotonic() - began_s
    except urllib.error.HTTPError as error:
        return error.code, time.monotonic() - began_s


def wait_for_status(port: str, status: int) -> None:
    """Wait until the shop answers so: a word takes a moment to arrive."""
    deadline_s = time.monotonic() + 20
    while ask(port)[0] != status:
        assert time.monotonic() < deadline_s


def tell_until_refused(tell: Tell) -> None:
    """Say a good word again and again."""
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s:
        tell("healthy")
        time.sleep(0.05)


def test_it_fails_when_told_and_recovers_when_told(shop: tuple[dict[str, str], Tell]) -> None:
    """200, then 502, then 200; the control page is well all the time; a word's time is when it was told."""
    ports, tell = shop
    assert ask(ports["http"])[0] == 200
    before_us = time.time_ns() // 1000
    at_us = tell("fail")
    assert before_us <= at_us <= time.time_ns() // 1000
    wait_for_status(ports["http"], 502)
    assert ask(ports["http"], "/control")[0] == 200
    tell("recover")
    wait_for_status(ports["http"], 200)


def test_its_answers_take_longer_and_longer_while_it_slows_down() -> None:
    """Doubling every 9 s up to its slowest; recovered it is quick again. A sleep is never shorter than asked for."""
    shop = Shop()

    async def quickest(slow_for_s: float = 0.0) -> float:
        """Return the seconds of the quickest of a few pages, as if it had been slow for so long."""
        shop._slow_since_s = time.monotonic() - slow_for_s
        took_s = []
        for _ in range(4):
            began_s = time.monotonic()
            await shop.page(None)  # type: ignore[arg-type]  # it does not look at the request
            took_s.append(time.monotonic() - began_s)
        return min(took_s)

    shop.obey("slow")
    assert asyncio.run(quickest(2 * DOUBLING_S)) > 4 * HEALTHY_S / 2  # half of it is for its jitter
    assert asyncio.run(quickest(3 * DOUBLING_S)) > 8 * HEALTHY_S / 2
    assert asyncio.run(quickest(600.0)) >= SLOWEST_S
    shop.obey("recover")
    assert asyncio.run(quickest(600.0)) < SLOWEST_S


def test_a_slow_shop_answers_all_the_same(shop: tuple[dict[str, str], Tell]) -> None:
    """Slow is not failing: the word is obeyed by the real process, and every answer is 200."""
    ports, tell = shop
    tell("slow")
    assert [ask(ports["http"])[0] for _ in range(5)] == [200] * 5


def test_its_certificate_expires_in_nine_days(shop: tuple[dict[str, str], Tell]) -> None:
    """A real TLS handshake that trusts the file which it names; the key is its owner's alone."""
    ports, _ = shop
    context = ssl.create_default_context(cafile=ports["ca"])
    with urllib.request.urlopen(f"https://localhost:{ports['tls']}/", context=context, timeout=20) as answer:
        assert answer.status == 200
    certificate = x509.load_pem_x509_certificate(Path(ports["ca"]).read_bytes())
    left = certificate.not_valid_after_utc - dt.datetime.now(dt.UTC)
    assert dt.timedelta(days=8, hours=23) < left <= dt.timedelta(days=9)
    assert stat.S_IMODE((Path(ports["ca"]).parent / "shop.key").stat().st_mode) == 0o600


def test_a_shop_that_has_gone_is_a_fault_of_the_demo(tmp_path: Path) -> None:
    """A word that it does not know ends it; the next word is refused in one line, not taken for a closed output."""
    with open_shop(tmp_path) as (ports, tell):
        assert json.loads(json.dumps(ports)) == ports
        tell("dance")
        with pytest.raises(DemoFault, match=r"^the shop has ended with"):
            tell_until_refused(tell)
