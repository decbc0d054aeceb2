"""The processes of a local stack: Valkey, PostgreSQL if wanted, one publisher, several gateways.

They are started in that order and stopped in reverse, so that no process logs that another is gone.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Final

from clarion_cli.address import authority
from clarion_cli.outbox import apply
from clarion_cli.plan import HOST, Plan
from clarion_cli.postgres import (
    make_cluster,
    new_folder,
    process_options,
    url_of,
    wait_for_postgres,
)
from clarion_cli.process import Process, Program, start_process
from clarion_cli.service import Listener, Service, until_ready
from clarion_cli.valkey import (
    find_server,
    free_port,
    scratch_folder,
    server_command,
    wait_for_redis,
)

STOP_SECONDS: Final = 5.0


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
            # The URL may be that of a publisher, which may not make tables.
            own = self._plan.postgres_port is not None
            await apply(self._plan.outbox_url, notify=True if own else None, again=False)

    async def _start_postgres(self, port: int, inherited: Mapping[str, str]) -> None:
        folder = new_folder()
        self._folders.callback(shutil.rmtree, folder, ignore_errors=True)
        since = time.monotonic()
        cluster = await asyncio.to_thread(make_cluster, folder)
        program = Program("postgres", cluster.command(port), inherited, process_options())
        self._postgres = await start_process(program, self._listener.line)
        ready = wait_for_postgres(url_of(port))
        await until_ready(self._postgres, since, ready, self._listener)
