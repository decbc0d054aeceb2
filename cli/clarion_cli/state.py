"""The folder ``.clarion``, where `clarion up` leaves data for the other commands.

The folder holds the secret that signs local tokens, the addresses of the running stack, the
process ids of its services, and a lock that `clarion up` holds while it runs. Commands look for the
folder in the current folder and its parents, as git looks for ``.git``.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from clarion_cli.failure import ExitCode, Failure

FOLDER_VARIABLE: Final = "CLARION_STATE"
_NAME: Final = ".clarion"
_PID: Final = ".pid"


class Addresses(msgspec.Struct, frozen=True):
    """The addresses of a stack. The defaults are those of `clarion up`.

    Attributes:
        outbox: URL of the PostgreSQL that the stack started; None: it started none.
    """

    gateways: tuple[str, ...] = ("http://127.0.0.1:8001", "http://127.0.0.1:8002")
    publisher: str = "http://127.0.0.1:8080"
    outbox: str | None = None


class State:
    """One such folder. Every method raises `Failure` if the folder cannot be used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._secret = folder / "dev-secret"
        self._addresses = folder / "stack.json"
        self._lock = folder / "lock"

    def secret(self) -> str | None:
        """The local signing secret; None before the first `clarion up`."""
        with _reported(self._secret), suppress(FileNotFoundError):
            return self._secret.read_text().strip()
        return None

    def make_secret(self) -> str:
        """The local signing secret, generated now if there is none. Only its owner can read it."""
        self._make_folder()
        with _reported(self._secret):
            try:
                descriptor = os.open(self._secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                return self._secret.read_text().strip()
            secret = secrets.token_urlsafe(48)
            with os.fdopen(descriptor, "w") as file:
                file.write(secret + "\n")
            return secret

    def addresses(self) -> Addresses:
        """The addresses of the running stack, or the defaults if none is known to run."""
        with _reported(self._addresses), suppress(FileNotFoundError, msgspec.DecodeError):
            return msgspec.json.decode(self._addresses.read_bytes(), type=Addresses)
        return Addresses()

    @contextmanager
    def announced(self, addresses: Addresses) -> Iterator[None]:
        """Within this context, other commands find these addresses."""
        with _reported(self._addresses):
            self._addresses.write_bytes(msgspec.json.encode(addresses))
        try:
            yield
        finally:
            self._addresses.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock: a second stack in this folder would overwrite the first one's addresses.

        It is a file lock, not a file with a process id, so it ends with its process in any case.

        Raises:
            Failure: another `clarion up` runs here.
        """
        self._make_folder()
        with _reported(self._lock):
            file = self._lock.open("w")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Failure(
                    "`clarion up` already runs here; stop it first (Ctrl-C in its terminal)",
                    ExitCode.SETUP,
                ) from None
            self._forget_pids()  # of a `clarion up` that was killed
            try:
                yield
            finally:
                self._forget_pids()

    def note_pid(self, name: str, pid: int) -> None:
        """Tell other commands the process id of a service that `clarion up` has started."""
        path = self._pid_file(name)
        with _reported(path):
            path.write_text(f"{pid}\n")

    def pids(self) -> dict[str, int]:
        """The process ids of the running services, by name; empty if no `clarion up` runs here."""
        with _reported(self.folder):
            if not self._is_locked():
                return {}
            files = sorted(self.folder.glob(f"*{_PID}"))
            return {file.name.removesuffix(_PID): int(file.read_text()) for file in files}

    def _is_locked(self) -> bool:
        with suppress(FileNotFoundError), self._lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def _pid_file(self, name: str) -> Path:
        return self.folder / f"{name}{_PID}"

    def _forget_pids(self) -> None:
        with _reported(self.folder):
            for file in self.folder.glob(f"*{_PID}"):
                file.unlink()

    def _make_folder(self) -> None:
        with _reported(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / ".gitignore").write_text("*\n")


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Turn errors with the folder into a `Failure` instead of a traceback."""
    try:
        yield
    except OSError as error:
        raise Failure(
            f"cannot use {path}: {error.strerror}; {FOLDER_VARIABLE} names another folder",
            ExitCode.SETUP,
        ) from None


def find_state(start: Path, environment: Mapping[str, str] = os.environ) -> State:
    """The nearest ``.clarion`` from ``start`` upwards, or a new one in ``start``."""
    if named := environment.get(FOLDER_VARIABLE):
        return State(Path(named))
    for folder in (start, *start.parents):
        if (folder / _NAME).is_dir():
            return State(folder / _NAME)
    return State(start / _NAME)
