"""permessage-deflate (RFC 7692): the same events, in frames that every socket shares."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import AsyncIterator

import pytest

from clarion_contract.events.audience import ALL, AUTHENTICATED, user_audience
from tests.integration.conftest import Start
from tests.integration.pod import Pod, token
from tests.integration.sockets import (
    CONT,
    PING,
    TEXT,
    Raw,
    connected,
    frame,
    opened,
    request_of,
    streamed,
)
from tests.integration.test_bad_frames import unaffected

ASK = json.dumps({"kind": "message", "ref": 7, "type": "nobody.handles", "data": "x" * 200})
TAIL = b"\x00\x00\xff\xff"
WIRE = "websocket-deflate"


@pytest.fixture
async def pod(start: Start) -> AsyncIterator[Pod]:
    """A ready gateway that compresses."""
    async with start(compression=True) as pod:
        yield pod


def deflated(payload: bytes) -> bytes:
    """Compress like a client (RFC 7692, section 7.2.1)."""
    deflate = zlib.compressobj(wbits=-12)
    return (deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)


async def negotiated(raw: Raw, offer: str) -> list[str]:
    """The parameters in the gateway's answer to an offer; none: no compression."""
    await raw.send(request_of(headers={"Sec-WebSocket-Extensions": offer}))
    response = await raw.response()
    assert response.status == 101
    return [
        part.strip() for part in response.headers.get("sec-websocket-extensions", "").split(";")
    ]


async def test_compressed_and_plain_clients_get_identical_events(pod: Pod) -> None:
    alice = token("alice")
    datas = [
        b"{}",
        b'"%s"' % (b"again and " * 5_000),
        json.dumps({"noise": os.urandom(3_000).hex()}).encode(),
        json.dumps(["🚀", "tschüß"], ensure_ascii=False).encode(),
    ]
    async with (
        unaffected(pod),
        opened(pod, token=alice, compression="deflate") as compressed,
        opened(pod, token=alice, compression="deflate") as another,
        opened(pod, token=alice) as plain,
        streamed(pod, f"/sse?token={alice}") as stream,
    ):
        await stream.welcomed()
        extensions = compressed.connection.response.headers["Sec-WebSocket-Extensions"]
        assert "permessage-deflate" in extensions
        assert "server_no_context_takeover" in extensions
        assert "Sec-WebSocket-Extensions" not in plain.connection.response.headers
        count = 0
        for data in datas:
            for audience in (ALL, AUTHENTICATED, user_audience("alice")):
                await pod.publish(audience, data=data)
                texts = [
                    await client.connection.recv(decode=True)
                    for client in (compressed, another, plain)
                ]
                assert texts[0] == texts[1] == texts[2]
                assert json.loads(texts[0])["data"] == json.loads(data)
                assert (await stream.receive()).value == json.loads(data)
                count += 1
        assert await pod.metric("clarion_deliveries_total", wire=WIRE) == 2 * count
        assert await pod.metric("clarion_connections", wire=WIRE) == 2


async def test_a_compressed_client_talks_resumes_and_logs_in(pod: Pod) -> None:
    async with unaffected(pod):
        async with opened(pod, compression="deflate") as client:
            position = client.welcome["id"]
            answer = await client.ask("nobody.handles", "x" * 10_000)
            assert answer["code"] == "unknown_type"
            assert (await client.log_in(token("alice")))["user"] == "alice"
        id_ = await pod.publish(data=b'"%s"' % (b"y" * 1_000))
        async with opened(pod, compression="deflate", since=position) as client:
            assert client.welcome["resumed"] is True
            assert (await client.receive("event"))["id"] == str(id_)


async def test_one_frame_of_an_event_serves_every_socket(pod: Pod) -> None:
    async with connected(pod) as one, connected(pod) as two:
        for raw in (one, two):
            assert "permessage-deflate" in await negotiated(raw, "permessage-deflate")
            await raw.frame()  # welcome
        data = b'"%s"' % (b"again and " * 100)
        await pod.publish(data=data)
        frames = [await raw.frame_of_any_kind() for raw in (Bits(one), Bits(two))]
        assert frames[0] == frames[1]
        first, payload = frames[0]
        assert first == 0xC1, "FIN, RSV1, text"
        assert len(payload) < len(data) / 5
        inflated = json.loads(zlib.decompressobj(wbits=-12).decompress(payload + TAIL))
        assert inflated["data"] == json.loads(data)


class Bits:
    """Reads frames including their reserved bits."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw

    async def frame_of_any_kind(self) -> tuple[int, bytes]:
        """First byte and payload of a frame of less than 64 KiB."""
        first, length = await self.raw.reader.readexactly(2)
        if length == 126:
            length = int.from_bytes(await self.raw.reader.readexactly(2), "big")
        return first, await self.raw.reader.readexactly(length)


async def test_off_by_default(start: Start) -> None:
    async with start() as pod, unaffected(pod):
        async with connected(pod) as raw:
            assert await negotiated(raw, "permessage-deflate") == [""]
            assert (await raw.message())["kind"] == "welcome"
            await raw.send(frame(TEXT, deflated(ASK.encode()), rsv=4))
            assert (await raw.close_frame())[0] == 1002
        await pod.counted("clarion_closes_total", code="1002", reason="protocol_error")


async def test_unknown_extensions_are_left_alone(pod: Pod) -> None:
    async with unaffected(pod), connected(pod) as raw:
        assert await negotiated(raw, "permessage-brotli; level=9, x-webkit-deflate-frame") == [""]
        assert (await raw.message())["kind"] == "welcome"


async def test_a_client_with_a_smaller_window_can_read_what_it_gets(pod: Pod) -> None:
    """Frames compressed for all clients must fit the window that this client was promised."""
    async with unaffected(pod), connected(pod) as raw:
        offer = "permessage-deflate; server_max_window_bits=9"
        parameters = await negotiated(raw, offer)
        promised = [p for p in parameters if p.startswith("server_max_window_bits=")]
        bits = int(promised[0].partition("=")[2]) if promised else 15
        await Bits(raw).frame_of_any_kind()
        noise = os.urandom(500).hex()
        await pod.publish(data=json.dumps([noise, noise]).encode())
        first, payload = await Bits(raw).frame_of_any_kind()
        if first & 0x40:
            assert bits <= 9, "the client asked for a window of 9 bits"
            payload = inflated_in_pieces(payload + TAIL, bits)
        assert json.loads(payload)["data"] == [noise, noise]


def inflated_in_pieces(data: bytes, bits: int) -> bytes:
    """Decompress with no memory but the window. In one piece, zlib would look into its output."""
    inflate = zlib.decompressobj(wbits=-bits)
    pieces = [inflate.decompress(data, 64)]
    while pieces[-1]:
        pieces.append(inflate.decompress(inflate.unconsumed_tail, 64))
    return b"".join(pieces)


async def test_a_bomb_is_refused(pod: Pod) -> None:
    """Ten megabytes in ten kilobytes: the limit applies to the decompressed size."""
    async with unaffected(pod), connected(pod) as raw:
        await negotiated(raw, "permessage-deflate")
        await raw.frame()
        bomb = deflated(b" " * (10 << 20))
        assert len(bomb) < 65_536
        await raw.send(frame(TEXT, bomb, rsv=4))
        code, reason = await raw.close_frame()
        assert (code, reason) == (4413, "expected messages of at most 65536 bytes")
        await pod.counted("clarion_closes_total", code="4413", reason="too_large")


async def test_a_bomb_in_fragments_is_refused(pod: Pod) -> None:
    async with unaffected(pod), connected(pod) as raw:
        await negotiated(raw, "permessage-deflate")
        await raw.frame()
        bomb = deflated(b" " * (10 << 20))
        half = len(bomb) // 2
        await raw.send(frame(TEXT, bomb[:half], fin=False, rsv=4) + frame(CONT, bomb[half:]))
        assert (await raw.close_frame())[0] == 4413
        await pod.counted("clarion_closes_total", code="4413", reason="too_large")


async def test_broken_data_and_misused_bits_are_refused(pod: Pod) -> None:
    cases = {
        "no deflate": frame(TEXT, b"\xff\xff\xff\xff", rsv=4),
        "a compressed ping": frame(PING, b"", rsv=4),
        "rsv1 within a message": frame(TEXT, deflated(b"{"), fin=False, rsv=4)
        + frame(CONT, b"}", rsv=4),
    }
    async with unaffected(pod) as is_served:
        for count, (name, bad) in enumerate(cases.items(), 1):
            async with connected(pod) as raw:
                await negotiated(raw, "permessage-deflate")
                await raw.frame()
                await raw.send(bad)
                assert (await raw.close_frame())[0] == 1002, name
            counted = {"code": "1002", "reason": "protocol_error"}
            await pod.counted("clarion_closes_total", count, **counted)
            await is_served()


async def test_compressed_text_that_is_not_utf8_is_refused(pod: Pod) -> None:
    async with unaffected(pod), connected(pod) as raw:
        await negotiated(raw, "permessage-deflate")
        await raw.frame()
        await raw.send(frame(TEXT, deflated(b"\xff" * 100), rsv=4))
        assert (await raw.close_frame())[0] == 1007
        await pod.counted("clarion_closes_total", code="1007", reason="invalid_text")
