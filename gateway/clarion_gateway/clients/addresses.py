"""Where a client is on the network, behind how many proxies ever. No I/O.

Proxies append the address that they were asked from to ``X-Forwarded-For``. So the last entry that
is no proxy of one's own is the client's; what stands before it may be made up by the client.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

# One customer's share of IPv6 (RFC 6177): who has one address has all of them.
_IPV6_PREFIX: Final = 64

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Addresses:
    """Tells clients' addresses, given which proxies are trusted."""

    def __init__(self, proxies: Iterable[str]) -> None:
        """Trust some proxies.

        Args:
            proxies: their networks, such as ``10.0.0.0/8``.
        """
        self._proxies = [ipaddress.ip_network(each) for each in proxies]

    def client(self, peer: str, forwarded_for: Sequence[str]) -> str | None:
        """The client's address; of IPv6 its network. None: only proxies are known.

        Args:
            peer: the address of the TCP connection's other side.
            forwarded_for: values of ``X-Forwarded-For``, as headers have them.

        Example:
            >>> Addresses(["10.0.0.0/8"]).client("10.1.2.3", ["6.6.6.6, 192.0.2.7"])
            '192.0.2.7'
        """
        hops = [hop.strip() for value in forwarded_for for hop in value.split(",")]
        for hop in (peer, *reversed(hops)):
            try:
                address = ipaddress.ip_address(hop)
            except ValueError:
                return None
            if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
                address = address.ipv4_mapped
            if any(address in network for network in self._proxies):
                continue
            if address.version == 4:
                return str(address)
            return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
        return None
