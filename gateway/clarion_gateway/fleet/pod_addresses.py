"""The addresses at which gateways reach each other, out of the heartbeats in Redis.

A pod is known by its *mark* (`clarion_gateway.wire.engineio.sids`). Only pods that are alive have
an address here, so a request is never passed on to any other host.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from clarion_contract.bus.presence import NO_PODS, Pods
from clarion_contract.events.errors import BusUnavailable
from clarion_gateway.settings import GatewaySettings

_LOOK_SECONDS: Final = 1.0
_RESOLVE_SECONDS: Final = 5.0

_log = structlog.get_logger(__name__)

Address = tuple[str, int]
"""IP address and port."""


async def own_address(settings: GatewaySettings) -> str:
    """The address of this pod's internal port, as ``ip:port``; empty: others cannot reach it.

    Without a setting, the host's own name is looked up. A name server that does not answer must not
    keep the pod from its start.
    """
    if not settings.internal_port:  # any free one
        return ""
    ip = settings.pod_ip or settings.internal_host
    try:
        if ipaddress.ip_address(ip).is_unspecified:
            async with asyncio.timeout(_RESOLVE_SECONDS):
                ip = await _own_ip()
        is_ipv6 = ipaddress.ip_address(ip).version == 6
    except (OSError, ValueError):
        _log.warning("other pods cannot pass requests on to this one: it knows no IP address of it")
        return ""
    return f"[{ip}]:{settings.internal_port}" if is_ipv6 else f"{ip}:{settings.internal_port}"


async def _own_ip() -> str:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(socket.gethostname(), None, family=socket.AF_INET)
    return str(found[0][4][0])


def parse(address: str) -> Address | None:
    """An address that `own_address` has made; None: it is none. Names of hosts are none.

    >>> parse("[::1]:9090")
    ('::1', 9090)
    """
    ip, _, port = address.rpartition(":")
    ip = ip.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(ip)
        return (ip, int(port)) if 0 < int(port) < 1 << 16 else None
    except ValueError:
        return None


class PodAddresses:
    """Finds the address of the pod with a mark.

    Args:
        pods: returns the pods as of the last heartbeat.
        look: asks Redis for the pods now.
    """

    def __init__(self, pods: Callable[[], Pods], look: Callable[[], Awaitable[Pods]]) -> None:
        self._pods = pods
        self._look = look
        self._seen = NO_PODS
        self._addresses: Mapping[str, Address] = {}
        self._late: Mapping[str, Address] = {}  # as of the last look
        self._looked_at = -math.inf
        self._looking = asyncio.Lock()

    def known(self, mark: str) -> Address | None:
        """The address as of the last heartbeat; None: no pod with that mark was alive."""
        pods = self._pods()
        if pods is not self._seen:
            self._see(pods)
        return self._addresses.get(mark)

    async def find(self, mark: str) -> Address | None:
        """The address now: a pod may have come after the last heartbeat. Asks once a second."""
        async with self._looking:
            address = self.known(mark)
            loop = asyncio.get_running_loop()
            if address is not None or loop.time() - self._looked_at < _LOOK_SECONDS:
                return address or self._late.get(mark)
            try:
                self._late = _addresses(await self._look())
            except BusUnavailable:
                self._late = {}
            # The answer may take long: those that waited for this look must not ask again in turn.
            self._looked_at = loop.time()
        return self._late.get(mark)

    def _see(self, pods: Pods) -> None:
        self._seen = pods
        self._addresses = _addresses(pods)


def _addresses(pods: Pods) -> dict[str, Address]:
    found = {load.mark: parse(load.address) for load in pods.loads.values() if load.mark}
    return {mark: address for mark, address in found.items() if address is not None}
