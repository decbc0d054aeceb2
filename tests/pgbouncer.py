"""A real PgBouncer in transaction mode on a free port, in front of a PostgreSQL."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from clarion_cli.postgres import process_options, url_of
from tests.e2e.ports import free_port
from tests.postgres import Outbox, Postgres

NO_POOLER = "no PgBouncer; on Debian and Ubuntu: apt-get install pgbouncer"
_READY_SECONDS = 60.0
_CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={server} user=postgres

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 5
# Each transaction of a client gets another connection than the last one, if it can.
server_round_robin = 1
"""


def program() -> str | None:
    """PgBouncer, where it is installed."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def pgbouncer(server: Postgres) -> Iterator[PgBouncer]:
    """A pooler that runs, and is removed at the end."""
    pooler = PgBouncer(server, Path(tempfile.mkdtemp(prefix="clarion-pgbouncer-")))
    try:
        pooler.start()
        yield pooler
    finally:
        pooler.remove()


class PgBouncer:
    """One process. Tests may kill and restart it."""

    def __init__(self, server: Postgres, folder: Path) -> None:
        self.server = server
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._folder = folder
        folder.chmod(0o755)  # it refuses to run as root, and reads its configuration as `nobody`
        self._configuration = folder / "pgbouncer.ini"
        self._configuration.write_text(_CONFIGURATION.format(server=server.port, port=self.port))

    def url(self, database: str = "postgres") -> str:
        return url_of(self.port, database)

    def start(self) -> None:
        self.process = subprocess.Popen(
            [program() or "pgbouncer", "--quiet", str(self._configuration)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
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

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def new_outbox(self, *, notify: bool = False) -> Outbox:
        """An outbox that publishers and the application reach through this pooler."""
        return PooledOutbox(self, self.server.new_outbox(notify=notify).name)


class PooledOutbox(Outbox):
    """An outbox behind a pooler. `execute` and `rows` go to the server itself."""

    def __init__(self, pooler: PgBouncer, name: str) -> None:
        super().__init__(pooler.server, name)
        self._pooler = pooler

    @property
    def url(self) -> str:
        return self._pooler.url(self.name)
