"""A real PostgreSQL on a free port, with an outbox. Tests may stop, pause and restart it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from clarion_cli.postgres import PostgresCluster, make_cluster, new_folder, process_options, url_of
from clarion_publisher.sources.outbox.schema import migration
from tests.e2e.ports import free_port

_READY_SECONDS = 60.0


_OF_DEBIAN = Path("/usr/lib/postgresql")
_OLDEST = 14


def system_programs() -> Path | None:
    """The programs of the newest PostgreSQL of Debian's or Ubuntu's packages; None: there is none.

    It is another one than the wheel's, and mostly older.
    """
    found = {int(each.parts[-3]): each.parent for each in _OF_DEBIAN.glob("[0-9]*/bin/initdb")}
    newest = max(found, default=0)
    return found[newest] if newest >= _OLDEST else None


@contextmanager
def postgresql(cluster: PostgresCluster | None = None) -> Iterator[Postgres]:
    """A server that runs, and is removed at the end."""
    server = Postgres(cluster=cluster)
    try:
        server.start()
        yield server
    finally:
        server.remove()


class Postgres:
    """One server process. Its data survive `kill`."""

    def __init__(
        self, *, options: Sequence[str] = (), cluster: PostgresCluster | None = None
    ) -> None:
        self.cluster = cluster or make_cluster(new_folder())
        self.port = free_port()
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        return url_of(self.port, database)

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.cluster.command(self.port, *self.options),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.cluster.folder,
            **process_options(),
        )
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            try:
                psycopg.connect(self.url()).close()
                return
            except psycopg.Error:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def replica(self) -> Postgres:
        """A standby with a copy of the data, which follows this server; not running yet."""
        folder = new_folder()
        options = process_options()
        if options:
            os.chown(folder, options["user"], options["group"])
        cluster = PostgresCluster(folder, self.cluster.bin)
        command = [cluster.bin / "pg_basebackup", "--pgdata", cluster.data, "--dbname", self.url()]
        settings = ["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
        subprocess.run(
            [*command, *settings], check=True, capture_output=True, cwd=folder, **options
        )
        return Postgres(cluster=cluster)

    def stop(self) -> None:
        """End it as an administrator does: connections are cut, and all is written."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it as a crash does, with all its processes."""
        self._end(signal.SIGQUIT)

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.cluster.folder, ignore_errors=True)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait()
            self.process = None

    def signal_backends(self, number: signal.Signals, application: str) -> None:
        """Send a signal to the server processes of an application's connections."""
        for (pid,) in self.rows(
            "SELECT pid FROM pg_stat_activity WHERE application_name = %s", application
        ):
            os.kill(pid, number)

    def execute(self, query: str, *parameters: Any, database: str = "postgres") -> None:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(query.encode(), parameters or None)

    def rows(self, query: str, *parameters: Any, database: str = "postgres") -> list[Any]:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            return connection.execute(query.encode(), parameters or None).fetchall()

    def new_outbox(self, *, notify: bool = False) -> Outbox:
        """An outbox in a database of its own."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.execute(f'CREATE DATABASE "{name}"')
        self.execute(migration(notify=notify), database=name)
        return Outbox(self, name)


class Outbox:
    """An application's database with an outbox."""

    def __init__(self, server: Postgres, name: str) -> None:
        self.server = server
        self.name = name

    @property
    def url(self) -> str:
        """For publishers and the application."""
        return self.server.url(self.name)

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url)

    def execute(self, query: str, *parameters: Any) -> None:
        self.server.execute(query, *parameters, database=self.name)

    def rows(self, query: str, *parameters: Any) -> list[Any]:
        return self.server.rows(query, *parameters, database=self.name)

    def insert(self, audience: str, data: str, type_: str = "tick", key: str | None = None) -> None:
        self.execute(
            "INSERT INTO clarion_outbox (audience, type, data, key) VALUES (%s, %s, %s, %s)",
            audience, type_, data, key,
        )  # fmt: skip

    @property
    def waiting(self) -> int:
        ((count,),) = self.rows("SELECT count(*) FROM clarion_outbox")
        return int(count)

    @property
    def refused(self) -> list[tuple[str, str]]:
        """Type and reason of each row that was set aside, in order."""
        return self.rows("SELECT type, reason FROM clarion_outbox_refused ORDER BY id")
