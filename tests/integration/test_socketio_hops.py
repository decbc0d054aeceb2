"""Requests for a session of another pod: they reach it, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from clarion_contract.bus.presence import PodLoad, PresenceRegister
from clarion_contract.events.audience import ALL, Audience
from clarion_contract.service import descriptors
from clarion_gateway.transports.socketio import links
from clarion_gateway.wire.engineio.hop import PATH as HOP_PATH
from clarion_gateway.wire.engineio.hop import SIGNATURE, Hop
from clarion_gateway.wire.engineio.sids import Sids
from tests.integration.pod import SECONDS, Pod, eventually, started
from tests.integration.poller import PATH, Poller, browser, hanging, keyed
from tests.integration.sockets import Raw
from tests.integration.test_socketio import HANDLERS
from tests.integration.test_socketio_polling import SLOW
from tests.tcp import listening, port_of

Pods = tuple[Pod, Pod]


@pytest.fixture
async def pods(
    redis_url: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Pods]:
    (tmp_path / "hop_handlers.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(tmp_path)
    handlers = "hop_handlers:handlers"
    async with (
        started(redis_url, namespace, pod="pod-a", handlers=handlers, reachable=True) as first,
        started(redis_url, namespace, pod="pod-b", handlers=handlers, reachable=True) as second,
    ):
        await keyed(first)
        await keyed(second)
        yield first, second


@contextlib.asynccontextmanager
async def away(pods: Pods) -> AsyncIterator[Poller]:
    """A session that the first pod has, and whose further requests go to the second one."""
    async with browser() as client:
        poller = Poller(client, pods[0].url(PATH))
        await poller.open()
        poller.base = pods[1].url(PATH)
        yield poller


@contextlib.asynccontextmanager
async def overheard() -> AsyncIterator[tuple[str, list[bytes]]]:
    """A host that nobody may be led to: its address, and what was sent there."""
    received: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(b"connected")
        received.append(await reader.read(1_000))

    async with listening(take) as server:
        yield f"127.0.0.1:{port_of(server)}", received


async def test_polls_and_posts_reach_the_pod_of_the_session(pods: Pods) -> None:
    async with away(pods) as poller:
        await poller.log_in("alice")
        assert len(pods[0].gateway.sessions._hub.of_user("alice")) == 1
        assert not pods[1].gateway.sessions.polled
        await poller.say('421["echo",1]', '451-2["echo",{"_placeholder":true,"num":0}]', "bAP8=")
        assert await poller.receive() == '431[[1,"alice"]]'
        assert await poller.receive() == '432[["AP8=","alice"]]'
        poll = await hanging(pods[0], poller)
        await pods[0].publish(Audience("user", "alice"), "mail", b"1")
        assert (await poll).text == '42["mail",1]'
        await poller.say("1")
        answer = await poller.get()
        assert (answer.status_code, answer.json()["code"]) == (400, 1)
    passed_on = {"kind": "request", "outcome": "passed_on"}
    assert await pods[1].metric("clarion_socketio_hops_total", **passed_on) > 0
    assert await pods[0].metric("clarion_socketio_hops_total", **passed_on) == 0


@contextlib.asynccontextmanager
async def relayed(pod: Pod, poller: Poller) -> AsyncIterator[ClientConnection]:
    """A session that has moved to a WebSocket, which this pod relays."""
    url = f"ws://127.0.0.1:{pod.port}/socket.io/?EIO=4&transport=websocket&sid={poller.sid}"
    async with connect(url, proxy=None, compression=None, close_timeout=2) as websocket:
        await websocket.send("2probe")
        assert await websocket.recv(decode=True) == "3probe"
        await websocket.send("5")
        yield websocket


async def ended(websocket: ClientConnection) -> None:
    async with asyncio.timeout(SECONDS):
        await websocket.wait_closed()


async def test_links_are_used_again(pods: Pods) -> None:
    async with away(pods) as poller:
        await poller.log_in("alice")
        for number in range(20):
            await poller.say(f'42{number}["echo",{number}]')
            assert await poller.receive() == f'43{number}[[{number},"alice"]]'
        # The client's, and one link or two: a POST may come before the poll's link is free.
        assert pods[1].gateway.sessions.port.open <= 3


async def test_a_client_that_breaks_its_poll_ends_its_session_on_the_other_pod(pods: Pods) -> None:
    async with away(pods) as poller:
        await poller.log_in("alice")
        poll = await hanging(pods[0], poller)
        poll.cancel()
        await pods[0].counted("clarion_closes_total", reason="abnormal")


async def test_a_body_that_is_too_large_stays_here(pods: Pods) -> None:
    async with away(pods) as poller:
        await poller.log_in("alice")
        answer = await poller.post("4" * (pods[1].settings.message_max_bytes + 1))
        assert answer.status_code == 413
        await poller.say('421["echo",1]')
        assert await poller.receive() == '431[[1,"alice"]]'
        assert pods[1].gateway.sessions.inbound.used_bytes == 0


async def test_an_upgrade_reaches_the_pod_of_the_session(pods: Pods) -> None:
    async with away(pods) as poller:
        await poller.log_in("alice")
        url = f"ws://127.0.0.1:{pods[1].port}/socket.io/?EIO=4&transport=websocket"
        async with connect(f"{url}&sid={poller.sid}", proxy=None, compression=None) as socket:
            await socket.send("2probe")
            assert await socket.recv(decode=True) == "3probe"
            await socket.send("5")
            await socket.send('421["echo",1]')
            assert await socket.recv(decode=True) == '431[[1,"alice"]]'
            large = "x" * 10_000
            for number in range(50):
                data = json.dumps([number, large]).encode()
                await pods[0].publish(Audience("user", "alice"), "bulk", data)
            for number in range(50):
                assert json.loads((await socket.recv(decode=True))[2:]) == ["bulk", [number, large]]
            assert pods[0].gateway.sessions.carriers["websocket"] == 1
            answer = await poller.get()
            assert (answer.status_code, answer.json()["code"]) == (400, 3)

        async def gone() -> bool:
            return not pods[0].gateway.sessions.polled

        await eventually(gone)


async def test_a_relayed_client_that_reads_nothing_is_slow_for_the_pod_that_has_it(
    redis_url: str, namespace: str
) -> None:
    async with (
        started(redis_url, namespace, pod="a", reachable=True, max_unsent_bytes=65_536) as first,
        started(redis_url, namespace, pod="b", reachable=True) as second,
    ):
        await keyed(first)
        await keyed(second)
        async with away((first, second)) as poller:
            await poller.log_in("alice")
            url = f"ws://127.0.0.1:{second.port}/socket.io/?EIO=4&transport=websocket"
            async with connect(
                f"{url}&sid={poller.sid}", proxy=None, compression=None, max_queue=1
            ) as socket:
                await socket.send("2probe")
                assert await socket.recv(decode=True) == "3probe"
                await socket.send("5")

                async def is_slow() -> bool:
                    data = b'"%b"' % (b"x" * 50_000)
                    await first.publish(Audience("user", "alice"), "bulk", data)
                    return bool(await first.metric("clarion_slow_consumers_total"))

                await eventually(is_slow)


async def test_a_pod_that_came_a_moment_ago_is_found(redis_url: str, namespace: str) -> None:
    """Heartbeats are rare: the other pod has not heard of it."""
    async with started(
        redis_url, namespace, pod="old", reachable=True, heartbeat_seconds=300
    ) as old:
        await keyed(old)
        async with started(redis_url, namespace, pod="new", reachable=True) as new:
            await keyed(new)
            assert old.gateway.hops.addresses.known(new.gateway.sessions.sids.mark) is None
            async with away((new, old)) as poller:
                assert (await poller.post("40")).text == "ok"


# Nobody else is reached


async def test_sids_that_are_not_genuine_reach_nobody(pods: Pods) -> None:
    """Forged, of another namespace, or of a pod that is gone."""
    register = PresenceRegister(pods[1].bus, pods[1].settings.keyspace)
    genuine = pods[1].gateway.sessions.recovery.key
    async with overheard() as (address, received), browser() as client:
        target = Sids(lambda: b"another key")
        # A pod that is alive, with this mark, at this address: only the signature is wrong.
        load = PodLoad(0, 0, 0, True, target.mark, address)
        await register.begin("target", load, timeout_seconds=600)
        gone = Sids(lambda: genuine)
        for sid in (target.new(), gone.new(), "A" * 44, address, "../..", "a" * 5_000):
            for method in ("GET", "POST"):
                answer = await client.request(method, pods[1].url(f"{PATH}&sid={sid}"))
                assert (answer.status_code, answer.json()["code"]) == (400, 1)
            url = f"ws://127.0.0.1:{pods[1].port}/socket.io/?EIO=4&transport=websocket&sid={sid}"
            with pytest.raises(InvalidStatus) as refused:
                async with connect(url, proxy=None):
                    pass
            assert refused.value.response.status_code == 400
        assert received == []


@pytest.mark.parametrize(
    "address", ["localhost:80", "example.com:80", "127.0.0.1", "127.0.0.1:0", "", "[::1]:99999"]
)
async def test_a_heartbeat_without_an_ip_address_leads_nowhere(pods: Pods, address: str) -> None:
    register = PresenceRegister(pods[1].bus, pods[1].settings.keyspace)
    sids = Sids(lambda: pods[1].gateway.sessions.recovery.key)
    load = PodLoad(0, 0, 0, True, sids.mark, address)
    await register.begin("odd", load, timeout_seconds=600)
    async with browser() as client:
        answer = await client.get(pods[1].url(f"{PATH}&sid={sids.new()}"))
    assert (answer.status_code, answer.json()["code"]) == (400, 1)


async def test_a_pod_that_does_not_answer_has_lost_its_sessions(pods: Pods) -> None:
    register = PresenceRegister(pods[1].bus, pods[1].settings.keyspace)
    sids = Sids(lambda: pods[1].gateway.sessions.recovery.key)
    async with overheard() as (address, received):
        load = PodLoad(0, 0, 0, True, sids.mark, address)
        await register.begin("silent", load, timeout_seconds=600)
        async with browser() as client:
            answer = await client.get(pods[1].url(f"{PATH}&sid={sids.new()}"))
        assert (answer.status_code, answer.json()["code"]) == (400, 1)
        assert received[0] == b"connected"
    await pods[1].counted("clarion_socketio_hops_total", kind="request", outcome="lost")


async def test_the_internal_port_takes_only_what_a_pod_has_signed(pods: Pods) -> None:
    key = pods[0].gateway.sessions.recovery.key
    internal = f"http://127.0.0.1:{pods[0].settings.internal_port}{HOP_PATH.decode()}"
    async with away(pods) as poller:
        query = f"EIO=4&transport=polling&sid={poller.sid}"
        genuine = Hop(lambda: key)._signature("POST", query) or ""
        other = Hop(lambda: b"other")._signature("POST", query) or ""
        of_get = Hop(lambda: key)._signature("GET", query) or ""
        for headers in ({}, {SIGNATURE: other}, {SIGNATURE: of_get}, {SIGNATURE: ""}):
            answer = await poller.client.post(f"{internal}?{query}", content="40", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, 4)
            assert not len(pods[0].gateway.sessions._hub)
        opening = "EIO=4&transport=polling"
        signed = {SIGNATURE: Hop(lambda: key)._signature("GET", opening) or ""}
        answer = await poller.client.get(f"{internal}?{opening}", headers=signed)
        assert answer.status_code == 403, "no session begins here"
        ws = f"{internal.replace('http', 'ws')}?EIO=4&transport=websocket&sid={poller.sid}"
        with pytest.raises(InvalidStatus) as refused:
            async with connect(ws, proxy=None):
                pass
        assert refused.value.response.status_code == 403
        headers = {SIGNATURE: genuine}
        answer = await poller.client.post(f"{internal}?{query}", content="40", headers=headers)
        assert answer.text == "ok"


async def test_links_of_other_pods_count_against_the_connections_of_clients(pods: Pods) -> None:
    """Else the clients of one pod could take all the descriptors of another."""
    port = pods[0].gateway.sessions.port
    async with away(pods) as poller:
        port.max_sockets = taken = port.open
        assert (await poller.get()).status_code == 503
        url = f"ws://127.0.0.1:{pods[1].port}/socket.io/?EIO=4&transport=websocket"
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"{url}&sid={poller.sid}", proxy=None)
        assert refused.value.response.status_code == 503
        assert port.open == taken
        port.max_sockets = taken + 1
        assert (await poller.get()).status_code == 200


async def test_a_relay_ends_with_either_side(pods: Pods) -> None:
    async with away(pods) as poller:
        await poller.log_in("alice")
        url = f"ws://127.0.0.1:{pods[1].port}/socket.io/?EIO=4&transport=websocket"
        async with connect(f"{url}&sid={poller.sid}", proxy=None, compression=None) as socket:
            await socket.send("2probe")
            assert await socket.recv(decode=True) == "3probe"
            await socket.send("1")
            async with asyncio.timeout(SECONDS):
                with pytest.raises(ConnectionClosed):
                    await socket.recv()
        assert isinstance(await poller.get(), httpx.Response)

    async def all_closed() -> bool:
        return all(pod.gateway.sessions.port.open <= 2 for pod in pods)

    await eventually(all_closed)


# Requests and links that last


async def test_a_post_may_last_as_long_as_handlers_are_behind(
    redis_url: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_hop_handlers.py").write_text(HANDLERS + SLOW)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(links, "_LATE_SECONDS", 0.1)
    # The POST has to reach the gateway within the time-out, on a busy machine, too.
    short = {"socketio_ping_interval_seconds": 0.3, "socketio_ping_timeout_seconds": 3}
    options = {
        "handlers": "slow_hop_handlers:handlers",
        "handler_backlog": 2,
        "handler_seconds": 60,
        "reachable": True,
    }
    async with (
        started(redis_url, namespace, pod="a", **options, **short) as first,
        started(redis_url, namespace, pod="b", **options, **short) as second,
    ):
        from slow_hop_handlers import gate  # noqa: PLC0415 - made above

        await keyed(first)
        await keyed(second)
        async with away((first, second)) as poller:
            await poller.log_in()
            gate.clear()
            post = asyncio.create_task(poller.post(*(f'42{n}["slow",{n}]' for n in range(6))))
            loop = asyncio.get_running_loop()
            until = loop.time() + sum(short.values()) + 0.5
            while loop.time() < until:  # pings: the gateway takes no pong while it does not read
                answer = await poller.get()
                assert (answer.status_code, answer.text) == (200, "2")
            assert not post.done()
            gate.set()
            assert (await post).text == "ok"


async def test_the_kernel_notices_that_another_pod_has_vanished(pods: Pods) -> None:
    async with away(pods) as poller:
        await poller.log_in("alice")
        hops = pods[1].gateway.hops
        address = ("127.0.0.1", pods[0].settings.internal_port)

        async def has_link() -> bool:
            return hops.links.waiting > 0

        await eventually(has_link)
        link = hops.links.idle(address)
        assert link is not None
        async with relayed(pods[1], poller):
            (relay,) = hops.relayed
            for transport in (link._transport, relay.other.transport):  # type: ignore[attr-defined]
                connection = transport.get_extra_info("socket")
                assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15
                assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000
        link.abort()


async def test_links_that_wait_are_few(pods: Pods) -> None:
    """Each takes the place of a client, on both pods."""
    hops = pods[1].gateway.hops
    async with contextlib.AsyncExitStack() as stack:
        pollers = [await stack.enter_async_context(away(pods)) for _ in range(6)]
        for poller in pollers:
            await poller.log_in()
        hops.sessions.port.max_sockets = 40
        polls = [await hanging(pods[0], poller) for poller in pollers]
        await pods[0].publish(ALL, "news", b"1")
        for poll in polls:
            assert (await poll).text == '42["news",1]'

        async def are_few() -> bool:
            return hops.links.waiting == 40 // links._IDLE_SHARE

        await eventually(are_few)
        for poller in pollers:
            await poller.say('421["echo",1]')
            assert await poller.receive() == "431[[1,null]]"


async def test_connections_of_other_pods_beyond_those_kept_for_them_count_at_once(
    pods: Pods,
) -> None:
    """The reserve of descriptors has room for so many and no more."""
    port = pods[0].gateway.sessions.port
    before = port.open
    async with contextlib.AsyncExitStack() as stack:

        async def connection() -> Raw:
            internal = ("127.0.0.1", pods[0].settings.internal_port)
            reader, writer = await asyncio.open_connection(*internal)
            stack.callback(writer.close)
            return Raw(reader, writer)

        waiting = [await connection() for _ in range(descriptors.INTERNAL + 5)]

        async def has_counted() -> bool:
            return port.open == before + 5

        await eventually(has_counted)
        port.max_sockets = port.open
        assert (await (await connection()).response()).status == 503
        port.max_sockets += 1
        probe = await connection()
        for each in (waiting[0], probe):
            await each.send(b"GET /healthz HTTP/1.1\r\nHost: pod\r\n\r\n")
            assert (await each.response()).status == 200


# The end of a pod


async def test_a_draining_pod_sends_relayed_clients_elsewhere(
    pods: Pods, monkeypatch: pytest.MonkeyPatch
) -> None:
    hops, drain = pods[1].gateway.hops, pods[1].gateway.drain
    monkeypatch.setattr(drain, "_spread_seconds", 0.3)
    async with away(pods) as one, away(pods) as other:
        await one.log_in("alice")
        await other.log_in("bob")
        async with relayed(pods[1], one) as first, relayed(pods[1], other) as second:
            left = []
            send_elsewhere = hops.send_elsewhere

            def noted(count: int) -> None:
                left.append((len(hops), count))
                send_elsewhere(count)

            monkeypatch.setattr(hops, "send_elsewhere", noted)
            await drain.run()
            await ended(first)
            await ended(second)
            assert left[0] == (2, 1), "not all at once"


async def test_a_pod_that_ends_leaves_nothing_behind(pods: Pods) -> None:
    hops = pods[1].gateway.hops
    async with away(pods) as poller:
        await poller.log_in("alice")
        async with relayed(pods[1], poller) as websocket:

            async def never() -> None:
                await asyncio.Event().wait()

            hops.spawn(never())  # as if it looked for a pod
            (looking,) = hops._tasks
            await hops.aclose()
            assert looking.cancelled()
            await ended(websocket)

            async def has_none() -> bool:
                return not (len(hops) or hops.links.waiting or hops._tasks)

            await eventually(has_none)
    async with away(pods) as late:
        assert (await late.get()).status_code == 503
        url = f"ws://127.0.0.1:{pods[1].port}/socket.io/?EIO=4&transport=websocket&sid={late.sid}"
        with pytest.raises(InvalidStatus) as refused:
            await connect(url, proxy=None)
        assert refused.value.response.status_code == 503
