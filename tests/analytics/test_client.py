"""The store's client: what it says in one line, whatever goes wrong."""

import datetime as dt
import http.server
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from analytics.client import connect, store_errors
from analytics.errors import StoreRefusedError, StoreUnavailableError
from analytics.settings import StoreSettings


def refusal(settings: StoreSettings) -> str:
    """Connect, be refused, return the line."""
    with pytest.raises(StoreRefusedError) as caught:
        connect(settings)
    return str(caught.value)


def test_times_come_back_aware(store: StoreSettings) -> None:
    """UTC columns are aware datetimes, so nobody reads them in the machine's zone."""
    client = connect(store)
    found = client.query("SELECT toDateTime64('2026-10-25 01:30:00.000001', 6, 'UTC')").result_rows
    assert found == [(dt.datetime(2026, 10, 25, 1, 30, 0, 1, tzinfo=dt.UTC),)]
    client.close()


def test_one_client_serves_several_threads(store: StoreSettings) -> None:
    """There is no session to be locked in."""
    client = connect(store)
    answers: list[object] = []
    threads = [
        threading.Thread(target=lambda: answers.append(client.command("SELECT sleepEachRow(0.2)"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [0, 0, 0, 0]
    client.close()


def test_a_wrong_token_is_refused_and_never_shown(store: StoreSettings) -> None:
    """One line with the address and what is wrong with it."""
    line = refusal(replace(store, token="not-the-token"))
    assert line == f"the store at {store.url} refuses the token"
    line = refusal(replace(store, token=None, user="nora", password="secret-word"))
    assert line == f"the store at {store.url} refuses user 'nora' and its password"


def test_user_and_password_are_sent_where_there_is_no_token(store: StoreSettings) -> None:
    """The embedded store takes its token as a password, whoever the user is."""
    client = connect(replace(store, token=None, user="anyone", password=store.token))
    assert client.command("SELECT 1") == 1
    client.close()


def test_a_missing_database_or_table_points_to_migrate(store: StoreSettings) -> None:
    """The commonest mistake of a first start."""
    line = refusal(replace(store, database="nobody_made_it"))
    assert "UNKNOWN_DATABASE" in line
    assert line.endswith("(has `forewarn migrate` been run?)")
    client = connect(store)
    with pytest.raises(StoreRefusedError) as caught, store_errors(store):
        client.query("SELECT * FROM nothing_there WHERE x > 1 AND x < 2 ORDER BY x DESC LIMIT 10")
    said = f"the store at {store.url}: there is no table nothing_there (has `forewarn migrate` been run?)"
    assert (caught.value.code, str(caught.value)) == (60, said)
    assert "SELECT * FROM nothing_there" in caught.value.said
    client.close()


def test_queries_that_are_wrong_are_refused_in_one_line(store: StoreSettings) -> None:
    """Without the server's version, without a traceback's worth of text."""
    client = connect(store)
    for sql in ("SELEC 1", "SELECT 1 +", "SELECT throwIf(1, 'first\nsecond')"):
        with pytest.raises(StoreRefusedError) as caught, store_errors(store):
            client.command(sql)
        assert "\n" not in str(caught.value)
        assert "version" not in str(caught.value)
    client.close()


def test_a_query_that_takes_too_long_may_be_tried_again(store: StoreSettings) -> None:
    """Time and memory pass by themselves; so it is the store that is unavailable, not the query that is refused."""
    client = connect(store)
    sql = "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1"
    with pytest.raises(StoreUnavailableError, match="TIMEOUT_EXCEEDED"), store_errors(store):
        client.command(sql, settings={"max_execution_time": 1})
    client.close()


def test_a_blocked_way_is_refused_with_its_reason(store: StoreSettings) -> None:
    """Grants that are missing."""
    client = connect(store)
    with pytest.raises(StoreRefusedError, match=r"grants too little.*READ ON URL"), store_errors(store):
        client.query("SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')")
    client.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://127.0.0.1/", "must begin with http:// or https://"),
        ("127.0.0.1:8123", "must begin with http:// or https://"),
        ("http://", "must begin with http:// or https://"),
        ("http://127.0.0.1:99999/", "is not valid"),
        ("http://127.0.0.1:x/", "is not valid"),
    ],
)
def test_a_url_that_cannot_be_is_refused(url: str, said: str) -> None:
    """Before anything is sent."""
    assert said in refusal(StoreSettings(url=url))


def test_secrets_in_a_url_are_masked() -> None:
    """Userinfo does not belong there; if it is, no error shows it."""
    with pytest.raises(StoreUnavailableError) as caught:
        connect(StoreSettings(url="http://nora:secret-word@127.0.0.1:1/?password=secret-word"))
    assert "secret-word" not in str(caught.value)


def test_names_that_do_not_resolve_and_silence_are_unavailable(silent_port: int) -> None:
    """One line each, with the address."""
    with pytest.raises(StoreUnavailableError, match=r"store\.invalid:8123 cannot be reached"):
        connect(StoreSettings(url="http://store.invalid:8123"))
    with pytest.raises(StoreUnavailableError, match="cannot be reached"):
        connect(StoreSettings(url=f"http://127.0.0.1:{silent_port}"))


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes a connection and closes it."""

    class Rude(http.server.BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            self.close_connection = True

    yield from _served(Rude, None)


@pytest.fixture
def authority() -> trustme.CA:
    """A certificate authority that nobody knows."""
    return trustme.CA()


@pytest.fixture
def tls_port(store: StoreSettings, authority: trustme.CA) -> Iterator[int]:
    """TLS in front of the embedded store, as in front of a real one."""
    address = store.url

    class Forward(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            import urllib.request  # noqa: PLC0415 - used here alone

            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            request = urllib.request.Request(address + self.path, body, headers)  # noqa: S310 - loopback
            with urllib.request.urlopen(request) as reply:  # noqa: S310 - loopback
                content = reply.read()
                self.send_response(reply.status)
                for name, value in reply.getheaders():
                    if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                        self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Keep the tests' output clean."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    yield from _served(Forward, context)


def _served(kind: type[http.server.BaseHTTPRequestHandler], context: ssl.SSLContext | None) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def test_https_needs_a_certificate_that_the_ca_file_signs(
    store: StoreSettings, tls_port: int, authority: trustme.CA, tmp_path: Path
) -> None:
    """With the CA file it works; without it, or with another name, it does not; a missing file is named."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    settings = replace(store, url=f"https://localhost:{tls_port}")
    client = connect(replace(settings, ca_file=tmp_path / "ca.pem"))
    assert client.command("SELECT 1") == 1
    client.close()
    with pytest.raises(StoreUnavailableError, match="certificate not accepted"):
        connect(settings)
    with pytest.raises(StoreUnavailableError, match="certificate not accepted"):
        connect(replace(settings, url=f"https://127.0.0.1:{tls_port}", ca_file=tmp_path / "ca.pem"))
    line = refusal(replace(settings, ca_file=tmp_path / "nothing.pem"))
    assert line == f"the store's CA file does not exist: {tmp_path / 'nothing.pem'}"
