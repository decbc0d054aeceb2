"""What hostile clients are made of: raw sockets, and the counts and faults that they report."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import select
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass, field

from tests.integration.sockets import request_of

_SMALL_BUFFER_BYTES = 2_048
_LATE_SECONDS = 40.0
"""Many times the services' deadlines: a busy machine is late, a missing deadline never comes."""


@dataclass(frozen=True)
class Plan:
    """What a hostile process is told.

    Attributes:
        gateway: port.
        publisher: port.
        seconds: how long to go on.
        connections: how many at a time; kinds take multiples or parts of it.
        user_token: of a user, for the gateway.
        service_token: of a service that may publish.
        since: the oldest event's id in the history that was made for the attack.
        recent: the id of one from which on a client is sent all of it.
    """

    gateway: int
    publisher: int
    seconds: float
    connections: int
    user_tokens: tuple[str, ...] = ()
    service_token: str = ""
    since: int = 0
    recent: int = 0

    def encode(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> Plan:
        fields = json.loads(text)
        return cls(**{**fields, "user_tokens": tuple(fields["user_tokens"])})


class Gone(Exception):
    """The service has closed the connection."""


class Wire:
    """One hostile TCP connection."""

    def __init__(self, attack: Attack, sock: socket.socket) -> None:
        self._attack = attack
        self._sock = sock

    async def send(self, data: bytes) -> None:
        """Write all of it.

        Raises:
            Gone: nobody is there.
        """
        try:
            await asyncio.get_running_loop().sock_sendall(self._sock, data)
        except OSError:
            raise Gone from None
        self._attack.counts["bytes"] += len(data)

    async def read(self, size: int = 1 << 16) -> bytes:
        """What comes next.

        Raises:
            Gone: nothing will.
        """
        try:
            data = await asyncio.get_running_loop().sock_recv(self._sock, size)
        except OSError:
            raise Gone from None
        if not data:
            raise Gone
        return data

    async def read_head(self) -> bytes:
        """The head of a response, and what came with it."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += await self.read()
        return data

    @property
    def is_cut(self) -> bool:
        """Whether the service has ended the connection, as one sees it that does not read."""
        poller = select.poll()
        poller.register(self._sock, select.POLLRDHUP)
        return bool(poller.poll(0))

    async def is_ended(self, seconds: float = _LATE_SECONDS) -> bool:
        """Whether the service ends the connection in that time; what it says is thrown away."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    await self.read()
        except Gone:
            return True
        except TimeoutError:
            return False


Address = int


@dataclass
class Attack:
    """One attack under way."""

    plan: Plan
    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    dice: random.Random = field(default_factory=lambda: random.Random(1))
    _began: float = field(default_factory=time.monotonic)

    @property
    def is_over(self) -> bool:
        """Whether the time has passed; on a slow machine the first connection may need longer."""
        late = time.monotonic() - self._began > self.plan.seconds
        return late and self.counts["connections"] > 0

    def fault(self, what: str) -> None:
        """Something that no service should let happen."""
        self.faults[what] += 1

    @contextlib.asynccontextmanager
    async def wire(self, port: int, *, deaf: bool = False) -> AsyncIterator[Wire]:
        """A new connection.

        Args:
            deaf: its buffer is as small as the kernel allows, since nobody will read.

        Raises:
            Gone: it was not taken.
        """
        with socket.socket() as sock:
            if deaf:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER_BYTES)
            sock.setblocking(False)
            try:
                async with asyncio.timeout(_LATE_SECONDS):
                    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
            except OSError:
                raise Gone from None
            self.counts["connections"] += 1
            yield Wire(self, sock)

    @contextlib.asynccontextmanager
    async def websocket(
        self, path: str = "/ws", *, token: str | None = None, deaf: bool = False
    ) -> AsyncIterator[Wire]:
        """A WebSocket for which the handshake was sent; unless ``deaf``, it has been answered."""
        authorization = None if token is None else f"Bearer {token}"
        async with self.wire(self.plan.gateway, deaf=deaf) as wire:
            await wire.send(request_of(path, headers={"Authorization": authorization}))
            if not deaf and not (await wire.read_head()).startswith(b"HTTP/1.1 101"):
                raise Gone
            yield wire

    async def many(self, count: int, work: Callable[[int], Awaitable[None]]) -> None:
        """Run as many at a time; one whose connection is ended has had what it deserves."""

        async def one(number: int) -> None:
            with contextlib.suppress(Gone):
                await work(number)

        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(one(number))

    async def over_and_over(self, count: int, work: Callable[[int], Awaitable[None]]) -> None:
        """As `many`, each again and again until the time is over."""

        async def again(number: int) -> None:
            while not self.is_over:
                with contextlib.suppress(Gone):
                    await work(number)
                await asyncio.sleep(0.01)

        await self.many(count, again)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Hold what is held, until something has happened or the time is over."""
        while not self.is_over and not condition():
            await asyncio.sleep(0.05)

    async def until_over(self) -> None:
        """Hold what is held."""
        await self.until(lambda: False)

    async def ends(self, cases: Iterable[tuple[str, int, bytes]], each: int) -> None:
        """Send each case's bytes on that many connections; the service must end all of them.

        Args:
            cases: as (name, port, bytes).
        """
        listed = list(cases)

        async def one(number: int) -> None:
            name, port, data = listed[number % len(listed)]
            async with self.wire(port) as wire:
                await wire.send(data)
                if not await wire.is_ended():
                    self.fault(f"nothing ended the connection: {name}")

        await self.many(each * len(listed), one)
