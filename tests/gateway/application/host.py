"""What tests of the application's side share: a host that records, and contexts."""

from __future__ import annotations

from typing import Any

from clarion_contract.events.audience import Audience
from clarion_contract.events.event import Published
from clarion_gateway.application.context import Context
from clarion_gateway.application.scope import Scope
from clarion_gateway.wire.parts import Parts


class Peer:
    """A connection, as far as a context knows it."""

    def __init__(self, *, carries_parts: bool = False) -> None:
        self.data: dict[str, Any] | None = None
        self.carries_parts = carries_parts


class Outbox:
    """A host that records what is published, in order."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.asked: list[tuple[str, bytes, float]] = []
        self.parts: list[Parts | None] = []
        self.published: list[tuple[Audience, str, bytes, str | None]] = []
        self.histories: list[bool] = []

    async def send(self, peer: Any, type_: str, data: bytes, parts: Parts | None = None) -> None:
        self.sent.append((type_, data))
        self.parts.append(parts)

    async def ask(
        self, peer: Any, type_: str, data: bytes, seconds: float, parts: Parts | None = None
    ) -> bytes:
        self.parts.append(parts)
        self.asked.append((type_, data, seconds))
        return b'{"yes":true}'

    async def publish(
        self,
        audience: Audience,
        type_: str,
        data: bytes,
        *,
        exclude: str | None = None,
        history: bool = True,
    ) -> Published:
        self.published.append((audience, type_, data, exclude))
        self.histories.append(history)
        return Published(len(self.published), duplicate=False, gateways=1)


def context(
    outbox: Outbox | None = None,
    user: str | None = "alice",
    scope: Scope | None = None,
    peer: Peer | None = None,
) -> Context:
    return Context(
        "connection-1", user, "pod-test", outbox or Outbox(), scope or Scope(), peer or Peer(), "a"
    )
