"""The pods under attack: one gateway, one publisher, a Valkey and an issuer, as processes of their own.

With the settings that they are installed with, but for times and counts that would make a scenario
long.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx

from clarion_cli.plan import Plan
from clarion_cli.process import Program
from clarion_cli.token import SCOPES, Signer
from tests.abuse.issuer import Issuer
from tests.abuse.meter import MIB, Meter
from tests.cli.clarion import SECRET, environment
from tests.e2e.ports import free_ports
from tests.e2e.stack import Service
from tests.valkey import Valkey

NAMESPACE = "abuse"
DEADLINE_SECONDS = 5
"""The services' time limits for a handshake, a request, and an idle connection."""
ADDRESS_PER_SECOND = 20
ADDRESS_BURST = 50
"""Of handshakes of one client address. Clients without a proxy are on this machine: no limit."""

_SCALE = 10
"""By which the pods are smaller than the chart's: connections, and all budgets for memory."""
CHART_LIMIT_BYTES = 1 << 30
CHART_CONNECTIONS = 20_000
MAX_CONNECTIONS = CHART_CONNECTIONS // _SCALE


def _scaled(scale: int) -> dict[str, str]:
    """The settings with fixed defaults that bound a gateway's memory, divided."""
    return {
        "GATEWAY_MAX_CONNECTIONS": str(CHART_CONNECTIONS // scale),
        "GATEWAY_REPLAYS_MAX_BYTES": str(64 * MIB // scale),
        "GATEWAY_REPLAY_MAX_BYTES": str(64 * MIB // scale),
    }


_SETTINGS = {
    "GATEWAY_ADDRESS_HANDSHAKES_PER_SECOND": str(ADDRESS_PER_SECOND),
    "GATEWAY_ADDRESS_HANDSHAKE_BURST": str(ADDRESS_BURST),
    "GATEWAY_HANDSHAKE_SECONDS": str(DEADLINE_SECONDS),
    "GATEWAY_INBOUND_MAX_BYTES": str(128 * MIB // _SCALE),
    "GATEWAY_OUTBOUND_MAX_BYTES": str(192 * MIB // _SCALE),
    "GATEWAY_PENDING_MAX_BYTES": str(64 * MIB // _SCALE),
    **_scaled(_SCALE),
    "PUBLISHER_BODIES_MAX_BYTES": str(64 << 20),
    "PUBLISHER_REQUEST_SECONDS": str(DEADLINE_SECONDS),
    "PUBLISHER_KEEP_ALIVE_SECONDS": str(DEADLINE_SECONDS),
    "CLARION_PROFILE": "production",
}
_READY_SECONDS = 120.0
_VALKEY = ("--maxmemory", "768mb", "--maxmemory-policy", "noeviction")
_BATCH_BYTES = 6_000_000
_BATCH_EVENTS = 500


def limited(folder: Path, scale: int) -> Pods:
    """Pods whose gateway has so much less memory than in the chart, and finds that out by itself.

    The kernel gives it no more (RLIMIT_DATA): a request past that raises MemoryError.
    """
    pods = Pods(
        folder,
        **_scaled(scale),
        GATEWAY_INBOUND_MAX_BYTES="",
        GATEWAY_OUTBOUND_MAX_BYTES="",
        GATEWAY_PENDING_MAX_BYTES="",
    )
    gateway = pods.gateway.program
    limit = ("prlimit", f"--data={CHART_LIMIT_BYTES // scale}")
    pods.gateway.program = replace(gateway, command=(*limit, *gateway.command))
    return pods


class Pods:
    """Everything that runs.

    Attributes:
        issuer: whose tokens the gateway accepts; the publisher's are signed with a shared secret.
    """

    def __init__(self, folder: Path, **changes: str) -> None:
        self.issuer = Issuer()
        self._settings = {**_SETTINGS, **changes}
        data = folder / "redis"
        data.mkdir()
        self._valkey = Valkey(data, options=_VALKEY)
        first = free_ports(4)
        plan = Plan(
            secret=SECRET,
            gateways=1,
            gateway_port=first,
            gateway_internal_port=first + 1,
            publisher_port=first + 2,
            publisher_internal_port=first + 3,
            redis_url=None,
            handlers=None,
            pretty=False,
        )
        inherited = environment(CLARION_NAMESPACE=NAMESPACE)
        self.gateway = Service(
            self._told(plan.gateway(0, self._valkey.url, inherited), issuer=True),
            f"http://127.0.0.1:{first}",
            f"http://127.0.0.1:{first + 1}",
            folder / "gateway.log",
        )
        self.publisher = Service(
            self._told(plan.publisher(self._valkey.url, inherited), issuer=False),
            f"http://127.0.0.1:{first + 2}",
            f"http://127.0.0.1:{first + 3}",
            folder / "publisher.log",
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Started and ready; killed at the end."""
        self.issuer.start()
        try:
            self._valkey.start()
            for service in (self.gateway, self.publisher):
                service.start()
            for service in (self.gateway, self.publisher):
                service.wait_until_ready(_READY_SECONDS)
            yield
        finally:
            for service in (self.gateway, self.publisher):
                service.kill()
            self._valkey.kill()
            self.issuer.stop()

    @property
    def meters(self) -> dict[str, Meter]:
        """One for each process."""
        running = {
            "gateway": self.gateway.process,
            "publisher": self.publisher.process,
            "Valkey": self._valkey.process,
        }
        return {name: Meter(process.pid) for name, process in running.items() if process}

    def service_token(self, subject: str) -> str:
        """Of a service that may publish everything."""
        return Signer(SECRET).sign(subject, scope=" ".join(SCOPES), expires_seconds=86_400)

    def fill(self, events: int, event_bytes: int) -> list[int]:
        """Give `all` a history of that many events, which the gateway hears; returns their ids."""
        ids: list[int] = []
        headers = {"Authorization": f"Bearer {self.service_token('filler')}"}
        event = {"audience": "all", "type": "filler", "data": "x" * event_bytes}
        with httpx.Client(trust_env=False, timeout=120, headers=headers) as client:
            while len(ids) < events:
                count = min(events - len(ids), _BATCH_EVENTS, max(1, _BATCH_BYTES // event_bytes))
                url = f"{self.publisher.url}/v1/events:batch"
                response = client.post(url, json={"events": [event] * count})
                assert response.is_success, response.text
                results = response.json()["results"]
                assert all("id" in result for result in results), results[0]
                ids += [int(result["id"]) for result in results]
        while not self._is_heard(ids[-1]):
            pass
        return ids

    def _is_heard(self, last: int) -> bool:
        """Wait until the gateway has heard an event.

        A client that comes earlier and names no position may be sent the rest of the history. One
        that resumes at the event is welcomed afterwards, or told to come again: False.
        """
        url, headers = f"{self.gateway.url}/sse", {"Last-Event-ID": str(last)}
        with httpx.stream("GET", url, headers=headers, timeout=120, trust_env=False) as response:
            return any("event: $welcome" in line for line in response.iter_lines())

    def log_marks(self) -> dict[str, int]:
        """How long each service's log is now."""
        return {s.program.name: s.log.stat().st_size for s in (self.gateway, self.publisher)}

    def severe(self, marks: dict[str, int]) -> list[str]:
        """Lines since then that should stand in no log."""
        lines = []
        for service in (self.gateway, self.publisher):
            with service.log.open("rb") as log:
                log.seek(marks[service.program.name])
                text = log.read().decode(errors="replace")
            for line in text.splitlines():
                if "Traceback" in line or '"level":"critical"' in line:
                    lines.append(f"{service.program.name}: {line[:2_000]}")
        return lines

    def _told(self, program: Program, *, issuer: bool) -> Program:
        told = {**program.environment, **self._settings}
        if issuer:
            del told["CLARION_JWT_SECRET"]
            told["CLARION_JWT_JWKS_URL"] = self.issuer.url
        return Program(program.name, program.command, told)
