"""Which origins may connect, and positions that are malformed, too old or from the future."""

from __future__ import annotations

import httpx
import pytest
import structlog

from clarion_contract.events.audience import ALL, Audience, user_audience
from clarion_contract.events.event import Publication
from tests.integration.conftest import Start
from tests.integration.pod import Pod, token
from tests.integration.sockets import connected, dialled, opened, request_of, streamed
from tests.integration.test_bad_frames import unaffected

APP = "https://app.example.com"
FAR_AHEAD = "9999999999999999"


async def handshake_status(pod: Pod, **headers: str) -> int:
    """The status of a WebSocket handshake with these headers; a refusal must say why."""
    async with connected(pod) as raw:
        await raw.send(request_of(headers=headers))
        response = await raw.response()
        if response.status != 101:
            assert response.headers["content-type"] == "application/problem+json"
            origin = headers["Origin"]
            assert response.detail.startswith(f"this Origin may not connect: {origin!r} is not")
            assert "GATEWAY_ALLOWED_ORIGINS" in response.detail
            assert await raw.rest() == b""
    return response.status


async def refused_origins(pod: Pod, wire: str) -> float:
    outcome = {"wire": wire, "outcome": "forbidden_origin"}
    return await pod.metric("clarion_handshakes_total", **outcome)


STRANGERS = (
    "https://evil.example.com",
    "http://app.example.com",  # another scheme
    "https://app.example.com:8443",  # another port
    "https://app.example.com.evil.com",
    "https://evilapp.example.com",
    "null",
    "",
    "https://[::1",
)


async def test_an_unknown_origin_is_forbidden(start: Start) -> None:
    async with start(allowed_origins=(APP,)) as pod, unaffected(pod) as is_served:
        for count, origin in enumerate(STRANGERS, 1):
            assert await handshake_status(pod, Origin=origin) == 403, origin
            async with streamed(pod, Origin=origin) as stream:
                assert stream.response.status == 403, origin
                assert stream.response.detail.startswith("this Origin may not connect: ")
                # The page may read why; nothing else is in the answer.
                assert stream.response.headers["access-control-allow-origin"] == origin
            refused = "clarion_http_requests_refused_total"
            assert await pod.metric(refused, reason="forbidden_origin") == 2 * count
            assert await refused_origins(pod, "websocket") == count
            assert await refused_origins(pod, "sse") == count
            await is_served()
        assert await pod.metric("clarion_closes_total") == 0, "they were no connections yet"


async def test_an_allowed_origin_is_let_in(start: Start) -> None:
    async with start(allowed_origins=(APP, "https://admin.example.com/")) as pod:
        for origin in (APP, "https://admin.example.com", "HTTPS://App.Example.Com"):
            assert await handshake_status(pod, Origin=origin) == 101
            async with streamed(pod, Origin=origin) as stream:
                assert stream.response.status == 200
                assert stream.response.headers["access-control-allow-origin"] == origin
                assert stream.response.headers["vary"].lower() == "origin"
                assert "access-control-allow-credentials" not in stream.response.headers
                await stream.welcomed()
        async with streamed(pod) as stream:
            assert "access-control-allow-origin" not in stream.response.headers
        assert await refused_origins(pod, "websocket") == 0


async def test_without_a_list_only_the_gateways_own_pages_may_connect(pod: Pod) -> None:
    async with unaffected(pod):
        host = f"127.0.0.1:{pod.port}"
        assert await handshake_status(pod, Host=host, Origin=f"http://{host}") == 101
        assert await handshake_status(pod, Host=host, Origin="http://127.0.0.1:1") == 403
        assert await handshake_status(pod, Host=host, Origin="null") == 403
        assert await handshake_status(pod, Host=host) == 101, "no browser"
        assert await refused_origins(pod, "websocket") == 2


async def test_any_origin_may_be_let_in(start: Start) -> None:
    async with start(allowed_origins=("*",)) as pod:
        assert await handshake_status(pod, Origin="https://anybody.example.com") == 101
        assert await handshake_status(pod, Origin="null") == 101


async def test_the_host_that_a_trusted_proxy_reports_is_the_gateways_own(start: Start) -> None:
    page = {"Host": "gateway.internal", "Origin": "https://rt.example.com"}
    forwarded = {**page, "X-Forwarded-Host": "rt.example.com", "X-Forwarded-Proto": "https"}
    async with start(trusted_proxies=["127.0.0.0/8"]) as pod:
        assert await handshake_status(pod, **page) == 403
        assert await handshake_status(pod, **forwarded) == 101
        with_port = {**forwarded, "Origin": "https://rt.example.com:8443"}
        assert await handshake_status(pod, **with_port) == 403
        assert await handshake_status(pod, **with_port, **{"X-Forwarded-Port": "8443"}) == 101
        without_tls = {**forwarded, "Origin": "http://rt.example.com"}
        assert await handshake_status(pod, **without_tls) == 403
    async with start(trusted_proxies=["10.0.0.0/8"]) as pod:
        assert await handshake_status(pod, **forwarded) == 403, "anybody could say so"


async def test_patterns_and_shells_are_let_in(start: Start) -> None:
    allowed = ("https://*.example.com", "capacitor://localhost", "null")
    async with start(allowed_origins=allowed) as pod, httpx.AsyncClient() as http:
        for origin in ("https://a.b.example.com", "capacitor://localhost", "null"):
            assert await handshake_status(pod, Origin=origin) == 101
            asked = {"Origin": origin, "Access-Control-Request-Method": "GET"}
            preflight = await http.options(pod.url("/sse"), headers=asked)
            assert preflight.headers["access-control-allow-origin"] == origin
        assert await handshake_status(pod, Origin="https://example.com") == 403


async def test_pages_of_this_machine_may_connect_in_development(start: Start) -> None:
    for profile, status in (("dev", 101), ("production", 403)):
        async with start(profile=profile) as pod:
            assert await handshake_status(pod, Origin="http://localhost:5173") == status


async def test_each_refused_origin_is_logged_once_in_a_while(start: Start) -> None:
    with structlog.testing.capture_logs() as logs:
        async with start() as pod:
            for origin in ("https://a.example", "https://a.example", "https://b.example"):
                assert await handshake_status(pod, Origin=origin) == 403
    told = [entry for entry in logs if entry["event"] == "origin refused"]
    assert [(each["origin"], each["host"], each["setting"]) for each in told] == [
        ("https://a.example", "127.0.0.1", "GATEWAY_ALLOWED_ORIGINS"),
        ("https://b.example", "127.0.0.1", "GATEWAY_ALLOWED_ORIGINS"),
    ]


async def test_a_preflight_is_answered(start: Start) -> None:
    """For `fetch` with a token in the header (https://fetch.spec.whatwg.org/#cors-preflight-fetch)."""
    async with start(allowed_origins=(APP,)) as pod, unaffected(pod), httpx.AsyncClient() as http:
        asked = {
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization, last-event-id",
        }
        allowed = await http.options(pod.url("/sse"), headers={"Origin": APP, **asked})
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == APP
        assert "GET" in allowed.headers["access-control-allow-methods"]
        names = allowed.headers["access-control-allow-headers"].lower()
        assert "authorization" in names
        assert "last-event-id" in names
        assert "access-control-allow-credentials" not in allowed.headers
        refused = await http.options(pod.url("/sse"), headers={"Origin": STRANGERS[0], **asked})
        assert refused.status_code == 400
        assert "access-control-allow-origin" not in refused.headers


NO_POSITIONS = (
    "abc",
    "-1",
    "+1",
    "1.5",
    "1e9",
    "0x10",
    " 7",
    "1" * 17,
    "\uff11\uff12",
    "1_000",
    "null",
)


async def test_a_position_that_is_none_is_refused(pod: Pod) -> None:
    async with unaffected(pod) as is_served:
        for count, since in enumerate(NO_POSITIONS, 1):
            async with dialled(pod, since=since) as connection:
                await connection.wait_closed()
                assert connection.close_code == 4400, since
                assert connection.close_reason == (
                    "expected since to be an event id of 1 to 16 digits"
                )
            outcome = {"wire": "websocket", "outcome": "invalid_since"}
            assert await pod.metric("clarion_handshakes_total", **outcome) == count
            closes = await pod.metric("clarion_closes_total", code="4400", reason="invalid_since")
            assert closes == count
            await is_served()


async def test_a_stream_with_such_a_position_is_refused(pod: Pod) -> None:
    async with unaffected(pod):
        for count, stream in enumerate(
            (
                streamed(pod, "/sse?since=abc"),
                streamed(pod, Last_Event_ID="abc"),
                streamed(pod, "/sse?since=1", Last_Event_ID="abc"),
            ),
            1,
        ):
            async with stream as refused:
                assert refused.response.status == 400
                assert refused.response.headers["content-type"] == "application/problem+json"
                assert "event id of 1 to 16 digits" in refused.response.detail
            outcome = {"wire": "sse", "outcome": "invalid_since"}
            assert await pod.metric("clarion_handshakes_total", **outcome) == count


async def test_an_empty_position_is_none(pod: Pod) -> None:
    async with connected(pod) as raw:
        await raw.send(request_of("/ws?since="))
        assert (await raw.response()).status == 101
        assert (await raw.message())["resumed"] is None


async def not_resumed(pod: Pod, since: str, count: int) -> None:
    """Both wires say that they did not resume, and continue from the pod's position."""
    async with opened(pod) as witness:  # the pod has heard what its clients have heard
        last = await pod.publish()
        await witness.receive("event")
    async with opened(pod, since=since) as client, streamed(pod, Last_Event_ID=since) as stream:
        assert client.welcome["resumed"] is False
        assert int(client.welcome["id"]) >= last
        welcome = await stream.welcomed()
        assert welcome.value["resumed"] is False
        assert int(welcome.id) >= last
        next_ = await pod.publish()
        assert (await client.receive("event"))["id"] == str(next_)
        assert (await stream.receive()).id == str(next_)
    assert await pod.metric("clarion_resumes_total", outcome="not_resumed") == 2 * count
    assert await pod.metric("clarion_resumes_total", outcome="resumed") == 0


async def publish_many(pod: Pod, audience: Audience) -> None:
    """Push earlier events out of the history: Redis drops whole nodes of a hundred entries."""
    answers = await pod.bus.publish([Publication(audience, "tick", b"{}")] * 300)
    assert len(answers) == 300


async def test_a_position_in_the_future_is_not_resumed(pod: Pod) -> None:
    async with unaffected(pod):
        ahead = await pod.publish() + 3_600_000_000
        for count, since in enumerate((FAR_AHEAD, str(ahead)), 1):
            await not_resumed(pod, since, count)


async def test_a_position_older_than_history_is_not_resumed(start: Start) -> None:
    async with start(history_max_events=5, replay_max_bytes=0) as pod, unaffected(pod):
        first = await pod.publish()
        await publish_many(pod, ALL)
        await pod.counted("clarion_events_received_total", 301, audience="all")
        for count, since in enumerate((str(first), "1", "0"), 1):
            await not_resumed(pod, since, count)


@pytest.mark.parametrize("bound", [{"replay_max_events": 10}, {"replay_client_max_bytes": 65_536}])
@pytest.mark.parametrize("replay_max_bytes", [0, 1 << 20], ids=["of Redis", "of the ring"])
async def test_too_much_missed_is_not_resumed(
    start: Start, replay_max_bytes: int, bound: dict[str, int]
) -> None:
    async with start(replay_max_bytes=replay_max_bytes, **bound) as pod, unaffected(pod):
        first = await pod.publish()
        for _ in range(20):
            last = await pod.publish(data=b'"%b"' % (b"1" * 4_000))
        await not_resumed(pod, str(first), 1)
        async with opened(pod, since=str(last - 1)) as client:
            assert client.welcome["resumed"] is True


async def test_a_users_position_older_than_the_users_history_is_not_resumed(start: Start) -> None:
    """Events to `all` are still there; the user's own events are not."""
    async with start(history_max_events=5) as pod, unaffected(pod):
        first = await pod.publish(user_audience("alice"))
        await publish_many(pod, user_audience("alice"))
        async with opened(pod, since=str(first), token=token("alice")) as alice:
            assert alice.welcome["resumed"] is False
        async with opened(pod, since=str(first), token=token("bob")) as bob:
            assert bob.welcome["resumed"] is True


async def test_the_pods_own_position_is_resumed(pod: Pod) -> None:
    async with unaffected(pod):
        async with opened(pod) as client:
            position = client.welcome["id"]
        missed = await pod.publish()
        async with opened(pod, since=position) as client:
            assert client.welcome["resumed"] is True
            assert client.welcome["id"] == position
            assert (await client.receive("event"))["id"] == str(missed)
        assert await pod.metric("clarion_resumes_total", outcome="resumed") == 1
