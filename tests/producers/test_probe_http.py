"""The http probe against real servers: what it accepts, why it fails, and where it follows."""

import gzip
import zlib
from pathlib import Path

import pytest

from producers.contract import Outcome
from producers.settings import HttpOptions
from tests.producers.probing import check
from tests.servers import (
    Answer,
    Authority,
    HttpServer,
    TcpServer,
    hang_up,
    reset,
    saying,
    self_signed,
)


async def test_a_good_answer_is_a_success_with_its_numbers() -> None:
    """Status, address, body size and all phases but tls and dns (an address needs no resolution) are there."""
    async with HttpServer(Answer(body=b"x" * 1234)) as server:
        seen = await check(HttpOptions(url=server.url))
    assert (seen.outcome, seen.reason, seen.detail) == (Outcome.SUCCESS, None, None)
    assert (seen.target, seen.probe, seen.kind, seen.location) == ("main/shop", "front", "http", "here")
    assert (seen.address, seen.http_status) == ("127.0.0.1", 200)
    assert seen.metrics == {"response_bytes": 1234}
    assert list(seen.phases) == ["connect", "wait", "transfer"]
    assert seen.duration_us is not None
    assert sum(seen.phases.values()) <= seen.duration_us


async def test_a_name_is_resolved_and_stays_the_host_that_is_asked_for() -> None:
    """`localhost` is connected to as an address; the server still sees the name."""
    async with HttpServer(name="localhost") as server:
        seen = await check(HttpOptions(url=f"{server.url}/a?b=c"))
    assert seen.outcome is Outcome.SUCCESS
    assert seen.address == "127.0.0.1"
    assert "dns" in seen.phases
    assert server.requests[0].headers["host"] == f"localhost:{server.port}"
    assert server.requests[0].path == "/a?b=c"


async def test_ipv6_addresses_are_talked_to() -> None:
    """An address in brackets works."""
    try:
        async with HttpServer(host="::1") as server:
            seen = await check(HttpOptions(url=server.url))
    except OSError as error:
        pytest.skip(f"no IPv6 on the loopback interface: {error}")
    assert (seen.outcome, seen.address) == (Outcome.SUCCESS, "::1")


async def test_method_headers_and_body_are_sent_as_configured() -> None:
    """Also a header that the probe would set itself, and texts beyond ASCII."""
    headers = (("X-Key", "größer"), ("User-Agent", "shopper"), ("Content-Type", "text/plain"))
    async with HttpServer() as server:
        seen = await check(HttpOptions(url=server.url, method="POST", headers=headers, body="заказ"))
    assert seen.outcome is Outcome.SUCCESS
    (request,) = server.requests
    assert (request.method, request.body.decode()) == ("POST", "заказ")
    assert request.headers["x-key"].encode("latin-1").decode() == "größer"
    assert request.headers["user-agent"] == "shopper"
    assert request.headers["content-type"] == "text/plain"


async def test_userinfo_in_the_url_becomes_basic_authentication() -> None:
    """And is not in the host header."""
    async with HttpServer() as server:
        await check(HttpOptions(url=f"http://bob:pw@127.0.0.1:{server.port}/"))
    assert server.requests[0].headers["authorization"] == "Basic Ym9iOnB3"
    assert "bob" not in server.requests[0].headers["host"]


async def test_every_check_has_a_connection_of_its_own() -> None:
    """A kept connection would hide that a server accepts no new ones; the server is told to close it."""
    async with HttpServer() as server:
        for _ in range(3):
            await check(HttpOptions(url=server.url))
    assert server.connections == 3
    assert {request.headers["connection"] for request in server.requests} == {"close"}


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check is of the target, not of this machine's proxy."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with HttpServer() as server:
        seen = await check(HttpOptions(url=server.url))
    assert seen.outcome is Outcome.SUCCESS


async def test_another_status_fails_and_names_both() -> None:
    """The body is not read: the status says enough."""
    async with HttpServer(Answer(status=502)) as server:
        seen = await check(HttpOptions(url=server.url, expect_status=frozenset({200, 201, 202, 404})))
    assert (seen.outcome, seen.reason, seen.http_status) == (Outcome.FAILURE, "http_status", 502)
    assert seen.detail == "status 502, expected 200-202, 404"


@pytest.mark.parametrize("status", [401, 503])
async def test_an_error_that_is_expected_is_a_success(status: int) -> None:
    """A login page may well answer 401."""
    async with HttpServer(Answer(status=status)) as server:
        seen = await check(HttpOptions(url=server.url, expect_status=frozenset({status})))
    assert (seen.outcome, seen.http_status) == (Outcome.SUCCESS, status)


@pytest.mark.parametrize(
    ("body", "charset", "wanted"),
    [
        ("Добро пожаловать".encode("cp1251"), "windows-1251", "пожаловать"),
        ("Willkommen, schön".encode(), "utf-8", "schön"),
        ("Willkommen, schön".encode("latin-1"), "iso-8859-1", "schön"),
        (b"plain", None, "plain"),
        (b"plain", "no-such-charset", "plain"),
    ],
)
async def test_the_body_is_searched_in_its_own_charset(body: bytes, charset: str | None, wanted: str) -> None:
    """The expected text is found, and what is not there is a mismatch."""
    kind = "text/html" if charset is None else f"text/html; charset={charset}"
    async with HttpServer(Answer(body=body, headers=(("Content-Type", kind),))) as server:
        found = await check(HttpOptions(url=server.url, body_contains=wanted))
        missed = await check(HttpOptions(url=server.url, body_contains="maintenance"))
    assert found.outcome is Outcome.SUCCESS
    assert (missed.outcome, missed.reason) == (Outcome.FAILURE, "body_mismatch")
    assert missed.detail == f"the expected text is not in the body of {len(body)} bytes"


async def test_a_text_that_is_split_over_pieces_is_found() -> None:
    """However the network cuts the body."""
    async with HttpServer(Answer(body=b"all is well here", piece_bytes=1, pause_s=0.001)) as server:
        seen = await check(HttpOptions(url=server.url, body_contains="is well"))
    assert seen.outcome is Outcome.SUCCESS


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(b"well " * 1000)),
        ("gzip", gzip.compress(b"well " * 500) + gzip.compress(b"well " * 500)),
        ("deflate", zlib.compress(b"well " * 1000)),
        ("deflate", zlib.compress(b"well " * 1000)[2:-4]),
        ("identity", b"well " * 1000),
    ],
    ids=["gzip", "two gzip members", "deflate", "raw deflate", "identity"],
)
async def test_a_packed_body_is_unpacked_and_counted_unpacked(encoding: str, packed: bytes) -> None:
    """In all forms that the probe says it accepts, and the raw deflate that some servers send for it."""
    async with HttpServer(Answer(body=packed, headers=(("Content-Encoding", encoding),))) as server:
        seen = await check(HttpOptions(url=server.url, body_contains="well well"))
    assert seen.outcome is Outcome.SUCCESS
    assert seen.metrics["response_bytes"] == 5000
    assert server.requests[0].headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=b"x" * 10_001),
        Answer(body=b"x" * 10_001, length=None),
        Answer(body=gzip.compress(b"x" * 10_001), headers=(("Content-Encoding", "gzip"),)),
        Answer(body=gzip.compress(b"x" * 50_000_000, 9), headers=(("Content-Encoding", "gzip"),)),
    ],
    ids=["declared", "not declared", "packed", "a bomb"],
)
async def test_a_response_over_the_limit_is_a_failure(answer: Answer) -> None:
    """Counted as sent and as unpacked, whatever its headers claim; one byte less is a success."""
    async with HttpServer(answer) as server:
        over = await check(HttpOptions(url=server.url, max_response_bytes=10_000))
        under = await check(HttpOptions(url=server.url, max_response_bytes=10_001))
    assert (over.outcome, over.reason) == (Outcome.FAILURE, "response_too_large")
    assert over.detail == "the response is larger than 10000 bytes"
    if len(answer.body) < 20_000:
        assert under.outcome is Outcome.SUCCESS


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=b"short", length=100),
        Answer(body=b"not gzip", headers=(("Content-Encoding", "gzip"),)),
        Answer(body=gzip.compress(b"cut off" * 99)[:-9], headers=(("Content-Encoding", "gzip"),)),
    ],
    ids=["less than declared", "not packed", "packed and cut"],
)
async def test_a_body_that_is_not_what_it_claims_is_a_protocol_error(answer: Answer) -> None:
    """Half a page is no success."""
    async with HttpServer(answer) as server:
        seen = await check(HttpOptions(url=server.url))
    assert (seen.outcome, seen.reason, seen.http_status) == (Outcome.FAILURE, "protocol_error", 200)


async def test_an_unknown_packing_matters_only_to_whom_the_text_matters() -> None:
    """The bytes are counted; a text cannot be looked for in them."""
    async with HttpServer(Answer(body=b"\x01\x02", headers=(("Content-Encoding", "br"),))) as server:
        counted = await check(HttpOptions(url=server.url))
        searched = await check(HttpOptions(url=server.url, body_contains="well"))
    assert counted.outcome is Outcome.SUCCESS
    assert (searched.outcome, searched.reason) == (Outcome.FAILURE, "body_mismatch")


@pytest.mark.parametrize(
    ("talk", "reason"),
    [
        (saying(b"SSH-2.0-OpenSSH_9.2\r\n"), "protocol_error"),
        (saying(b"HTTP/1.1 huh\r\n\r\n"), "protocol_error"),
        (saying(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000), "protocol_error"),
        (hang_up, "connection_error"),
        (reset, "connection_error"),
    ],
    ids=["another protocol", "broken status line", "endless headers", "no answer", "reset"],
)
async def test_a_server_that_speaks_no_http_is_a_failure(talk: object, reason: str) -> None:
    """The reason tells a broken answer from none."""
    async with TcpServer(talk) as server:  # type: ignore[arg-type] # parametrize knows no callables
        seen = await check(HttpOptions(url=f"http://127.0.0.1:{server.port}/"))
    assert (seen.outcome, seen.reason) == (Outcome.FAILURE, reason)
    assert seen.address == "127.0.0.1"


async def test_nobody_listening_is_a_connection_error() -> None:
    """The address that was tried is told."""
    async with HttpServer() as server:
        closed = server.port
    seen = await check(HttpOptions(url=f"http://127.0.0.1:{closed}/"))
    assert (seen.outcome, seen.reason) == (Outcome.FAILURE, "connection_error")
    assert seen.detail == f"no connection to 127.0.0.1 port {closed}: refused"
    assert list(seen.phases) == ["connect"]


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("http://127.0.0.1:{port}/", (("X-Key", "top\r\nsecret"),)),
        ("http://127.0.0.1:{port}/", (("X Key", "topsecret"),)),
        ("http://127.0.0.1:99999/", ()),
        ("http://[::1/", ()),
        ("gopher://127.0.0.1:{port}/", ()),
    ],
)
async def test_a_request_that_cannot_be_sent_is_a_failure_without_its_secrets(
    url: str, headers: tuple[tuple[str, str], ...]
) -> None:
    """A config that let it through does not stop the producer, and nothing is quoted."""
    async with HttpServer() as server:
        seen = await check(HttpOptions(url=url.format(port=server.port), headers=headers))
    assert (seen.outcome, seen.reason) == (Outcome.FAILURE, "protocol_error")
    assert seen.detail is not None
    assert "secret" not in seen.detail


def moved(to: str, status: int = 302) -> Answer:
    """Return a redirect."""
    return Answer(status=status, headers=(("Location", to),), body=b"moved")


async def test_a_redirect_that_is_not_followed_is_another_status() -> None:
    """Where it leads is told, masked."""
    async with HttpServer(moved("/login?token=secret", 301)) as server:
        seen = await check(HttpOptions(url=server.url))
    assert (seen.reason, seen.http_status) == ("http_status", 301)
    assert seen.detail is not None
    assert seen.detail.endswith(f"it redirects to {server.url}/login?token=***")
    assert len(server.requests) == 1


async def test_redirects_are_followed_each_on_its_own_connection_and_phases_summed() -> None:
    """Two slow hops: `wait` holds the waiting at both of them."""
    slow = Answer(status=302, headers=(("Location", "/b"),), delay_s=0.15)
    paths = {"/a": slow, "/b": Answer(body=b"here", delay_s=0.15)}
    async with HttpServer(paths=paths) as server:
        seen = await check(HttpOptions(url=f"{server.url}/a", follow_redirects=True, body_contains="here"))
    assert (seen.outcome, seen.http_status) == (Outcome.SUCCESS, 200)
    assert [request.path for request in server.requests] == ["/a", "/b"]
    assert server.connections == 2
    assert seen.phases["wait"] >= 300_000


async def test_five_redirects_are_followed_and_six_are_not() -> None:
    """A loop ends as soon as it is clear that it is one."""
    paths = {f"/{hop}": moved(f"/{hop + 1}") for hop in range(9)} | {"/6": Answer()}
    async with HttpServer(paths=paths) as server:
        five = await check(HttpOptions(url=f"{server.url}/1", follow_redirects=True))
        six = await check(HttpOptions(url=f"{server.url}/0", follow_redirects=True))
        server.answer = moved("/round")
        loop = await check(HttpOptions(url=f"{server.url}/round", follow_redirects=True))
    assert (five.outcome, five.http_status) == (Outcome.SUCCESS, 200)
    for seen in (six, loop):
        assert (seen.outcome, seen.reason, seen.http_status) == (Outcome.FAILURE, "redirect", 302)
    assert loop.detail == f"more than 5 redirects, the last to {server.url}/round"


@pytest.mark.parametrize("location", ["ftp://shop.example/", "http://[::1/", "http://shop.example:99999/"])
async def test_a_redirect_to_what_is_no_web_page_is_a_failure(location: str) -> None:
    """Another scheme, or a URL that is none."""
    async with HttpServer(moved(location)) as server:
        seen = await check(HttpOptions(url=server.url, follow_redirects=True))
    assert (seen.outcome, seen.reason) == (Outcome.FAILURE, "redirect")


async def test_configured_headers_do_not_follow_to_another_origin() -> None:
    """They may be keys. To the same origin they do follow, and cookies of the check live as long as it."""
    keys = (("X-Key", "secret"), ("Authorization", "Bearer secret"))
    async with HttpServer() as other, HttpServer() as server:
        server.paths = {
            "/a": Answer(status=302, headers=(("Location", "/b"), ("Set-Cookie", "seen=yes"))),
            "/b": moved(f"{other.url}/c"),
        }
        seen = await check(HttpOptions(url=f"{server.url}/a", follow_redirects=True, headers=keys))
    assert seen.outcome is Outcome.SUCCESS
    assert [request.headers.get("x-key") for request in server.requests] == ["secret", "secret"]
    assert server.requests[1].headers["cookie"] == "seen=yes"
    (elsewhere,) = other.requests
    assert "secret" not in str(elsewhere.headers)
    assert elsewhere.headers["connection"] == "close"


async def test_https_tells_the_days_left_of_the_certificate(tmp_path: Path) -> None:
    """With the phase tls; SNI and verification use the URL's name."""
    authority = Authority()
    async with HttpServer(tls=authority.server("localhost", days_left=9), name="localhost") as server:
        seen = await check(HttpOptions(url=server.url, ca_file=authority.write(tmp_path)))
    assert (seen.outcome, seen.detail) == (Outcome.SUCCESS, None)
    assert 8.9 < seen.metrics["tls_days_left"] < 9
    assert list(seen.phases) == ["dns", "connect", "tls", "wait", "transfer"]


@pytest.mark.parametrize(
    ("names", "days_left", "url", "detail"),
    [
        (("localhost",), -3.0, "https://localhost:{port}/", "the certificate has expired"),
        (("shop.example",), 9.0, "https://localhost:{port}/", "the certificate is not for localhost"),
        (("localhost",), 9.0, "https://127.0.0.1:{port}/", "the certificate is not for 127.0.0.1"),
    ],
)
async def test_a_certificate_that_is_not_valid_is_a_tls_error(
    tmp_path: Path, names: tuple[str, ...], days_left: float, url: str, detail: str
) -> None:
    """The detail says what is wrong with it. Without verification it is accepted, its days left read."""
    authority = Authority()
    async with HttpServer(tls=authority.server(*names, days_left=days_left)) as server:
        target = url.format(port=server.port)
        strict = await check(HttpOptions(url=target, ca_file=authority.write(tmp_path)))
        lax = await check(HttpOptions(url=target, verify_tls=False))
    assert (strict.outcome, strict.reason, strict.detail) == (Outcome.FAILURE, "tls_error", detail)
    assert lax.outcome is Outcome.SUCCESS
    assert days_left - 0.1 < lax.metrics["tls_days_left"] < days_left


async def test_authorities_that_are_not_trusted_here_are_a_tls_error(tmp_path: Path) -> None:
    """By default the system's are trusted, not the tests' own."""
    async with HttpServer(tls=Authority().server(), name="localhost") as server:
        unknown = await check(HttpOptions(url=server.url))
    async with HttpServer(tls=self_signed(tmp_path), name="localhost") as server:
        nobody = await check(HttpOptions(url=server.url))
    assert (unknown.reason, nobody.reason) == ("tls_error", "tls_error")
    assert unknown.detail == "the certificate's chain does not lead to an authority that is trusted here"
    assert nobody.detail == "the certificate is self-signed"


async def test_https_to_a_plain_port_is_a_tls_error() -> None:
    """A server that answers the handshake with HTTP, and one that hangs up in it."""
    async with TcpServer(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        plain = await check(HttpOptions(url=f"https://127.0.0.1:{server.port}/"))
    async with TcpServer(reset) as server:
        broken = await check(HttpOptions(url=f"https://127.0.0.1:{server.port}/"))
    assert (plain.reason, broken.reason) == ("tls_error", "tls_error")
    assert list(broken.phases) == ["connect", "tls"]
