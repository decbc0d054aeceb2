"""A pytest fixture: a real gateway and publisher, with a Valkey of their own.

    # conftest.py
    pytest_plugins = ["clarion.pytest_plugin"]

    # pyproject.toml
    [tool.pytest.ini_options]
    clarion_handlers = "shop.live:handlers"

    # test_live.py
    async def test_a_bid_reaches_alice(gateway: RunningGateway) -> None:
        async with gateway.client("alice") as alice, gateway.client("bob") as bob:
            await bob.send("auction.bid", {"lot": 7, "cents": 100})
            ...

It needs the extra ``embedded``. Without it, set `CLARION_REDIS_URL`. To test a handler alone,
`clarion.testing.ask` is enough, and faster.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from clarion.client import Client
from clarion.publisher import Publisher, ServiceToken
from clarion.signing import sign_hs256

__all__ = ["RunningGateway", "gateway", "running_gateway"]

HANDLERS: Final = "clarion_handlers"
_SCOPES: Final = ("publish:all", "publish:authenticated", "publish:user", "publish:topic")
_STOP_SECONDS: Final = 30
# Another program may take a port between the choice and the start. `clarion up` then ends with the
# exit code of a failed set-up (docs/cli.md).
_ATTEMPTS: Final = 3
_SETUP_FAILED: Final = 6
_PORTS: Final = (
    "--gateway-port", "--gateway-internal-port", "--publisher-port", "--publisher-internal-port",
)  # fmt: skip


@dataclass(frozen=True)
class RunningGateway:
    """A gateway and its publisher.

    Attributes:
        url: the gateway's address.
        publisher_url: the publisher's.
        secret: signs tokens for both.
    """

    url: str
    publisher_url: str
    secret: str = field(repr=False)

    def token(self, user: str, **claims: object) -> str:
        """A user's token, for an hour.

        Example: ``gateway.token("alice", subscribe=["order.*"])``.
        """
        now = time.time()
        return sign_hs256({"sub": user, "iat": now, "exp": int(now) + 3600, **claims}, self.secret)

    def client(
        self,
        user: str | None = None,
        **options: Any,  # noqa: ANN401 - those of `Client`
    ) -> Client:
        """A client of a user, or an anonymous one, that is not connected yet; it may ask for any
        topic.

        Example: ``async with gateway.client("alice", topics=["order.42"]) as alice: ...``
        """
        if user is not None:
            options.setdefault("get_token", lambda _: self.token(user, subscribe=["**"]))
        return Client(self.url, **options)

    def publisher(self) -> Publisher:
        """A publisher that may publish to all audiences.

        Example: ``with gateway.publisher() as publisher: publisher.publish(ALL, "tick")``.
        """
        return Publisher(self.publisher_url, token=ServiceToken(self.secret, "tests", _SCOPES))


@contextmanager
def running_gateway(handlers: str = "") -> Iterator[RunningGateway]:
    """Run a gateway and a publisher in processes of their own until the context ends.

    Args:
        handlers: the application's, ``module:name``, imported from the current folder.

    Raises:
        RuntimeError: they do not start; the message has what they said.
    """
    with ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="clarion-")))
        secret = secrets.token_urlsafe(48)
        log = exits.enter_context((folder / "log").open("w+"))
        record = None
        for _ in range(_ATTEMPTS):
            process = exits.enter_context(_process(handlers, folder, secret, log.fileno()))
            record = _record(process)
            if record is not None or process.wait(_STOP_SECONDS) != _SETUP_FAILED:
                break
        if record is None:
            log.seek(0)
            raise RuntimeError(f"the gateway does not start: {log.read().strip()}")
        yield RunningGateway(record["gateways"][0], record["publisher"], secret)


@contextmanager
def _process(
    handlers: str, folder: Path, secret: str, log: int
) -> Iterator[subprocess.Popen[bytes]]:
    """`clarion up` with one gateway, on free ports; it ends with the context."""
    ports = [part for name in zip(_PORTS, map(str, _free_ports()), strict=True) for part in name]
    command = [sys.executable, "-m", "clarion_cli", "up", "--json", "--gateways", "1", *ports]
    environment = {
        **os.environ,
        "CLARION_STATE": str(folder),
        "CLARION_JWT_SECRET": secret,
        "GATEWAY_DRAIN_SPREAD_SECONDS": "0",
    }
    with subprocess.Popen(  # noqa: S603 - our own command
        [*command, "--handlers", handlers],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _record(process: subprocess.Popen[bytes]) -> dict[str, Any] | None:
    """What `clarion up` says once it is up; None: it has ended."""
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    for line in process.stdout:
        record: dict[str, Any] = json.loads(line)
        if record["kind"] == "up":
            return record
    return None


def _free_ports() -> list[int]:
    """Ports that nobody uses at the moment."""
    with ExitStack() as exits:
        sockets = [exits.enter_context(socket.socket()) for _ in _PORTS]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the setting `clarion_handlers`."""
    help_ = "The application's handlers for the fixture `gateway`, module:name."
    parser.addini(HANDLERS, help_, default="")


@pytest.fixture(scope="session")
def gateway(request: pytest.FixtureRequest) -> Iterator[RunningGateway]:
    """A real gateway, a publisher and a Valkey, once for all tests of the session."""
    with running_gateway(str(request.config.getini(HANDLERS))) as running:
        yield running
