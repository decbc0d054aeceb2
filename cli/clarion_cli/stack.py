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
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

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
from clarion_cli.service import Listener, Service, until_ready
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
STOP_SECONDS: Final = 5.0
# The stack signs tokens with the local secret, so no other key source may be set as well. It has
# read all files of secrets, and the URL of its Redis has the login.
_LEFT_OUT: Final = (
    "CLARION_JWT_PUBLIC_KEY", "CLARION_JWT_JWKS_URL", "CLARION_JWT_ALGORITHMS",
    "CLARION_JWT_SECRET", "CLARION_REDIS_URL", "CLARION_REDIS_USERNAME", "CLARION_REDIS_PASSWORD",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """The processes to start. The second gateway has the first one's ports plus one, and so on.

    Attributes:
        redis_url: an existing Redis; None: start a Valkey.
        handlers: the application's handlers for the gateways; None: none.
        pretty: readable logs instead of JSON.
        reload: gateways restart when the application's code changes.
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
    reload: bool = False

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
        if self.reload:
            # A file that changes twice a second keeps its time, by which bytecode counts as fresh.
            environment["PYTHONDONTWRITEBYTECODE"] = "1"
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

    def __init__(
        self, plan: Plan, listener: Listener, note_pid: Callable[[str, int], None]
    ) -> None:
        self._plan = plan
        self._listener = listener
        self._note_pid = note_pid
        self._valkey: Process | None = None
        self._postgres: Process | None = None
        self._services: list[Service] = []
        self._gateways: list[Service] = []
        self._restarted = asyncio.Event()
        self._restarting = asyncio.Lock()
        self._folders = ExitStack()

    async def start(self) -> None:
        """Start everything, and return when all processes are ready.

        Raises:
            StartFailure: a process ended at once, or was not ready in time.
        """
        inherited = dict(os.environ)
        redis_url = self._plan.redis_url or await self._start_valkey(inherited)
        await self._prepare_outbox(inherited)
        publisher = self._plan.publisher(redis_url, inherited)
        await self._start(publisher, self._plan.publisher_internal_port)
        for index in range(self._plan.gateways):
            program = self._plan.gateway(index, redis_url, inherited)
            port = self._plan.gateway_internal_port + index
            self._gateways.append(await self._start(program, port))
        try:
            async with asyncio.TaskGroup() as group:
                for service in self._services:
                    group.create_task(service.until_ready())
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def restart_gateways(self) -> None:
        """Restart all gateways, one after the other, so that clients find one that runs.

        Raises:
            StartFailure: a gateway does not start any more. Those after it run on as they were.
        """
        for gateway in self._gateways:
            async with self._restarting:
                await self._restart(gateway)
            self._restarted.set()

    async def first_exit(self) -> Process:
        """Start services again that end by themselves, as Kubernetes does. Return the first server
        that ends: its data are gone.

        Raises:
            StartFailure: a service does not start any more.
        """
        while True:
            self._restarted.clear()
            waits = {asyncio.create_task(each.wait()): each for each in self._watched}
            restarted = asyncio.create_task(self._restarted.wait())
            try:
                done, _ = await asyncio.wait(
                    {*waits, restarted}, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                for wait in (*waits, restarted):
                    wait.cancel()
            watched = self._watched
            for process in (waits[each] for each in done if each in waits):
                if process in self._servers:
                    return process
                if process in watched:
                    await self._revive(process)

    async def stop(self) -> None:
        """Stop everything: first all services at the same time, then what they need."""
        try:
            await asyncio.gather(
                *(service.process.stop(STOP_SECONDS) for service in self._services)
            )
            if self._postgres is not None:
                # SIGTERM would wait for clients to go, such as somebody's psql.
                await self._postgres.stop(STOP_SECONDS, signal.SIGINT)
            if self._valkey is not None:
                await self._valkey.stop(STOP_SECONDS)
        finally:
            for process in (*(service.process for service in self._services), *self._servers):
                process.kill()
            self._folders.close()

    async def _revive(self, ended: Process) -> None:
        async with self._restarting:
            service = next((one for one in self._services if one.process is ended), None)
            if service is not None:  # else new code has restarted it meanwhile
                self._listener.ended(ended.name, ended.exit_code)
                await self._restart(service)

    async def _restart(self, service: Service) -> None:
        service.excused = True
        await service.process.stop(STOP_SECONDS)
        await service.start()
        await service.until_ready()
        service.excused = False

    @property
    def _servers(self) -> Sequence[Process]:
        return [each for each in (self._valkey, self._postgres) if each is not None]

    @property
    def _watched(self) -> Sequence[Process]:
        """The processes that must not end by themselves."""
        services = [each.process for each in self._services if not each.excused]
        return [*services, *self._servers]

    async def _start(self, program: Program, internal_port: int) -> Service:
        url = f"http://{authority(HOST, internal_port)}/readyz"
        service = Service(program, url, self._listener, self._note_pid)
        await service.start()
        self._services.append(service)
        return service

    async def _start_valkey(self, inherited: Mapping[str, str]) -> str:
        port = free_port()
        url = f"redis://{authority(HOST, port)}/0"
        command = server_command(find_server(), port, scratch_folder(self._folders))
        since = time.monotonic()
        program = Program("valkey", command, inherited)
        self._valkey = await start_process(program, self._listener.line)
        await until_ready(self._valkey, since, wait_for_redis(url), self._listener)
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
        ready = wait_for_postgres(url_of(port))
        await until_ready(self._postgres, since, ready, self._listener)
