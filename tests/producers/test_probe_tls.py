"""The tls probe: valid, for whom, for how long; and what it says when it is not."""

import ssl
from pathlib import Path

import pytest

from producers.contract import Outcome
from producers.errors import TransientError
from producers.settings import TlsOptions
from tests.producers.probing import check
from tests.servers import Authority, TcpServer, hang_up, reset, saying, self_signed, silent


@pytest.fixture(scope="module")
def authority() -> Authority:
    """An authority that the system does not trust."""
    return Authority()


async def test_a_valid_certificate_is_a_success_with_days_left_and_version(
    authority: Authority, tmp_path: Path
) -> None:
    """Any TLS port will do: nothing but the handshake is spoken."""
    async with TcpServer(silent, tls=authority.server(days_left=9)) as server:
        seen = await check(TlsOptions(host="localhost", port=server.port, ca_file=authority.write(tmp_path)))
    assert (seen.outcome, seen.detail, seen.address) == (Outcome.SUCCESS, None, "127.0.0.1")
    assert 8.9 < seen.metrics["tls_days_left"] < 9
    assert seen.metrics["tls_version"] == 1.3
    assert list(seen.phases) == ["dns", "connect", "tls"]


async def test_the_version_that_was_agreed_on_is_told(authority: Authority, tmp_path: Path) -> None:
    """A server that speaks no TLS 1.3."""
    context = authority.server()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with TcpServer(silent, tls=context) as server:
        seen = await check(TlsOptions(host="localhost", port=server.port, ca_file=authority.write(tmp_path)))
    assert seen.metrics["tls_version"] == 1.2


async def test_server_name_goes_into_sni_and_is_what_the_certificate_must_match(
    authority: Authority, tmp_path: Path
) -> None:
    """One address, two names: the server chooses the certificate by the name that it is asked for."""
    asked: list[str | None] = []
    context = authority.server("localhost")
    for_shop = authority.server("shop.example", days_left=5)

    def choose(tls: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        asked.append(name)
        if name == "shop.example":
            tls.context = for_shop

    context.sni_callback = choose
    ca_file = authority.write(tmp_path)
    async with TcpServer(silent, tls=context) as server:
        shop = await check(TlsOptions(host="127.0.0.1", port=server.port, server_name="shop.example", ca_file=ca_file))
        dotted = await check(TlsOptions(host="localhost.", port=server.port, ca_file=ca_file))
    assert (shop.outcome, dotted.outcome) == (Outcome.SUCCESS, Outcome.SUCCESS)
    assert 4.9 < shop.metrics["tls_days_left"] < 5
    assert asked == ["shop.example", "localhost"]


@pytest.mark.parametrize(
    ("names", "days_left", "detail"),
    [
        (("localhost",), -3.0, "the certificate has expired"),
        (("shop.example",), 9.0, "the certificate is not for localhost"),
    ],
)
async def test_a_refused_certificate_says_why_and_still_tells_its_days(
    authority: Authority, tmp_path: Path, names: tuple[str, ...], days_left: float, detail: str
) -> None:
    """The days are read by a second handshake, after the failed one; without verification one is enough."""
    async with TcpServer(silent, tls=authority.server(*names, days_left=days_left)) as server:
        strict = await check(TlsOptions(host="localhost", port=server.port, ca_file=authority.write(tmp_path)))
        lax = await check(TlsOptions(host="localhost", port=server.port, verify=False))
    assert (strict.outcome, strict.reason, strict.detail) == (Outcome.FAILURE, "tls_error", detail)
    assert lax.outcome is Outcome.SUCCESS
    for seen in (strict, lax):
        assert days_left - 0.1 < seen.metrics["tls_days_left"] < days_left


async def test_an_untrusted_chain_and_a_self_signed_certificate_are_told_apart(
    authority: Authority, tmp_path: Path
) -> None:
    """By default the system's authorities are trusted; a file replaces them."""
    async with TcpServer(silent, tls=authority.server()) as server:
        unknown = await check(TlsOptions(host="localhost", port=server.port))
        other = await check(TlsOptions(host="localhost", port=server.port, ca_file=Authority().write(tmp_path)))
    async with TcpServer(silent, tls=self_signed(tmp_path)) as server:
        nobody = await check(TlsOptions(host="localhost", port=server.port))
    assert unknown.detail == "the certificate's chain does not lead to an authority that is trusted here"
    assert other.reason == "tls_error"
    assert nobody.detail == "the certificate is self-signed"
    assert all(85 < seen.metrics["tls_days_left"] < 90 for seen in (unknown, other, nobody))


@pytest.mark.parametrize(("wanted", "outcome"), [(8.0, Outcome.SUCCESS), (10.0, Outcome.FAILURE)])
async def test_too_few_days_left_are_a_failure_where_that_is_wanted(
    authority: Authority, tmp_path: Path, wanted: float, outcome: Outcome
) -> None:
    """Both numbers are told."""
    async with TcpServer(silent, tls=authority.server(days_left=9)) as server:
        seen = await check(
            TlsOptions(
                host="localhost",
                port=server.port,
                min_days_left=wanted,
                ca_file=authority.write(tmp_path),
            )
        )
    assert seen.outcome is outcome
    assert "tls_days_left" in seen.metrics
    if outcome is Outcome.FAILURE:
        assert seen.reason == "tls_error"
        assert seen.detail == "the certificate has 9.0 days left, at least 10 are wanted"


@pytest.mark.parametrize(
    "talk", [hang_up, reset, saying(b"220 mail.example ESMTP\r\n")], ids=["hangs up", "resets", "no TLS"]
)
async def test_a_port_that_speaks_no_tls_is_a_tls_error(talk: object) -> None:
    """The connection was there, so it is not the network."""
    async with TcpServer(talk) as server:  # type: ignore[arg-type] # parametrize knows no callables
        seen = await check(TlsOptions(host="127.0.0.1", port=server.port))
    assert (seen.outcome, seen.reason) == (Outcome.FAILURE, "tls_error")
    assert list(seen.phases) == ["connect", "tls"]
    assert seen.metrics == {}


@pytest.mark.parametrize("content", [None, "no PEM at all"], ids=["missing", "damaged"])
async def test_an_unreadable_ca_file_is_not_the_targets_failure(tmp_path: Path, content: str | None) -> None:
    """Nothing is known of the target then, and the file is named."""
    ca_file = tmp_path / "ca.pem"
    if content is not None:
        ca_file.write_text(content)
    with pytest.raises(TransientError, match=f"CA file {ca_file} cannot be read"):
        await check(TlsOptions(host="127.0.0.1", port=9, ca_file=ca_file))


async def test_a_renewed_ca_file_is_read_again(tmp_path: Path) -> None:
    """Contexts are kept, but not longer than the file stays the same."""
    old, new = Authority(), Authority()
    async with TcpServer(silent, tls=new.server()) as server:
        options = TlsOptions(host="localhost", port=server.port, ca_file=old.write(tmp_path))
        before = await check(options)
        new.write(tmp_path)
        after = await check(options)
    assert (before.outcome, after.outcome) == (Outcome.FAILURE, Outcome.SUCCESS)
