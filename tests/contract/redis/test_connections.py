"""`clarion_contract.redis.connections`: what an operator reads when Redis cannot be reached."""

from __future__ import annotations

import socket
import threading

import pytest

from clarion_contract.bus.bus import redis_from_url
from clarion_contract.events.errors import BusUnavailable

NAME = "redis.shop.svc"
URLS = [
    f"redis://{NAME}:6379",
    f"rediss://{NAME}:6379",
    f"redis+sentinel://{NAME}:26379/primary",
    f"redis+cluster://{NAME}:6379",
]


@pytest.fixture
def no_such_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that knows no name. A real one may take long to say so."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)


@pytest.mark.usefixtures("no_such_name")
@pytest.mark.parametrize("url", URLS)
async def test_a_name_that_does_not_resolve_is_told_as_that(url: str) -> None:
    server = redis_from_url(url)
    told: list[str] = []
    while len(told) < 2:  # a busy machine may need longer than one attempt lasts
        with pytest.raises(BusUnavailable) as refused:
            await server.command("PING")
        if "in time" not in str(refused.value):
            told.append(str(refused.value))
    await server.aclose()
    message, again = told
    assert message == again, "it is logged when it changes"
    assert f"{NAME}:" in message
    assert message.count("name does not resolve") == 1
    assert "redis.asyncio" not in message
    assert "\n" not in message


@pytest.mark.parametrize("url", URLS)
async def test_a_dns_that_does_not_answer_is_told_as_that(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """As behind a network policy that forbids DNS: the queries are dropped."""
    is_over = threading.Event()

    def unanswered(*_: object, **__: object) -> None:
        is_over.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", unanswered)
    server = redis_from_url(url)
    try:
        with pytest.raises(BusUnavailable, match=f"no answer for {NAME} .*name does not resolve"):
            await server.command("PING")
    finally:
        is_over.set()
        await server.aclose()
