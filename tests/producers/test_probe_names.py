"""Names are resolved by the hosts file and the name servers, with all that these can do wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest

from producers.contract import Outcome
from producers.errors import TransientError
from producers.probes import names, routes
from producers.probes.names import Names
from producers.probes.reading import Failed
from producers.settings import HttpOptions, TcpOptions
from tests.producers.probing import check
from tests.servers import DnsServer, FullServer, HttpServer, TcpServer, silent

NEVER = DnsServer.NEVER
Asking = Callable[..., Names]


@pytest.fixture
def asking(tmp_path: Path) -> Asking:
    """Returns what makes Names that ask a test's own server, with files of their own."""

    def make(server: DnsServer, *, hosts: str = "", options: str = "") -> Names:
        (tmp_path / "hosts").write_text(hosts)
        (tmp_path / "resolv.conf").write_text(f"nameserver 127.0.0.1\n{options}\n")
        return Names(hosts_file=tmp_path / "hosts", resolver_file=tmp_path / "resolv.conf", port=server.port)

    return make


async def test_both_families_of_a_name_are_found(asking: Asking) -> None:
    """A and AAAA are asked for at the same time."""
    async with DnsServer({"shop.example": ["192.0.2.1", "192.0.2.2", "2001:db8::1"]}) as server:
        found = await asking(server).addresses("shop.example")
    assert sorted(found) == ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
    assert sorted(server.asked) == [("shop.example", "A"), ("shop.example", "AAAA")]


async def test_one_family_is_enough(asking: Asking) -> None:
    """A name without an IPv6 address is no failure, also when nobody answers the question for it."""
    async with DnsServer({"shop.example": ["192.0.2.1"]}) as server:
        assert await asking(server).addresses("shop.example") == ["192.0.2.1"]
    async with DnsServer({"shop.example": ["192.0.2.1"]}, delay_s={"AAAA": NEVER}) as server:
        assert await asking(server).addresses("shop.example") == ["192.0.2.1"]


async def test_a_slow_family_is_waited_for_when_the_other_has_nothing(asking: Asking) -> None:
    """However long it takes: the deadline is the caller's."""
    async with DnsServer({"shop.example": ["192.0.2.1"]}, delay_s={"A": 0.3}) as server:
        assert await asking(server).addresses("shop.example") == ["192.0.2.1"]


@pytest.mark.parametrize(
    ("host", "broken", "detail"),
    [
        ("gone.example", False, "the name gone.example does not exist"),
        ("empty.example", False, "the name empty.example has no address"),
        ("shop.example", True, "the name servers 127.0.0.1 gave no answer for shop.example"),
        (f"{'x' * 64}.example", False, f"{'x' * 64}.example is not a valid name"),
        ("shop..example", False, "shop..example is not a valid name"),
    ],
    ids=["no such name", "no address", "servfail", "label too long", "empty label"],
)
async def test_a_name_without_an_address_is_a_dns_error(asking: Asking, host: str, broken: bool, detail: str) -> None:
    """The detail tells a name that is gone from name servers that fail."""
    async with DnsServer({"empty.example": []}, broken=broken) as server:
        with pytest.raises(Failed) as failure:
            await asking(server).addresses(host)
    assert (failure.value.reason, failure.value.detail) == ("dns_error", detail)


async def test_the_hosts_file_comes_first_and_is_read_again_when_it_changes(asking: Asking, tmp_path: Path) -> None:
    """Names in any case, comments, several names a line, several lines a name."""
    text = "# own\n192.0.2.9 Shop.Example shop # x\n2001:db8::9\tshop\nnonsense shop\n\n127.0.0.1 localhost"
    async with DnsServer({"shop.example": ["192.0.2.1"]}) as server:
        own = asking(server, hosts=text)
        assert await own.addresses("shop.EXAMPLE.") == ["192.0.2.9"]
        assert await own.addresses("shop") == ["192.0.2.9", "2001:db8::9"]
        assert server.asked == []
        (tmp_path / "hosts").write_text("192.0.2.7 shop\n")
        assert await own.addresses("shop") == ["192.0.2.7"]
        assert await own.addresses("shop.example") == ["192.0.2.1"]


async def test_localhost_is_never_asked_for(asking: Asking) -> None:
    """Even without a hosts file (RFC 6761)."""
    async with DnsServer({}) as server:
        assert await asking(server).addresses("localhost") == ["::1", "127.0.0.1"]
        assert await asking(server).addresses("shop.localhost") == ["::1", "127.0.0.1"]
    assert server.asked == []


async def test_short_names_are_looked_for_in_the_search_list(asking: Asking) -> None:
    """As in a cluster, where `shop` is `shop.prod.example`; a final dot asks for exactly this name."""
    async with DnsServer({"shop.prod.example": ["192.0.2.1"]}) as server:
        own = asking(server, options="search dev.example prod.example")
        assert await own.addresses("shop") == ["192.0.2.1"]
        with pytest.raises(Failed, match="does not exist"):
            await own.addresses("shop.")


async def test_a_location_without_a_name_server_says_so(tmp_path: Path) -> None:
    """That is not the target's failure."""
    own = Names(hosts_file=tmp_path / "none", resolver_file=tmp_path / "resolv.conf")
    with pytest.raises(TransientError, match=r"resolv\.conf cannot be read: No such file"):
        await own.addresses("shop.example")
    for text in ("", "nameserver shop\n"):
        (tmp_path / "resolv.conf").write_text(text)
        with pytest.raises(TransientError, match="no usable name server in"):
            await own.addresses("shop.example")


async def test_names_beyond_ascii_are_asked_for_in_their_ascii_form(asking: Asking) -> None:
    """By the http probe and by the others alike."""
    async with DnsServer({"xn--bcher-kva.example": ["192.0.2.1"]}) as server:
        assert await asking(server).addresses("bücher.example") == ["192.0.2.1"]


async def test_a_name_with_a_dead_address_is_reached_by_its_next_one(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server listens on one family only; the address that answered is told."""
    async with DnsServer({"shop.example": ["::1", "127.0.0.1"]}) as server:
        monkeypatch.setattr(names, "SYSTEM", asking(server))
        async with HttpServer(name="shop.example") as web:
            seen = await check(HttpOptions(url=web.url))
        async with TcpServer(silent) as tcp:
            closed = tcp.port
        nobody = await check(TcpOptions(host="shop.example", port=closed))
    assert (seen.outcome, seen.address) == (Outcome.SUCCESS, "127.0.0.1")
    assert web.requests[0].headers["host"] == f"shop.example:{web.port}"
    assert (nobody.outcome, nobody.reason) == (Outcome.FAILURE, "connection_error")
    assert nobody.detail is not None
    assert "127.0.0.1" in nobody.detail
    assert "::1" in nobody.detail


async def test_an_address_that_does_not_answer_leaves_time_for_the_next_one(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has half of the deadline; the phase `connect` tells the delay."""
    if routes.source_for("::1") is None:
        pytest.skip("no IPv6 on the loopback interface")
    with FullServer("::1") as full:
        web = HttpServer(name="shop.example")
        web.port = full.port
        async with DnsServer({"shop.example": ["127.0.0.1", "::1"]}) as server, web:
            monkeypatch.setattr(names, "SYSTEM", asking(server))
            seen = await check(HttpOptions(url=web.url), deadline_s=2.0)
    assert (seen.outcome, seen.address) == (Outcome.SUCCESS, "127.0.0.1")
    assert 800_000 <= seen.phases["connect"] < 2_000_000


async def test_slow_resolution_shows_in_its_own_phase(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    """And in no other one."""
    async with DnsServer({"shop.example": ["127.0.0.1"]}, delay_s={"A": 0.3, "AAAA": 0.3}) as server:
        monkeypatch.setattr(names, "SYSTEM", asking(server))
        async with HttpServer(name="shop.example") as web:
            seen = await check(HttpOptions(url=web.url))
    assert seen.phases["dns"] >= 300_000
    assert seen.phases["dns"] > sum(us for name, us in seen.phases.items() if name != "dns")


async def test_a_name_that_is_gone_fails_the_check_with_nothing_but_the_phase_dns(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No address, no further phase."""
    async with DnsServer({}) as server:
        monkeypatch.setattr(names, "SYSTEM", asking(server))
        seen = await check(HttpOptions(url="https://user:secret@gone.example/?token=secret"))
    assert (seen.outcome, seen.reason, seen.address) == (Outcome.FAILURE, "dns_error", None)
    assert list(seen.phases) == ["dns"]
    assert "secret" not in repr(seen)
