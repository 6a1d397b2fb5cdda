"""Names to addresses, as the machine's own `hosts` file and name servers say, within the caller's deadline.

Not `getaddrinfo`: it blocks a thread for as long as it likes. A few dead names would fill the pool that all
checks share, so that one slow target delays the others, the phase `dns` would count the wait for a thread,
and the process could not end before the last one is back. dnspython asks on the event loop and can be cut
off. The price: only `hosts` and DNS are asked, not mDNS, LDAP or what else nsswitch.conf may name.
"""

import asyncio
import contextlib
import io
import ipaddress
from pathlib import Path
from typing import Final

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver

from producers.contract import FailureReason
from producers.errors import TransientError
from producers.probes import routes
from producers.probes.reading import Failed

RESOLUTION_DELAY_S: Final = 0.05
"""How long the other family's answer may still take when one has come (RFC 8305, section 3)."""

NO_LIMIT_S: Final = 86_400.0
"""dnspython's own limit: far away, because the deadline is the caller's."""

LOOPBACK: Final = ("::1", "127.0.0.1")


class Names:
    """Resolves names. Both files are read again when they change, as the C library does; no answer is kept.

    Args:
        hosts_file: In the form of /etc/hosts.
        resolver_file: In the form of /etc/resolv.conf.
        port: Of the name servers.
    """

    def __init__(
        self,
        *,
        hosts_file: Path = Path("/etc/hosts"),
        resolver_file: Path = Path("/etc/resolv.conf"),
        port: int = 53,
    ) -> None:
        self._hosts_file = hosts_file
        self._resolver_file = resolver_file
        self._port = port
        self._hosts: dict[str, list[str]] = {}
        self._hosts_stamp: tuple[int, int] | None = None
        self._resolver: dns.asyncresolver.Resolver | None = None
        self._resolver_stamp: tuple[int, int] | None = None

    async def addresses(self, host: str) -> list[str]:
        """Return the IP addresses of a name, at least one, in no particular order.

        Raises:
            Failed: dns_error: there is no such name, it has no address, or the name servers failed.
            TransientError: This location has no name server, cannot read its files, or has no network.
        """
        name = host.rstrip(".").lower()
        written = self._from_hosts_file(name)
        if written:
            return written
        if name == "localhost" or name.endswith(".localhost"):
            return list(LOOPBACK)  # RFC 6761: never asked of a name server
        return await self._ask(host)

    def _from_hosts_file(self, name: str) -> list[str]:
        stamp = _stamp(self._hosts_file)
        if stamp != self._hosts_stamp:
            self._hosts = _read_hosts(self._hosts_file)
            self._hosts_stamp = stamp
        return self._hosts.get(name, [])

    def _current_resolver(self) -> dns.asyncresolver.Resolver:
        stamp = _stamp(self._resolver_file)
        if self._resolver is None or stamp != self._resolver_stamp:
            resolver = dns.asyncresolver.Resolver(configure=False)
            resolver.port = self._port
            try:
                resolver.read_resolv_conf(io.StringIO(_text(self._resolver_file)))
            except (dns.resolver.NoResolverConfiguration, ValueError) as error:
                raise TransientError(f"no usable name server in {self._resolver_file}") from error
            self._resolver, self._resolver_stamp = resolver, stamp
        return self._resolver

    async def _ask(self, host: str) -> list[str]:
        resolver = self._current_resolver()
        try:
            name = dns.name.from_text(host, origin=None)
        except (dns.exception.DNSException, UnicodeError) as error:
            raise Failed(FailureReason.DNS_ERROR, f"{host[:80]} is not a valid name") from error
        kinds = (dns.rdatatype.AAAA, dns.rdatatype.A)
        tasks = {asyncio.create_task(_query(resolver, name, kind)) for kind in kinds}
        try:
            answers = await _first_and_prompt(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        found = [address for answer in answers if isinstance(answer, list) for address in answer]
        if found:
            return found
        errors = [answer for answer in answers if isinstance(answer, Exception)]
        raise _no_address(host, resolver, errors[0] if errors else None)


def _no_address(host: str, resolver: dns.asyncresolver.Resolver, error: Exception | None) -> Exception:
    if isinstance(error, dns.resolver.NXDOMAIN):
        return Failed(FailureReason.DNS_ERROR, f"the name {host} does not exist")
    if error is None:
        return Failed(FailureReason.DNS_ERROR, f"the name {host} has no address")
    servers = [server for server in resolver.nameservers if isinstance(server, str)]
    if routes.cut_off(servers):
        return TransientError("this location has no network: no route to a name server or anywhere else")
    return Failed(FailureReason.DNS_ERROR, f"the name servers {', '.join(servers)} gave no answer for {host}")


async def _first_and_prompt(tasks: set[asyncio.Task[list[str] | Exception]]) -> list[list[str] | Exception]:
    """Return all answers that come, but do not wait long for a second one when the first has addresses."""
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    if pending:
        found = any(isinstance(task.result(), list) and task.result() for task in done)
        late, _ = await asyncio.wait(pending, timeout=RESOLUTION_DELAY_S if found else None)
        done |= late
    return [task.result() for task in done]


async def _query(
    resolver: dns.asyncresolver.Resolver, name: dns.name.Name, kind: dns.rdatatype.RdataType
) -> list[str] | Exception:
    """Return the addresses of one family, none if the name has none, or why there is no answer."""
    try:
        answer = await resolver.resolve(name, kind, search=True, lifetime=NO_LIMIT_S, raise_on_no_answer=False)
    except (dns.exception.DNSException, OSError, EOFError) as error:
        return error
    return [record.address for record in answer.rrset or ()]


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise TransientError(f"{path} cannot be read: {error.strerror}") from error


def _read_hosts(path: Path) -> dict[str, list[str]]:
    """Return addresses by lower-case name. A line that is no `address name ...` is skipped, as everywhere."""
    hosts: dict[str, list[str]] = {}
    if not path.exists():
        return hosts
    for line in _text(path).splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(address)
            for name in names:
                hosts.setdefault(name.lower(), []).append(address)
    return hosts


def is_address(host: str) -> bool:
    """Return whether `host` is an IP address already."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


SYSTEM = Names()
"""The names as this machine knows them."""
