"""The failure that probes detect: the subscription has died, but nothing reports it.

Redis answers, sockets stay open, and every publish succeeds, but the pod receives nothing. A TCP
proxy between gateway and Redis can swallow what Redis sends on one connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from clarion_contract.events.audience import ALL, user_audience
from tests.integration.pod import started, token
from tests.integration.sockets import opened
from tests.proxy import Proxy, proxied

ALICE = user_audience("alice")
PROBES = {"probe_interval_seconds": 0.1, "probe_timeout_seconds": 0.3}


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[Proxy]:
    port = urlsplit(redis_url).port
    assert port is not None
    async with proxied(port) as proxy:
        yield proxy


async def test_a_subscription_that_dies_in_silence_is_replaced_and_nothing_is_lost(
    proxy: Proxy, namespace: str
) -> None:
    async with (
        started(proxy.url, namespace, **PROBES) as pod,
        opened(pod, token=token("alice")) as alice,
    ):
        proxy.silence_subscriptions()
        ids = [await pod.publish(audience) for audience in (ALL, ALICE, ALL)]
        got = [message["id"] for message in await alice.events(3)]
        assert got == [str(id_) for id_ in ids]
        await pod.counted("clarion_bus_connects_total", 2, outcome="connected")
        await pod.counted("clarion_gaps_total", outcome="repaired")
        assert await pod.metric("clarion_gaps_total", outcome="lost") == 0
        assert len(proxy.subscriptions) == 1, "the dead connection is closed"


async def test_all_connections_that_go_silent_at_once_are_replaced_and_nothing_is_lost(
    proxy: Proxy, namespace: str
) -> None:
    """A NAT between the pod and Redis has lost its table: new connections work."""
    async with (
        started(proxy.url, namespace, **PROBES) as pod,
        opened(pod, token=token("alice")) as alice,
    ):
        for link in proxy.links:
            link.silent = True
        ids = [await pod.publish(audience) for audience in (ALL, ALICE, ALL)]
        assert [message["id"] for message in await alice.events(3)] == [str(id_) for id_ in ids]
        await pod.counted("clarion_bus_connects_total", 2, outcome="connected")
        assert await pod.metric("clarion_gaps_total", outcome="lost") == 0


async def test_a_pod_that_hears_nothing_stays_ready_and_says_why(
    proxy: Proxy, namespace: str
) -> None:
    """Its clients stay, and get all events in the end; anonymous ones are taken meanwhile."""
    async with started(proxy.url, namespace, **PROBES) as pod, opened(pod) as client:
        proxy.all_silent = True
        for link in proxy.links:
            link.silent = True
        (warning,) = await pod.warned()
        assert warning.startswith("bus not verified for ")
        assert await pod.metric("clarion_ready") == 1
        async with opened(pod) as late:
            assert late.welcome["id"] == client.welcome["id"]
        assert await pod.metric("clarion_bus_verified_age_seconds") > 0.3
        proxy.all_silent = False
        for link in proxy.links:
            link.silent = False
        id_ = await pod.publish()
        assert (await client.receive("event"))["id"] == str(id_)
        await pod.ready()
