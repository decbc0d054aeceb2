"""Finds the address of a client behind any number of proxies. No I/O.

Each proxy appends the address of its own client to ``X-Forwarded-For``. So the last entry that is
not a trusted proxy is the client's address. The client may have made up the entries before it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

# The IPv6 network of one customer (RFC 6177), who can use all of its addresses.
_IPV6_PREFIX: Final = 64

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Addresses:
    """Finds clients' addresses, given the trusted proxies."""

    def __init__(self, proxies: Iterable[str]) -> None:
        """Set the trusted proxies.

        Args:
            proxies: their networks, such as ``10.0.0.0/8``.
        """
        self._proxies = [ipaddress.ip_network(each) for each in proxies]

    def trusts(self, peer: str) -> bool:
        """Whether the other side of a TCP connection is a trusted proxy."""
        address = _parsed(peer)
        return address is not None and self._is_proxy(address)

    def client(self, peer: str, forwarded_for: Sequence[str]) -> str | None:
        """The client's IPv4 address or IPv6 network; None if only trusted proxies are known.

        Args:
            peer: the address of the TCP connection's other side.
            forwarded_for: values of ``X-Forwarded-For``, as headers have them.

        Example:
            >>> Addresses(["10.0.0.0/8"]).client("10.1.2.3", ["6.6.6.6, 192.0.2.7"])
            '192.0.2.7'
        """
        hops = [hop.strip() for value in forwarded_for for hop in value.split(",")]
        for hop in (peer, *reversed(hops)):
            address = _parsed(hop)
            if address is None:
                return None
            if self._is_proxy(address):
                continue
            if address.version == 4:
                return str(address)
            return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
        return None

    def _is_proxy(self, address: _Address) -> bool:
        return any(address in network for network in self._proxies)


def _parsed(text: str) -> _Address | None:
    """An address; an IPv4 one also where a dual-stack socket shows it as IPv6. None: it is none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
