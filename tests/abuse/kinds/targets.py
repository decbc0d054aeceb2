"""Request targets that are hard to read: absolute, without a path, with bytes that no URL holds."""

from __future__ import annotations

from tests.abuse.attack import Attack

_TARGETS = (
    b"http://evil",
    b"http://evil?a",
    b"http://[::1",
    b"//evil",
    b"/\xff",
    b"*",
    b"evil:443",
    b"/%",
    b"/a#b",
    b"/" + b"a/" * 4_000,
)


async def attack(attack: Attack) -> None:
    """Each is answered or not, and ends its connection."""
    cases = [
        (
            f"{method.decode()} {target[:20]!r} at the {name}",
            port,
            b"%b %b HTTP/1.1\r\nHost: a\r\n\r\n" % (method, target),
        )
        for name, port in (("gateway", attack.plan.gateway), ("publisher", attack.plan.publisher))
        for target in _TARGETS
        for method in (b"GET", b"OPTIONS", b"CONNECT")
    ]
    await attack.ends(cases, max(1, attack.plan.connections // 100))
