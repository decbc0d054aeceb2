"""The processes of a local stack: Valkey, PostgreSQL if wanted, one publisher, several gateways.

They are started in that order and stopped in reverse, so that no process logs that another is gone.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, Protocol

import httpx

from clarion_cli.address import authority, listening_socket, loopback
from clarion_cli.failure import ExitCode, Failure
from clarion_cli.outbox import apply
from clarion_cli.postgres import (
    make_cluster,
    new_folder,
    process_options,
    url_of,
    wait_for_postgres,
)
from clarion_cli.process import Process, Program, start_process
from clarion_cli.state import Addresses
from clarion_cli.valkey import (
    find_server,
    free_port,
    scratch_folder,
    server_command,
    wait_for_redis,
)
from clarion_contract.service.secret_files import FILE

HOST: Final = loopback()
READY_SECONDS: Final = 30.0
STOP_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.05
_ANSWER_SECONDS: Final = 2.0
# The stack signs tokens with the local secret, so no other key source may be set as well. It has
# read all files of secrets, and the URL of its Redis has the login.
_LEFT_OUT: Final = (
    "CLARION_JWT_PUBLIC_KEY", "CLARION_JWT_JWKS_URL", "CLARION_JWT_ALGORITHMS",
    "CLARION_JWT_SECRET", "CLARION_REDIS_URL", "CLARION_REDIS_USERNAME", "CLARION_REDIS_PASSWORD",
)  # fmt: skip


class StartFailure(Failure):
    """A process of the stack ended at its start, or was not ready in time.

    Attributes:
        process: the name of the process.
        told: whether the message holds everything that the process wrote.
    """

    def __init__(self, why: str, process: Process) -> None:
        lines = [line.strip() for line in process.last_lines if line.strip()]
        # A service puts its own name in front of its last line.
        last = lines[-1].removeprefix(f"{process.name.partition('-')[0]}: ") if lines else ""
        super().__init__(f"{process.name} {why}: {last}" if last else f"{process.name} {why}")
        self.process = process.name
        self.told = len(lines) <= 1


@dataclass(frozen=True, slots=True)
class Plan:
    """The processes to start. The second gateway has the first one's ports plus one, and so on.

    Attributes:
        redis_url: an existing Redis; None: start a Valkey.
        handlers: the application's handlers for the gateways; None: none.
        pretty: readable logs instead of JSON.
        gateway_path_prefix: beginning of all public paths of the gateways.
        publisher_path_prefix: beginning of all public paths of the publisher.
        outbox_url: the PostgreSQL with the outbox; None: there is none.
        postgres_port: start a PostgreSQL at this port, which is that of ``outbox_url``; None: it
            runs already.
    """

    secret: str
    gateways: int
    gateway_port: int
    gateway_internal_port: int
    publisher_port: int
    publisher_internal_port: int
    redis_url: str | None
    handlers: str | None
    pretty: bool
    gateway_path_prefix: str = ""
    publisher_path_prefix: str = ""
    outbox_url: str | None = None
    postgres_port: int | None = None

    @property
    def addresses(self) -> Addresses:
        """The addresses at which clients and producers will find the stack."""
        below = f"{self.gateway_path_prefix}/" if self.gateway_path_prefix else ""
        return Addresses(
            gateways=tuple(
                f"http://{authority(HOST, self.gateway_port + index)}{below}"
                for index in range(self.gateways)
            ),
            publisher=f"http://{authority(HOST, self.publisher_port)}{self.publisher_path_prefix}",
            outbox=self.outbox_url if self.postgres_port is not None else None,
        )

    @property
    def ports(self) -> list[tuple[int, str, str]]:
        """All ports: the number, the process that listens, and the option that changes it."""
        ports = [
            (self.publisher_port, "publisher", "--publisher-port"),
            (self.publisher_internal_port, "publisher, internal", "--publisher-internal-port"),
        ]
        for index in range(self.gateways):
            name = f"gateway-{index + 1}"
            ports.append((self.gateway_port + index, name, "--gateway-port"))
            internal = self.gateway_internal_port + index
            ports.append((internal, f"{name}, internal", "--gateway-internal-port"))
        return ports

    def publisher(self, redis_url: str, inherited: Mapping[str, str]) -> Program:
        """The publisher."""
        origins = [
            f"http://{authority(host, self.gateway_port + index)}"
            for index in range(self.gateways)
            for host in (HOST, "localhost")
        ]
        environment = {
            # No load balancer routes to local services, so they need no pause before they stop. A
            # value from the shell wins, for users that want to watch a real drain.
            "PUBLISHER_DRAIN_PAUSE_SECONDS": "0",
            **self._shared("publisher", redis_url, inherited),
            "PUBLISHER_HOST": HOST,
            "PUBLISHER_PORT": str(self.publisher_port),
            "PUBLISHER_INTERNAL_HOST": HOST,
            "PUBLISHER_INTERNAL_PORT": str(self.publisher_internal_port),
            "PUBLISHER_PATH_PREFIX": self.publisher_path_prefix,
            "PUBLISHER_ALLOWED_ORIGINS": ",".join(origins),
        }
        if self.outbox_url is not None:
            for part in ("USERNAME", "PASSWORD", "URL"):  # the URL has the login
                environment.pop(f"PUBLISHER_OUTBOX_{part}", None)
                environment.pop(f"PUBLISHER_OUTBOX_{part}{FILE}", None)
            environment["PUBLISHER_OUTBOX_URL"] = self.outbox_url
        return Program("publisher", (sys.executable, "-m", "clarion_publisher"), environment)

    def gateway(self, index: int, redis_url: str, inherited: Mapping[str, str]) -> Program:
        """The gateway number ``index``, from 0."""
        name = f"gateway-{index + 1}"
        environment = {
            # The default needs more file descriptors than many machines give.
            "GATEWAY_MAX_CONNECTIONS": "5000",
            "GATEWAY_DRAIN_PAUSE_SECONDS": "0",
            "GATEWAY_DRAIN_SPREAD_SECONDS": "0.5",
            "GATEWAY_DRAIN_GRACE_SECONDS": "1",
            **self._shared(name, redis_url, inherited),
            "GATEWAY_HOST": HOST,
            "GATEWAY_PORT": str(self.gateway_port + index),
            "GATEWAY_INTERNAL_HOST": HOST,
            "GATEWAY_INTERNAL_PORT": str(self.gateway_internal_port + index),
            "GATEWAY_PATH_PREFIX": self.gateway_path_prefix,
            "GATEWAY_DEV_PUBLISHER_URL": self.addresses.publisher,
            "GATEWAY_DEV_GATEWAY_URLS": ",".join(self.addresses.gateways),
        }
        if self.handlers is not None:
            environment["GATEWAY_HANDLERS"] = self.handlers
        return Program(name, (sys.executable, "-m", "clarion_gateway"), environment)

    def _shared(self, name: str, redis_url: str, inherited: Mapping[str, str]) -> dict[str, str]:
        kept = {
            key: value
            for key, value in inherited.items()
            if key.removesuffix(FILE) not in _LEFT_OUT
        }
        return {
            "CLARION_LOG_FORMAT": "console" if self.pretty else "json",
            **kept,
            "CLARION_JWT_SECRET": self.secret,
            "CLARION_POD": name,
            "CLARION_PROFILE": "dev",
            "CLARION_REDIS_URL": redis_url,
            "PYTHONUNBUFFERED": "1",
        }


class Listener(Protocol):
    """Receives news of the processes: that one is ready, and each line that one writes."""

    def ready(self, name: str, seconds: float) -> None:
        """A process is ready, this long after its start."""

    def line(self, name: str, line: str) -> None:
        """A process wrote a line."""


def check_ports(plan: Plan) -> None:
    """Return if every port is free.

    Raises:
        Failure: a port is taken, is used twice, or does not exist.
    """
    wanted: dict[int, str] = {}
    for port, name, option in plan.ports:
        if port in wanted:
            raise Failure(
                f"port {port} is wanted twice: by {wanted[port]} and by {name}; choose another "
                f"with {option}",
                ExitCode.USAGE,
            )
        wanted[port] = name
        try:
            with listening_socket(HOST) as probe:
                probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or "it does not exist"
            raise Failure(
                f"cannot use port {port} for {name}: {reason}; choose another with {option}",
                ExitCode.SETUP,
            ) from None


class Stack:
    """All processes of one plan."""

    def __init__(self, plan: Plan, listener: Listener) -> None:
        self._plan = plan
        self._listener = listener
        self._valkey: Process | None = None
        self._postgres: Process | None = None
        self._services: list[Process] = []
        self._folders = ExitStack()

    async def start(self) -> None:
        """Start everything, and return when all processes are ready.

        Raises:
            StartFailure: a process ended at once, or was not ready in time.
        """
        inherited = dict(os.environ)
        redis_url = self._plan.redis_url or await self._start_valkey(inherited)
        await self._prepare_outbox(inherited)
        programs = [
            (self._plan.publisher(redis_url, inherited), self._plan.publisher_internal_port)
        ]
        for index in range(self._plan.gateways):
            program = self._plan.gateway(index, redis_url, inherited)
            programs.append((program, self._plan.gateway_internal_port + index))
        started: list[tuple[Process, float, str]] = []
        for program, internal_port in programs:
            since = time.monotonic()
            process = await start_process(program, self._listener.line)
            self._services.append(process)
            started.append((process, since, f"http://{authority(HOST, internal_port)}/readyz"))
        try:
            async with (
                httpx.AsyncClient(trust_env=False, timeout=_ANSWER_SECONDS) as client,
                asyncio.TaskGroup() as group,
            ):
                for process, since, url in started:
                    group.create_task(self._until_ready(process, since, _answers(client, url)))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def first_exit(self) -> Process:
        """Wait for a process to end by itself, which none should do; return the first."""
        waits = {asyncio.create_task(process.wait()): process for process in self._processes}
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return waits[done.pop()]
        finally:
            for wait in waits:
                wait.cancel()

    async def stop(self) -> None:
        """Stop everything: first all services at the same time, then what they need."""
        try:
            await asyncio.gather(*(process.stop(STOP_SECONDS) for process in self._services))
            if self._postgres is not None:
                # SIGTERM would wait for clients to go, such as somebody's psql.
                await self._postgres.stop(STOP_SECONDS, signal.SIGINT)
            if self._valkey is not None:
                await self._valkey.stop(STOP_SECONDS)
        finally:
            for process in self._processes:
                process.kill()
            self._folders.close()

    @property
    def _processes(self) -> Sequence[Process]:
        servers = [each for each in (self._valkey, self._postgres) if each is not None]
        return [*self._services, *servers]

    async def _start_valkey(self, inherited: Mapping[str, str]) -> str:
        port = free_port()
        url = f"redis://{authority(HOST, port)}/0"
        command = server_command(find_server(), port, scratch_folder(self._folders))
        since = time.monotonic()
        program = Program("valkey", command, inherited)
        self._valkey = await start_process(program, self._listener.line)
        await self._until_ready(self._valkey, since, wait_for_redis(url))
        return url

    async def _prepare_outbox(self, inherited: Mapping[str, str]) -> None:
        """Start a PostgreSQL if the plan says so, and make the outbox's tables."""
        if self._plan.postgres_port is not None:
            await self._start_postgres(self._plan.postgres_port, inherited)
        if self._plan.outbox_url is not None:
            # A trigger costs other transactions something, so it is only made in our own database.
            notify = None if self._plan.postgres_port is None else True
            await apply(self._plan.outbox_url, notify=notify)

    async def _start_postgres(self, port: int, inherited: Mapping[str, str]) -> None:
        folder = new_folder()
        self._folders.callback(shutil.rmtree, folder, ignore_errors=True)
        since = time.monotonic()
        cluster = await asyncio.to_thread(make_cluster, folder)
        program = Program("postgres", cluster.command(port), inherited, process_options())
        self._postgres = await start_process(program, self._listener.line)
        await self._until_ready(self._postgres, since, wait_for_postgres(url_of(port)))

    async def _until_ready(
        self, process: Process, since: float, ready: Coroutine[None, None, None]
    ) -> None:
        answering = asyncio.create_task(ready)
        ended = asyncio.create_task(process.wait())
        try:
            await asyncio.wait(
                {answering, ended}, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if ended.done():
                raise StartFailure("ended at once", process)
            if not answering.done():
                raise StartFailure(f"was not ready within {READY_SECONDS:.0f} s", process)
            answering.result()
        finally:
            answering.cancel()
            ended.cancel()
        self._listener.ready(process.name, time.monotonic() - since)


async def _answers(client: httpx.AsyncClient, url: str) -> None:
    """Return when the URL answers with status 200."""
    while True:
        try:
            if (await client.get(url)).status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            pass
        await asyncio.sleep(_POLL_SECONDS)
