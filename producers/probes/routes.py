"""What this machine's routing table says of an address. Sends nothing, blocks for microseconds."""

import errno
import ipaddress
import socket
from collections.abc import Iterable
from typing import Final

from producers.errors import TransientError

DISCARD_PORT: Final = 9

THE_INTERNET: Final = ("198.41.0.4", "2001:503:ba3e::2:30")
"""The addresses of a.root-servers.net: whoever has a route to neither has no default route."""


def source_for(address: str) -> str | None:
    """Return the own address that the kernel would talk to `address` from; None if it has no route.

    Connecting a datagram socket only looks up the route: no packet leaves.

    Raises:
        TransientError: This process has no file descriptor left to ask with.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        sockaddr = socket.getaddrinfo(address, DISCARD_PORT, family, flags=socket.AI_NUMERICHOST)[0][4]
        with socket.socket(family, socket.SOCK_DGRAM) as unsent:
            unsent.connect(sockaddr)
            source: str = unsent.getsockname()[0]
    except OSError as error:
        if error.errno in {errno.EMFILE, errno.ENFILE}:
            raise TransientError(f"this process cannot open a connection: {error.strerror}") from error
        return None
    return source


def cut_off(addresses: Iterable[str]) -> bool:
    """Return whether this location has no network: no route to any of `addresses`, and none to the internet.

    Both, because a location without a default route may well check its own subnet, and a target whose address
    family has no route here is that target's failure seen from here, not the location's.
    """
    return all(source_for(address) is None for address in (*addresses, *THE_INTERNET))


def in_order(addresses: Iterable[str]) -> list[str]:
    """Sort addresses by how well they can be reached, then take the families in turn, as RFC 8305 advises.

    A small part of RFC 6724: IPv6 before IPv4 if its source address reaches as far as the destination,
    addresses without a route last.
    """
    unique = list(dict.fromkeys(addresses))
    if len(unique) < 2:
        return unique
    ranked = sorted(unique, key=_rank)
    first = [address for address in ranked if (":" in address) == (":" in ranked[0])]
    second = [address for address in ranked if (":" in address) != (":" in ranked[0])]
    turns: list[str] = []
    for place in range(max(len(first), len(second))):
        turns += first[place : place + 1] + second[place : place + 1]
    return turns


def _rank(address: str) -> int:
    source = source_for(address)
    if source is None:
        return 3
    if ":" not in address:
        return 1
    reaches = ipaddress.ip_address(source).is_global or not ipaddress.ip_address(address).is_global
    return 0 if reaches else 2
