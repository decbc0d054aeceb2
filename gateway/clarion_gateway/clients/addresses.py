"""Finds the address of a client behind any number of proxies. No I/O.

Each proxy appends the address of its own client to ``X-Forwarded-For``. So the last entry that is
not a trusted proxy is the client's address. The client may have made up the entries before it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

# The IPv6 network of one customer (RFC 6177), who can use all of its addresses.
_IPV6_PREFIX: Final = 64
# Reading an address costs 20 us, and most handshakes come through the same few proxies.
_REMEMBERED: Final = 4_096
# The longest: IPv6 with an IPv4 address in its end, brackets, a zone and a port.
_MAX_CHARACTERS: Final = 80
_PROXY: Final = ""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Addresses:
    """Finds clients' addresses, given the trusted proxies."""

    def __init__(self, proxies: Iterable[str]) -> None:
        """Set the trusted proxies.

        Args:
            proxies: their networks, such as ``10.0.0.0/8``.
        """
        self._proxies = [ipaddress.ip_network(each) for each in proxies]
        self._read = lru_cache(_REMEMBERED)(self._place)

    def trusts(self, peer: str) -> bool:
        """Whether the other side of a TCP connection is a trusted proxy."""
        return self._read(peer) == _PROXY

    def client(self, peer: str, forwarded_for: Sequence[str]) -> str | None:
        """The client's IPv4 address or IPv6 network; None if only trusted proxies are known.

        Args:
            peer: the address of the TCP connection's other side.
            forwarded_for: values of ``X-Forwarded-For``, as headers have them.

        Example:
            >>> Addresses(["10.0.0.0/8"]).client("10.1.2.3", ["6.6.6.6, 192.0.2.7"])
            '192.0.2.7'
        """
        place = self._read(peer)
        for value in reversed(forwarded_for):
            for hop in reversed(value.split(",")):
                if place != _PROXY:
                    return place
                place = self._read(hop.strip()) if len(hop) <= _MAX_CHARACTERS else None
        return place or None

    def _place(self, text: str) -> str | None:
        """The address or network for a text; `_PROXY`: a trusted proxy; None: no address."""
        address = _parsed(text)
        if address is None:
            return None
        if any(address in network for network in self._proxies):
            return _PROXY
        if address.version == 4:
            return str(address)
        return str(ipaddress.ip_network((address.packed, _IPV6_PREFIX), strict=False))


def _parsed(text: str) -> _Address | None:
    """An address; an IPv4 one also where a dual-stack socket shows it as IPv6. None: it is none."""
    try:
        address = ipaddress.ip_address(_without_port(text))
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _without_port(text: str) -> str:
    """The address alone: some load balancers append the client's port."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    host, colon, _ = text.partition(":")
    return host if colon and text.count(":") == 1 else text
