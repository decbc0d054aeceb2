"""Many handshakes of one address: it is told to come back later, and all others are served."""

from __future__ import annotations

import asyncio

import httpx

from clarion import ConnectContext, Handlers
from tests.integration.conftest import Start
from tests.integration.pod import Pod, eventually
from tests.integration.sockets import TEXT, Response, connected, frame, request_of, streamed
from tests.integration.test_bad_frames import unaffected

SLOWLY = {"address_handshakes_per_second": 0.01}
OFFICE = {"X-Forwarded-For": "192.0.2.7"}
OTHER = {"X-Forwarded-For": "192.0.2.8"}
LIMITED = {"outcome": "address_limited"}
ENTERED: list[str] = []
DECIDED = asyncio.Event()

handlers = Handlers()


@handlers.on_connect
async def decide(context: ConnectContext) -> None:
    if "wait" in context.query:
        ENTERED.append(context.query["wait"])
        await DECIDED.wait()


async def handshake(pod: Pod, headers: dict[str, str], path: str = "/ws") -> Response:
    async with connected(pod) as raw:
        await raw.send(request_of(path, headers=headers))
        return await raw.response()


async def test_an_address_may_begin_so_many_handshakes(start: Start) -> None:
    async with start(address_handshake_burst=2, **SLOWLY) as pod, unaffected(pod) as is_served:
        for _ in range(2):
            assert (await handshake(pod, OFFICE)).status == 101
        refused = await handshake(pod, OFFICE)
        assert refused.status == 429
        assert refused.headers["content-type"] == "application/problem+json"
        assert 10 <= int(refused.headers["retry-after"]) <= 100, "a token takes 100 seconds"
        assert refused.detail == (
            "expected at most 0.01 handshakes a second, 2 at once from one address"
        )
        assert (await handshake(pod, OTHER)).status == 101
        hops = {"X-Forwarded-For": "192.0.2.8, 192.0.2.7, 10.0.0.1"}
        assert (await handshake(pod, hops)).status == 429, "a client cannot say where it is"
        assert await pod.metric("clarion_handshakes_total", wire="websocket", **LIMITED) == 2
        counted = "clarion_http_requests_refused_total"
        assert await pod.metric(counted, reason="address_limited") == 2
        await is_served()


async def test_an_event_stream_is_told_to_come_back(start: Start) -> None:
    async with start(address_handshake_burst=1, **SLOWLY) as pod:
        assert (await handshake(pod, OFFICE)).status == 101
        async with streamed(pod, "/sse", X_Forwarded_For="192.0.2.7") as stream:
            assert stream.response.status == 200, "else EventSource never comes back"
            error = await stream.receive()
            assert (error.type, error.value["code"]) == ("$error", "address_limited")
            assert stream.retry is not None
            assert stream.retry >= 10_000, "not before there is a token"
        assert await pod.metric("clarion_handshakes_total", wire="sse", **LIMITED) == 1


async def test_without_a_proxy_the_peers_address_counts(start: Start) -> None:
    async with start(address_handshake_burst=1, trusted_proxies=[], **SLOWLY) as pod:
        assert (await handshake(pod, OFFICE)).status == 101
        assert (await handshake(pod, OTHER)).status == 429, "both are of this machine"


async def test_clients_of_the_pods_own_network_have_no_limit(start: Start) -> None:
    async with start(address_handshake_burst=1, **SLOWLY) as pod:
        for headers in [{}, {}, {}, {"X-Forwarded-For": "10.1.2.3"}, {"X-Forwarded-For": "?"}]:
            assert (await handshake(pod, headers)).status == 101


async def test_an_address_has_so_many_handshakes_under_way(start: Start) -> None:
    DECIDED.clear()
    ENTERED.clear()
    async with start(address_max_opening=2, handlers=f"{__name__}:handlers") as pod:
        async with connected(pod) as one, connected(pod) as two:
            for raw in (one, two):
                await raw.send(request_of("/ws?wait=1", headers=OFFICE))

            async def are_under_way() -> bool:
                return len(ENTERED) == 2

            await eventually(are_under_way, what="two handshakes")
            refused = await handshake(pod, OFFICE)
            assert refused.status == 429
            assert refused.detail == "expected at most 2 handshakes at a time from one address"
            assert (await handshake(pod, OTHER)).status == 101
            DECIDED.set()
            for raw in (one, two):
                assert (await raw.response()).status == 101
        assert (await handshake(pod, OFFICE)).status == 101, "they are over"


async def test_a_connect_of_socketio_counts(start: Start) -> None:
    path = "/socket.io/?EIO=4&transport=websocket"
    async with start(address_handshake_burst=1, **SLOWLY) as pod, connected(pod) as raw:
        await raw.send(request_of(path, headers=OFFICE))
        assert (await raw.response()).status == 101
        await raw.send(frame(TEXT, b"40"))
        said = await raw.rest()
        assert b"expected at most 0.01 handshakes a second" in said
        assert (4429).to_bytes(2, "big") in said, "in a close frame"
        assert await pod.metric("clarion_closes_total", code="4429", reason="address_limited") == 1


async def test_a_session_of_polling_counts(start: Start) -> None:
    path = "/socket.io/?EIO=4&transport=polling"
    async with (
        start(address_handshake_burst=1, **SLOWLY) as pod,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        assert (await client.get(pod.url(path), headers=OFFICE)).status_code == 200
        refused = await client.get(pod.url(path), headers=OFFICE)
        assert (refused.status_code, refused.json()["code"]) == (503, 4)
        assert (await client.get(pod.url(path), headers=OTHER)).status_code == 200
        assert await pod.metric("clarion_handshakes_total", wire="socketio", **LIMITED) == 1
