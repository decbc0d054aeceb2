"""`clarion_gateway.transports.routes`: each format has a name of its own, since it is a label."""

from __future__ import annotations

from clarion_gateway.transports.routes import ROUTES
from clarion_gateway.wire.format import Framed, default_of
from clarion_gateway.wire.native import NATIVE, PLAIN
from clarion_gateway.wire.sse import SSE


def test_the_paths_that_clients_know_are_served() -> None:
    assert {path: default_of(route.formats).name for path, route in ROUTES.items()} == {
        b"/ws": "websocket",
        b"/sse": "sse",
    }
    assert ROUTES[b"/ws"].transport.upgrades
    assert not ROUTES[b"/sse"].transport.upgrades


def test_names_of_formats_are_told_apart() -> None:
    formats = {
        each
        for route in ROUTES.values()
        for framed in route.formats.values()
        for each in (framed.plain, framed.deflated)
        if each is not None
    }
    assert len({each.name for each in formats}) == len(formats) == 3


def test_clients_that_offer_nothing_may_have_no_format() -> None:
    """Then a refused request counts as the preferred one's."""
    assert default_of({"b": NATIVE, "a": Framed(SSE)}) is PLAIN
    assert default_of({"b": NATIVE, None: Framed(SSE)}) is SSE
