"""Handshakes that are never finished: nothing is sent, half a line, half a head."""

from __future__ import annotations

from tests.abuse.attack import Attack

_BEGINNINGS = (
    b"",
    b"G",
    b"GET / HT",
    b"GET /ws HTTP/1.1\r\n",
    b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS, where there is none
)


async def attack(attack: Attack) -> None:
    """All of them are ended by their deadline."""
    cases = [
        (f"{data!r} at the {name}", port, data)
        for name, port in (("gateway", attack.plan.gateway), ("publisher", attack.plan.publisher))
        for data in _BEGINNINGS
    ]
    await attack.ends(cases, max(1, attack.plan.connections // 10))
