"""The system under test: a publisher and two gateways as separate processes, on a real Valkey.

They are started by the same plan as in `clarion up`.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import httpx

from clarion_cli.plan import Plan
from clarion_cli.process import Program
from clarion_cli.token import SCOPES, Signer
from tests.cli.clarion import ROOT, SECRET, environment
from tests.e2e.ports import free_ports

READY_SECONDS = 60
STOP_SECONDS = 60


@dataclass
class Service:
    """One process and its log."""

    program: Program
    url: str
    internal_url: str
    log: Path
    cwd: Path = ROOT
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.program.command,
                env=dict(self.program.environment),
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> None:
        assert self.process is not None
        deadline = time.monotonic() + seconds
        with httpx.Client(trust_env=False) as client:
            while time.monotonic() < deadline:
                assert self.process.poll() is None, self.log.read_text()
                try:
                    if client.get(f"{self.internal_url}/readyz").is_success:
                        return
                except httpx.HTTPError:
                    pass
                time.sleep(0.02)
        raise AssertionError(f"{self.program.name} is not ready\n{self.log.read_text()}")

    def terminate(self) -> None:
        """Send SIGTERM, as Kubernetes ends a pod."""
        assert self.process is not None
        self.process.terminate()

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(STOP_SECONDS)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@dataclass
class Stack:
    """The addresses of the services, and the tokens to use them."""

    publisher: Service
    gateways: list[Service]
    signer: Signer = field(default_factory=lambda: Signer(SECRET))
    # One for all: making one costs 30 ms.
    _client: httpx.Client = field(default_factory=lambda: httpx.Client(trust_env=False))

    @property
    def services(self) -> list[Service]:
        return [self.publisher, *self.gateways]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the stack until the context ends; kill it in any case."""
        try:
            for service in self.services:
                service.start()
            for service in self.services:
                service.wait_until_ready()
            yield
        finally:
            self._client.close()
            for service in self.services:
                service.kill()

    def token(self, user: str, expires_seconds: int = 600, **claims: object) -> str:
        return self.signer.sign(user, expires_seconds=expires_seconds, **claims)

    async def publish(
        self, audience: object, type_: str, data: object = None, **more: object
    ) -> str:
        """Publish one event; returns its id."""
        event = {"audience": audience, "type": type_, "data": data, **more}
        response = await self.attempt(event)
        assert response.is_success, response.text
        return str(response.json()["id"])

    async def publish_batch(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Publish several events in one request; returns their results."""
        response = await asyncio.to_thread(
            self._request, "POST", "/v1/events:batch", {"events": events}
        )
        assert response.is_success, response.text
        return list(response.json()["results"])

    async def attempt(self, event: object) -> httpx.Response:
        """Try to publish one event."""
        return await asyncio.to_thread(self._request, "POST", "/v1/events", event)

    async def order(self, path: str, body: object = None) -> int:
        """Give an order to all gateways; return how many got it at once."""
        response = await asyncio.to_thread(self._request, "POST", path, body)
        assert response.is_success, response.text
        return int(response.json()["gateways"])

    async def read(self, path: str) -> dict[str, Any]:
        """The publisher's answer about users and connections; asks again while Redis is away."""
        response = await asyncio.to_thread(self._request, "GET", path)
        while response.status_code == 503:
            await asyncio.sleep(0.1)
            response = await asyncio.to_thread(self._request, "GET", path)
        assert response.is_success, response.text
        return dict(response.json())

    def _request(self, method: str, path: str, body: object = None) -> httpx.Response:
        token = self.signer.sign("tests", scope=" ".join(SCOPES), expires_seconds=60)
        return self._client.request(
            method,
            f"{self.publisher.url}{path}",
            json={} if body is None and method == "POST" else body,
            headers={"Authorization": f"Bearer {token}"},
        )


CHAT: Final = "clarion_examples.chat.handlers:handlers"


def make_stack(
    folder: Path,
    redis_url: str,
    namespace: str,
    *,
    handlers: str = CHAT,
    cwd: Path = ROOT,
    python: str = sys.executable,
    **changes: str,
) -> Stack:
    """A stack that is not started yet.

    Args:
        folder: where the logs go.
        python: the interpreter that runs the services, in ``cwd``.
    """

    def service(program: Program, url: str, internal_port: int) -> Service:
        return Service(
            replace(program, command=(python, *program.command[1:])),
            url,
            f"http://127.0.0.1:{internal_port}",
            folder / f"{program.name}.log",
            cwd,
        )

    first = free_ports(6)
    plan = Plan(
        secret=SECRET,
        gateways=2,
        gateway_port=first,
        gateway_internal_port=first + 2,
        publisher_port=first + 4,
        publisher_internal_port=first + 5,
        redis_url=redis_url,
        handlers=handlers,
        pretty=False,
    )
    inherited: Mapping[str, str] = environment(CLARION_NAMESPACE=namespace, **changes)
    return Stack(
        publisher=service(
            plan.publisher(redis_url, inherited),
            plan.addresses.publisher,
            plan.publisher_internal_port,
        ),
        gateways=[
            service(
                plan.gateway(index, redis_url, inherited), url, plan.gateway_internal_port + index
            )
            for index, url in enumerate(plan.addresses.gateways)
        ],
    )
