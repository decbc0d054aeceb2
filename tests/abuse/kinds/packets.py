"""Packets and payloads of Engine.IO and Socket.IO that no client may send."""

from __future__ import annotations

from tests.abuse.attack import Attack, Wire
from tests.integration.sockets import BINARY, TEXT, frame, request_of

_PATH = "/socket.io/?EIO=4&transport="
_EVENT = b'42["a",1]'
_ONE = b'451-["a",{"_placeholder":true,"num":%b}]'
_FORGED = "A" * 44
# Each ends the session.
_MESSAGES: tuple[tuple[str, tuple[bytes, ...]], ...] = (
    ("an event before CONNECT", (_EVENT,)),
    ("a CONNECT after another one", (b"40", b"40")),
    ("no packet", (b"40", b"abc")),
    ("a ping of the client", (b"40", b"2")),
    ("an open of the client", (b"40", b"0{}")),
    ("an ack id of a thousand digits", (b"40", b"42" + b"1" * 1_000 + b'["a"]')),
    ("a reserved event", (b"40", b'42["disconnect"]')),
    ("too many attachments", (b"40", b'4511-["a"]')),
    ("a number of attachments without end", (b"40", b"45" + b"9" * 5_000 + b'-["a"]')),
    ("an attachment out of range", (b"40", _ONE % b"7", b"")),
    ("an attachment below zero", (b"40", _ONE % b"-1", b"")),
    ("an attachment that is due, and text", (b"40", _ONE % b"0", _EVENT)),
    ("bytes that nobody announced", (b"40", b"")),
    ("JSON that is nested without end", (b"40", b'42["a",' + b"[" * 60_000)),
    ("a namespace that is not connected", (b"40", b'42/nowhere,["a"]')),
    ("a CONNECT_ERROR of the client", (b"40", b'44{"message":"no"}')),
)
# A body above `maxPayload` is not read, and the session goes on. Each other one ends its session.
_MAX_PAYLOAD_BYTES = 65_536
_BODIES: tuple[tuple[str, bytes], ...] = (
    ("a million empty packets", b"\x1e" * 999_999),
    ("sixty thousand empty packets", b"\x1e" * 60_000),
    ("half a million pongs", b"3\x1e" * 499_999 + b"3"),
    ("base64 that is none", b"b!!!!"),
    ("base64 of a wrong length", b"bAAAAA"),
    ("no packet", b"abc"),
    ("no text", b"4\xff\xfe"),
)


async def attack(attack: Attack) -> None:
    """Each has its answer; data that looks like JavaScript's own names is data."""
    jobs = [_refused_request, _posted, _said, _harmless, _namespaces]

    async def work(number: int) -> None:
        await jobs[number % len(jobs)](attack)

    await attack.over_and_over(max(len(jobs), attack.plan.connections // 20), work)


async def _said(attack: Attack) -> None:
    name, messages = attack.dice.choice(_MESSAGES)
    async with attack.websocket(f"{_PATH}websocket") as wire:
        for message in messages:
            await wire.send(frame(TEXT if message else BINARY, message))
        if not await wire.is_ended():
            attack.fault(f"nothing ended the session: {name}")


async def _posted(attack: Attack) -> None:
    name, body = attack.dice.choice(_BODIES)
    sid = await session(attack)
    async with attack.wire(attack.plan.gateway) as wire:
        await wire.send(request("POST", sid, body))
        status = await _status(wire)
    too_large = len(body) > _MAX_PAYLOAD_BYTES
    if status != (413 if too_large else 400):
        attack.fault(f"{name} was answered {status}")
    if too_large:
        return
    async with attack.wire(attack.plan.gateway) as wire:
        await wire.send(request("GET", sid))
        if (status := await _status(wire)) != 400:
            attack.fault(f"after {name}, a poll was answered {status}")


async def _refused_request(attack: Attack) -> None:
    old = "/socket.io/?EIO=3&transport=polling"
    forged = f"{_PATH}polling&sid={_FORGED}"
    path = attack.dice.choice([old, forged, f"{_PATH}polling&sid=__proto__", f"{_PATH}constructor"])
    async with attack.wire(attack.plan.gateway) as wire:
        await wire.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        if (status := await _status(wire)) != 400:
            attack.fault(f"{path} was answered {status}")


async def _harmless(attack: Attack) -> None:
    async with attack.websocket(f"{_PATH}websocket") as wire:
        data = b'{"__proto__":{"polluted":true},"constructor":{"prototype":1}}'
        await wire.send(frame(TEXT, b'40{"__proto__":{"token":"x"}}'))
        await wire.send(frame(TEXT, b'421["__proto__",%b]' % data))
        answered = b""
        while b"431[" not in answered:
            answered += await wire.read()


async def _namespaces(attack: Attack) -> None:
    """By the thousand; none of them exists."""
    async with attack.websocket(f"{_PATH}websocket") as wire:
        await wire.send(frame(TEXT, b"40"))
        names = b"".join(frame(TEXT, b"40/n%d," % number) for number in range(2_000))
        await wire.send(names)
        if not await wire.is_ended():
            attack.fault("a client asked for namespaces without end")


async def session(attack: Attack) -> str:
    """The id of a session by polling."""
    async with attack.wire(attack.plan.gateway) as wire:
        await wire.send(request("GET"))
        answer = await wire.read_head()
        while b"}" not in answer:
            answer += await wire.read()
    return answer.partition(b'"sid":"')[2].partition(b'"')[0].decode()


def request(method: str, sid: str = "", body: bytes = b"", *, length: int | None = None) -> bytes:
    """A request of a client that polls."""
    place = f"{_PATH}polling" + (f"&sid={sid}" if sid else "")
    size = len(body) if length is None else length
    head = f"{method} {place} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + body


def probe(sid: str) -> bytes:
    """A request for an upgrade."""
    return request_of(f"{_PATH}websocket&sid={sid}")


async def _status(wire: Wire) -> int:
    return int((await wire.read_head())[9:12])
