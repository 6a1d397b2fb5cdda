"""The deadline is the caller's and holds, whatever the target does; the phases tell where it was stopped."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from producers.contract import Check, Outcome
from producers.probes import names
from producers.probes.names import Names
from producers.settings import HttpOptions, ProbeOptions, TcpOptions, TlsOptions
from tests.producers.probing import PATIENT_S, check
from tests.servers import (
    Answer,
    Authority,
    DnsServer,
    FullServer,
    HttpServer,
    TcpServer,
    saying,
    shaking_hands_late,
    silent,
)

DEADLINE_S = 0.4


def assert_stopped(seen: Check, phase: str) -> None:
    """The check is a timeout, lasted until the deadline, and spent it in one phase."""
    assert (seen.outcome, seen.reason) == (Outcome.FAILURE, "timeout")
    assert seen.duration_us is not None
    assert seen.duration_us >= DEADLINE_S * 1e6
    assert list(seen.phases)[-1] == phase
    assert max(seen.phases, key=seen.phases.__getitem__) == phase


async def test_a_name_server_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver in a thread could not be cut off."""
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    async with DnsServer({}, delay_s={"A": DnsServer.NEVER, "AAAA": DnsServer.NEVER}) as server:
        own = Names(hosts_file=tmp_path / "none", resolver_file=tmp_path / "resolv.conf", port=server.port)
        monkeypatch.setattr(names, "SYSTEM", own)
        seen = await check(HttpOptions(url="http://shop.example/"), deadline_s=DEADLINE_S)
    assert_stopped(seen, "dns")
    assert seen.detail == "not done within 0.4 s: stopped while its name was resolved"
    assert seen.address is None


async def test_an_address_that_does_not_answer() -> None:
    """Nothing comes back to a SYN."""
    with FullServer() as server:
        options = (
            HttpOptions(url=f"http://127.0.0.1:{server.port}/"),
            TcpOptions(host="127.0.0.1", port=server.port),
            TlsOptions(host="127.0.0.1", port=server.port),
        )
        seen = await asyncio.gather(*(check(each, deadline_s=DEADLINE_S) for each in options))
    for one in seen:
        assert_stopped(one, "connect")
        assert one.address == "127.0.0.1"


async def test_a_handshake_that_does_not_end() -> None:
    """The port accepts and is silent."""
    async with TcpServer(silent) as server:
        options = (
            HttpOptions(url=f"https://127.0.0.1:{server.port}/"),
            TlsOptions(host="127.0.0.1", port=server.port),
        )
        seen = await asyncio.gather(*(check(each, deadline_s=DEADLINE_S) for each in options))
    for one in seen:
        assert_stopped(one, "tls")


async def test_a_server_that_accepts_and_says_nothing() -> None:
    """The request went out; no byte came."""
    async with TcpServer(silent) as server:
        options = (
            HttpOptions(url=f"http://127.0.0.1:{server.port}/"),
            TcpOptions(host="127.0.0.1", port=server.port, expect="220"),
        )
        seen = await asyncio.gather(*(check(each, deadline_s=DEADLINE_S) for each in options))
    for one in seen:
        assert_stopped(one, "wait")


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_an_answer_that_drips(tls: bool) -> None:
    """Each byte comes in time, the whole body would take minutes: a limit for each read would never end it."""
    drip = Answer(body=b"x" * 10_000, piece_bytes=1, pause_s=0.02)
    async with HttpServer(drip, tls=Authority().server() if tls else None) as server:
        seen = await check(HttpOptions(url=server.url, verify_tls=False), deadline_s=DEADLINE_S)
    assert_stopped(seen, "transfer")
    assert seen.http_status == 200


async def test_headers_that_drip() -> None:
    """The same before there is a status."""
    drip = saying(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 9999, piece_bytes=1, pause_s=0.02)
    async with TcpServer(drip) as server:
        seen = await check(HttpOptions(url=f"http://127.0.0.1:{server.port}/"), deadline_s=DEADLINE_S)
    assert_stopped(seen, "transfer")
    assert seen.http_status is None


async def test_a_server_that_does_not_read() -> None:
    """A large request body fills all buffers on the way: the check is stopped while sending."""

    async def deaf(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined] # a reading transport, typeshed does not know
        await asyncio.sleep(PATIENT_S)

    async with TcpServer(deaf) as server:
        url = f"http://127.0.0.1:{server.port}/"
        seen = await check(HttpOptions(url=url, method="POST", body="x" * 50_000_000), deadline_s=DEADLINE_S)
    assert (seen.reason, seen.http_status) == ("timeout", None)
    assert seen.detail == "not done within 0.4 s: stopped while sending"


async def test_redirects_share_one_deadline() -> None:
    """Each hop is in time, all together are not."""
    slow = Answer(status=302, headers=(("Location", "/"),), delay_s=DEADLINE_S / 2)
    async with HttpServer(slow) as server:
        seen = await check(HttpOptions(url=server.url, follow_redirects=True), deadline_s=DEADLINE_S)
    assert (seen.outcome, seen.reason) == (Outcome.FAILURE, "timeout")
    assert max(seen.phases, key=seen.phases.__getitem__) == "wait"
    assert len(server.requests) >= 2


async def test_a_refused_certificate_is_told_even_when_its_second_reading_hangs() -> None:
    """What was found first is not lost to the deadline."""
    context = Authority().server()

    class Once:
        def __init__(self) -> None:
            self.calls = 0

        async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.calls += 1
            talk = shaking_hands_late(context, 0.0) if self.calls == 1 else silent
            await talk(reader, writer)

    once = Once()
    async with TcpServer(once) as server:
        seen = await check(TlsOptions(host="127.0.0.1", port=server.port), deadline_s=2.0)
    assert once.calls == 2
    assert seen.reason == "tls_error"
    assert seen.metrics == {}


async def test_slowness_shows_in_the_phase_where_it_is(tmp_path: Path) -> None:
    """Handshake, waiting, transfer: in each of three checks another phase is larger than all others together."""
    authority = Authority()
    ca_file = authority.write(tmp_path)

    @asynccontextmanager
    async def slow_in(phase: str) -> AsyncIterator[ProbeOptions]:
        async with AsyncExitStack() as stack:
            if phase == "tls":
                late = shaking_hands_late(authority.server(), 0.3)
                tcp = await stack.enter_async_context(TcpServer(late))
                yield TlsOptions(host="127.0.0.1", port=tcp.port, ca_file=ca_file)
                return
            answer = {
                "wait": Answer(delay_s=0.3),
                "transfer": Answer(body=b"12", piece_bytes=1, pause_s=0.3),
            }[phase]
            web = await stack.enter_async_context(HttpServer(answer, tls=authority.server()))
            yield HttpOptions(url=web.url, ca_file=ca_file)

    for phase in ("tls", "wait", "transfer"):
        async with slow_in(phase) as options:
            seen = await check(options)
        assert seen.outcome is Outcome.SUCCESS
        assert seen.phases[phase] >= 300_000
        assert seen.phases[phase] > sum(us for name, us in seen.phases.items() if name != phase)


async def test_many_checks_at_once_do_not_wait_for_the_slow_ones() -> None:
    """A hundred fast targets are done while twenty hang; afterwards no task and no connection is left."""
    async with HttpServer() as fast, TcpServer(silent) as slow:
        hanging = [
            asyncio.create_task(check(HttpOptions(url=f"http://127.0.0.1:{slow.port}/"), deadline_s=PATIENT_S))
            for _ in range(20)
        ]
        done = await asyncio.gather(*(check(HttpOptions(url=fast.url)) for _ in range(100)))
        assert {one.outcome for one in done} == {Outcome.SUCCESS}
        assert not any(task.done() for task in hanging)
        for task in hanging:
            task.cancel()
        ended = await asyncio.gather(*hanging, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in ended)
    assert fast.connections == 100
    for _ in range(500):
        if asyncio.all_tasks() == {asyncio.current_task()}:
            break
        await asyncio.sleep(0.01)
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_location_without_a_network_reports_no_failure_of_the_target() -> None:
    """In a network namespace without a single route every probe says that it cannot check."""
    code = """if True:
        import asyncio
        from producers.errors import TransientError
        from producers.settings import HttpOptions, TcpOptions, TlsOptions
        from tests.producers.probing import check

        async def main():
            for options in (
                TcpOptions(host="192.0.2.1", port=80),
                TlsOptions(host="2001:db8::1"),
                HttpOptions(url="http://192.0.2.1/"),
                HttpOptions(url="http://shop.example/"),
            ):
                try:
                    print(await check(options))
                except TransientError as error:
                    print("cannot check:", error)

        asyncio.run(main())
    """
    command = ["unshare", "--map-root-user", "--net", sys.executable, "-c", code]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except FileNotFoundError:
        pytest.skip("no command `unshare` (Linux only)")
    if "unshare failed" in ran.stderr or "Operation not permitted" in ran.stderr:
        pytest.skip(f"no network namespaces here: {ran.stderr.strip()}")
    assert ran.stderr == ""
    assert [line.partition(": no route")[0] for line in ran.stdout.splitlines()] == [
        "cannot check: this location has no network"
    ] * 4
